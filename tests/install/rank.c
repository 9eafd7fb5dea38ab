/* What a program that links the installed library looks like: rank MODEL_DIR QUERY TEXT... prints a
 * raw score a line. */
#include <stdio.h>
#include <string.h>

#include <core/scorer.h>

enum { TEXTS_MAX = 64 };

int main(int argc, char **argv) {
  if (argc < 4 || argc - 3 > TEXTS_MAX) {
    (void)fprintf(stderr, "usage: rank MODEL_DIR QUERY TEXT...\n");
    return 2;
  }
  rr_init();
  rr_scorer *scorer = NULL;
  rr_workspace *workspace = NULL;
  rr_error err = {.status = RR_OK, .message = ""};
  rr_text query = {argv[2], strlen(argv[2])};
  rr_text texts[TEXTS_MAX];
  float scores[TEXTS_MAX];
  size_t n_texts = (size_t)argc - 3;
  for (size_t i = 0; i < n_texts; i++) {
    texts[i] = (rr_text){argv[i + 3], strlen(argv[i + 3])};
  }
  rr_encode_options options = {.truncate = true, .side = RR_TRUNCATE_RIGHT};
  rr_load_options load = {.dtype = RR_DTYPE_FLOAT32};
  rr_status status = rr_scorer_load(argv[1], &load, &scorer, &err);
  if (status == RR_OK) {
    status = rr_workspace_create(scorer, 1024, &workspace, &err);
  }
  if (status == RR_OK) {
    status = rr_scorer_rerank(workspace, query, texts, n_texts, &options, true, scores, &err);
  }
  for (size_t i = 0; status == RR_OK && i < n_texts; i++) {
    (void)printf("%.6f\n", (double)scores[i]);
  }
  if (status != RR_OK) {
    (void)fprintf(stderr, "%s\n", err.message);
  }
  rr_workspace_destroy(workspace);
  rr_scorer_destroy(scorer);
  return status == RR_OK ? 0 : 1;
}
