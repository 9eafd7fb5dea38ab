#include "server/request/partial.h"

#include <math.h>

#include "server/request/known.h"

/* Whether all that candidate i's score is made of was computed: `done` begins with the group's
 * first sequence. A bi-encoder's query is that one. */
static bool is_computed(const rerank_task *task, const rr_encoded *group, const uint8_t *done,
                        size_t i) {
  bool query = rr_scorer_info(task->tools.scorer)->kind == RR_CROSS_ENCODER || done[0] != 0;
  return query && done[group->sequence_of[i]] != 0;
}

rr_status partial_group(const rerank_task *task, const rr_encoded *group, const uint8_t *done,
                        bool raw, float *ret_scores, rr_error *err) {
  for (size_t i = 0; i < group->n_candidates; i++) {
    if (!is_computed(task, group, done, i)) {
      ret_scores[i] = NAN;
      continue;
    }
    rr_encoded one = *group;
    one.sequence_of += i;
    one.n_candidates = 1;
    rr_status status = rr_scorer_scores(task->tools.scorer, &one, raw, &ret_scores[i], err);
    if (status != RR_OK) {
      return status;
    }
  }
  return RR_OK;
}

static uint64_t tokens_not_computed(const rerank_task *task) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < task->job.queue.n; i++) {
    sum += task->job.computed[i] == 0 ? task->job.queue.lengths[i] : 0;
  }
  return sum;
}

/* A flag a sequence, group after group: job.computed, which with a deadline has their order, and
 * those at hand. */
static const uint8_t *all_done(rerank_task *task) {
  size_t n = 0;
  for (size_t g = 0; g < task->n_groups; g++) {
    n += task->groups[g].n_sequences;
  }
  uint8_t *done = rr_arena_alloc(&task->arena, n);
  size_t at = 0;
  size_t computed = 0;
  for (size_t g = 0; done != NULL && g < task->n_groups; g++) {
    for (size_t i = 0; i < task->groups[g].n_sequences; i++) {
      bool at_hand = task->groups[g].sequences[i].at_hand;
      done[at++] = at_hand ? 1 : task->job.computed[computed++];
    }
  }
  return done;
}

bool partial_scores(rerank_task *task, float *ret_scores, bool *ret_unscored,
                    rr_text_tokens *ret_tokens, size_t *ret_n_unscored) {
  rr_error problem;
  const uint8_t *done = all_done(task);
  if (done == NULL) {
    rerank_fail(task, RR_API_MEMORY, "out of memory");
    return false;
  }
  for (size_t g = 0; g < task->n_groups; g++) { /* group g begins with text g */
    rr_status status = rerank_group_scores(task, g, done, ret_scores + g, ret_tokens + g, &problem);
    if (status != RR_OK) {
      rerank_fail(task, status == RR_ERR_MEMORY ? RR_API_MEMORY : RR_API_BACKEND, problem.message);
      return false;
    }
    done += task->groups[g].n_sequences;
  }
  size_t n = task->request.n_texts;
  size_t gaps = 0;
  for (size_t i = 0; i < n; i++) {
    ret_unscored[i] = isnan(ret_scores[i]);
    gaps += ret_unscored[i];
  }
  if (gaps == n || (gaps > 0 && task->job.all_or_nothing)) {
    rerank_fail_late(task);
    return false;
  }
  task->tokens -= tokens_not_computed(task);
  *ret_n_unscored = gaps;
  return true;
}

void partial_fill(rr_ranked *ranked, size_t n) {
  float least = 0;
  for (size_t i = 0; i < n; i++) {
    least = ranked[i].score < least ? ranked[i].score : least; /* false for NaN */
  }
  for (size_t i = 0; i < n; i++) {
    ranked[i].score = isnan(ranked[i].score) ? least : ranked[i].score;
  }
}
