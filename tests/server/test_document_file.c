/* The file of documents in use: what is put is found, also after a restart; its bound; who may open
 * it; threads. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/alloc.h"
#include "tests/server/documents.h"

static uint64_t bytes_on_disk(const char *path) {
  struct stat about;
  assert_int_equal(stat(path, &about), 0);
  return (uint64_t)about.st_size;
}

static void what_was_put_is_found(void **state) {
  (void)state;
  document_file *file = open_file(path_of("round"), MEGABYTE);
  size_t largest = document_file_largest(file);
  const size_t sizes[] = {1, 2, 15, 16, 17, 240, 241, 4095, 4096, 4097, 200000, largest};
  const size_t n = sizeof sizes / sizeof sizes[0];
  assert_false(find_sized(file, 0, 1));
  for (size_t i = 0; i < n; i++) {
    assert_int_equal(put_sized(file, i, sizes[i]), RR_OK);
    document_name name = name_of(i);
    assert_true(document_file_has(file, name.key, NULL));
  }
  for (size_t i = 0; i < n; i++) {
    assert_true(find_sized(file, i, sizes[i]));
  }
  assert_false(find_sized(file, n, 1));
  document_file_stats stats = stats_of(file);
  assert_int_equal(stats.entries, n);
  assert_int_equal(stats.puts, n);
  assert_int_equal(stats.hits, n);
  assert_int_equal(stats.misses, 2);
  assert_int_equal(stats.damaged + stats.failed + stats.evicted + stats.discarded, 0);
  document_file_close(file);
}

static void sizes_out_of_range_are_refused(void **state) {
  (void)state;
  document_file *file = open_file(path_of("sizes"), MEGABYTE);
  const document_name name = name_of(0);
  uint8_t byte = 1;
  rr_error error;
  assert_int_equal(document_file_put(file, name.key, &byte, 0, false, &error), RR_ERR_INPUT);
  assert_non_null(strstr(error.message, "sizes"));
  assert_int_equal(put_sized(file, 0, document_file_largest(file) + 1), RR_ERR_INPUT);
  assert_int_equal(stats_of(file).entries, 0);
  document_file_close(file);
  document_file *none = NULL;
  assert_int_equal(document_file_open(path_of("none"), model_a, MEGABYTE - 1, &none, &error),
                   RR_ERR_INPUT);
  assert_int_equal(document_file_open(path_of("none"), model_a, UINT64_MAX, &none, &error),
                   RR_ERR_INPUT);
  assert_null(none);
  assert_int_equal(access(path_of("none"), F_OK), -1);
}

static void a_known_key_is_not_written_again(void **state) {
  (void)state;
  document_file *file = open_file(path_of("twice"), MEGABYTE);
  for (int i = 0; i < 1000; i++) {
    assert_int_equal(put_sized(file, 5, 10000), RR_OK);
  }
  assert_int_equal(stats_of(file).puts, 1);
  assert_int_equal(stats_of(file).bytes, 10000);
  document_file_close(file);
}

/* Entries on the disk that are not cleared. */
static unsigned count_entries(const char *path) {
  static const uint8_t clear[sizeof(document_entry)];
  size_t size;
  unsigned n = 0;
  uint8_t *bytes = read_whole(path, &size);
  for (uint32_t at = 0; at < document_layout_of(MEGABYTE).slots; at++) {
    n += memcmp(bytes + DOCUMENT_HEAD_BYTES + at * sizeof clear, clear, sizeof clear) != 0;
  }
  free(bytes);
  return n;
}

static void another_document_of_a_key_takes_its_place(void **state) {
  (void)state;
  document_file *file = open_file(path_of("replaced"), MEGABYTE);
  const document_name name = name_of(1);
  static uint8_t bytes[LONG_DOCUMENT];
  uint8_t got[LONG_DOCUMENT];
  for (uint64_t version = 1; version <= 1000; version++) {
    size_t size = size_of(version);
    fill_document(version, bytes, size);
    for (int i = 0; i < 3; i++) { /* the same again is not written */
      assert_int_equal(document_file_put(file, name.key, bytes, size, true, NULL), RR_OK);
    }
    if (version % 100 == 0) {
      document_file_close(file);
      file = open_file(path_of("replaced"), MEGABYTE);
      assert_int_equal(stats_of(file).discarded, 0);
    }
    assert_true(document_file_read(file, name.key, got, size));
    assert_memory_equal(got, bytes, size);
    assert_int_equal(stats_of(file).entries, 1);
    assert_int_equal(stats_of(file).bytes, size);
    assert_int_equal(put_sized(file, 1, 7), RR_OK); /* without replacing */
    assert_true(document_file_has(file, name.key, NULL));
    assert_false(document_file_read(file, name.key, got, size - 1));
    assert_false(document_file_read(file, name.key, got, size + 1));
    assert_true(document_file_read(file, name.key, got, size));
  }
  assert_int_equal(stats_of(file).damaged, 0);
  document_file_close(file);
  assert_int_equal(count_entries(path_of("replaced")), 1);
}

static void what_cannot_be_replaced_is_gone(void **state) {
  (void)state;
  const document_name name = name_of(1);
  static uint8_t bytes[MEGABYTE];
  for (int i = 0; i < 2; i++) {
    document_file *file = open_file(path_of("gone"), MEGABYTE);
    size_t size = i == 0 ? 0 : document_file_largest(file) + 1;
    assert_int_equal(put_sized(file, 1, 100), RR_OK);
    assert_int_equal(document_file_put(file, name.key, bytes, size, false, NULL), RR_ERR_INPUT);
    assert_true(find_sized(file, 1, 100));
    assert_int_equal(document_file_put(file, name.key, bytes, size, true, NULL), RR_ERR_INPUT);
    assert_false(document_file_has(file, name.key, NULL));
    document_file_close(file);
    file = open_file(path_of("gone"), MEGABYTE);
    assert_int_equal(stats_of(file).entries + stats_of(file).discarded, 0);
    document_file_close(file);
  }
}

/* As kill -9 may leave it, between the new one's entry and the clearing of the old one's. */
static void an_older_entry_of_a_key_is_cleared_when_opened(void **state) {
  (void)state;
  size_t size;
  const document_name name = name_of(1);
  const uint8_t second[] = "the second one";
  uint8_t got[sizeof second];
  const char *path = path_of("older");
  document_file *file = open_file(path, MEGABYTE);
  assert_int_equal(put_sized(file, 1, 100), RR_OK);
  uint8_t *bytes = read_whole(path, &size);
  assert_int_equal(document_file_put(file, name.key, second, sizeof second, true, NULL), RR_OK);
  document_file_close(file);
  assert_int_equal(count_entries(path), 1);
  const uint64_t at = DOCUMENT_HEAD_BYTES + sizeof(document_entry);
  write_part(path, bytes + at, sizeof(document_entry), at);
  free(bytes);
  assert_int_equal(count_entries(path), 2);
  file = open_file(path, MEGABYTE);
  assert_true(document_file_read(file, name.key, got, sizeof got));
  assert_memory_equal(got, second, sizeof got);
  assert_int_equal(stats_of(file).entries, 1);
  document_file_close(file);
  assert_int_equal(count_entries(path), 1);
}

/* The bytes of those found must be within the file; the newest must be there. */
static void check_churned(document_file *file, uint64_t last) {
  document_file_stats stats = stats_of(file);
  uint64_t found = 0;
  uint64_t bytes = 0;
  bool gap = false;
  for (uint64_t number = last; number > 0; number--) {
    bool there = find_number(file, number);
    assert_false(there && gap); /* first in, first out */
    gap = !there;
    found += there ? 1 : 0;
    bytes += there ? size_of(number) : 0;
  }
  assert_int_equal(found, stats.entries);
  assert_int_equal(bytes, stats.bytes);
  assert_true(bytes <= stats.capacity);
  assert_true(last < 200 || bytes > stats.capacity - 2 * LONG_DOCUMENT);
  assert_int_equal(stats_of(file).damaged, 0);
}

static void the_bound_holds_under_churn_and_restarts(void **state) {
  (void)state;
  uint64_t number = 0;
  for (int round = 0; round < 24; round++) {
    document_file *file = open_file(path_of("churn"), MEGABYTE);
    assert_int_equal(stats_of(file).discarded, 0);
    assert_false(stats_of(file).emptied);
    check_churned(file, number);
    for (int i = 0; i < 1 + round * 7; i++) {
      assert_int_equal(put_number(file, ++number), RR_OK);
    }
    check_churned(file, number);
    document_file_stats before = stats_of(file);
    document_file_close(file);
    assert_int_equal(bytes_on_disk(path_of("churn")), MEGABYTE);
    file = open_file(path_of("churn"), MEGABYTE);
    document_file_stats after = stats_of(file);
    assert_int_equal(after.entries, before.entries);
    assert_int_equal(after.bytes, before.bytes);
    document_file_close(file);
  }
  assert_true(number > 1500);
}

static void small_documents_are_bounded_by_their_number(void **state) {
  (void)state;
  uint32_t slots = document_layout_of(MEGABYTE).slots;
  for (uint64_t begin = 0; begin < 3; begin++) { /* with restarts in between */
    document_file *file = open_file(path_of("small"), MEGABYTE);
    for (uint64_t i = 0; i < 5 * slots; i++) {
      assert_int_equal(put_sized(file, begin * 5 * slots + i, 3), RR_OK);
      assert_true(stats_of(file).entries <= slots);
    }
    assert_int_equal(stats_of(file).entries, slots);
    for (uint64_t i = 0; i < slots; i++) {
      assert_true(find_sized(file, (begin + 1) * 5 * slots - 1 - i, 3));
    }
    assert_false(find_sized(file, (begin + 1) * 5 * slots - 1 - slots, 3));
    document_file_close(file);
  }
}

static void another_size_empties_the_file_and_keeps_its_secret(void **state) {
  (void)state;
  uint8_t secret[DOCUMENT_SECRET_BYTES];
  const uint64_t sizes[] = {MEGABYTE, 3 * MEGABYTE + 4097, MEGABYTE + 1, 8 * MEGABYTE};
  for (size_t i = 0; i < 4; i++) {
    document_file *file = open_file(path_of("resized"), sizes[i]);
    assert_int_equal(stats_of(file).emptied, i > 0);
    assert_int_equal(stats_of(file).entries, 0);
    assert_int_equal(bytes_on_disk(path_of("resized")), sizes[i]);
    if (i > 0) {
      assert_memory_equal(secret, document_file_secret(file), sizeof secret);
    }
    memcpy(secret, document_file_secret(file), sizeof secret);
    for (uint64_t number = 0; number < 1000; number++) {
      assert_int_equal(put_number(file, number), RR_OK);
      assert_true(find_number(file, number));
    }
    document_file_close(file);
    file = open_file(path_of("resized"), sizes[i]);
    assert_false(stats_of(file).emptied);
    assert_true(find_number(file, 999));
    document_file_close(file);
  }
}

static void each_file_has_a_secret_of_its_own(void **state) {
  (void)state;
  uint8_t first[DOCUMENT_SECRET_BYTES];
  document_file *file = open_file(path_of("secret1"), MEGABYTE);
  memcpy(first, document_file_secret(file), sizeof first);
  document_file_close(file);
  file = open_file(path_of("secret2"), MEGABYTE);
  assert_memory_not_equal(first, document_file_secret(file), sizeof first);
  document_file_close(file);
}

static void one_opener_at_a_time(void **state) {
  (void)state;
  rr_error error;
  document_file *second = NULL;
  document_file *first = open_file(path_of("locked"), MEGABYTE);
  assert_int_equal(put_number(first, 1), RR_OK);
  assert_int_equal(document_file_open(path_of("locked"), model_a, MEGABYTE, &second, &error),
                   RR_ERR_IO);
  assert_non_null(strstr(error.message, "locked: in use by another process"));
  assert_int_equal(document_file_open(path_of("locked"), model_a, 2 * MEGABYTE, &second, &error),
                   RR_ERR_IO);
  assert_true(find_number(first, 1));
  document_file_close(first);
  second = open_file(path_of("locked"), MEGABYTE);
  assert_true(find_number(second, 1));
  document_file_close(second);
}

static void expect_refused(const char *name, const char *words) {
  rr_error error = {.message = ""};
  document_file *file = NULL;
  assert_int_equal(document_file_open(path_of(name), model_a, MEGABYTE, &file, &error), RR_ERR_IO);
  assert_null(file);
  if (strstr(error.message, words) == NULL || strstr(error.message, name) == NULL) {
    fail_msg("'%s' says neither '%s' nor '%s'", error.message, name, words);
  }
}

static void only_a_file_of_our_own_is_taken(void **state) {
  (void)state;
  char target[PATH_SIZE];
  document_file_close(open_file(path_of("target"), MEGABYTE));
  (void)snprintf(target, sizeof target, "%s", path_of("target"));
  assert_int_equal(symlink(target, path_of("link")), 0);
  expect_refused("link", "a symbolic link");
  assert_int_equal(mkfifo(path_of("pipe"), 0600), 0);
  expect_refused("pipe", "not a regular file");
  assert_int_equal(mkdir(path_of("folder"), 0700), 0);
  expect_refused("folder", "directory");
  expect_refused("missing/file", "No such file");
  assert_int_equal(chmod(target, 0620), 0);
  expect_refused("target", "others than its owner may write it");
  assert_int_equal(chmod(target, 0602), 0);
  expect_refused("target", "others than its owner may write it");
}

static void nobody_else_may_read_it(void **state) {
  (void)state;
  struct stat about;
  mode_t before = umask(0);
  document_file_close(open_file(path_of("mode"), MEGABYTE));
  (void)umask(before);
  assert_int_equal(stat(path_of("mode"), &about), 0);
  assert_int_equal(about.st_mode & 07777, 0600);
}

/* --- visiting --------------------------------------------------------------------------------- */

typedef struct tour {
  document_file *file;
  uint64_t expected; /* number of the next */
  uint64_t n;
  uint64_t most;
} tour;

static bool next_document(void *context, const uint8_t key[DOCUMENT_KEY_BYTES], size_t size) {
  tour *self = context;
  document_name name = name_of(self->expected);
  assert_memory_equal(key, name.key, sizeof name.key);
  assert_int_equal(size, size_of(self->expected));
  assert_true(find_number(self->file, self->expected));
  self->expected--;
  return ++self->n < self->most;
}

static void all_are_visited_from_the_newest_back(void **state) {
  (void)state;
  document_file *file = open_file(path_of("visited"), 4 * MEGABYTE);
  tour all = {.file = file, .most = UINT64_MAX};
  document_file_visit(file, next_document, &all);
  assert_int_equal(all.n, 0);
  for (uint64_t number = 1; number <= 1000; number++) {
    assert_int_equal(put_number(file, number), RR_OK);
  }
  all.expected = 1000;
  document_file_visit(file, next_document, &all);
  assert_true(all.n > 200);
  assert_int_equal(all.n, stats_of(file).entries);
  tour some = {.file = file, .expected = 1000, .most = 70};
  document_file_visit(file, next_document, &some);
  assert_int_equal(some.n, 70);
  document_file_close(file);
}

/* --- faults ----------------------------------------------------------------------------------- */

static void any_allocation_may_fail(void **state) {
  (void)state;
  document_file *file = open_file(path_of("memory"), MEGABYTE);
  assert_int_equal(put_number(file, 1), RR_OK);
  document_file_close(file);
  rr_status status = RR_ERR_MEMORY;
  for (unsigned long n = 1; status != RR_OK; n++) {
    rr_error error;
    file = NULL;
    rr_alloc_fail_at(n, 0);
    status = document_file_open(path_of("memory"), model_a, MEGABYTE, &file, &error);
    rr_alloc_fail_at(0, 0);
    if (status != RR_OK) {
      assert_int_equal(status, RR_ERR_MEMORY);
      assert_non_null(strstr(error.message, "out of memory"));
      assert_null(file);
    } else {
      assert_int_equal(n, 6); /* all five were tried */
    }
  }
  assert_true(find_number(file, 1));
  document_file_close(file);
}

/* --- threads ---------------------------------------------------------------------------------- */

enum { WRITERS = 3, READERS = 3, NUMBERS = 400, WRITES = 1500 };

typedef struct crowd {
  document_file *file;
  atomic_uint writing;
  atomic_ulong wrong;
  atomic_ulong found;
} crowd;

static void *write_some(void *context) {
  crowd *self = context;
  unsigned at = 12345 + 77 * atomic_load(&self->writing);
  uint8_t bytes[LONG_DOCUMENT];
  for (int i = 0; i < WRITES; i++) {
    at = at * 1103515245u + 12345u;
    uint64_t number = (at >> 8) % NUMBERS;
    document_name name = name_of(number);
    fill_document(number, bytes, size_of(number));
    if (document_file_put(self->file, name.key, bytes, size_of(number), false, NULL) != RR_OK) {
      atomic_fetch_add(&self->wrong, 1);
    }
  }
  atomic_fetch_sub(&self->writing, 1);
  return NULL;
}

static void *read_some(void *context) {
  crowd *self = context;
  unsigned at = 1;
  uint8_t wanted[LONG_DOCUMENT];
  uint8_t bytes[LONG_DOCUMENT];
  while (atomic_load(&self->writing) > 0) {
    at = at * 1103515245u + 12345u;
    uint64_t number = (at >> 8) % NUMBERS;
    document_name name = name_of(number);
    size_t size = size_of(number);
    if (document_file_read(self->file, name.key, bytes, size)) {
      fill_document(number, wanted, size);
      atomic_fetch_add(memcmp(bytes, wanted, size) == 0 ? &self->found : &self->wrong, 1);
    }
  }
  return NULL;
}

static void threads_put_and_find_at_once(void **state) {
  (void)state;
  crowd all = {.file = open_file(path_of("threads"), MEGABYTE), .writing = WRITERS};
  pthread_t threads[WRITERS + READERS];
  for (int i = 0; i < WRITERS + READERS; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, i < WRITERS ? write_some : read_some, &all),
                     0);
  }
  for (int i = 0; i < WRITERS + READERS; i++) {
    assert_int_equal(pthread_join(threads[i], NULL), 0);
  }
  document_file_stats stats = stats_of(all.file);
  assert_int_equal(atomic_load(&all.wrong), 0);
  assert_true(atomic_load(&all.found) > 0);
  assert_true(stats.evicted > 500);
  assert_int_equal(stats.damaged + stats.failed, 0);
  assert_int_equal(stats.entries, stats.puts - stats.evicted);
  document_file_close(all.file);
  document_file *again = open_file(path_of("threads"), MEGABYTE);
  assert_int_equal(stats_of(again).entries, stats.entries);
  document_file_close(again);
}

enum { VERSIONS = 1500 };

/* The largest that there is room for, again and again, so that each fourth version lies where the
 * first lay. */
static void *replace_often(void *context) {
  crowd *self = context;
  const document_name name = name_of(1);
  size_t size = document_file_largest(self->file);
  uint8_t *bytes = rr_malloc(size);
  for (int version = 0; bytes != NULL && version < VERSIONS; version++) {
    memset(bytes, version % 251, size);
    if (document_file_put(self->file, name.key, bytes, size, true, NULL) != RR_OK) {
      atomic_fetch_add(&self->wrong, 1);
    }
  }
  rr_free(bytes);
  atomic_fetch_sub(&self->writing, 1);
  return NULL;
}

static void *read_often(void *context) {
  crowd *self = context;
  const document_name name = name_of(1);
  size_t size = document_file_largest(self->file);
  uint8_t *bytes = rr_malloc(size);
  while (bytes != NULL && atomic_load(&self->writing) > 0) {
    if (document_file_read(self->file, name.key, bytes, size)) { /* one version, not parts of two */
      atomic_fetch_add(memcmp(bytes, bytes + 1, size - 1) == 0 ? &self->found : &self->wrong, 1);
    }
  }
  rr_free(bytes);
  return NULL;
}

static void a_document_written_over_while_read_is_not_damaged(void **state) {
  (void)state;
  crowd all = {.file = open_file(path_of("over"), MEGABYTE), .writing = 1};
  pthread_t threads[1 + READERS];
  for (int i = 0; i < 1 + READERS; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, i == 0 ? replace_often : read_often, &all),
                     0);
  }
  for (int i = 0; i < 1 + READERS; i++) {
    assert_int_equal(pthread_join(threads[i], NULL), 0);
  }
  document_file_stats stats = stats_of(all.file);
  assert_int_equal(atomic_load(&all.wrong), 0);
  assert_true(atomic_load(&all.found) > 0);
  assert_int_equal(stats.damaged, 0);
  assert_int_equal(stats.entries, 1);
  document_file_close(all.file);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_was_put_is_found),
      cmocka_unit_test(sizes_out_of_range_are_refused),
      cmocka_unit_test(a_known_key_is_not_written_again),
      cmocka_unit_test(another_document_of_a_key_takes_its_place),
      cmocka_unit_test(what_cannot_be_replaced_is_gone),
      cmocka_unit_test(an_older_entry_of_a_key_is_cleared_when_opened),
      cmocka_unit_test(the_bound_holds_under_churn_and_restarts),
      cmocka_unit_test(small_documents_are_bounded_by_their_number),
      cmocka_unit_test(another_size_empties_the_file_and_keeps_its_secret),
      cmocka_unit_test(each_file_has_a_secret_of_its_own),
      cmocka_unit_test(one_opener_at_a_time),
      cmocka_unit_test(only_a_file_of_our_own_is_taken),
      cmocka_unit_test(nobody_else_may_read_it),
      cmocka_unit_test(all_are_visited_from_the_newest_back),
      cmocka_unit_test(any_allocation_may_fail),
      cmocka_unit_test(threads_put_and_find_at_once),
      cmocka_unit_test(a_document_written_over_while_read_is_not_damaged),
  };
  return cmocka_run_group_tests(tests, documents_start, documents_finish);
}
