/* What a hub lists of a model: names that end up in paths and URLs. Input: the JSON. */
#include <stdlib.h>
#include <string.h>

#include "core/base/alloc.h"
#include "server/models/hub/listing.h"
#include "tests/fuzz/fuzz.h"

static char (*names)[HUB_FILE_MAX];

void fuzz_set_up(void) {
  names = malloc(sizeof *names * HUB_FILES_MAX);
  fuzz_require(names != NULL, "the fuzzer is out of memory");
}

static void choose_files(const hub_listing *listing) {
  char folder[HUB_FILE_MAX];
  hub_file_names files = {.names = names};
  rr_error err = {.message = ""};
  bool sharded;
  hub_listing_folder(listing, folder);
  hub_listing_small_files(listing, &files);
  rr_status status = hub_listing_check_weights(listing, "model", folder, &sharded, &err);
  fuzz_require_status(status, &err);
  if (status == RR_OK) {
    status = hub_listing_add(listing, "model", folder,
                             sharded ? "model.safetensors.index.json" : "model.safetensors", &files,
                             &err);
    fuzz_require_status(status, &err);
  }
  fuzz_require(files.count <= HUB_FILES_MAX, "too many files");
  for (size_t i = 0; i < files.count; i++) {
    fuzz_require(hub_is_file(files.names[i]) && hub_listing_has(listing, files.names[i]),
                 "no file's name");
  }
}

void fuzz_input(const uint8_t *data, size_t size) {
  hub_listing listing;
  rr_error err = {.message = ""};
  rr_status status = hub_listing_read("model", (const char *)data, size, &listing, &err);
  fuzz_require_status(status, &err);
  if (status == RR_OK) {
    fuzz_require(hub_is_commit(listing.commit), "no commit");
    choose_files(&listing);
    hub_listing_free(&listing);
  }
}
