/* The command line. */
#ifndef RR_BENCH_LOAD_OPTIONS_H
#define RR_BENCH_LOAD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "bench/load/dialect.h"
#include "bench/load/mix.h"
#include "core/base/status.h"

enum { OPTIONS_HEADERS_MAX = 16 };

typedef struct options {
  const char *url, *path, *api_key, *model, *dialect_name, *candidates, *sizes_text, *arrivals,
      *label;
  const char *json, *csv, *html; /* files; "-": standard output */
  const char *journal;           /* a file; NULL: none */
  const char *headers[OPTIONS_HEADERS_MAX];
  size_t n_headers;
  const dialect *spoken;
  mix_sizes sizes;
  size_t words, top_n, connections, seed, requests, warmup_requests, max_in_flight, max_buffer_mb;
  size_t deadline_ms, timeout_ms;
  double rate, repeat, duration, warmup; /* a second; share; seconds */
  bool allow_remote, quiet;
  bool help;
} options;

/* Reads and checks the arguments; texts are borrowed from argv. RR_ERR_INPUT with a message for
 * people.
 */
rr_status options_parse(int argc, char **argv, options *ret_options, rr_error *err);

/* Prints what --help prints, to standard output. */
void options_help(void);

#endif
