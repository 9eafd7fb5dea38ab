#include "server/request/known.h"

#include <math.h>

#include "server/cache/score_cache.h"
#include "server/request/documents.h"
#include "server/request/partial.h"
#include "server/request/shared.h"

size_t rerank_group_size(const rerank_task *task) {
  return task->request.queries == NULL ? task->request.n_texts : 1;
}

static rr_text query_of(const rerank_task *task, size_t g) {
  return task->request.queries == NULL ? task->request.query : task->request.queries[g];
}

static bool has_query_sequence(const rr_encoded *group) {
  return group->n_candidates > 0 && group->sequence_of[0] > 0;
}

/* Identical texts are one sequence, but each counts. */
static size_t count_truncated(const rr_encoded *group) {
  size_t count = has_query_sequence(group) && group->sequences[0].dropped_tokens > 0;
  for (size_t i = 0; i < group->n_candidates; i++) {
    count += group->sequences[group->sequence_of[i]].dropped_tokens > 0;
  }
  return count;
}

static rr_status encode_texts(rerank_task *task, size_t g, const rr_text *texts, size_t n,
                              const rr_encode_options *options, rr_error *err) {
  rr_encoded *group = &task->groups[g];
  rr_encode_options with_kept = *options;
  rr_status status = rerank_documents_find(task, g, texts, n, &with_kept, err);
  if (status == RR_OK) {
    status = rr_scorer_encode(task->tools.scorer, query_of(task, g), texts, n, &with_kept,
                              &task->arena, group, err);
  }
  if (status == RR_OK) {
    rerank_documents_place(task, g);
    for (size_t i = 0; i < group->n_sequences; i++) {
      task->n_sequences += !group->sequences[i].at_hand;
    }
    task->tokens += group->tokens;
    task->n_truncated += count_truncated(group);
  }
  return status;
}

/* Finds each text's `first` by its key. False when memory is out. */
static bool find_repeats(rerank_lookup *lookups, size_t n, rr_arena *arena) {
  size_t capacity = 4;
  while (capacity < 2 * n) {
    capacity *= 2;
  }
  uint32_t *table = rr_arena_calloc(arena, capacity, sizeof *table); /* text and 1; 0: nobody */
  if (table == NULL) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    lfu_key key = lookups[i].key;
    size_t at = key.low & (capacity - 1);
    while (table[at] != 0 && (lookups[table[at] - 1].key.low != key.low ||
                              lookups[table[at] - 1].key.high != key.high)) {
      at = (at + 1) & (capacity - 1);
    }
    if (table[at] == 0) {
      table[at] = (uint32_t)i + 1;
    }
    lookups[i].first = table[at] - 1;
  }
  return true;
}

rr_status rerank_look_up_group(rerank_task *task, size_t g, const rr_encode_options *options,
                               rr_error *err) {
  const score_cache *cache = task->tools.cache;
  if (cache == NULL) {
    return RR_OK;
  }
  if (task->lookups == NULL) {
    task->lookups = rr_arena_calloc(&task->arena, task->request.n_texts, sizeof *task->lookups);
  }
  if (task->lookups == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory");
  }
  size_t n = rerank_group_size(task);
  rerank_lookup *lookups = task->lookups + g;
  score_query query;
  score_query_init(&query, cache, query_of(task, g), options);
  for (size_t i = 0; i < n; i++) {
    lookups[i].key = score_query_key(&query, task->request.texts[g + i]);
  }
  if (n > 1 && !find_repeats(lookups, n, &task->arena)) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < n; i++) { /* each different text once */
    lookups[i].hit =
        lookups[i].first == i && lfu_find(cache->entries, lookups[i].key, &lookups[i].value);
  }
  rerank_shared_add(task, g, options);
  return RR_OK;
}

/* Gives repeated texts what is known of the first. Returns how many of the n are known. */
static size_t spread(rerank_lookup *lookups, size_t n) {
  size_t known = 0;
  for (size_t i = 0; i < n; i++) {
    if (lookups[i].first != i) {
      lookups[i].hit = lookups[lookups[i].first].hit;
      lookups[i].value = lookups[lookups[i].first].value;
    }
    known += lookups[i].hit;
  }
  return known;
}

/* Counts the known texts as if they had been encoded with the others. */
static void count_known(rerank_task *task, const rerank_lookup *lookups, size_t n, bool all) {
  const lfu_value *last = NULL;
  for (size_t i = 0; i < n; i++) {
    if (lookups[i].hit) {
      last = &lookups[i].value;
      task->tokens += lookups[i].first == i ? last->length : 0;
      task->n_truncated += last->truncated;
    }
  }
  if (all && last != NULL) { /* else the query's sequence is among the others */
    task->tokens += last->query_length;
    task->n_truncated += last->query_truncated;
  }
}

static rr_status encode_unknown(rerank_task *task, size_t g, const rr_encode_options *options,
                                rr_error *err) {
  size_t n = rerank_group_size(task);
  const rr_text *texts = task->request.texts + g;
  rerank_lookup *lookups = task->lookups + g;
  size_t known = spread(lookups, n);
  task->n_cached += known;
  count_known(task, lookups, n, known == n);
  if (known == 0) {
    return encode_texts(task, g, texts, n, options, err);
  }
  if (known == n) {
    task->groups[g] = (rr_encoded){0};
    return RR_OK;
  }
  rr_text *unknown = rr_arena_calloc(&task->arena, n - known, sizeof *unknown);
  if (unknown == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory");
  }
  size_t at = 0;
  for (size_t i = 0; i < n; i++) {
    if (!lookups[i].hit) {
      unknown[at++] = texts[i];
    }
  }
  return encode_texts(task, g, unknown, at, options, err);
}

rr_status rerank_encode_group(rerank_task *task, size_t g, const rr_encode_options *options,
                              rr_error *err) {
  return task->lookups == NULL
             ? encode_texts(task, g, task->request.texts + g, rerank_group_size(task), options, err)
             : encode_unknown(task, g, options, err);
}

static rr_text_tokens tokens_of(const rr_encoded *group, size_t candidate) {
  const rr_sequence *sequence = &group->sequences[group->sequence_of[candidate]];
  return (rr_text_tokens){.count = sequence->text_tokens,
                          .truncated = sequence->dropped_tokens > 0};
}

void rerank_group_tokens(const rr_encoded *group, rr_text_tokens *ret_tokens) {
  for (size_t i = 0; i < group->n_candidates; i++) {
    ret_tokens[i] = tokens_of(group, i);
  }
}

static lfu_value value_of(const rr_encoded *group, size_t candidate, float raw) {
  const rr_sequence *sequence = &group->sequences[group->sequence_of[candidate]];
  lfu_value value = {.raw = raw,
                     .text_tokens = sequence->text_tokens,
                     .length = sequence->length & 0x7fffffffu,
                     .truncated = sequence->dropped_tokens > 0};
  if (has_query_sequence(group)) {
    value.query_length = group->sequences[0].length & 0x7fffffffu;
    value.query_truncated = group->sequences[0].dropped_tokens > 0;
  }
  return value;
}

/* Gives every text that was not known its value, and the cache each different one that was
 * computed. */
static void keep_computed(rerank_task *task, size_t g, const float *raw) {
  rerank_lookup *lookups = task->lookups + g;
  size_t at = 0;
  for (size_t i = 0; i < rerank_group_size(task); i++) {
    if (lookups[i].hit) {
      continue;
    }
    lookups[i].value = value_of(&task->groups[g], at, raw[at]);
    if (lookups[i].first == i && !isnan(raw[at])) {
      lfu_insert(task->tools.cache->entries, lookups[i].key, &lookups[i].value);
    }
    at++;
  }
}

/* The error's text, told by its number among all texts of its group. */
static rr_status fail_as_whole(const rerank_task *task, size_t g, const float *raw, rr_error *err) {
  size_t at = 0;
  for (size_t i = 0; i < rerank_group_size(task); i++) {
    if (!task->lookups[g + i].hit && !isfinite(raw[at++])) {
      return rr_fail(err, RR_ERR_NUMERIC, "the model gave no finite score for text %zu", i);
    }
  }
  return err->status;
}

static rr_status computed_scores(rerank_task *task, size_t g, const uint8_t *done, bool as_raw,
                                 float *scores, rr_error *err) {
  const rr_encoded *group = &task->groups[g];
  rr_status status = done == NULL ? rr_scorer_scores(task->tools.scorer, group, as_raw, scores, err)
                                  : partial_group(task, group, done, as_raw, scores, err);
  if (status == RR_OK) {
    rerank_documents_keep(task, g, done);
  }
  return status;
}

rr_status rerank_group_scores(rerank_task *task, size_t g, const uint8_t *done, float *scores,
                              rr_text_tokens *tokens, rr_error *err) {
  const rr_encoded *group = &task->groups[g];
  bool as_raw = task->request.raw_scores;
  if (task->lookups == NULL) {
    rerank_group_tokens(group, tokens);
    return computed_scores(task, g, done, as_raw, scores, err);
  }
  float *raw = rr_arena_calloc(&task->arena, group->n_candidates, sizeof *raw);
  if (raw == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory");
  }
  rr_status status = computed_scores(task, g, done, true, raw, err);
  if (status != RR_OK) {
    return status == RR_ERR_NUMERIC && done == NULL ? fail_as_whole(task, g, raw, err) : status;
  }
  keep_computed(task, g, raw);
  for (size_t i = 0; i < rerank_group_size(task); i++) {
    const lfu_value *value = &task->lookups[g + i].value;
    scores[i] =
        as_raw || isnan(value->raw) ? value->raw : rr_scorer_score(task->tools.scorer, value->raw);
    tokens[i] = (rr_text_tokens){.count = value->text_tokens, .truncated = value->truncated != 0};
  }
  return RR_OK;
}
