/* Spans as OTLP's JSON: ids in hexadecimal, 64-bit numbers as strings, enumerations as numbers.
 * Pure. */
#ifndef RR_SERVER_OTLP_JSON_H
#define RR_SERVER_OTLP_JSON_H

#include <stddef.h>
#include <stdint.h>

#include "server/otlp/record.h"
#include "server/otlp/settings.h"

/* Spans that a record makes. */
size_t otlp_spans(const otlp_record *record);

/* One request to a collector with the first of n records (1 or more), as many as fit into `limit`
 * bytes but one at least: *ret_taken. Phases get ids from *seed, which moves on. Heap memory for
 * rr_free; NULL when memory is out, with as many taken as it was tried for. */
char *otlp_encode(const otlp_settings *settings, const otlp_record *records, size_t n, size_t limit,
                  uint64_t *seed, size_t *ret_taken, size_t *ret_size);

#endif
