#include "bench/load/mix.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef struct seen {
  mix_document document;
  uint64_t request; /* the last that held it */
} seen;

struct mix {
  const corpus *texts;
  mix_sizes sizes;
  double repeat;
  rng sizes_random, documents_random;
  size_t *order; /* of the queries */
  size_t next_query;
  uint64_t request;
  mix_document *plan;
  seen *ring;      /* the last documents sent; with a repeat rate only */
  uint64_t n_seen; /* ever put into the ring */
  uint64_t *uses;  /* of each document: its next variant */
};

static rr_status size_of(const char **text, uint32_t *ret_size, double *ret_weight, rr_error *err) {
  char *end;
  unsigned long size = strtoul(*text, &end, 10);
  double weight = 1;
  bool good =
      end != *text && **text >= '0' && **text <= '9' && size >= 1 && size <= MIX_CANDIDATES_MAX;
  if (good && *end == ':') {
    const char *number = end + 1;
    weight = strtod(number, &end);
    good = end != number && isfinite(weight) && weight > 0;
  }
  if (!good || (*end != ',' && *end != '\0')) {
    return rr_fail(err, RR_ERR_INPUT,
                   "wants numbers from 1 to %d, with weights as in 10:0.5,100:0.5",
                   MIX_CANDIDATES_MAX);
  }
  *text = *end == ',' ? end + 1 : end;
  *ret_size = (uint32_t)size;
  *ret_weight = weight;
  return *end == ',' && **text == '\0' ? rr_fail(err, RR_ERR_INPUT, "ends with a comma") : RR_OK;
}

rr_status mix_sizes_parse(const char *text, mix_sizes *ret_sizes, rr_error *err) {
  mix_sizes self = {0};
  double sum = 0;
  do {
    if (self.n == MIX_SIZES_MAX) {
      return rr_fail(err, RR_ERR_INPUT, "more than %d sizes", MIX_SIZES_MAX);
    }
    double weight = 0;
    rr_status status = size_of(&text, &self.size[self.n], &weight, err);
    if (status != RR_OK) {
      return status;
    }
    self.upto[self.n++] = sum += weight;
  } while (*text != '\0');
  for (size_t i = 0; i < self.n; i++) {
    self.upto[i] /= sum;
  }
  self.upto[self.n - 1] = 1;
  *ret_sizes = self;
  return RR_OK;
}

static void shuffle(size_t *values, size_t n, rng random) {
  for (size_t i = 0; i < n; i++) {
    values[i] = i;
  }
  for (size_t i = n; i > 1; i--) {
    size_t other = rng_below(&random, i);
    size_t value = values[i - 1];
    values[i - 1] = values[other];
    values[other] = value;
  }
}

mix *mix_create(const corpus *texts, const mix_sizes *sizes, double repeat, uint64_t seed) {
  mix *self = calloc(1, sizeof *self);
  if (self == NULL) {
    return NULL;
  }
  uint32_t largest = 0;
  for (size_t i = 0; i < sizes->n; i++) {
    largest = sizes->size[i] > largest ? sizes->size[i] : largest;
  }
  self->texts = texts;
  self->sizes = *sizes;
  self->repeat = repeat;
  self->sizes_random = rng_seeded(seed, 2);
  self->documents_random = rng_seeded(seed, 3);
  self->order = calloc(texts->n_queries, sizeof *self->order);
  self->plan = calloc(largest, sizeof *self->plan);
  self->ring = repeat < 0 ? NULL : calloc(MIX_SEEN_MAX, sizeof *self->ring);
  self->uses = repeat < 0 ? NULL : calloc(texts->n_documents, sizeof *self->uses);
  if (self->order == NULL || self->plan == NULL ||
      (repeat >= 0 && (self->ring == NULL || self->uses == NULL))) {
    mix_destroy(self);
    return NULL;
  }
  shuffle(self->order, texts->n_queries, rng_seeded(seed, 4));
  return self;
}

void mix_destroy(mix *self) {
  if (self != NULL) {
    free(self->order);
    free(self->plan);
    free(self->ring);
    free(self->uses);
    free(self);
  }
}

static size_t draw_size(mix *self) {
  double at = rng_unit(&self->sizes_random);
  size_t i = 0;
  while (i + 1 < self->sizes.n && at >= self->sizes.upto[i]) {
    i++;
  }
  return self->sizes.size[i];
}

/* A document sent by an earlier request and not yet in this one; NULL if there is none. */
static seen *draw_seen(mix *self) {
  size_t n = self->n_seen < MIX_SEEN_MAX ? (size_t)self->n_seen : MIX_SEEN_MAX;
  if (n == 0) {
    return NULL;
  }
  size_t from = rng_below(&self->documents_random, n);
  for (size_t i = 0; i < n; i++) {
    seen *found = &self->ring[(from + i) % n];
    if (found->request != self->request) {
      return found;
    }
  }
  return NULL;
}

/* Document `at` of the file, as a new one. */
static mix_document fresh(mix *self, size_t at) {
  mix_document document = {at, self->uses[at]++};
  self->ring[self->n_seen++ % MIX_SEEN_MAX] = (seen){document, self->request};
  return document;
}

mix_plan mix_next(mix *self) {
  const corpus_query *query = &self->texts->queries[self->order[self->next_query]];
  mix_plan plan = {self->order[self->next_query], draw_size(self), 0, self->plan};
  self->next_query = (self->next_query + 1) % self->texts->n_queries;
  self->request++;
  for (size_t i = 0; i < plan.n; i++) {
    size_t at = (query->first + i) % self->texts->n_documents;
    seen *again = NULL;
    if (self->repeat < 0) {
      /* The rounds through a file that is too short for the request. */
      self->plan[i] = (mix_document){at, i / self->texts->n_documents};
      continue;
    }
    if (rng_unit(&self->documents_random) < self->repeat) {
      again = draw_seen(self);
    }
    if (again != NULL) {
      again->request = self->request;
      plan.repeats++;
    }
    self->plan[i] = again != NULL ? again->document : fresh(self, at);
  }
  return plan;
}
