/* What the tests of the file of documents share: documents that tell their number, files in a
 * folder of their own. */
#ifndef RR_TESTS_SERVER_DOCUMENTS_H
#define RR_TESTS_SERVER_DOCUMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/cache/document_file.h"
#include "server/cache/document_format.h"

enum { MEGABYTE = 1 << 20, LONG_DOCUMENT = 20000, PATH_SIZE = 256 };

extern const uint8_t model_a[DOCUMENT_FINGERPRINT_BYTES];
extern const uint8_t model_b[DOCUMENT_FINGERPRINT_BYTES];

/* A path in a folder that documents_finish removes. Static storage, for one name at a time. */
const char *path_of(const char *name);
int documents_start(void **state);
int documents_finish(void **state);

typedef struct document_name {
  uint8_t key[DOCUMENT_KEY_BYTES];
} document_name;

document_name name_of(uint64_t number);
size_t size_of(uint64_t number); /* 1 to LONG_DOCUMENT */
void fill_document(uint64_t number, uint8_t *to, size_t size);

/* Fails the test where the file cannot be opened. */
document_file *open_file(const char *path, uint64_t max_bytes);

/* Of size_of bytes, or so many. */
rr_status put_number(document_file *file, uint64_t number);
rr_status put_sized(document_file *file, uint64_t number, size_t size);

/* Whether it was found; what is found must be what was put. */
bool find_number(document_file *file, uint64_t number);
bool find_sized(document_file *file, uint64_t number, size_t size);

document_file_stats stats_of(document_file *file);

/* A file's bytes; freed with free. */
uint8_t *read_whole(const char *path, size_t *ret_size);
void write_whole(const char *path, const void *bytes, size_t size);
void write_part(const char *path, const void *bytes, size_t size, uint64_t offset);

#endif
