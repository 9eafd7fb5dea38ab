/* One scorer, many threads: encoding and computing at the same time gives what one thread gives. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/core/score_support.h"

enum { THREADS = 4, REPEATS = 2, CASES_MAX = 16, TEXTS_MAX = 128 };

typedef struct job {
  const rr_scorer *scorer;
  const golden_cases *cases;
  rr_status status;
  float scores[CASES_MAX][TEXTS_MAX]; /* by case and text, of the last repeat */
} job;

/* Long inputs add nothing here, and take minutes under valgrind. */
static bool is_short(const golden_case *item) { return strstr(item->name, "truncated") == NULL; }

/* No assertions here: cmocka's jump out of a test only from its own thread. */
static void *rerank_all(void *argument) {
  job *j = argument;
  rr_workspace *workspace = NULL;
  j->status = rr_workspace_create(j->scorer, 1024, &workspace, NULL);
  for (size_t r = 0; j->status == RR_OK && r < REPEATS; r++) {
    for (size_t c = 0; j->status == RR_OK && c < j->cases->count; c++) {
      const golden_case *item = &j->cases->items[c];
      if (!is_short(item)) {
        continue;
      }
      j->status = rr_scorer_rerank(workspace, item->query, item->texts, item->n_texts,
                                   &item->options, true, j->scores[c], NULL);
    }
  }
  rr_workspace_destroy(workspace);
  return NULL;
}

static void check_model(const char *name) {
  rr_scorer *scorer = must_load(golden_path(name));
  golden_cases cases = golden_load(name);
  assert_true(cases.count <= CASES_MAX);
  job *jobs = calloc(THREADS, sizeof *jobs);
  pthread_t threads[THREADS];
  assert_non_null(jobs);
  for (size_t i = 0; i < THREADS; i++) {
    jobs[i].scorer = scorer;
    jobs[i].cases = &cases;
    assert_int_equal(pthread_create(&threads[i], NULL, rerank_all, &jobs[i]), 0);
  }
  for (size_t i = 0; i < THREADS; i++) {
    assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(jobs[i].status, RR_OK);
  }
  for (size_t c = 0; c < cases.count; c++) {
    assert_true(cases.items[c].n_texts <= TEXTS_MAX);
    for (size_t t = 0; is_short(&cases.items[c]) && t < cases.items[c].n_texts; t++) {
      assert_float_equal(jobs[0].scores[c][t], cases.items[c].scores[t], 1e-4f);
      for (size_t i = 1; i < THREADS; i++) {
        assert_true(jobs[i].scores[c][t] == jobs[0].scores[c][t]);
      }
    }
  }
  free(jobs);
  golden_free(&cases);
  rr_scorer_destroy(scorer);
}

static void threads_agree_on_a_cross_encoder(void **state) {
  (void)state;
  check_model("cross-encoder");
}

static void threads_agree_on_a_bi_encoder(void **state) {
  (void)state;
  check_model("bi-encoder-mean");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(threads_agree_on_a_cross_encoder),
      cmocka_unit_test(threads_agree_on_a_bi_encoder),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
