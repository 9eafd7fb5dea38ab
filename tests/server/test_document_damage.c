/* The file of documents, damaged or hostile: nothing wrong is ever found, and what is not ours
 * stays as it is. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/server/documents.h"
#include "tests/slow.h"

enum { DOCUMENTS = 5, SHORT_DOCUMENT = 150 };

static size_t short_size(uint64_t number) { return SHORT_DOCUMENT + number; }

/* A file of some short documents, numbers 1 to DOCUMENTS. */
static const char *make_file(const char *name) {
  const char *path = path_of(name);
  document_file *file = open_file(path, MEGABYTE);
  for (uint64_t number = 1; number <= DOCUMENTS; number++) {
    assert_int_equal(put_sized(file, number, short_size(number)), RR_OK);
  }
  document_file_close(file);
  return path;
}

static uint64_t data_of(uint64_t number) {
  uint64_t at = document_layout_of(MEGABYTE).data;
  for (uint64_t before = 1; before < number; before++) {
    at += short_size(before);
  }
  return at;
}

static uint64_t entry_of(uint64_t number) {
  return DOCUMENT_HEAD_BYTES + number * sizeof(document_entry);
}

/* Which of the documents are found, a bit each. */
static unsigned find_all(document_file *file) {
  unsigned found = 0;
  for (uint64_t number = 1; number <= DOCUMENTS; number++) {
    found |= find_sized(file, number, short_size(number)) ? 1u << number : 0;
  }
  return found;
}

static const unsigned every = ((1u << DOCUMENTS) - 1) << 1;

/* --- what is not ours ------------------------------------------------------------------------- */

/* Cannot be opened, says so, and is the same afterwards. */
static void expect_untouched(const char *path, rr_status wanted, const char *words) {
  size_t size;
  size_t size_after;
  rr_error error = {.message = ""};
  document_file *file = NULL;
  uint8_t *before = read_whole(path, &size);
  assert_int_equal(document_file_open(path, model_a, MEGABYTE, &file, &error), wanted);
  assert_null(file);
  if (strstr(error.message, words) == NULL || strstr(error.message, path) == NULL ||
      strstr(error.message, "delete it or name another file") == NULL) {
    fail_msg("'%s' lacks '%s', or the path", error.message, words);
  }
  uint8_t *after = read_whole(path, &size_after);
  assert_int_equal(size, size_after);
  assert_memory_equal(before, after, size);
  free(before);
  free(after);
}

static void foreign_files_are_left_alone(void **state) {
  (void)state;
  static const char text[] = "Not a file of documents, but somebody's only copy of something.\n";
  static uint8_t zeros[2 * MEGABYTE];
  const char *path = path_of("foreign");
  for (size_t size = 1; size < sizeof text; size++) {
    write_whole(path, text, size);
    expect_untouched(path, RR_ERR_FORMAT, "no file of documents");
  }
  write_whole(path, zeros, sizeof zeros);
  expect_untouched(path, RR_ERR_FORMAT, "no file of documents");
  write_whole(path, zeros, 1);
  expect_untouched(path, RR_ERR_FORMAT, "no file of documents");
}

static void files_of_another_model_are_left_alone(void **state) {
  (void)state;
  const char *path = path_of("model");
  document_file *file = NULL;
  for (size_t i = 0; i < DOCUMENT_FINGERPRINT_BYTES; i++) {
    uint8_t other[DOCUMENT_FINGERPRINT_BYTES];
    memcpy(other, model_a, sizeof other);
    other[i] ^= 0x80;
    (void)unlink(path);
    assert_int_equal(document_file_open(path, other, 2 * MEGABYTE, &file, NULL), RR_OK);
    assert_int_equal(put_number(file, 1), RR_OK);
    document_file_close(file);
    expect_untouched(path, RR_ERR_INPUT, "another model");
  }
}

/* As a later version, or another machine, would write it. */
static void write_head(const char *path, document_head head) {
  document_head_check(&head, head.check);
  write_part(path, &head, sizeof head, 0);
}

static document_head read_head(const char *path) {
  size_t size;
  document_head head;
  uint8_t *bytes = read_whole(path, &size);
  assert_true(size >= sizeof head);
  memcpy(&head, bytes, sizeof head);
  free(bytes);
  return head;
}

static void other_versions_are_left_alone(void **state) {
  (void)state;
  const char *path = make_file("version");
  const document_head head = read_head(path);
  document_head other = head;
  other.version = DOCUMENT_FORMAT_VERSION + 1;
  write_part(path, &other, sizeof other, 0); /* whose check may lie elsewhere */
  expect_untouched(path, RR_ERR_UNSUPPORTED, "of version 2, which is not 1");
  other = head;
  other.byte_order = 0x04030201;
  write_head(path, other);
  expect_untouched(path, RR_ERR_UNSUPPORTED, "another byte order");
  const uint64_t sizes[] = {0, 1, 4096, MEGABYTE - 1, ((uint64_t)1 << 44) + 1, UINT64_MAX};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    other = head;
    other.max_bytes = sizes[i];
    write_head(path, other);
    expect_untouched(path, RR_ERR_FORMAT, "damaged");
  }
  write_head(path, head);
  document_file *file = open_file(path, MEGABYTE);
  assert_int_equal(find_all(file), every);
  document_file_close(file);
}

/* --- single bits ------------------------------------------------------------------------------ */

static void flip(const char *path, const uint8_t *bytes, uint64_t at, int bit) {
  uint8_t changed = (uint8_t)(bytes[at] ^ (bit < 0 ? 0 : 1 << bit));
  write_part(path, &changed, 1, at);
}

static void any_bit_flipped_in_the_head_is_an_error(void **state) {
  (void)state;
  size_t size;
  const char *path = make_file("head");
  uint8_t *bytes = read_whole(path, &size);
  for (uint64_t at = 0; at < sizeof(document_head); at++) {
    for (int bit = 0; bit < 8; bit++) {
      document_file *file = NULL;
      rr_error error = {.message = ""};
      flip(path, bytes, at, bit);
      assert_int_not_equal(document_file_open(path, model_a, MEGABYTE, &file, &error), RR_OK);
      assert_non_null(strstr(error.message, path));
    }
    flip(path, bytes, at, -1);
  }
  document_file *file = open_file(path, MEGABYTE);
  assert_int_equal(find_all(file), every);
  document_file_close(file);
  free(bytes);
}

/* Costs the one document whose entry or bytes they are, and is counted. */
static void flip_all(const char *path, uint64_t begin, uint64_t end, uint64_t number,
                     bool at_open) {
  size_t size;
  uint8_t *bytes = read_whole(path, &size);
  for (uint64_t at = begin; at < end; at++) {
    for (int bit = 0; bit < 8; bit += (int)slow_step(1, 3)) {
      flip(path, bytes, at, bit);
      document_file *file = open_file(path, MEGABYTE);
      assert_int_equal(find_all(file), every & ~(1u << number));
      document_file_stats stats = stats_of(file);
      assert_int_equal(stats.discarded, at_open ? 1 : 0);
      assert_int_equal(stats.damaged, at_open ? 0 : 1);
      assert_int_equal(stats.entries, DOCUMENTS - 1);
      document_file_close(file);
    }
    flip(path, bytes, at, -1);
  }
  free(bytes);
}

static void any_bit_flipped_in_an_entry_is_found(void **state) {
  (void)state;
  const char *path = make_file("entry");
  for (uint64_t number = 1; number <= DOCUMENTS; number++) {
    flip_all(path, entry_of(number), entry_of(number + 1), number, true);
  }
}

static void any_bit_flipped_in_a_document_is_found(void **state) {
  (void)state;
  const char *path = make_file("content");
  for (uint64_t number = 1; number <= DOCUMENTS; number += 2) {
    flip_all(path, data_of(number), data_of(number + 1), number, false);
  }
}

static void a_damaged_document_can_be_put_again(void **state) {
  (void)state;
  const char *path = make_file("again");
  const uint8_t zero = 0;
  write_part(path, &zero, 1, data_of(3));
  document_file *file = open_file(path, MEGABYTE);
  assert_int_equal(find_all(file), every & ~(1u << 3));
  assert_int_equal(put_sized(file, 3, short_size(3)), RR_OK);
  assert_int_equal(find_all(file), every);
  document_file_close(file);
  file = open_file(path, MEGABYTE);
  assert_int_equal(find_all(file), every);
  assert_int_equal(stats_of(file).damaged, 0);
  document_file_close(file);
}

/* --- cuts ------------------------------------------------------------------------------------- */

static void a_file_cut_anywhere_keeps_what_is_before(void **state) {
  (void)state;
  size_t size;
  const char *path = make_file("cut");
  uint8_t *bytes = read_whole(path, &size);
  for (uint64_t end = data_of(DOCUMENTS + 1) + 1; end >= data_of(DOCUMENTS - 1); end--) {
    assert_int_equal(truncate(path, (off_t)end), 0);
    document_file *file = open_file(path, MEGABYTE);
    unsigned left = every;
    for (uint64_t number = 1; number <= DOCUMENTS; number++) {
      left &= data_of(number + 1) <= end ? every : ~(1u << number);
    }
    assert_int_equal(find_all(file), left);
    document_file_close(file);
    write_part(path, bytes + end, size - end, end);
  }
  free(bytes);
}

static void a_file_cut_in_its_directory_or_head_is_no_worse(void **state) {
  (void)state;
  size_t size;
  const char *path = make_file("short");
  uint8_t *bytes = read_whole(path, &size);
  for (uint64_t end = entry_of(DOCUMENTS + 1); end > 0;) {
    rr_error error;
    document_file *file = NULL;
    assert_int_equal(truncate(path, (off_t)end), 0);
    rr_status status = document_file_open(path, model_a, MEGABYTE, &file, &error);
    if (end <
        sizeof(document_head)) { /* of which the first bytes are no less foreign than others */
      assert_int_equal(status, end < DOCUMENT_MAGIC_BYTES ? RR_ERR_FORMAT : status);
      assert_int_not_equal(status, RR_OK);
    } else {
      assert_int_equal(status, RR_OK);
      assert_int_equal(find_all(file), 0); /* all bytes are gone */
      assert_int_equal(put_sized(file, 9, 100), RR_OK);
      assert_true(find_sized(file, 9, 100));
      document_file_close(file);
    }
    write_whole(path, bytes, size);
    end -= end > entry_of(0) || end <= sizeof(document_head) ? 1
                                                             : 64; /* in between there is nothing */
  }
  free(bytes);
}

/* Reading past the end gives zeros, which a head that ends with them could be taken for. */
static void a_cut_head_that_ends_with_zeros_is_damaged(void **state) {
  (void)state;
  size_t size;
  const char *path = make_file("zeros");
  uint8_t *bytes = read_whole(path, &size);
  document_head head;
  memcpy(&head, bytes, sizeof head);
  do {
    head.seed++;
    document_head_check(&head, head.check);
  } while (head.check[DOCUMENT_CHECK_BYTES - 1] != 0);
  write_part(path, (const uint8_t *)&head, sizeof head, 0);
  document_file *file = open_file(path, MEGABYTE);
  document_file_close(file);
  assert_int_equal(truncate(path, sizeof head - 1), 0);
  rr_error error;
  assert_int_equal(document_file_open(path, model_a, MEGABYTE, &file, &error), RR_ERR_FORMAT);
  free(bytes);
}

static void a_file_cut_while_open_gives_misses(void **state) {
  (void)state;
  const char *path = make_file("live");
  document_file *file = open_file(path, MEGABYTE);
  assert_int_equal(truncate(path, (off_t)data_of(3) + 1), 0);
  assert_int_equal(find_all(file), 1u << 1 | 1u << 2);
  assert_int_equal(stats_of(file).damaged, 3);
  assert_int_equal(put_sized(file, 4, short_size(4)), RR_OK);
  assert_int_equal(find_all(file), 1u << 1 | 1u << 2 | 1u << 4);
  assert_int_equal(truncate(path, 0), 0);
  assert_int_equal(find_all(file), 0);
  document_file_close(file);
}

static void a_longer_file_is_cut_to_its_size(void **state) {
  (void)state;
  struct stat about;
  const char *path = make_file("longer");
  assert_int_equal(truncate(path, 3 * MEGABYTE), 0);
  document_file *file = open_file(path, MEGABYTE);
  assert_int_equal(find_all(file), every);
  assert_int_equal(stat(path, &about), 0);
  assert_int_equal(about.st_size, MEGABYTE);
  document_file_close(file);
}

/* As a power cut may leave it: one page of the directory was not written for a round. */
static void an_entry_of_an_earlier_round_costs_one_document(void **state) {
  (void)state;
  size_t size;
  const char *path = path_of("round");
  const uint32_t slots = document_layout_of(MEGABYTE).slots;
  document_file *file = open_file(path, MEGABYTE);
  for (uint64_t number = 1; number <= slots; number++) {
    assert_int_equal(put_sized(file, number, 3), RR_OK);
  }
  uint8_t *bytes = read_whole(path, &size);
  for (uint64_t number = slots + 1; number <= 2 * slots; number++) {
    assert_int_equal(put_sized(file, number, 3), RR_OK);
  }
  document_file_close(file);
  write_part(path, bytes + entry_of(60), sizeof(document_entry), entry_of(60));
  free(bytes);
  file = open_file(path, MEGABYTE);
  assert_int_equal(stats_of(file).discarded, 1);
  for (uint64_t number = slots + 1; number <= 2 * slots; number++) {
    assert_int_equal(find_sized(file, number, 3), number != slots + 60);
  }
  document_file_close(file);
}

/* --- hostile ones, whose checks are right ----------------------------------------------------- */

static uint64_t next_random(uint64_t *seed) {
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  return *seed ^= *seed << 17;
}

/* A number of any magnitude, often one that is just in or just out of range. */
static uint64_t any_number(uint64_t *seed) {
  const document_layout layout = document_layout_of(MEGABYTE);
  const uint64_t edges[] = {0,
                            1,
                            layout.slots,
                            layout.capacity,
                            layout.largest,
                            (uint64_t)1 << 62,
                            UINT32_MAX,
                            (uint64_t)layout.slots * UINT32_MAX,
                            UINT64_MAX};
  uint64_t random = next_random(seed);
  return random % 3 == 0   ? edges[random / 3 % 9] + random / 64 % 3 - 1
         : random % 3 == 1 ? random / 3 % (2 * layout.capacity)
                           : random >> (random / 3 % 64);
}

static bool is_in_bounds(void *context, const uint8_t key[DOCUMENT_KEY_BYTES], size_t size) {
  (void)key;
  assert_true(size > 0 && size <= document_file_largest(context));
  return true;
}

/* Everything works on, and its entries are within the file's bounds. */
static void use(const char *path) {
  document_file *file = open_file(path, MEGABYTE);
  document_file_stats stats = stats_of(file);
  assert_true(stats.entries <= document_layout_of(MEGABYTE).slots);
  assert_true(stats.bytes <= stats.capacity);
  document_file_visit(file, is_in_bounds, file);
  for (uint64_t number = 0; number < 20; number++) {
    (void)find_number(file, number);
  }
  for (uint64_t number = 0; number < 150; number++) {
    assert_int_equal(put_number(file, number), RR_OK);
    assert_true(find_number(file, number));
  }
  assert_true(stats_of(file).bytes <= stats.capacity);
  document_file_close(file);
}

static void hostile_entries_do_no_harm(void **state) {
  (void)state;
  const char *path = make_file("hostile");
  const document_layout layout = document_layout_of(MEGABYTE);
  const document_head head = read_head(path);
  document_entry *entries = malloc(layout.slots * sizeof *entries);
  assert_non_null(entries);
  uint64_t seed = 42;
  for (int round = 0; round < 300; round += (int)slow_step(1, 9)) {
    for (uint32_t i = 0; i < layout.slots; i++) {
      entries[i] = (document_entry){.sequence = next_random(&seed) % 2 == 0 ? i : any_number(&seed),
                                    .position = any_number(&seed),
                                    .size = (uint32_t)any_number(&seed)};
      entries[i].sequence -= round % 2 == 0 ? entries[i].sequence % layout.slots : 0;
      entries[i].sequence += round % 2 == 0 ? i : 0;
      document_name name = name_of(next_random(&seed) % 20);
      memcpy(entries[i].key, name.key, sizeof name.key);
      entries[i].check = document_entry_check(&entries[i], head.seed);
    }
    write_part(path, entries, layout.slots * sizeof *entries, DOCUMENT_HEAD_BYTES);
    use(path);
  }
  free(entries);
}

static void random_bytes_are_no_documents(void **state) {
  (void)state;
  const char *path = make_file("garbage");
  size_t size = MEGABYTE - sizeof(document_head);
  uint64_t *bytes = malloc(size + sizeof *bytes);
  assert_non_null(bytes);
  uint64_t seed = 7;
  for (int round = 0; round < 5; round++) {
    for (size_t i = 0; i <= size / sizeof *bytes; i++) {
      bytes[i] = next_random(&seed);
    }
    write_part(path, bytes, size, sizeof(document_head));
    document_file *file = open_file(path, MEGABYTE);
    assert_int_equal(stats_of(file).entries, 0);
    assert_int_equal(stats_of(file).discarded, document_layout_of(MEGABYTE).slots);
    document_file_close(file);
    use(path);
  }
  free(bytes);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(foreign_files_are_left_alone),
      cmocka_unit_test(files_of_another_model_are_left_alone),
      cmocka_unit_test(other_versions_are_left_alone),
      cmocka_unit_test(any_bit_flipped_in_the_head_is_an_error),
      cmocka_unit_test(any_bit_flipped_in_an_entry_is_found),
      cmocka_unit_test(any_bit_flipped_in_a_document_is_found),
      cmocka_unit_test(a_damaged_document_can_be_put_again),
      cmocka_unit_test(a_file_cut_anywhere_keeps_what_is_before),
      cmocka_unit_test(a_file_cut_in_its_directory_or_head_is_no_worse),
      cmocka_unit_test(a_cut_head_that_ends_with_zeros_is_damaged),
      cmocka_unit_test(a_file_cut_while_open_gives_misses),
      cmocka_unit_test(a_longer_file_is_cut_to_its_size),
      cmocka_unit_test(an_entry_of_an_earlier_round_costs_one_document),
      cmocka_unit_test(hostile_entries_do_no_harm),
      cmocka_unit_test(random_bytes_are_no_documents),
  };
  return cmocka_run_group_tests(tests, documents_start, documents_finish);
}
