#include "tests/fuzz/tensors.h"

#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

void fuzz_read_tensors(const rr_safetensors *file) {
  size_t count;
  const rr_tensor *tensors = rr_safetensors_tensors(file, &count);
  for (size_t i = 0; i < count; i++) {
    const rr_tensor *tensor = &tensors[i];
    fuzz_require(rr_safetensors_find(file, tensor->name) == tensor, "a tensor that is not found");
    fuzz_require(tensor->rank <= RR_TENSOR_RANK_MAX, "a wrong rank");
    size_t elements = 1;
    for (size_t d = 0; d < tensor->rank; d++) {
      elements *= tensor->shape[d];
    }
    fuzz_require(elements == tensor->count, "a wrong count");
    fuzz_require(tensor->begin <= tensor->end &&
                     tensor->end <= rr_safetensors_size(file, tensor->shard),
                 "a tensor outside of its file");
    float *values = malloc(tensor->count * sizeof *values + 1); /* bounded by the file's size */
    rr_error err = {.message = ""};
    fuzz_require(values != NULL, "the fuzzer is out of memory");
    fuzz_require_status(rr_safetensors_read(file, tensor, values, &err), &err);
    free(values);
  }
  fuzz_require(rr_safetensors_find(file, "no such tensor") == NULL, "a tensor that is not there");
}
