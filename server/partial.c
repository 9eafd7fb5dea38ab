#include "server/partial.h"

#include <math.h>

/* Whether all that candidate i's score is made of was computed: `done` begins with the group's first sequence. A
 * bi-encoder's query is that one. */
static bool is_computed(const rerank_task *task, const rr_encoded *group, const uint8_t *done, size_t i) {
  bool query = rr_scorer_info(task->service->scorer)->kind == RR_CROSS_ENCODER || done[0] != 0;
  return query && done[group->sequence_of[i]] != 0;
}

/* The scores of a group; texts without one are passed over. */
static rr_status score_group(rerank_task *task, const rr_encoded *group, const uint8_t *done, float *scores,
                             bool *unscored, rr_error *problem) {
  for (size_t i = 0; i < group->n_candidates; i++) {
    unscored[i] = !is_computed(task, group, done, i);
    if (unscored[i]) {
      scores[i] = NAN;
      continue;
    }
    rr_encoded one = *group;
    one.sequence_of += i;
    one.n_candidates = 1;
    rr_status status =
        rr_scorer_scores(task->service->scorer, &one, task->request.raw_scores, &scores[i], problem);
    if (status != RR_OK) {
      return status;
    }
  }
  return RR_OK;
}

static uint64_t computed_tokens(const rerank_task *task) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < task->job.queue.n; i++) {
    sum += task->job.computed[i] != 0 ? task->job.queue.lengths[i] : 0;
  }
  return sum;
}

bool partial_scores(rerank_task *task, float *ret_scores, bool *ret_unscored, size_t *ret_n_unscored) {
  rr_error problem;
  size_t text = 0;
  const uint8_t *done = task->job.computed; /* with a deadline, in the order of the groups */
  for (size_t g = 0; g < task->n_groups; g++) {
    const rr_encoded *group = &task->groups[g];
    if (score_group(task, group, done, ret_scores + text, ret_unscored + text, &problem) != RR_OK) {
      rerank_fail(task, RR_API_BACKEND, problem.message);
      return false;
    }
    done += group->n_sequences;
    text += group->n_candidates;
  }
  size_t gaps = 0;
  for (size_t i = 0; i < text; i++) {
    gaps += ret_unscored[i];
  }
  if (gaps == text || (gaps > 0 && task->job.all_or_nothing)) {
    rerank_fail_late(task);
    return false;
  }
  task->tokens = computed_tokens(task);
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
