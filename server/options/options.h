/* The command line and its environment variables. */
#ifndef RR_SERVER_OPTIONS_OPTIONS_H
#define RR_SERVER_OPTIONS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "core/scorer.h"
#include "server/base/option_list.h"
#include "server/observe/log.h"

typedef enum option_switch { OPTION_AUTO, OPTION_ON, OPTION_OFF } option_switch;

/* Strings are borrowed from argv or the environment. */
typedef struct options {
  const char
      *model_id; /* a model directory, or a model's name on the hub; NULL: the default model */
  const char *revision;              /* branch, tag or commit on the hub; NULL: main */
  const char *hf_token;              /* NULL: as stored by `hf auth login`, or none */
  const char *hf_endpoint;           /* NULL: the public hub */
  const char *hf_home;               /* NULL: as huggingface_hub has it */
  const char *huggingface_hub_cache; /* NULL: hub/ in hf_home */
  bool hf_hub_offline;
  const char *served_model_name; /* NULL: as model_id */
  const char *hostname;
  unsigned port; /* 0: any free one, told in the log */
  rr_dtype dtype;
  bool dtype_float16; /* which was asked for, and bfloat16 is taken */
  rr_scoring scoring;
  const char *isa;               /* NULL: all instruction sets */
  bool pack_cache;               /* keep packed weights beside the model */
  unsigned threads;              /* workers that compute */
  unsigned tokenization_workers; /* threads that parse and tokenize */
  size_t max_concurrent_requests;
  size_t max_queue_ms;
  size_t max_queue_tokens;
  size_t default_timeout_ms; /* 0: none */
  size_t max_batch_tokens;
  size_t max_client_batch_size;
  size_t payload_limit;              /* bytes */
  size_t request_memory;             /* bytes of all requests together; 0: by what there is */
  size_t cache_bytes;                /* of the score cache; 0: none */
  const char *shared_cache;          /* the engine's URL; NULL: none */
  const char *shared_cache_password; /* NULL: the URL's, or none */
  const char *shared_cache_secret;   /* NULL: none */
  const char *shared_cache_prefix;
  size_t shared_cache_timeout_ms;
  size_t shared_cache_ttl;     /* seconds */
  size_t document_cache_bytes; /* 0: none */
  const char *documents;       /* a file behind it; NULL: none */
  size_t documents_bytes;      /* of the file */
  unsigned idle_timeout;       /* seconds, as the next */
  unsigned client_timeout;
  unsigned drain_delay;   /* from SIGTERM to the closing of the listening socket */
  unsigned drain_timeout; /* from then on, for the requests under way */
  bool auto_truncate;
  option_list api_keys;     /* none, without a file: none wanted */
  const char *api_key_file; /* NULL: none */
  option_list cors_origins;
  const char *unix_socket;   /* NULL: host and port */
  const char *user;          /* NAME[:GROUP] to become; NULL: nobody, if that can be had */
  option_switch seccomp;     /* auto: where it can be had */
  bool core_dumps;           /* core files, and debuggers of the same user */
  const char *otlp_endpoint; /* of a collector; NULL: as OpenTelemetry's variables say, or none; the
                                same for the next two */
  const char *otlp_service_name;
  const char *otlp_sample; /* a ratio from 0 to 1; checked by otlp_settings_read */
  size_t slow_request_ms;  /* 0: none is told */
  bool json_output;
  log_level log_level;
  const char *health; /* what to ask instead of serving; NULL: serve */
  size_t health_timeout_ms;
} options;

typedef enum options_result {
  OPTIONS_RUN,
  OPTIONS_HEALTH, /* ask the server at `health`, serve nothing; there may be no model */
  OPTIONS_DONE,   /* --help or --version was printed to `out` */
  OPTIONS_INVALID /* one line was written to `problem` */
} options_result;

enum { OPTIONS_PROBLEM_MAX = 512 };

/* Reads the environment, then argv, which wins. `lookup` is getenv, or a test's own. Writes --help
 * and
 * --version to `out`. */
options_result options_read(int argc, char **argv, char *(*lookup)(const char *name), FILE *out,
                            options *ret_options, char problem[OPTIONS_PROBLEM_MAX]);

#endif
