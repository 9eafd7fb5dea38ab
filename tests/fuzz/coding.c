/* gzip and zstd bodies: what unpacks stays within the limit, and packs and unpacks to the same
 * again.
 *
 * Input: a byte that picks coding and limit, the body. */
#include "server/http/coding.h"

#include <string.h>

#include "core/base/alloc.h"
#include "tests/fuzz/fuzz.h"

void fuzz_set_up(void) {}

static void require_round_trip(coding which, const char *data, size_t size) {
  size_t packed_size = 0;
  char *packed = coding_encode(which, data, size, &packed_size);
  if (packed == NULL) {
    return;
  }
  fuzz_require(packed_size < size, "packed into more than there was");
  char *again = NULL;
  size_t again_size = 0;
  coding_result result = coding_decode(which, packed, packed_size, size, NULL, &again, &again_size);
  fuzz_require(result == CODING_OK || (result == CODING_NO_MEMORY && fuzz_starved),
               "does not unpack again");
  if (result == CODING_OK) {
    fuzz_require(again_size == size && memcmp(again, data, size) == 0, "unpacks to something else");
    rr_free(again);
  }
  rr_free(packed);
}

void fuzz_input(const uint8_t *data, size_t size) {
  if (size == 0) {
    return;
  }
  static const size_t limits[] = {1, 100, 65536, 1 << 20};
  coding which = (data[0] & 1) != 0 ? CODING_ZSTD : CODING_GZIP;
  size_t limit = limits[data[0] >> 1 & 3];
  char *unpacked = NULL;
  size_t unpacked_size = 0;
  const char *body = (const char *)data + 1;
  coding_result result =
      coding_decode(which, body, size - 1, limit, NULL, &unpacked, &unpacked_size);
  fuzz_require(result != CODING_NO_MEMORY || fuzz_starved, "out of memory");
  if (result == CODING_OK) {
    fuzz_require(unpacked_size <= limit, "unpacked beyond the limit");
    require_round_trip(which, unpacked, unpacked_size);
    rr_free(unpacked);
  } else {
    fuzz_require(unpacked == NULL, "an output of a failure");
  }
  require_round_trip(which, body, size - 1);
}
