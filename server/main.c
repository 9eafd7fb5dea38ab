#include <stdio.h>
#include <stdlib.h>
#include <uv.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "core/base/json.h"
#include "server/app.h"
#include "server/models/default_model.h"
#include "server/observe/log.h"
#include "server/options/options.h"
#include "server/probe.h"

/* What large requests took goes back to the system. Left to itself glibc keeps a heap a thread, and
 * raises the size from which blocks are given back with the largest that it has seen, up to 32
 * MB. */
static void bound_heaps(void) {
#ifdef __GLIBC__
  enum { LARGE = 256 * 1024, SPARE = 1024 * 1024, HEAPS = 2 };
  (void)mallopt(M_ARENA_MAX, HEAPS);
  (void)mallopt(M_MMAP_THRESHOLD, LARGE);
  (void)mallopt(M_TRIM_THRESHOLD, SPARE);
#endif
}

/* Fills in the default model where none is named. */
static bool choose_model(options *chosen) {
  static char path[DEFAULT_MODEL_PATH_MAX]; /* lives as long as the options */
  if (chosen->model_id != NULL) {
    return true;
  }
  if (!default_model_find(path)) {
    (void)fprintf(stderr, "rerankd: --model-id is needed: the default model is not at %s\n", path);
    return false;
  }
  chosen->model_id = path;
  if (chosen->served_model_name == NULL) {
    chosen->served_model_name = DEFAULT_MODEL_NAME;
  }
  return true;
}

int main(int argc, char **argv) {
  options chosen;
  char problem[OPTIONS_PROBLEM_MAX];
  switch (options_read(argc, argv, getenv, stdout, &chosen, problem)) {
  case OPTIONS_DONE: return EXIT_SUCCESS;
  case OPTIONS_INVALID: (void)fprintf(stderr, "rerankd: %s\n", problem); return APP_EXIT_USAGE;
  case OPTIONS_HEALTH: return probe_ask(chosen.health, chosen.health_timeout_ms, stderr);
  case OPTIONS_RUN: break;
  }
  if (!choose_model(&chosen)) {
    return APP_EXIT_USAGE;
  }
  bound_heaps();
  rr_json_init();
  log_configure(chosen.log_level,
                chosen.json_output); /* its thread starts once the process is confined */
  int status = app_run(&chosen);
  log_stop();
  uv_library_shutdown();
  return status;
}
