/* Every matrix product that can be built in. */
#ifndef RR_CORE_KERNEL_GEMM_H
#define RR_CORE_KERNEL_GEMM_H

#include "core/kernel/kernel.h"

extern const rr_gemm rr_gemm_openblas;
extern const rr_gemm rr_gemm_fp32_portable;
extern const rr_gemm rr_gemm_fp32_avx2;
extern const rr_gemm rr_gemm_fp32_avx512;
extern const rr_gemm rr_gemm_fp32_neon;
extern const rr_gemm rr_gemm_bf16_portable;
extern const rr_gemm rr_gemm_bf16_avx2;
extern const rr_gemm rr_gemm_bf16_avx512;
extern const rr_gemm rr_gemm_bf16_avx512bf16;
extern const rr_gemm rr_gemm_bf16_amx;
extern const rr_gemm rr_gemm_bf16_neon;
extern const rr_gemm rr_gemm_bf16_bfmmla;
extern const rr_gemm rr_gemm_int8_portable;
extern const rr_gemm rr_gemm_int8_avx2;
extern const rr_gemm rr_gemm_int8_avxvnni;
extern const rr_gemm rr_gemm_int8_vnni512;
extern const rr_gemm rr_gemm_int8_amx;
extern const rr_gemm rr_gemm_int8_dotprod;
extern const rr_gemm rr_gemm_int8_i8mm;

const char *rr_gemm_openblas_core(void);

/* The epilogue over all of args->out, for products that do not fuse it with their stores. */
void rr_gemm_epilogue(const rr_gemm_args *args);

#endif
