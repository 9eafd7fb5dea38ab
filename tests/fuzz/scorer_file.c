/* rerankd.json. Input: the file. What is taken for a map must be one: finite, from 0 to 1, never
 * falling. */
#include "core/score/scorer_file.h"

#include <float.h>

#include "tests/fuzz/fuzz.h"

void fuzz_set_up(void) {}

void fuzz_input(const uint8_t *data, size_t size) {
  fuzz_write("rerankd.json", (fuzz_part){.data = data, .size = size});
  rr_scorer_file file;
  rr_error err = {.message = ""};
  rr_status status = rr_scorer_file_load(fuzz_folder(), &file, &err);
  fuzz_require_status(status, &err);
  if (status != RR_OK) {
    return;
  }
  fuzz_require(file.scoring == RR_SCORING_COSINE || file.scoring == RR_SCORING_MAXSIM ||
                   file.scoring == RR_SCORING_HYBRID,
               "no scoring of a bi-encoder");
  const rr_calibration *map = &file.calibration;
  fuzz_require(map->knots == 0 || (map->knots >= 2 && map->knots <= RR_KNOTS_MAX),
               "a wrong number of points");
  float before = 0.0f;
  for (int i = -1000; map->knots > 0 && i <= 1000; i++) {
    float now = rr_calibrated(map, (float)i / 500.0f);
    fuzz_require(now >= before && now <= 1.0f, "a map that falls");
    before = now;
  }
  fuzz_require(map->knots == 0 ||
                   (rr_calibrated(map, -FLT_MAX) >= 0.0f &&
                    rr_calibrated(map, -FLT_MAX) <= before &&
                    rr_calibrated(map, FLT_MAX) >= before && rr_calibrated(map, FLT_MAX) <= 1.0f),
               "a map that falls far out");
}
