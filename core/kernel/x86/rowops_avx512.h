/* What rowops.c does by hand where it is built for AVX-512, with or without its bf16 instructions.
 * The only header of this room that core/kernel includes. */
#ifndef RR_CORE_KERNEL_X86_ROWOPS_AVX512_H
#define RR_CORE_KERNEL_X86_ROWOPS_AVX512_H

#include "core/kernel/x86/finish_avx512.h"
#include "core/kernel/x86/norm_avx512.h"

#endif
