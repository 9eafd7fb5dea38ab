#include "server/cache/document_format.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/base/file.h"
#include "server/cache/document_place.h"

#define MAX_BYTES_MOST ((uint64_t)1 << 44) /* slots fit 32 bits */
#define POSITION_MOST ((uint64_t)1 << 62)

static const char what_to_do[] = "delete it or name another file";

document_layout document_layout_of(uint64_t max_bytes) {
  uint64_t slots =
      (max_bytes - DOCUMENT_HEAD_BYTES) / (DOCUMENT_FILE_BYTES_EACH + sizeof(document_entry));
  uint64_t directory = (slots * sizeof(document_entry) + 4095) / 4096 * 4096;
  document_layout layout = {.slots = (uint32_t)slots, .data = DOCUMENT_HEAD_BYTES + directory};
  layout.capacity = max_bytes - layout.data;
  layout.largest =
      layout.capacity / 4 < DOCUMENT_BYTES_MAX ? (size_t)(layout.capacity / 4) : DOCUMENT_BYTES_MAX;
  return layout;
}

static void put_check(XXH128_hash_t hash, uint8_t ret_check[DOCUMENT_CHECK_BYTES]) {
  memcpy(ret_check, &hash.low64, sizeof hash.low64);
  memcpy(ret_check + sizeof hash.low64, &hash.high64, sizeof hash.high64);
}

void document_head_check(const document_head *head, uint8_t ret_check[DOCUMENT_CHECK_BYTES]) {
  put_check(XXH3_128bits(head, offsetof(document_head, check)), ret_check);
}

uint64_t document_entry_check(const document_entry *entry, uint64_t seed) {
  return XXH3_64bits_withSeed(entry, offsetof(document_entry, check), seed);
}

void document_content_check(const void *bytes, size_t size, uint64_t seed,
                            uint8_t ret_check[DOCUMENT_CHECK_BYTES]) {
  put_check(XXH3_128bits_withSeed(bytes, size, seed), ret_check);
}

bool document_read_at(int descriptor, void *to, size_t size, uint64_t offset) {
  for (size_t done = 0; done < size;) {
    ssize_t got = pread(descriptor, (char *)to + done, size - done, (off_t)(offset + done));
    if (got > 0) {
      done += (size_t)got;
    } else if (got == 0) {
      errno = 0;
      return false;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

bool document_write_at(int descriptor, const void *from, size_t size, uint64_t offset) {
  for (size_t done = 0; done < size;) {
    ssize_t put =
        pwrite(descriptor, (const char *)from + done, size - done, (off_t)(offset + done));
    if (put > 0) {
      done += (size_t)put;
    } else if (put == 0) { /* not for regular files; no endless loop if so */
      errno = EIO;
      return false;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

bool document_ring_read(int descriptor, const document_layout *layout, void *to, size_t size,
                        uint64_t position) {
  uint64_t at = position % layout->capacity;
  uint64_t room = layout->capacity - at;
  size_t first = size < room ? size : (size_t)room;
  return document_read_at(descriptor, to, first, layout->data + at) &&
         document_read_at(descriptor, (char *)to + first, size - first, layout->data);
}

bool document_ring_write(int descriptor, const document_layout *layout, const void *from,
                         size_t size, uint64_t position) {
  uint64_t at = position % layout->capacity;
  uint64_t room = layout->capacity - at;
  size_t first = size < room ? size : (size_t)room;
  return document_write_at(descriptor, from, first, layout->data + at) &&
         document_write_at(descriptor, (const char *)from + first, size - first, layout->data);
}

bool document_entry_is_clear(const document_entry *entry) {
  static const document_entry clear;
  return memcmp(entry, &clear, sizeof clear) == 0;
}

bool document_entry_is_sound(const document_entry *entry, uint32_t slot,
                             const document_layout *layout, uint64_t seed) {
  return document_entry_check(entry, seed) == entry->check && entry->sequence > 0 &&
         entry->sequence % layout->slots == slot && entry->sequence / layout->slots < UINT32_MAX &&
         entry->size > 0 && entry->size <= layout->largest && entry->position <= POSITION_MOST;
}

/* Beyond this limit a write would not fail but raise SIGXFSZ, which ends the process. */
static rr_status check_limit(const char *path, uint64_t max_bytes, rr_error *err) {
  struct rlimit limit;
  return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
                 limit.rlim_cur < max_bytes
             ? rr_fail(err, RR_ERR_IO,
                       "%.150s: files of this process end at %" PRIu64 " bytes (ulimit -f)", path,
                       (uint64_t)limit.rlim_cur)
             : RR_OK;
}

/* Not through a link: where it leads may change. */
static rr_status open_locked(const char *path, int *ret_descriptor, struct stat *ret_about,
                             rr_error *err) {
  int descriptor;
  rr_status status = rr_file_open(path, O_RDWR | O_CREAT | O_NOFOLLOW, S_IRUSR | S_IWUSR,
                                  &descriptor, ret_about, err);
  if (status != RR_OK) {
    rr_error place; /* what is wrong with the folder says more */
    if (document_place_check(path, &place) != RR_OK) {
      *err = place;
    }
    return status;
  }
  if ((ret_about->st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    status = rr_fail(err, RR_ERR_IO,
                     "%.150s: others than its owner may write it, and so change scores", path);
  } else if (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    status = rr_fail(err, RR_ERR_IO, "%.150s: %s", path,
                     errno == EWOULDBLOCK ? "in use by another process" : strerror(errno));
  } else if (fstat(descriptor, ret_about) != 0) { /* its size, now that nobody else changes it */
    status = rr_fail(err, RR_ERR_IO, "%.150s: %s", path, strerror(errno));
  }
  if (status != RR_OK) {
    (void)close(descriptor);
    return status;
  }
  *ret_descriptor = descriptor;
  return RR_OK;
}

static rr_status make_random(void *to, size_t size, rr_error *err) {
  return getrandom(to, size, 0) == (ssize_t)size
             ? RR_OK
             : rr_fail(err, RR_ERR_IO, "no random bytes for a file of documents: %s",
                       strerror(errno));
}

static rr_status judge_head(const document_head *head, const char *path,
                            const uint8_t fingerprint[DOCUMENT_FINGERPRINT_BYTES], rr_error *err) {
  uint8_t check[DOCUMENT_CHECK_BYTES];
  if (memcmp(head->magic, DOCUMENT_MAGIC, DOCUMENT_MAGIC_BYTES) != 0) {
    return rr_fail(err, RR_ERR_FORMAT, "%.150s: no file of documents, and not touched: %s", path,
                   what_to_do);
  }
  if (head->byte_order != DOCUMENT_BYTE_ORDER) {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "%.150s: of a machine with another byte order: %s",
                   path, what_to_do);
  }
  if (head->version != DOCUMENT_FORMAT_VERSION) {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "%.150s: of version %u, which is not %d: %s", path,
                   head->version, (int)DOCUMENT_FORMAT_VERSION, what_to_do);
  }
  document_head_check(head, check);
  if (memcmp(check, head->check, sizeof check) != 0 || head->max_bytes < DOCUMENT_FILE_BYTES_MIN ||
      head->max_bytes > MAX_BYTES_MOST) {
    return rr_fail(err, RR_ERR_FORMAT, "%.150s: its head is damaged: %s", path, what_to_do);
  }
  if (memcmp(head->fingerprint, fingerprint, DOCUMENT_FINGERPRINT_BYTES) != 0) {
    return rr_fail(err, RR_ERR_INPUT, "%.150s: documents of another model, or of other options: %s",
                   path, what_to_do);
  }
  return RR_OK;
}

static rr_status read_head(int descriptor, const char *path,
                           const uint8_t fingerprint[DOCUMENT_FINGERPRINT_BYTES],
                           document_head *ret_head, rr_error *err) {
  document_head head = {.version = 0};
  bool whole = document_read_at(descriptor, &head, sizeof head, 0);
  if (!whole && errno != 0) {
    return rr_fail(err, RR_ERR_IO, "%.150s: %s", path, strerror(errno));
  }
  /* Of a short one the rest is 0, which is what some checks end with. */
  memset(head.check, 0, whole ? 0 : sizeof head.check);
  rr_status status = judge_head(&head, path, fingerprint, err);
  if (status == RR_OK) {
    *ret_head = head;
  }
  return status;
}

/* On the disk before anything that counts on it. */
static rr_status write_head(int descriptor, const char *path, document_head *head, rr_error *err) {
  document_head_check(head, head->check);
  return document_write_at(descriptor, head, sizeof *head, 0) && fdatasync(descriptor) == 0
             ? RR_OK
             : rr_fail(err, RR_ERR_IO, "%.150s: %s", path, strerror(errno));
}

/* All of the room, so that a full disk shows now. Where the file system cannot, it shows when
 * documents are put. */
static rr_status reserve(int descriptor, const char *path, uint64_t max_bytes, uint64_t size,
                         rr_error *err) {
  int status;
  do {
    status = fallocate(descriptor, 0, 0, (off_t)max_bytes);
  } while (status != 0 && errno == EINTR);
  if (status != 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
    status = size >= max_bytes ? 0 : ftruncate(descriptor, (off_t)max_bytes);
  }
  if (status != 0) {
    int problem = errno;
    (void)!ftruncate(descriptor, (off_t)size);
    return rr_fail(err, RR_ERR_IO, "%.150s: no room for %" PRIu64 " bytes: %s", path, max_bytes,
                   strerror(problem));
  }
  return RR_OK;
}

/* The head first: an end in between leaves a short file that is known for what it is, and no
 * unknown one. */
static rr_status make_file(int descriptor, const char *path, document_head *head, rr_error *err) {
  rr_status status = make_random(&head->seed, sizeof head->seed, err);
  status = status != RR_OK ? status : make_random(head->secret, sizeof head->secret, err);
  status = status != RR_OK ? status : write_head(descriptor, path, head, err);
  status = status != RR_OK ? status : reserve(descriptor, path, head->max_bytes, 0, err);
  if (status != RR_OK) {
    (void)!ftruncate(descriptor, 0);
  }
  return status;
}

/* With another size everything lies elsewhere. The secret stays. */
static rr_status resize_file(int descriptor, const char *path, uint64_t size, uint64_t max_bytes,
                             document_head *head, rr_error *err) {
  head->max_bytes = max_bytes;
  rr_status status = make_random(&head->seed, sizeof head->seed, err);
  status = status != RR_OK ? status : reserve(descriptor, path, max_bytes, size, err);
  return status != RR_OK ? status : write_head(descriptor, path, head, err);
}

static rr_status make_file_ready(int descriptor, const char *path, uint64_t size,
                                 const document_head *wanted, document_head *ret_head,
                                 bool *ret_emptied, rr_error *err) {
  document_head head = *wanted;
  rr_status status;
  *ret_emptied = false;
  if (size == 0) {
    status = make_file(descriptor, path, &head, err);
  } else {
    status = read_head(descriptor, path, wanted->fingerprint, &head, err);
    if (status == RR_OK && head.max_bytes != wanted->max_bytes) {
      status = resize_file(descriptor, path, size, wanted->max_bytes, &head, err);
      *ret_emptied = true;
    } else if (status == RR_OK) { /* room that a hole or a cut has taken */
      status = reserve(descriptor, path, head.max_bytes, size, err);
    }
  }
  if (status == RR_OK && size > head.max_bytes &&
      ftruncate(descriptor, (off_t)head.max_bytes) != 0) {
    status = rr_fail(err, RR_ERR_IO, "%.150s: %s", path, strerror(errno));
  }
  *ret_head = head;
  return status;
}

rr_status document_format_open(const char *path,
                               const uint8_t fingerprint[DOCUMENT_FINGERPRINT_BYTES],
                               uint64_t max_bytes, int *ret_descriptor, document_head *ret_head,
                               bool *ret_emptied, rr_error *err) {
  document_head wanted = {.byte_order = DOCUMENT_BYTE_ORDER,
                          .version = DOCUMENT_FORMAT_VERSION,
                          .max_bytes = max_bytes};
  memcpy(wanted.magic, DOCUMENT_MAGIC, DOCUMENT_MAGIC_BYTES);
  memcpy(wanted.fingerprint, fingerprint, DOCUMENT_FINGERPRINT_BYTES);
  if (max_bytes < DOCUMENT_FILE_BYTES_MIN || max_bytes > MAX_BYTES_MOST) {
    return rr_fail(err, RR_ERR_INPUT, "%.150s: %" PRIu64 " bytes, where %d to %" PRIu64 " may be",
                   path, max_bytes, (int)DOCUMENT_FILE_BYTES_MIN, MAX_BYTES_MOST);
  }
  int descriptor = -1;
  struct stat about;
  rr_status status = check_limit(path, max_bytes, err);
  status = status != RR_OK ? status : open_locked(path, &descriptor, &about, err);
  if (status != RR_OK) {
    return status;
  }
  document_head head;
  bool emptied;
  status =
      make_file_ready(descriptor, path, (uint64_t)about.st_size, &wanted, &head, &emptied, err);
  if (status != RR_OK) {
    (void)close(descriptor);
    return status;
  }
  *ret_descriptor = descriptor;
  *ret_head = head;
  *ret_emptied = emptied;
  return RR_OK;
}
