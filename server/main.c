#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "core/base/json.h"
#include "server/app.h"
#include "server/log.h"
#include "server/options.h"

int main(int argc, char **argv) {
  options chosen;
  char problem[OPTIONS_PROBLEM_MAX];
  switch (options_read(argc, argv, getenv, stdout, &chosen, problem)) {
  case OPTIONS_DONE: return EXIT_SUCCESS;
  case OPTIONS_INVALID: (void)fprintf(stderr, "rerankd: %s\n", problem); return APP_EXIT_USAGE;
  case OPTIONS_RUN: break;
  }
  rr_json_init();
  log_configure(chosen.log_level, chosen.json_output); /* its thread starts once the process is confined */
  int status = app_run(&chosen);
  log_stop();
  uv_library_shutdown();
  return status;
}
