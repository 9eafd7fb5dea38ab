/* Numbers of bytes as people write them. Pure functions.
 *
 *   67108864    bytes
 *   64k 64kB 64M 64MB 2G 2GB 1T 1TB             powers of 1000
 *   64Ki 64KiB 64Mi 64MiB 2Gi 2GiB 1Ti 1TiB     powers of 1024
 *
 * Small and capital letters are the same, and B alone stands for bytes. No sign, blank or fraction.
 */
#ifndef RR_SERVER_OPTIONS_SIZES_H
#define RR_SERVER_OPTIONS_SIZES_H

#include <stdbool.h>
#include <stddef.h>

/* False for what is no size, or does not fit. */
bool size_parse(const char *text, size_t *ret_bytes);

enum { SIZE_TEXT_MAX = 32 };

/* The shortest text that size_parse reads as so many bytes: "64MiB", "10MB", "65537". */
void size_print(size_t bytes, char ret_text[SIZE_TEXT_MAX]);

#endif
