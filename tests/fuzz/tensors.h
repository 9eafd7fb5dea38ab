/* Shared by the targets that open weights. */
#ifndef RR_TESTS_FUZZ_TENSORS_H
#define RR_TESTS_FUZZ_TENSORS_H

#include "core/files/safetensors.h"

/* Finds and reads every tensor of an open file. */
void fuzz_read_tensors(const rr_safetensors *file);

#endif
