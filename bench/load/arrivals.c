#include "bench/load/arrivals.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double second_ns = 1e9;
static const double offset_max_s = 1e7; /* some 115 days */

arrivals arrivals_at_rate(arrivals_kind kind, double rate, uint64_t seed) {
  return (arrivals){.kind = kind, .gap_ns = second_ns / rate, .random = rng_seeded(seed, 1)};
}

/* A line's offset into *ret_seconds; false for a line without one. */
static bool line_of(const char *line, bool *ret_good, double *ret_seconds) {
  while (isspace((unsigned char)*line)) {
    line++;
  }
  if (*line == '\0' || *line == '#') {
    return false;
  }
  char *end;
  *ret_seconds = strtod(line, &end);
  *ret_good =
      end != line && isfinite(*ret_seconds) && *ret_seconds >= 0 && *ret_seconds <= offset_max_s;
  while (isspace((unsigned char)*end)) {
    end++;
  }
  *ret_good = *ret_good && *end == '\0';
  return true;
}

static rr_status add(arrivals *self, size_t *capacity, double seconds, rr_error *err) {
  if (self->n == ARRIVALS_MAX) {
    return rr_fail(err, RR_ERR_INPUT, "more than %d arrivals", ARRIVALS_MAX);
  }
  if (self->n == *capacity) {
    size_t wanted = *capacity == 0 ? 1024 : 2 * *capacity;
    uint64_t *grown = realloc(self->offsets, wanted * sizeof *grown);
    if (grown == NULL) {
      return rr_fail(err, RR_ERR_MEMORY, "out of memory");
    }
    self->offsets = grown;
    *capacity = wanted;
  }
  self->offsets[self->n++] = (uint64_t)(seconds * second_ns + 0.5);
  return RR_OK;
}

rr_status arrivals_read(FILE *file, const char *name, arrivals *ret_arrivals, rr_error *err) {
  arrivals self = {.kind = ARRIVALS_RECORDED};
  size_t capacity = 0;
  char line[256];
  rr_status status = RR_OK;
  double last = 0;
  for (size_t number = 1; status == RR_OK && fgets(line, sizeof line, file) != NULL; number++) {
    bool good = true;
    double seconds = 0;
    if (strchr(line, '\n') == NULL && !feof(file)) {
      status = rr_fail(err, RR_ERR_FORMAT, "%s:%zu: a line of more than %zu bytes", name, number,
                       sizeof line - 2);
    } else if (!line_of(line, &good, &seconds)) {
      continue;
    } else if (!good) {
      status = rr_fail(err, RR_ERR_FORMAT, "%s:%zu: not a number of seconds", name, number);
    } else if (seconds < last) {
      status =
          rr_fail(err, RR_ERR_FORMAT, "%s:%zu: earlier than the arrival before it", name, number);
    } else {
      status = add(&self, &capacity, seconds, err);
      last = seconds;
    }
  }
  if (status == RR_OK && ferror(file)) {
    status = rr_fail(err, RR_ERR_IO, "%s: %s", name, strerror(errno));
  }
  if (status == RR_OK && self.n == 0) {
    status = rr_fail(err, RR_ERR_INPUT, "%s: no arrivals", name);
  }
  if (status != RR_OK) {
    arrivals_finish(&self);
    return status;
  }
  *ret_arrivals = self;
  return RR_OK;
}

bool arrivals_next(arrivals *self, uint64_t *ret_offset_ns) {
  if (self->kind == ARRIVALS_RECORDED) {
    if (self->next == self->n) {
      return false;
    }
    *ret_offset_ns = self->offsets[self->next++];
    return true;
  }
  self->at_ns +=
      self->kind == ARRIVALS_POISSON ? rng_exponential(&self->random, self->gap_ns) : self->gap_ns;
  *ret_offset_ns = (uint64_t)self->at_ns;
  return true;
}

void arrivals_finish(arrivals *self) {
  free(self->offsets);
  *self = (arrivals){0};
}
