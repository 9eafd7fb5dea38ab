#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/alloc.h"
#include "core/base/json.h"

enum { PATH_BYTES = 4096, STARVED_EVERY = 4 };

bool fuzz_starved;

void fuzz_require(bool holds, const char *words) {
  if (!holds) {
    (void)fprintf(stderr, "fuzz_require: %s%s\n", words,
                  fuzz_starved ? " (an allocation failed)" : "");
    abort();
  }
}

void fuzz_require_status(rr_status status, const rr_error *err) {
  fuzz_require(status != RR_ERR_MEMORY || fuzz_starved, "out of memory");
  fuzz_require(status == RR_OK || memchr(err->message, '\0', sizeof err->message) != NULL,
               "a message without an end");
  fuzz_require(status == RR_OK || err->message[0] != '\0', "an error without a message");
}

void fuzz_split(const uint8_t *data, size_t size, fuzz_part *ret_parts, size_t n) {
  static const char separator[] = FUZZ_SEPARATOR;
  const size_t width = sizeof separator - 1;
  for (size_t i = 0; i < n; i++) {
    const uint8_t *end = data == NULL || i + 1 == n ? NULL : memmem(data, size, separator, width);
    ret_parts[i] = (fuzz_part){.data = data, .size = end == NULL ? size : (size_t)(end - data)};
    size = end == NULL ? 0 : size - ret_parts[i].size - width;
    data = end == NULL ? NULL : end + width;
  }
}

char *fuzz_text(fuzz_part part) {
  char *text = malloc(part.size + 1);
  fuzz_require(text != NULL, "the fuzzer is out of memory");
  size_t size = 0;
  for (size_t i = 0; i < part.size; i++) {
    if (part.data[i] != '\0') {
      text[size++] = (char)part.data[i];
    }
  }
  text[size] = '\0';
  return text;
}

const char *fuzz_folder(void) {
  static char folder[PATH_BYTES];
  if (folder[0] == '\0') {
    const char *parent = getenv("TMPDIR");
    (void)snprintf(folder, sizeof folder, "%s/rerankd-fuzz-XXXXXX",
                   parent == NULL ? "/tmp" : parent);
    fuzz_require(mkdtemp(folder) != NULL, "no temporary folder");
  }
  return folder;
}

void fuzz_write(const char *name, fuzz_part part) {
  char path[PATH_BYTES + 256];
  (void)snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
  if (part.data == NULL) {
    fuzz_require(unlink(path) == 0 || errno == ENOENT, "a file cannot be removed");
    return;
  }
  int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  fuzz_require(file >= 0, "a file cannot be made");
  fuzz_require(write(file, part.data, part.size) == (ssize_t)part.size, "a file cannot be written");
  (void)close(file);
}

const char *fuzz_golden(const char *name) {
  static char path[PATH_BYTES];
  const char *golden = getenv("RR_GOLDEN");
  fuzz_require(golden != NULL, "RR_GOLDEN is not set");
  (void)snprintf(path, sizeof path, "%s/%s", golden, name);
  return path;
}

/* FNV-1a: the same input always fails in the same place. */
static uint32_t hash(const uint8_t *data, size_t size) {
  uint32_t value = 2166136261u;
  for (size_t i = 0; i < size; i++) {
    value = (value ^ data[i]) * 16777619u;
  }
  return value ^ value >> 15;
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  rr_json_init();
  fuzz_set_up();
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  rr_alloc_fail_at((unsigned long)-1, 0);
  fuzz_input(data, size);
  unsigned long allocations = rr_alloc_count();
  uint32_t random = hash(data, size);
  if (random % STARVED_EVERY == 0 && allocations > 0) {
    fuzz_starved = true;
    rr_alloc_fail_at(1 + random / STARVED_EVERY / 2 % allocations, random / STARVED_EVERY % 2 == 1);
    fuzz_input(data, size);
    fuzz_starved = false;
  }
  rr_alloc_fail_at(0, 0);
  return 0;
}
