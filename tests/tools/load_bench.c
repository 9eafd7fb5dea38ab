/* Times loading a model: load_bench MODEL_DIR DTYPE ROUNDS [cache]
 *
 * DTYPE as the server's --dtype. With `cache` packed weights are kept beside the model, as with
 * --pack-cache; the first round may then have to write them. Prints each round. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/scorer.h"

static double now(void) {
  struct timespec time;
  (void)clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

int main(int argc, char **argv) {
  static const char *const dtypes[] = {"float32", "bfloat16", "int8"};
  size_t dtype = 0;
  while (argc >= 4 && dtype < 3 && strcmp(argv[2], dtypes[dtype]) != 0) {
    dtype++;
  }
  long rounds = argc >= 4 ? strtol(argv[3], NULL, 10) : 0;
  bool cache = argc == 5 && strcmp(argv[4], "cache") == 0;
  if (argc < 4 || argc > 5 || (argc == 5 && !cache) || dtype == 3 || rounds < 1) {
    (void)fprintf(stderr, "usage: load_bench MODEL_DIR float32|bfloat16|int8 ROUNDS [cache]\n");
    return 2;
  }
  const rr_load_options options = {.dtype = (rr_dtype)dtype, .pack_cache = cache};
  for (long i = 0; i < rounds; i++) {
    rr_scorer *scorer;
    rr_error err = {.message = ""};
    double began = now();
    if (rr_scorer_load(argv[1], &options, &scorer, &err) != RR_OK) {
      (void)fprintf(stderr, "%s\n", err.message);
      return 1;
    }
    double seconds = now() - began;
    const rr_model_info *info = rr_scorer_info(scorer);
    (void)printf("%s on %s: %.1f ms  %s\n", info->dtype_name, info->kernels, seconds * 1e3,
                 info->pack_note);
    rr_scorer_destroy(scorer);
  }
  return 0;
}
