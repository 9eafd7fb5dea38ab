#include "server/http/coding.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>
#include <zstd.h>

#include "core/base/alloc.h"
#include "server/base/loop_thread.h"

enum {
  FIRST_BYTES = 64 * 1024,
  GZIP_WINDOW = 15 + 16, /* zlib: the largest window, in gzip's frame */
  GZIP_MEMORY = 8,
  ZSTD_WINDOW_LOG = 23, /* frames that want more than 8 MiB to be unpacked are refused */
  FAST = 1              /* a reply must not wait long for the last per cent */
};

static bool names(const char *token, size_t size, const char *name) {
  return size == strlen(name) && strncasecmp(token, name, size) == 0;
}

static coding of_token(const char *token, size_t size) {
  if (names(token, size, "gzip") || names(token, size, "x-gzip")) {
    return CODING_GZIP;
  }
  if (names(token, size, "zstd")) {
    return CODING_ZSTD;
  }
  return names(token, size, "identity") || size == 0 ? CODING_IDENTITY : CODING_UNKNOWN;
}

coding coding_of_content(const char *header) {
  if (header == NULL) {
    return CODING_IDENTITY;
  }
  header += strspn(header, " \t");
  size_t size = strcspn(header, " \t");
  return header[size + strspn(header + size, " \t")] == '\0' ? of_token(header, size)
                                                             : CODING_UNKNOWN;
}

/* The weight in thousandths; 1000 where there is none. */
static int weight_of(const char *parameters, size_t size) {
  for (size_t i = 0; i + 1 < size; i++) {
    if ((parameters[i] == 'q' || parameters[i] == 'Q') && parameters[i + 1] == '=') {
      double weight = strtod(parameters + i + 2, NULL);
      return weight > 0 && weight <= 1 ? (int)(weight * 1000) : 0;
    }
  }
  return 1000;
}

coding coding_accepted(const char *header) {
  int weights[CODING_UNKNOWN + 1] = {0};
  bool named[CODING_UNKNOWN + 1] = {false};
  int any = 0;
  while (header != NULL && *header != '\0') {
    header += strspn(header, " \t,");
    size_t item = strcspn(header, ",");
    size_t token = strcspn(header, " \t;,");
    int weight = weight_of(header + token, item - token);
    if (token == 1 && header[0] == '*') {
      any = weight;
    } else if (token > 0) {
      coding which = of_token(header, token);
      weights[which] = weight;
      named[which] = true;
    }
    header += item;
  }
  int gzip = named[CODING_GZIP] ? weights[CODING_GZIP] : any;
  int zstd = named[CODING_ZSTD] ? weights[CODING_ZSTD] : any;
  int identity = named[CODING_IDENTITY] ? weights[CODING_IDENTITY] : 0;
  if (zstd > 0 && zstd >= gzip && zstd >= identity) {
    return CODING_ZSTD;
  }
  return gzip > 0 && gzip >= identity ? CODING_GZIP : CODING_IDENTITY;
}

const char *coding_name(coding which) {
  return which == CODING_GZIP ? "gzip" : which == CODING_ZSTD ? "zstd" : NULL;
}

/* What is being unpacked: grows by doubling up to the limit. */
typedef struct output {
  char *data;
  size_t size;
  size_t capacity;
  size_t limit;
  rr_claim *claim;
} output;

static bool take(rr_claim *claim, size_t bytes) {
  return claim == NULL || rr_claim_take(claim, bytes);
}

static void give(rr_claim *claim, size_t bytes) {
  if (claim != NULL) {
    rr_claim_give(claim, bytes);
  }
}

/* Makes room for at least one byte. */
static coding_result make_room(output *out) {
  if (out->size < out->capacity) {
    return CODING_OK;
  }
  if (out->capacity == out->limit) {
    return CODING_TOO_LARGE;
  }
  size_t capacity = out->capacity == 0 ? (size_t)FIRST_BYTES : 2 * out->capacity;
  capacity = capacity < out->limit ? capacity : out->limit;
  if (!take(out->claim, capacity - out->capacity)) {
    return CODING_NO_MEMORY;
  }
  char *data = rr_realloc(out->data, capacity);
  if (data == NULL) {
    give(out->claim, capacity - out->capacity);
    return CODING_NO_MEMORY;
  }
  out->data = data;
  out->capacity = capacity;
  return CODING_OK;
}

static void *zlib_alloc(void *unused, unsigned count, unsigned size) {
  (void)unused;
  return rr_calloc(count, size);
}

static void zlib_free(void *unused, void *memory) {
  (void)unused;
  rr_free(memory);
}

/* One step of zlib; *ret_ended tells that a member is complete. */
static coding_result inflate_some(z_stream *stream, output *out, bool *ret_ended) {
  /* One byte beyond the limit may be asked for, to tell "full" from "too large". */
  char spare;
  bool full = out->size == out->limit;
  coding_result result = full ? CODING_OK : make_room(out);
  if (result != CODING_OK) {
    return result;
  }
  size_t room = full ? 1 : out->capacity - out->size;
  room = room < UINT_MAX ? room : UINT_MAX;
  stream->next_out = (Bytef *)(full ? &spare : out->data + out->size);
  stream->avail_out = (uInt)room;
  int status = inflate(stream, Z_NO_FLUSH);
  size_t made = room - stream->avail_out;
  if (full && made > 0) {
    return CODING_TOO_LARGE;
  }
  out->size += made;
  *ret_ended = status == Z_STREAM_END;
  if (status == Z_OK || status == Z_STREAM_END) {
    return CODING_OK;
  }
  return status == Z_MEM_ERROR ? CODING_NO_MEMORY : CODING_BROKEN;
}

static coding_result gunzip(const char *data, size_t size, output *out) {
  z_stream stream = {.zalloc = zlib_alloc, .zfree = zlib_free};
  if (size > UINT_MAX) {
    return CODING_TOO_LARGE;
  }
  if (inflateInit2(&stream, GZIP_WINDOW) != Z_OK) {
    return CODING_NO_MEMORY;
  }
  stream.next_in = (Bytef *)(uintptr_t)data; /* zlib does not write there */
  stream.avail_in = (uInt)size;
  bool ended = false;
  coding_result result = CODING_OK;
  while (result == CODING_OK && !(ended && stream.avail_in == 0)) {
    if (ended && inflateReset(&stream) != Z_OK) { /* members may follow each other */
      result = CODING_BROKEN;
    } else {
      result = inflate_some(&stream, out, &ended);
    }
  }
  (void)inflateEnd(&stream);
  return result;
}

/* The window grows to what the frame's head asks for, in the first step that reads it, and fills up
 * in the steps after. */
static bool count_context(const ZSTD_DCtx *context, rr_claim *claim, size_t *counted) {
  size_t bytes = ZSTD_sizeof_DCtx(context);
  if (bytes > *counted && !take(claim, bytes - *counted)) {
    return false;
  }
  *counted = bytes > *counted ? bytes : *counted;
  return true;
}

static coding_result unzstd_with(ZSTD_DCtx *context, const char *data, size_t size, output *out,
                                 size_t *counted) {
  (void)ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG);
  ZSTD_inBuffer in = {.src = data, .size = size, .pos = 0};
  coding_result result = CODING_OK;
  size_t left = 1; /* of a frame; 0: one is complete */
  while (result == CODING_OK && !(left == 0 && in.pos == in.size)) {
    char spare;
    bool full = out->size == out->limit;
    result = !count_context(context, out->claim, counted) ? CODING_NO_MEMORY
             : full                                       ? CODING_OK
                                                          : make_room(out);
    if (result != CODING_OK) {
      break;
    }
    size_t before = in.pos;
    ZSTD_outBuffer to = {.dst = full ? &spare : out->data + out->size,
                         .size = full ? 1 : out->capacity - out->size};
    left = ZSTD_decompressStream(context, &to, &in);
    if (ZSTD_isError(left)) {
      result = CODING_BROKEN;
    } else if (full && to.pos > 0) {
      result = CODING_TOO_LARGE;
    } else if (to.pos == 0 && in.pos == before) {
      result = left == 0 ? CODING_OK : CODING_BROKEN; /* it ends too early */
    }
    out->size += full ? 0 : to.pos;
  }
  return result;
}

static coding_result unzstd(const char *data, size_t size, output *out) {
  ZSTD_DCtx *context = ZSTD_createDCtx();
  if (context == NULL) {
    return CODING_NO_MEMORY;
  }
  size_t counted = 0;
  coding_result result = unzstd_with(context, data, size, out, &counted);
  (void)ZSTD_freeDCtx(context);
  give(out->claim, counted);
  return result;
}

coding_result coding_decode(coding which, const char *data, size_t size, size_t limit,
                            rr_claim *claim, char **ret_data, size_t *ret_size) {
  assert_other_thread();
  output out = {.limit = limit, .claim = claim};
  coding_result result = which == CODING_GZIP ? gunzip(data, size, &out) : unzstd(data, size, &out);
  if (result != CODING_OK) {
    rr_free(out.data);
    give(claim, out.capacity);
    return result;
  }
  *ret_data = out.data;
  *ret_size = out.size;
  return CODING_OK;
}

/* Returns the size, 0 where it does not fit into `capacity`. */
static size_t gzip(const char *data, size_t size, char *to, size_t capacity) {
  z_stream stream = {.zalloc = zlib_alloc, .zfree = zlib_free};
  if (size > UINT_MAX || deflateInit2(&stream, FAST, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY,
                                      Z_DEFAULT_STRATEGY) != Z_OK) {
    return 0;
  }
  stream.next_in = (Bytef *)(uintptr_t)data;
  stream.avail_in = (uInt)size;
  stream.next_out = (Bytef *)to;
  stream.avail_out = (uInt)capacity;
  int status = deflate(&stream, Z_FINISH);
  size_t made = capacity - stream.avail_out;
  (void)deflateEnd(&stream);
  return status == Z_STREAM_END ? made : 0;
}

char *coding_encode(coding which, const char *data, size_t size, size_t *ret_size) {
  assert_other_thread();
  size_t capacity = size - (size > 0); /* more would not be smaller */
  char *to = rr_malloc(capacity);
  if (to == NULL) {
    return NULL;
  }
  size_t made;
  if (which == CODING_GZIP) {
    made = gzip(data, size, to, capacity);
  } else {
    made = ZSTD_compress(to, capacity, data, size, FAST);
    made = ZSTD_isError(made) ? 0 : made;
  }
  if (made == 0) {
    rr_free(to);
    return NULL;
  }
  *ret_size = made;
  char *cut = rr_realloc(to, made);
  return cut != NULL ? cut : to;
}
