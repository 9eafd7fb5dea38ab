/* What a file is that is not what was looked for: words for error messages, so that they say what
 * to do. Pure but for rr_kind_of_file; any thread. */
#ifndef RR_CORE_BASE_KIND_H
#define RR_CORE_BASE_KIND_H

#include <stdbool.h>
#include <stddef.h>

enum { RR_KIND_BYTES = 64, RR_WEIGHTS_NAME_MAX = 64, RR_WEIGHTS_TEXT_MAX = 320 };

/* What a file that begins with these bytes is, of which there are `size`, at least RR_KIND_BYTES
 * where the file has as many: "is a Git LFS pointer: run `git lfs pull`". NULL for what is not
 * known. Static storage. */
const char *rr_kind_of_bytes(const void *bytes, size_t size);

/* The same of a file, which must be a regular one. NULL also if it cannot be read. */
const char *rr_kind_of_file(const char *path);

/* Which weights, other than model.safetensors, a list of files has. Begins as {0}. */
typedef struct rr_weights_seen {
  int rank; /* 0: none */
  char name[RR_WEIGHTS_NAME_MAX];
} rr_weights_seen;

/* Takes a file or, with a slash in it, a path of the list into account. */
void rr_weights_look(rr_weights_seen *seen, const char *path);

/* "has its weights as pytorch_model.bin only; convert them ..."; false, and "", where there were
 * none. */
bool rr_weights_say(const rr_weights_seen *seen, char text[RR_WEIGHTS_TEXT_MAX]);

#endif
