/* A file of documents: opened, every document read, some put, opened again. Input: a byte that says
 * which checks are made right, for bytes that others wrote are rarely so; then, as parts, head,
 * directory and data. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/cache/document_file.h"
#include "server/cache/document_format.h"
#include "tests/fuzz/fuzz.h"

enum { FILE_BYTES = DOCUMENT_FILE_BYTES_MIN, PUTS = 5, PUT_BYTES = 70000 };
enum { RIGHT_FIELDS = 1, RIGHT_HEAD = 2, RIGHT_ENTRIES = 4, RIGHT_CONTENT = 8, AS_IT_IS = 16 };

static char path[4096];
static uint8_t image[FILE_BYTES];
static const uint8_t fingerprint[DOCUMENT_FINGERPRINT_BYTES] = "the fuzzed model";

void fuzz_set_up(void) { (void)snprintf(path, sizeof path, "%s/documents", fuzz_folder()); }

static void make_right_head(unsigned right) {
  document_head head;
  memcpy(&head, image, sizeof head);
  if ((right & RIGHT_FIELDS) != 0) {
    memcpy(head.magic, DOCUMENT_MAGIC, sizeof head.magic);
    memcpy(head.fingerprint, fingerprint, sizeof head.fingerprint);
    head.byte_order = DOCUMENT_BYTE_ORDER;
    head.version = DOCUMENT_FORMAT_VERSION;
    head.max_bytes = FILE_BYTES;
  }
  if ((right & RIGHT_HEAD) != 0) {
    document_head_check(&head, head.check);
  }
  memcpy(image, &head, sizeof head);
}

static void make_right_entry(const document_layout *layout, uint32_t at, unsigned right) {
  document_head head;
  document_entry entry;
  uint8_t *place = image + DOCUMENT_HEAD_BYTES + at * sizeof entry;
  memcpy(&head, image, sizeof head);
  memcpy(&entry, place, sizeof entry);
  uint64_t begin = entry.position % layout->capacity;
  if ((right & RIGHT_CONTENT) != 0 && entry.size <= layout->capacity - begin) {
    document_content_check(image + layout->data + begin, entry.size, head.seed, entry.content);
  }
  if ((right & RIGHT_ENTRIES) != 0) {
    entry.check = document_entry_check(&entry, head.seed);
  }
  memcpy(place, &entry, sizeof entry);
}

/* Whether positions and sequence numbers are far from their ends, beyond which puts are lost at the
 * next open. */
static bool is_modest(void) {
  const document_layout layout = document_layout_of(FILE_BYTES);
  bool modest = true;
  for (uint32_t at = 0; at < layout.slots; at++) {
    document_entry entry;
    memcpy(&entry, image + DOCUMENT_HEAD_BYTES + at * sizeof entry, sizeof entry);
    modest = modest && entry.position < (uint64_t)1 << 61 &&
             entry.sequence / layout.slots < UINT32_MAX / 2;
  }
  return modest;
}

static void put_part(fuzz_part part, uint64_t offset, size_t most) {
  if (part.data != NULL) {
    memcpy(image + offset, part.data, part.size < most ? part.size : most);
  }
}

/* Returns how many of the image's bytes are the file. */
static size_t make_image(const uint8_t *data, size_t size) {
  fuzz_part parts[3];
  const document_layout layout = document_layout_of(FILE_BYTES);
  unsigned right = size == 0 ? 0 : data[0];
  fuzz_split(data + (size > 0), size - (size > 0), parts, 3);
  memset(image, 0, sizeof image);
  if ((right & AS_IT_IS) != 0) {
    put_part((fuzz_part){.data = data + 1, .size = size - 1}, 0, sizeof image);
    return size - 1 < sizeof image ? size - 1 : sizeof image;
  }
  put_part(parts[0], 0, DOCUMENT_HEAD_BYTES);
  put_part(parts[1], DOCUMENT_HEAD_BYTES, layout.slots * sizeof(document_entry));
  put_part(parts[2], layout.data, layout.capacity);
  make_right_head(right);
  for (uint32_t at = 0; at * sizeof(document_entry) < parts[1].size && at < layout.slots; at++) {
    make_right_entry(&layout, at, right);
  }
  return sizeof image;
}

static document_file_stats stats_of(document_file *file) {
  document_file_stats stats;
  document_file_read_stats(file, &stats);
  fuzz_require(stats.entries <= document_layout_of(FILE_BYTES).slots, "more documents than slots");
  fuzz_require(stats.bytes <= stats.capacity, "more bytes than there is room for");
  return stats;
}

static bool read_one(void *context, const uint8_t key[DOCUMENT_KEY_BYTES], size_t size) {
  document_file *file = context;
  fuzz_require(size > 0 && size <= document_file_largest(file), "a size out of range");
  uint8_t *bytes = malloc(size); /* exactly as large, so that writing beyond shows */
  fuzz_require(bytes != NULL, "the fuzzer is out of memory");
  bool there = document_file_has(file, key, NULL);
  fuzz_require(!document_file_read(file, key, bytes, size) || there,
               "a document that is not there");
  free(bytes);
  return true;
}

static void put_some(document_file *file) {
  static uint8_t bytes[PUT_BYTES];
  for (uint8_t i = 0; i < PUTS; i++) {
    const uint8_t key[DOCUMENT_KEY_BYTES] = {i}; /* as seeds have them */
    memset(bytes, i + 1, sizeof bytes);
    fuzz_require(document_file_put(file, key, bytes, sizeof bytes, true, NULL) == RR_OK,
                 "a put that failed");
  }
}

static void find_put(document_file *file) {
  static uint8_t bytes[PUT_BYTES];
  for (uint8_t i = 0; i < PUTS; i++) {
    const uint8_t key[DOCUMENT_KEY_BYTES] = {i};
    fuzz_require(document_file_read(file, key, bytes, sizeof bytes) && bytes[0] == i + 1 &&
                     bytes[PUT_BYTES - 1] == i + 1,
                 "a document that was put is lost");
  }
}

void fuzz_input(const uint8_t *data, size_t size) {
  document_file *file = NULL;
  rr_error err = {.message = ""};
  fuzz_write("documents", (fuzz_part){.data = image, .size = make_image(data, size)});
  rr_status status = document_file_open(path, fingerprint, FILE_BYTES, &file, &err);
  fuzz_require_status(status, &err);
  if (status != RR_OK) {
    fuzz_require(file == NULL, "an output of a failure");
    return;
  }
  (void)stats_of(file);
  document_file_visit(file, read_one, file);
  put_some(file);
  find_put(file);
  document_file_stats before = stats_of(file);
  document_file_close(file);
  status = document_file_open(path, fingerprint, FILE_BYTES, &file, &err);
  fuzz_require_status(status, &err);
  if (status == RR_OK) {
    fuzz_require(before.entries >= PUTS, "fewer documents than were put");
    (void)stats_of(file);
    if (is_modest()) {
      find_put(file);
    }
    document_file_close(file);
  }
}
