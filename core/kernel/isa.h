/* Names and widths of the instruction set that a source is being compiled for. rowops.c,
 * attention.c and maxsim.c are built once an ISA, each time with that ISA's compiler flags and
 * RR_ISA_* macro. */
#ifndef RR_CORE_KERNEL_ISA_H
#define RR_CORE_KERNEL_ISA_H

#include "core/kernel/kernel.h"

#if defined(RR_ISA_AVX512BF16)
#define RR_ISA_NAME(name) name##_avx512bf16
#define RR_ISA_STRING "avx512bf16"
enum { RR_LANES = 16, RR_TILE_ROWS = 8 };
#elif defined(RR_ISA_AVX512)
#define RR_ISA_NAME(name) name##_avx512
#define RR_ISA_STRING "avx512"
enum { RR_LANES = 16, RR_TILE_ROWS = 8 };
#elif defined(RR_ISA_AVX2)
#define RR_ISA_NAME(name) name##_avx2
#define RR_ISA_STRING "avx2"
enum { RR_LANES = 8, RR_TILE_ROWS = 6 };
#else
#define RR_ISA_NAME(name) name##_generic
#define RR_ISA_STRING "generic"
enum { RR_LANES = 4, RR_TILE_ROWS = 4 };
#endif

/* A tile is RR_TILE_ROWS rows of RR_TILE_VECTORS vectors, held in registers. */
enum { RR_TILE_VECTORS = 2, RR_TILE_COLS = RR_TILE_VECTORS * RR_LANES };

extern const rr_rowops rr_rowops_generic;
extern const rr_rowops rr_rowops_avx2;
extern const rr_rowops rr_rowops_avx512;
extern const rr_rowops rr_rowops_avx512bf16;

extern const rr_attention rr_attention_fp32_generic;
extern const rr_attention rr_attention_fp32_avx2;
extern const rr_attention rr_attention_fp32_avx512;
extern const rr_attention rr_attention_bf16_avx512bf16;

extern const rr_maxsim rr_maxsim_fp32_generic;
extern const rr_maxsim rr_maxsim_fp32_avx2;
extern const rr_maxsim rr_maxsim_fp32_avx512;
extern const rr_maxsim rr_maxsim_bf16_generic;
extern const rr_maxsim rr_maxsim_bf16_avx2;
extern const rr_maxsim rr_maxsim_bf16_avx512;
extern const rr_maxsim rr_maxsim_bf16_avx512bf16;
extern const rr_maxsim rr_maxsim_int8_generic;
extern const rr_maxsim rr_maxsim_int8_avx2;
extern const rr_maxsim rr_maxsim_int8_avx512;
extern const rr_maxsim rr_maxsim_int8_vnni512;

#endif
