#include "core/files/packs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/base/alloc.h"
#include "core/base/file.h"
#include "core/files/identity.h"

enum {
  FORMAT_VERSION = 1,
  TAIL_MAX = 64,
  GEMM_MAX = 32,
  TENSOR_MAX = 96,
  HASH_BYTES = RR_IDENTITY_BYTES
};

/* Of another byte order it is another number. */
static const uint64_t magic = 0x6b63617064726572u;

/* The file: a header, a record for each item, the items' packed bytes without gaps. */
typedef struct header {
  uint64_t magic;
  uint32_t version;
  uint32_t items;
  uint64_t model_size;
  uint8_t model_hash[HASH_BYTES];
} header;

typedef struct record {
  char gemm[GEMM_MAX];
  char tensor[TENSOR_MAX];
  uint64_t n;
  uint64_t k;
  uint64_t size;
  uint8_t packing[HASH_BYTES];  /* of packed_probe: a new layout under an old name shows here */
  uint8_t checksum[HASH_BYTES]; /* of the packed bytes; the one field not known beforehand */
} record;

_Static_assert(sizeof(header) == 40 && sizeof(record) == 184, "no padding: structs go to the file");

struct rr_packs {
  const rr_pack_item *items;
  size_t n;
  char path[RR_PATH_MAX];
  char temporary[RR_PATH_MAX];
  mode_t mode; /* as the weights': who may not read those shall not read these */
  uint64_t payload;
  header header;
  record *records; /* n */
};

/* ---- what the file must be ---- */

static void hash(const void *data, size_t size, uint8_t ret_hash[HASH_BYTES]) {
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, XXH3_128bits(data, size));
  memcpy(ret_hash, bytes.digest, HASH_BYTES);
}

/* How a product packs: the hash of a fixed matrix, of odd sizes that reach into a second panel and
 * beyond one cache line of every layout. */
static bool packed_probe(const rr_gemm *gemm, uint8_t ret_hash[HASH_BYTES]) {
  enum { N = 131, K = 517 };
  size_t size = gemm->packed_size(N, K);
  float *w = rr_alloc_aligned(sizeof *w * N * K);
  void *packed = rr_alloc_aligned(size);
  bool ok = w != NULL && packed != NULL;
  if (ok) {
    uint32_t random = 1;
    for (size_t i = 0; i < (size_t)N * K; i++) {
      random = random * 1664525u + 1013904223u;
      w[i] = (float)(int32_t)random * 0x1p-31f;
    }
    memset(packed, 0, size);
    gemm->pack(N, K, w, packed);
    hash(packed, size, ret_hash);
  }
  rr_free(packed);
  rr_free(w);
  return ok;
}

/* Copies as much as fits; the rest of the field is 0. */
static void put_text(char *field, size_t size, const char *text) {
  size_t length = strlen(text);
  memset(field, 0, size);
  memcpy(field, text, length < size ? length : size - 1);
}

static bool fill_record(rr_packs *packs, size_t index) {
  const rr_pack_item *item = &packs->items[index];
  record *to = &packs->records[index];
  put_text(to->gemm, sizeof to->gemm, item->gemm->name);
  put_text(to->tensor, sizeof to->tensor, item->tensor);
  to->n = item->n;
  to->k = item->k;
  to->size = item->gemm->packed_size(item->n, item->k);
  packs->payload += to->size;
  for (size_t i = index; i-- > 0;) { /* few products: one of the last few items has the same */
    if (packs->items[i].gemm == item->gemm) {
      memcpy(to->packing, packs->records[i].packing, HASH_BYTES);
      return true;
    }
  }
  return packed_probe(item->gemm, to->packing);
}

/* The name tells format and kernels, of the largest layer in words, so that two choices on one disk
 * do not replace each other's file, and not the weights, so that a changed model replaces its old
 * file. */
static bool name_file(rr_packs *packs, const char *folder) {
  const rr_pack_item *largest = &packs->items[0];
  uint64_t all = 0;
  for (size_t i = 0; i < packs->n; i++) {
    const rr_pack_item *item = &packs->items[i];
    largest = item->n * item->k > largest->n * largest->k ? item : largest;
    all = XXH3_64bits_withSeed(packs->records[i].gemm, GEMM_MAX, all);
  }
  char name[TAIL_MAX];
  (void)snprintf(name, sizeof name, ".rerankd-%.*s-%08x.pack", GEMM_MAX, largest->gemm->name,
                 (unsigned)(all & UINT32_MAX));
  int length = snprintf(packs->path, sizeof packs->path, "%s/%s", folder, name);
  int longer = snprintf(packs->temporary, sizeof packs->temporary, "%s/%s.tmp", folder, name);
  return length > 0 && longer > 0 && (size_t)longer < sizeof packs->temporary;
}

/* What everybody may do who may do it with every file of the weights. */
static mode_t mode_of(const rr_safetensors *weights) {
  mode_t mode = 0666;
  for (size_t i = 0; i < rr_safetensors_n_files(weights); i++) {
    struct stat about;
    mode &= stat(rr_safetensors_file_path(weights, i), &about) == 0 ? about.st_mode : 0600;
  }
  return mode;
}

rr_packs *rr_packs_create(const char *folder, const rr_safetensors *weights,
                          const rr_pack_item *items, size_t n, rr_packs_report *report) {
  rr_packs *packs = rr_calloc(1, sizeof *packs);
  record *records = rr_calloc(n, sizeof *records);
  bool ok = packs != NULL && records != NULL;
  if (ok) {
    packs->items = items;
    packs->n = n;
    packs->mode = mode_of(weights);
    packs->records = records;
    packs->header = (header){.magic = magic, .version = FORMAT_VERSION, .items = (uint32_t)n};
    ok = rr_weights_identity(weights, &packs->header.model_size, packs->header.model_hash);
  }
  for (size_t i = 0; ok && i < n; i++) {
    ok = fill_record(packs, i);
  }
  if (!ok || !name_file(packs, folder)) {
    (void)snprintf(report->text, sizeof report->text, "packed weights are not cached: %s",
                   ok ? "the path is too long" : "out of memory");
    rr_free(records);
    rr_free(packs);
    return NULL;
  }
  return packs;
}

void rr_packs_destroy(rr_packs *packs) {
  if (packs != NULL) {
    rr_free(packs->records);
    rr_free(packs);
  }
}

/* ---- reading ---- */

static bool read_all(int fd, void *to, size_t size) {
  for (char *at = to; size > 0;) {
    ssize_t got = read(fd, at, size);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      return false;
    }
    at += got;
    size -= (size_t)got;
  }
  return true;
}

/* True if the file begins as it must. ret_records: as they were found. */
static bool read_header(const rr_packs *packs, int fd, record *ret_records) {
  header found;
  if (!read_all(fd, &found, sizeof found) || memcmp(&found, &packs->header, sizeof found) != 0 ||
      !read_all(fd, ret_records, packs->n * sizeof *ret_records)) {
    return false;
  }
  for (size_t i = 0; i < packs->n; i++) {
    if (memcmp(&ret_records[i], &packs->records[i], offsetof(record, checksum)) != 0) {
      return false;
    }
  }
  return true;
}

/* NULL, or why the open file of so many bytes cannot be used. */
static const char *read_items(const rr_packs *packs, int fd, off_t bytes, record *records) {
  uint64_t size = sizeof packs->header + packs->n * sizeof *records + packs->payload;
  if (bytes < 0 || (uint64_t)bytes != size || !read_header(packs, fd, records)) {
    return "is of another model or other kernels, or damaged";
  }
  for (size_t i = 0; i < packs->n; i++) {
    uint8_t checksum[HASH_BYTES];
    void *packed = packs->items[i].packed;
    if (!read_all(fd, packed, (size_t)packs->records[i].size)) {
      return "cannot be read to its end";
    }
    hash(packed, (size_t)packs->records[i].size, checksum);
    if (memcmp(checksum, records[i].checksum, HASH_BYTES) != 0) {
      return "is damaged";
    }
  }
  return NULL;
}

/* What comes behind the path in a message. */
static const char *reason_of(const rr_error *unread) {
  const char *reason = unread->message;
  for (const char *next = reason; (next = strstr(next, ": ")) != NULL;) {
    reason = next += 2;
  }
  return reason;
}

bool rr_packs_read(const rr_packs *packs, rr_packs_report *report) {
  const char *problem = NULL;
  rr_error unread;
  record *records = rr_calloc(packs->n, sizeof *records);
  if (records == NULL) {
    problem = "cannot be read: out of memory";
  } else {
    int fd;
    struct stat about;
    bool there = false;
    if (rr_file_find(packs->path, &there, &unread) == RR_OK && !there) {
      problem = "was not there";
    } else if (rr_file_open(packs->path, O_RDONLY, 0, &fd, &about, &unread) != RR_OK) {
      problem = reason_of(&unread);
    } else {
      problem = read_items(packs, fd, about.st_size, records);
      (void)close(fd);
    }
    rr_free(records);
  }
  report->read = problem == NULL;
  (void)snprintf(report->text, sizeof report->text, "packed weights: %.300s %.100s", packs->path,
                 problem == NULL ? "was read" : problem);
  return problem == NULL;
}

/* ---- writing ---- */

static bool write_all(int fd, const void *from, size_t size) {
  for (const char *at = from; size > 0;) {
    ssize_t put = write(fd, at, size);
    if (put < 0 && errno == EINTR) {
      continue;
    }
    if (put <= 0) {
      errno = put == 0 ? ENOSPC : errno;
      return false;
    }
    at += put;
    size -= (size_t)put;
  }
  return true;
}

/* A file beyond this limit would not be an error but a signal that ends the process. */
static bool too_large(const rr_packs *packs) {
  struct rlimit limit;
  return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
         limit.rlim_cur < sizeof packs->header + packs->n * sizeof *packs->records + packs->payload;
}

/* The temporary file, locked; what a process that was killed left behind is used again. -1: errno
 * says why, EBUSY that another process is about to write the same or just did. */
static int open_temporary(const rr_packs *packs) {
  int fd;
  struct stat opened;
  struct stat named;
  if (rr_file_open(packs->temporary, O_WRONLY | O_CREAT | O_NOFOLLOW, 0600, &fd, &opened, NULL) !=
      RR_OK) {
    return -1;
  }
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    errno = errno == EWOULDBLOCK ? EBUSY : errno;
  } else if (fstat(fd, &opened) != 0 || opened.st_nlink > 1) {
    errno = EINVAL;
  } else if (lstat(packs->temporary, &named) != 0 || named.st_dev != opened.st_dev ||
             named.st_ino != opened.st_ino) {
    errno = EBUSY; /* renamed between open and lock: it is complete, and not to be touched */
  } else {
    return fd;
  }
  int problem = errno;
  (void)close(fd);
  errno = problem;
  return -1;
}

static bool write_items(const rr_packs *packs, int fd) {
  bool ok = ftruncate(fd, 0) == 0 && fchmod(fd, packs->mode) == 0 &&
            write_all(fd, &packs->header, sizeof packs->header) &&
            write_all(fd, packs->records, packs->n * sizeof *packs->records);
  for (size_t i = 0; ok && i < packs->n; i++) {
    ok = write_all(fd, packs->items[i].packed, (size_t)packs->records[i].size);
  }
  return ok && fsync(fd) == 0 && rename(packs->temporary, packs->path) == 0;
}

/* NULL, or why there is no new file. */
static const char *write_file(const rr_packs *packs) {
  if (too_large(packs)) {
    return "it would be larger than the limit of file sizes";
  }
  int fd = open_temporary(packs);
  if (fd < 0) {
    return errno == EBUSY ? "another process writes it" : strerror(errno);
  }
  const char *problem = NULL;
  if (!write_items(packs, fd)) {
    problem = strerror(errno);
    (void)unlink(packs->temporary); /* before the lock goes: nobody else can have written into it */
  }
  (void)close(fd);
  return problem;
}

void rr_packs_write(rr_packs *packs, rr_packs_report *report) {
  for (size_t i = 0; i < packs->n; i++) {
    hash(packs->items[i].packed, (size_t)packs->records[i].size, packs->records[i].checksum);
  }
  const char *problem = write_file(packs);
  report->written = problem == NULL;
  size_t used = strlen(report->text);
  (void)snprintf(
      report->text + used, sizeof report->text - used, "; %s%s",
      problem == NULL ? "written anew" : "not written: ", problem == NULL ? "" : problem);
}
