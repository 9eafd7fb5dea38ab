#include "tests/server/documents.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

const uint8_t model_a[DOCUMENT_FINGERPRINT_BYTES] = {1, 2, 3};
const uint8_t model_b[DOCUMENT_FINGERPRINT_BYTES] = {1, 2, 4};

static char folder[48];

const char *path_of(const char *name) {
  static char path[PATH_SIZE + 64];
  (void)snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

int documents_start(void **state) {
  (void)state;
  (void)snprintf(folder, sizeof folder, "/tmp/rerankd-documents-XXXXXX");
  return mkdtemp(folder) == NULL;
}

int documents_finish(void **state) {
  (void)state;
  DIR *all = opendir(folder);
  const struct dirent *entry;
  while (all != NULL && (entry = readdir(all)) != NULL) {
    if (entry->d_name[0] != '.') {
      (void)remove(path_of(entry->d_name));
    }
  }
  return all == NULL || closedir(all) != 0 || rmdir(folder) != 0;
}

static uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

document_name name_of(uint64_t number) {
  const uint64_t words[2] = {mix(2 * number + 1), number};
  document_name name;
  memcpy(name.key, words, sizeof name.key);
  return name;
}

size_t size_of(uint64_t number) { return 1 + mix(number + 77) % LONG_DOCUMENT; }

/* No byte is 0, so that a cut shows. */
void fill_document(uint64_t number, uint8_t *to, size_t size) {
  for (size_t i = 0; i < size; i++) {
    to[i] = (uint8_t)(1 + (mix(number * 1000003 + i / 8) >> (i % 8 * 8)) % 255);
  }
}

document_file *open_file(const char *path, uint64_t max_bytes) {
  document_file *file = NULL;
  rr_error error = {.message = ""};
  if (document_file_open(path, model_a, max_bytes, &file, &error) != RR_OK) {
    fail_msg("%s", error.message);
  }
  return file;
}

rr_status put_sized(document_file *file, uint64_t number, size_t size) {
  document_name name = name_of(number);
  uint8_t *bytes = malloc(size + 1);
  assert_non_null(bytes);
  fill_document(number, bytes, size);
  rr_status status = document_file_put(file, name.key, bytes, size, false, NULL);
  free(bytes);
  return status;
}

rr_status put_number(document_file *file, uint64_t number) {
  return put_sized(file, number, size_of(number));
}

bool find_sized(document_file *file, uint64_t number, size_t size) {
  document_name name = name_of(number);
  size_t told = size; /* of a hostile file's it is another one */
  (void)document_file_has(file, name.key, &told);
  uint8_t *bytes = malloc(told);
  uint8_t *wanted = malloc(size);
  assert_true(bytes != NULL && wanted != NULL);
  bool found = document_file_read(file, name.key, bytes, told);
  if (found) {
    assert_int_equal(told, size);
    fill_document(number, wanted, size);
    assert_memory_equal(bytes, wanted, size);
  }
  free(bytes);
  free(wanted);
  return found;
}

bool find_number(document_file *file, uint64_t number) {
  return find_sized(file, number, size_of(number));
}

document_file_stats stats_of(document_file *file) {
  document_file_stats stats;
  document_file_read_stats(file, &stats);
  return stats;
}

uint8_t *read_whole(const char *path, size_t *ret_size) {
  struct stat about;
  int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  assert_true(descriptor >= 0);
  assert_int_equal(fstat(descriptor, &about), 0);
  uint8_t *bytes = malloc((size_t)about.st_size + 1);
  assert_non_null(bytes);
  assert_true(document_read_at(descriptor, bytes, (size_t)about.st_size, 0));
  assert_int_equal(close(descriptor), 0);
  *ret_size = (size_t)about.st_size;
  return bytes;
}

static void write_to(const char *path, int flags, const void *bytes, size_t size, uint64_t offset) {
  int descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);
  assert_true(descriptor >= 0);
  assert_true(document_write_at(descriptor, bytes, size, offset));
  assert_int_equal(close(descriptor), 0);
}

void write_whole(const char *path, const void *bytes, size_t size) {
  write_to(path, O_TRUNC, bytes, size, 0);
}

void write_part(const char *path, const void *bytes, size_t size, uint64_t offset) {
  write_to(path, 0, bytes, size, offset);
}
