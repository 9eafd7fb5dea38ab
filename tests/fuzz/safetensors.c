/* A safetensors file: opened, every tensor read. Input: the file. */
#include "core/files/safetensors.h"

#include <stdio.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tensors.h"

static char path[4096];

void fuzz_set_up(void) { (void)snprintf(path, sizeof path, "%s/model.safetensors", fuzz_folder()); }

void fuzz_input(const uint8_t *data, size_t size) {
  fuzz_write("model.safetensors", (fuzz_part){.data = data, .size = size});
  rr_safetensors *file = NULL;
  rr_error err = {.message = ""};
  rr_status status = rr_safetensors_open(path, &file, &err);
  fuzz_require_status(status, &err);
  if (status == RR_OK) {
    fuzz_read_tensors(file);
    rr_safetensors_close(file);
  } else {
    fuzz_require(file == NULL, "an output of a failure");
  }
}
