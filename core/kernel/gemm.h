/* Shared by the matrix products. */
#ifndef RR_CORE_KERNEL_GEMM_H
#define RR_CORE_KERNEL_GEMM_H

#include "core/kernel/kernel.h"

extern const rr_gemm rr_gemm_openblas;
extern const rr_gemm rr_gemm_portable;

const char *rr_gemm_openblas_core(void);

/* The epilogue over all of args->out, for products that do not fuse it with their stores. */
void rr_gemm_epilogue(const rr_gemm_args *args);

#endif
