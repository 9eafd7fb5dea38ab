#include "core/kernel/cpu_features.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

enum {
  UPTO_AVX512 = RR_FEATURE_AVX2 | RR_FEATURE_AVX512,
  EVERYTHING = (RR_FEATURE_BF16 << 1) - 1,
};

static const struct {
  const char *name;
  uint32_t feature; /* 0: a word for several */
  uint32_t keeps;
} names[] = {
    {"portable", 0, 0},
    {"all", 0, EVERYTHING},
    {"openblas", RR_FEATURE_OPENBLAS, RR_FEATURE_OPENBLAS},
    {"avx2", RR_FEATURE_AVX2, RR_FEATURE_AVX2},
    {"avx-vnni", RR_FEATURE_AVXVNNI, RR_FEATURE_AVX2 | RR_FEATURE_AVXVNNI},
    {"avx512", RR_FEATURE_AVX512, UPTO_AVX512},
    {"avx512-vnni", RR_FEATURE_AVX512VNNI, UPTO_AVX512 | RR_FEATURE_AVX512VNNI},
    {"avx512-bf16", RR_FEATURE_AVX512BF16, UPTO_AVX512 | RR_FEATURE_AVX512BF16},
    {"amx-int8", RR_FEATURE_AMXINT8, UPTO_AVX512 | RR_FEATURE_AMXINT8},
    {"amx-bf16", RR_FEATURE_AMXBF16, UPTO_AVX512 | RR_FEATURE_AVX512BF16 | RR_FEATURE_AMXBF16},
    {"neon", RR_FEATURE_NEON, RR_FEATURE_NEON},
    {"dotprod", RR_FEATURE_DOTPROD, RR_FEATURE_NEON | RR_FEATURE_DOTPROD},
    {"i8mm", RR_FEATURE_I8MM, RR_FEATURE_NEON | RR_FEATURE_I8MM},
    {"bf16", RR_FEATURE_BF16, RR_FEATURE_NEON | RR_FEATURE_BF16},
};
enum { NAMES = sizeof names / sizeof names[0] };

#if defined(__x86_64__)

typedef struct registers {
  unsigned a;
  unsigned b;
  unsigned c;
  unsigned d;
} registers;

static registers cpuid(unsigned leaf, unsigned subleaf) {
  registers r = {0, 0, 0, 0};
  if (__get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d) == 0) {
    return (registers){0, 0, 0, 0};
  }
  return r;
}

/* The register files that the kernel saves, one bit each; instructions that use another trap. */
static uint64_t saved_state(void) {
  uint32_t low;
  uint32_t high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

/* Linux gives a process the tile registers, 8 KiB a thread, only when asked. */
static bool amx_permitted(void) {
  enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
  return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

static bool has(uint64_t word, uint64_t bits) { return (word & bits) == bits; }

static uint32_t detect(void) {
  const uint64_t ymm = 0x6;        /* SSE, AVX */
  const uint64_t zmm = ymm | 0xe0; /* opmask, upper halves, upper 16 */
  const uint64_t tiles = 0x60000;  /* configuration, data */
  const unsigned avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F, DQ, BW, VL */
  registers one = cpuid(1, 0);
  if (!has(one.c, 1u << 27 | 1u << 28 | 1u << 12)) { /* OSXSAVE, AVX, FMA */
    return 0;
  }
  uint64_t state = saved_state();
  registers seven = cpuid(7, 0);
  registers more = seven.a >= 1 ? cpuid(7, 1) : (registers){0, 0, 0, 0};
  if (!has(state, ymm) || !has(seven.b, 1u << 5)) {
    return 0;
  }
  uint32_t found = RR_FEATURE_AVX2;
  found |= has(more.a, 1u << 4) ? RR_FEATURE_AVXVNNI : 0;
  if (!has(state, zmm) || !has(seven.b, avx512)) {
    return found;
  }
  found |= RR_FEATURE_AVX512;
  found |= has(seven.c, 1u << 11) ? RR_FEATURE_AVX512VNNI : 0;
  found |= has(more.a, 1u << 5) ? RR_FEATURE_AVX512BF16 : 0;
  if (has(state, tiles) && has(seven.d, 1u << 24) && has(seven.d, 1u << 22 | 1u << 25) &&
      amx_permitted()) {
    found |= RR_FEATURE_AMXBF16 | RR_FEATURE_AMXINT8;
  }
  return found;
}

#elif defined(__aarch64__)

static uint32_t detect(void) {
  unsigned long first = getauxval(AT_HWCAP);
  unsigned long second = getauxval(AT_HWCAP2);
  if ((first & 1ul << 1) == 0) { /* HWCAP_ASIMD */
    return 0;
  }
  uint32_t found = RR_FEATURE_NEON;
  found |= (first & 1ul << 20) != 0 ? RR_FEATURE_DOTPROD : 0; /* HWCAP_ASIMDDP */
  found |= (second & 1ul << 13) != 0 ? RR_FEATURE_I8MM : 0;   /* HWCAP2_I8MM */
  found |= (second & 1ul << 14) != 0 ? RR_FEATURE_BF16 : 0;   /* HWCAP2_BF16 */
  return found;
}

#else

static uint32_t detect(void) { return 0; }

#endif

static uint32_t detected;

static void detect_once(void) {
  detected = detect();
#ifdef RR_BUILT_OPENBLAS
  detected |= RR_FEATURE_OPENBLAS;
#endif
}

uint32_t rr_features_detect(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  (void)pthread_once(&once, detect_once);
  return detected;
}

/* Whether the `length` bytes of a word are the name, hyphens aside. */
static bool is_name(const char *word, size_t length, const char *name) {
  for (size_t i = 0; i < length; i++) {
    if (word[i] == '-') {
      continue;
    }
    name += *name == '-';
    if (*name == '\0' || word[i] != *name) {
      return false;
    }
    name++;
  }
  return *name == '\0' && length > 0;
}

static rr_status unknown(const char *word, size_t length, rr_error *err) {
  char all[RR_ERROR_MESSAGE_MAX] = "";
  size_t used = 0;
  for (size_t i = 0; i < NAMES && used < sizeof all; i++) {
    used +=
        (size_t)snprintf(all + used, sizeof all - used, "%s%s", i == 0 ? "" : ", ", names[i].name);
  }
  return rr_fail(err, RR_ERR_INPUT, "unknown instruction set \"%.*s\"; there are %s",
                 (int)(length < 32 ? length : 32), word, all);
}

rr_status rr_features_parse(const char *text, uint32_t *ret_features, rr_error *err) {
  uint32_t features = 0;
  for (;;) {
    size_t length = strcspn(text, ",");
    size_t i = 0;
    while (i < NAMES && !is_name(text, length, names[i].name)) {
      i++;
    }
    if (i == NAMES) {
      return unknown(text, length, err);
    }
    features |= names[i].keeps;
    if (text[length] == '\0') {
      break;
    }
    text += length + 1;
  }
  *ret_features = features;
  return RR_OK;
}

void rr_features_text(uint32_t features, char text[RR_FEATURES_TEXT_MAX]) {
  size_t used = 0;
  text[0] = '\0';
  for (size_t i = 0; i < NAMES && used < RR_FEATURES_TEXT_MAX; i++) {
    if ((names[i].feature & features) != 0) {
      used += (size_t)snprintf(text + used, RR_FEATURES_TEXT_MAX - used, "%s%s",
                               used == 0 ? "" : ",", names[i].name);
    }
  }
  if (used == 0) {
    (void)snprintf(text, RR_FEATURES_TEXT_MAX, "portable");
  }
}
