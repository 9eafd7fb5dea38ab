/* Pack files that are damaged or no files at all, and folders that take none: never an error, never
 * another score. */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/core/packs_support.h"
#include "tests/core/score_support.h"

/* As packs.c writes it: a header, then a record for each layer. */
enum { HEADER_BYTES = 40, RECORD_BYTES = 184, ITEMS_AT = 12, SIZE_IN_RECORD = 144, SPARSE = 5 };

typedef struct pack_file {
  char name[256];
  unsigned char *bytes;
  size_t size;
  size_t items;
  float scores[PACKS_TEXTS]; /* without cache */
} pack_file;

static pack_file make_file(void) {
  pack_file file;
  packs_outcome outcome = packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_WRITTEN);
  memcpy(file.scores, outcome.scores, sizeof file.scores);
  (void)snprintf(file.name, sizeof file.name, "%s", strrchr(packs_file(), '/') + 1);
  file.bytes = read_bytes(packs_file(), &file.size);
  uint32_t items;
  memcpy(&items, file.bytes + ITEMS_AT, sizeof items);
  file.items = items;
  assert_true(items > 5 && file.size > HEADER_BYTES + items * RECORD_BYTES);
  return file;
}

/* Puts `bytes` in the file's place: they must be refused and replaced by the file as it was. */
static void refuse(const pack_file *file, const void *bytes, size_t size, const char *what,
                   size_t at) {
  scratch_bytes(packs_folder, file->name, bytes, size);
  packs_outcome outcome = packs_must_load(RR_DTYPE_INT8, true);
  if (outcome.cache != RR_PACK_CACHE_WRITTEN ||
      memcmp(outcome.scores, file->scores, sizeof file->scores) != 0) {
    fail_msg("%s at %zu: outcome %d, %s", what, at, (int)outcome.cache, outcome.note);
  }
}

static void expect_restored(const pack_file *file) {
  size_t size;
  unsigned char *bytes = read_bytes(packs_file(), &size);
  assert_int_equal(size, file->size);
  assert_memory_equal(bytes, file->bytes, size);
  free(bytes);
}

static void truncate_around(const pack_file *file, size_t at) {
  for (size_t cut = at == 0 ? 0 : at - 1; cut <= at + 1; cut++) {
    if (cut < file->size) {
      refuse(file, file->bytes, cut, "truncated", cut);
    }
  }
}

static void truncated_files_are_replaced(void **state) {
  (void)state;
  pack_file file = make_file();
  size_t records_end = HEADER_BYTES + file.items * RECORD_BYTES;
  size_t at = records_end;
  truncate_around(&file, 0);
  truncate_around(&file, HEADER_BYTES);
  truncate_around(&file, records_end - RECORD_BYTES);
  for (size_t i = 0; i < file.items; i++) { /* where each layer begins */
    uint64_t size;
    memcpy(&size, file.bytes + HEADER_BYTES + i * RECORD_BYTES + SIZE_IN_RECORD, sizeof size);
    truncate_around(&file, at);
    at += size;
  }
  assert_int_equal(at, file.size);
  truncate_around(&file, file.size - 1);
  expect_restored(&file);
  free(file.bytes);
}

static void longer_files_are_replaced(void **state) {
  (void)state;
  pack_file file = make_file();
  unsigned char *longer = calloc(1, file.size * 2);
  assert_non_null(longer);
  memcpy(longer, file.bytes, file.size);
  refuse(&file, longer, file.size + 1, "longer", 1);
  refuse(&file, longer, file.size * 2, "longer", file.size);
  free(longer);
  free(file.bytes);
}

static void any_flipped_bit_is_noticed(void **state) {
  (void)state;
  pack_file file = make_file();
  const size_t sparse = getenv("RR_SLOW") != NULL ? SPARSE : 1;
  size_t records_end = HEADER_BYTES + file.items * RECORD_BYTES;
  size_t in_payload = (file.size - records_end) / (128 / sparse);
  size_t flips = 0;
  for (size_t at = 0; at < file.size;) {
    unsigned char bit = (unsigned char)(1u << (flips % 8));
    file.bytes[at] ^= bit;
    refuse(&file, file.bytes, file.size, "bit flipped", at);
    file.bytes[at] ^= bit;
    flips++;
    at += at < HEADER_BYTES ? 1 : at < records_end ? 7 * sparse : in_payload;
  }
  file.bytes[file.size - 1] ^= 1;
  refuse(&file, file.bytes, file.size, "bit flipped", file.size - 1);
  file.bytes[file.size - 1] ^= 1;
  expect_restored(&file);
  free(file.bytes);
}

static void swap(unsigned char *a, unsigned char *b, size_t size) {
  for (size_t i = 0; i < size; i++) {
    unsigned char byte = a[i];
    a[i] = b[i];
    b[i] = byte;
  }
}

/* The first products of two layers, of one shape, with their checksums: only the tensors' names
 * tell. */
static void exchanged_layers_are_noticed(void **state) {
  (void)state;
  enum { LAYER = 4 }; /* products */
  pack_file file = make_file();
  unsigned char *records = file.bytes + HEADER_BYTES;
  unsigned char *first = records + file.items * RECORD_BYTES;
  unsigned char *second = first;
  uint64_t sizes[LAYER + 1];
  for (size_t i = 0; i <= LAYER; i++) {
    memcpy(&sizes[i], records + i * RECORD_BYTES + SIZE_IN_RECORD, sizeof sizes[i]);
    second += i < LAYER ? sizes[i] : 0;
  }
  assert_int_equal(sizes[0], sizes[LAYER]);
  swap(first, second, sizes[0]);
  swap(records, records + LAYER * RECORD_BYTES, RECORD_BYTES);
  refuse(&file, file.bytes, file.size, "layers exchanged", 0);
  free(file.bytes);
}

static void what_is_no_file_is_not_waited_for(void **state) {
  (void)state;
  pack_file file = make_file();
  char path[PACKS_PATH];
  char target[PACKS_PATH];
  (void)snprintf(path, sizeof path, "%s", packs_file());
  assert_int_equal(remove(path), 0);
  assert_int_equal(mkfifo(path, 0600), 0);
  (void)packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_WRITTEN);
  expect_restored(&file);
  assert_int_equal(remove(path), 0);
  (void)snprintf(target, sizeof target, "%s/missing", packs_folder);
  assert_int_equal(symlink(target, path), 0);
  (void)packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_WRITTEN);
  expect_restored(&file);
  assert_int_equal(access(target, F_OK), -1);
  assert_int_equal(remove(path), 0);
  assert_int_equal(mkdir(path, 0700), 0);
  (void)packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_NOT_WRITTEN);
  assert_int_equal(packs_count(), 1); /* the folder: no temporary file is left behind */
  free(file.bytes);
}

static void temporary_files_of_others(void **state) {
  (void)state;
  pack_file file = make_file();
  char name[300];
  char path[PACKS_PATH];
  char target[PACKS_PATH];
  (void)snprintf(name, sizeof name, "%s.tmp", file.name);
  (void)snprintf(path, sizeof path, "%s/%s", packs_folder, name);
  /* Left behind by a process that was killed: used again. */
  assert_int_equal(remove(packs_file()), 0);
  scratch_text(packs_folder, name, "half a file");
  (void)packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_WRITTEN);
  expect_restored(&file);
  assert_int_equal(packs_count(), 1);
  /* At work: left alone. */
  assert_int_equal(remove(packs_file()), 0);
  scratch_text(packs_folder, name, "half a file");
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  assert_true(fd >= 0);
  assert_int_equal(flock(fd, LOCK_EX), 0);
  packs_outcome outcome = packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_NOT_WRITTEN);
  assert_non_null(strstr(outcome.note, "another process"));
  assert_int_equal(close(fd), 0);
  /* A link to somebody's file: not written through. */
  assert_int_equal(remove(path), 0);
  scratch_text(packs_folder, "precious", "keep me");
  (void)snprintf(target, sizeof target, "%s/precious", packs_folder);
  assert_int_equal(symlink(target, path), 0);
  (void)packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_NOT_WRITTEN);
  assert_int_equal(remove(path), 0);
  assert_int_equal(link(target, path), 0);
  (void)packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_NOT_WRITTEN);
  size_t size;
  unsigned char *kept = read_bytes(target, &size);
  assert_int_equal(size, strlen("keep me"));
  free(kept);
  free(file.bytes);
}

static void a_folder_that_may_not_be_written_is_only_noted(void **state) {
  (void)state;
  enum { NOBODY = 65534 };
  bool root = geteuid() == 0;
  if (root) { /* root may write anywhere */
    assert_int_equal(chown(packs_folder, NOBODY, NOBODY), 0);
  }
  assert_int_equal(chmod(packs_folder, 0555), 0);
  assert_true(!root || seteuid(NOBODY) == 0);
  packs_outcome outcome = packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_NOT_WRITTEN);
  assert_true(!root || seteuid(0) == 0);
  assert_int_equal(chmod(packs_folder, 0755), 0);
  assert_non_null(strstr(outcome.note, "not written: "));
  assert_int_equal(packs_count(), 0);
}

static void a_limit_of_file_sizes_is_only_noted(void **state) {
  (void)state;
  struct rlimit before;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  const struct rlimit small = {.rlim_cur = 4096, .rlim_max = before.rlim_max};
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
  packs_outcome outcome = packs_must_load(RR_DTYPE_INT8, true);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
  assert_int_equal(outcome.cache, RR_PACK_CACHE_NOT_WRITTEN);
  assert_int_equal(packs_count(), 0);
}

enum { CANNOT_MOUNT = 77 };

/* In a process of its own, whose mounts nobody else sees. */
static int load_on_full_disk(void) {
  if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, "") != 0 ||
      mount("tmpfs", packs_folder, "tmpfs", 0, "size=1m") != 0) {
    return CANNOT_MOUNT;
  }
  packs_copy_model("cross-encoder");
  packs_outcome plain = packs_must_load(RR_DTYPE_INT8, false);
  char path[PACKS_PATH];
  (void)snprintf(path, sizeof path, "%s/ballast", packs_folder);
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  const char block[4096] = {1};
  while (fd >= 0 && write(fd, block, sizeof block) == (ssize_t)sizeof block) {
  }
  /* A little room: the file can be begun, not finished. */
  if (fd < 0 || ftruncate(fd, lseek(fd, 0, SEEK_END) - 2 * (off_t)sizeof block) != 0) {
    return 1;
  }
  (void)close(fd);
  packs_outcome cached = packs_must_load(RR_DTYPE_INT8, true);
  bool good = cached.cache == RR_PACK_CACHE_NOT_WRITTEN && packs_count() == 0 &&
              strstr(cached.note, "No space left") != NULL &&
              memcmp(cached.scores, plain.scores, sizeof plain.scores) == 0;
  return good ? 0 : 2;
}

static void a_full_disk_is_only_noted(void **state) {
  (void)state;
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    _exit(load_on_full_disk());
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  if (WEXITSTATUS(status) == CANNOT_MOUNT) {
    print_message("# mounting is not allowed here\n");
    skip();
  }
  assert_int_equal(WEXITSTATUS(status), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, packs_set_up, packs_tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(truncated_files_are_replaced),
      TEST(longer_files_are_replaced),
      TEST(any_flipped_bit_is_noticed),
      TEST(exchanged_layers_are_noticed),
      TEST(what_is_no_file_is_not_waited_for),
      TEST(temporary_files_of_others),
      TEST(a_folder_that_may_not_be_written_is_only_noted),
      TEST(a_limit_of_file_sizes_is_only_noted),
      TEST(a_full_disk_is_only_noted),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
