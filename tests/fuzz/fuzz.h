/* What the fuzz targets share. A target defines fuzz_set_up and fuzz_input; libFuzzer, or replay.c
 * where there is none, calls them. An input passes unless a sanitizer or fuzz_require ends the
 * process.
 *
 * Some inputs, told by their hash, run a second time with one allocation that fails: fuzz_starved
 * is true then, and a status of "out of memory" is as right as what the first run gave. */
#ifndef RR_TESTS_FUZZ_FUZZ_H
#define RR_TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/status.h"

/* Called once, before the first input. */
void fuzz_set_up(void);

/* Takes one input, of any bytes, and leaves no memory behind. */
void fuzz_input(const uint8_t *data, size_t size);

extern bool fuzz_starved;

/* Ends the process with the words unless it holds. */
void fuzz_require(bool holds, const char *words);

/* A load's or a decoder's status: ends the process where it is out of memory though none is
 * lacking, or where the message is no terminated line. */
void fuzz_require_status(rr_status status, const rr_error *err);

typedef struct fuzz_part {
  const uint8_t *data; /* NULL where the input has no such part */
  size_t size;
} fuzz_part;

/* Splits an input at FUZZ_SEPARATOR into at most n parts; the last one takes the rest. */
#define FUZZ_SEPARATOR                                                                             \
  "\xff"                                                                                           \
  "PART"                                                                                           \
  "\xff"
void fuzz_split(const uint8_t *data, size_t size, fuzz_part *ret_parts, size_t n);

/* A terminated copy of a part without NUL bytes; freed by the caller with free. */
char *fuzz_text(fuzz_part part);

/* A folder of this process's own; an empty one, once per process. */
const char *fuzz_folder(void);

/* Writes a part to a file of that folder, of any depth that exists; removes the file where there is
 * no part. */
void fuzz_write(const char *name, fuzz_part part);

/* A folder below $RR_GOLDEN. Static storage, valid until the next call. */
const char *fuzz_golden(const char *name);

#endif
