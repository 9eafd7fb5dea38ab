/* Register-only loops: twelve independent sums hide the latency of every instruction timed here. In
 * assembly, so that the compiler needs no flags and cannot help. */
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "tests/kernels/bench.h"

enum { TURNS = 400000, SUMS = 12 };

#if defined(__x86_64__)

/* The loop over twelve times the instruction whose operands begin with the sum's register. */
#define REPEAT(register, head, tail)                                                               \
  head "%%" register "0" tail head "%%" register "1" tail head "%%" register "2" tail              \
      head "%%" register "3" tail head "%%" register "4" tail head "%%" register "5" tail          \
          head "%%" register "6" tail head "%%" register "7" tail head "%%" register "8" tail      \
              head "%%" register "9" tail head "%%" register "10" tail head                        \
                                                             "%%" register "11" tail

#define PEAK(function, body)                                                                       \
  static void function(uint64_t turns) {                                                           \
    __asm__ volatile("vzeroall\n1:\n" body "dec %0\njnz 1b\nvzeroupper\n"                          \
                     : "+r"(turns)                                                                 \
                     :                                                                             \
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",       \
                       "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");      \
  }

PEAK(fma_512, REPEAT("zmm", "vfmadd231ps %%zmm12, %%zmm13, ", "\n"))
PEAK(fma_256, REPEAT("ymm", "vfmadd231ps %%ymm12, %%ymm13, ", "\n"))
PEAK(dpbf16_512, REPEAT("zmm", "vdpbf16ps %%zmm12, %%zmm13, ", "\n"))
PEAK(dpbusd_512, REPEAT("zmm", "vpdpbusd %%zmm12, %%zmm13, ", "\n"))
PEAK(dpbusd_256, REPEAT("ymm", "%{vex%} vpdpbusd %%ymm12, %%ymm13, ", "\n"))
PEAK(maddwd_256,
     REPEAT("ymm", "vpmaddwd %%ymm12, %%ymm13, %%ymm14\nvpaddd %%ymm14, %%ymm15, ", "\n"))

/* Four sums, as the kernels have: more would leave no registers for operands. */
#define AMX_PEAK(function, instruction)                                                            \
  static void function(uint64_t turns) {                                                           \
    struct {                                                                                       \
      uint8_t head[16];                                                                            \
      uint16_t row_bytes[16];                                                                      \
      uint8_t rows[16];                                                                            \
    } __attribute__((aligned(64))) config;                                                         \
    memset(&config, 0, sizeof config);                                                             \
    config.head[0] = 1;                                                                            \
    for (int i = 0; i < 8; i++) {                                                                  \
      config.row_bytes[i] = 64;                                                                    \
      config.rows[i] = 16;                                                                         \
    }                                                                                              \
    __asm__ volatile(                                                                              \
        "ldtilecfg %1\n"                                                                           \
        "tilezero %%tmm0\ntilezero %%tmm1\ntilezero %%tmm2\ntilezero %%tmm3\n"                     \
        "tilezero %%tmm4\ntilezero %%tmm5\ntilezero %%tmm6\ntilezero %%tmm7\n1:\n" instruction     \
        " %%tmm6, %%tmm4, %%tmm0\n" instruction " %%tmm7, %%tmm4, %%tmm1\n" instruction            \
        " %%tmm6, %%tmm5, %%tmm2\n" instruction " %%tmm7, %%tmm5, %%tmm3\n"                        \
        "dec %0\njnz 1b\ntilerelease\n"                                                            \
        : "+r"(turns)                                                                              \
        : "m"(config)                                                                              \
        : "cc");                                                                                   \
  }

AMX_PEAK(amx_bf16, "tdpbf16ps")
AMX_PEAK(amx_int8, "tdpbusd")

#elif defined(__aarch64__)

#define REPEAT(head, tail)                                                                         \
  head "v0" tail head "v1" tail head "v2" tail head "v3" tail head "v4" tail head "v5" tail head   \
       "v6" tail head "v7" tail head "v8" tail head "v9" tail head "v10" tail head "v11" tail

#define PEAK(function, extension, head, tail)                                                      \
  static void function(uint64_t turns) {                                                           \
    __asm__ volatile(".arch armv8.6-a+" extension                                                  \
                     "\n1:\n" REPEAT(head, tail) "subs %0, %0, #1\nb.ne 1b\n"                      \
                     : "+r"(turns)                                                                 \
                     :                                                                             \
                     : "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10",    \
                       "v11", "v12", "v13");                                                       \
  }

PEAK(fma_neon, "simd", "fmla ", ".4s, v12.4s, v13.4s\n")
PEAK(bfmmla, "bf16", "bfmmla ", ".4s, v12.8h, v13.8h\n")
PEAK(sdot, "dotprod", "sdot ", ".4s, v12.16b, v13.16b\n")
PEAK(smmla, "i8mm", "smmla ", ".4s, v12.16b, v13.16b\n")

#endif

static const struct {
  const char *name;
  const char *instruction;
  void (*loop)(uint64_t turns);
  double operations; /* of one turn */
} peaks[] = {
#if defined(__x86_64__)
    {"fp32-avx512", "vfmadd231ps zmm", fma_512, SUMS * 16 * 2},
    {"fp32-avx2", "vfmadd231ps ymm", fma_256, SUMS * 8 * 2},
    {"bf16-avx512", "vfmadd231ps zmm", fma_512, SUMS * 16 * 2},
    {"bf16-avx2", "vfmadd231ps ymm", fma_256, SUMS * 8 * 2},
    {"bf16-avx512bf16", "vdpbf16ps zmm", dpbf16_512, SUMS * 32 * 2},
    {"bf16-amx", "tdpbf16ps", amx_bf16, 4 * 16 * 16 * 32 * 2},
    {"int8-avx2", "vpmaddwd+vpaddd ymm", maddwd_256, SUMS * 16 * 2},
    {"int8-avxvnni", "vpdpbusd ymm", dpbusd_256, SUMS * 32 * 2},
    {"int8-vnni512", "vpdpbusd zmm", dpbusd_512, SUMS * 64 * 2},
    {"int8-amx", "tdpbusd", amx_int8, 4 * 16 * 16 * 64 * 2},
#elif defined(__aarch64__)
    {"fp32-neon", "fmla 4s", fma_neon, SUMS * 4 * 2},
    {"bf16-neon", "fmla 4s", fma_neon, SUMS * 4 * 2},
    {"bf16-bfmmla", "bfmmla", bfmmla, SUMS * 16 * 2},
    {"int8-dotprod", "sdot", sdot, SUMS * 16 * 2},
    {"int8-i8mm", "smmla", smmla, SUMS * 32 * 2},
#endif
    {"", "", NULL, 0},
};

static double now(void) {
  struct timespec time;
  (void)clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

double rr_bench_peak(const char *name, const char **ret_instruction) {
  for (size_t i = 0; i + 1 < sizeof peaks / sizeof peaks[0]; i++) {
    if (strcmp(peaks[i].name, name) == 0) {
      uint64_t turns = strstr(name, "-amx") != NULL ? TURNS / SUMS : TURNS;
      double began = now();
      peaks[i].loop(turns);
      *ret_instruction = peaks[i].instruction;
      return peaks[i].operations * (double)turns / (now() - began);
    }
  }
  return 0.0;
}
