/* An index and two shards. Input, in parts: model.safetensors.index.json, a.safetensors,
 * b.safetensors. */
#include "core/files/shards.h"

#include <stdio.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tensors.h"

static char path[4096];

void fuzz_set_up(void) {
  (void)snprintf(path, sizeof path, "%s/model.safetensors.index.json", fuzz_folder());
}

static void list_files(void) {
  const char *const *names;
  size_t count;
  rr_error err = {.message = ""};
  rr_arena arena;
  rr_arena_init(&arena, 1 << 20);
  rr_status status = rr_shards_of_index(path, &arena, &names, &count, &err);
  fuzz_require_status(status, &err);
  for (size_t i = 0; status == RR_OK && i < count; i++) {
    fuzz_require(strchr(names[i], '/') == NULL && names[i][0] != '.',
                 "a shard outside of the folder");
    fuzz_require(i == 0 || strcmp(names[i - 1], names[i]) < 0, "shards out of order");
  }
  rr_arena_finish(&arena);
}

void fuzz_input(const uint8_t *data, size_t size) {
  static const char *const files[] = {"model.safetensors.index.json", "a.safetensors",
                                      "b.safetensors"};
  enum { FILES = sizeof files / sizeof files[0] };
  fuzz_part parts[FILES];
  fuzz_split(data, size, parts, FILES);
  for (size_t i = 0; i < FILES; i++) {
    fuzz_write(files[i], parts[i]);
  }
  list_files();
  rr_safetensors *file = NULL;
  rr_error err = {.message = ""};
  rr_status status = rr_weights_open(fuzz_folder(), &file, &err);
  fuzz_require_status(status, &err);
  if (status == RR_OK) {
    fuzz_read_tensors(file);
    rr_safetensors_close(file);
  }
}
