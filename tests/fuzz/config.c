/* A model directory's configuration. Input, in parts: config.json, modules.json, the pooling
 * module's config.json, sentence_bert_config.json, artifact.metadata; those that are not there are
 * no files. Beside them lies a linear.weight of 4 x 32, so that models of that width may be
 * ColBERTs. */
#include "core/model/config.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

void fuzz_set_up(void) {
  char path[RR_PATH_MAX];
  (void)snprintf(path, sizeof path, "%s/1_Pooling", fuzz_folder());
  fuzz_require(mkdir(path, 0700) == 0, "no folder for the pooling");
  static const char header[] =
      "{\"linear.weight\":{\"dtype\":\"F32\",\"shape\":[4,32],\"data_offsets\":[0,512]}} ";
  static uint8_t file[8 + sizeof header - 1 + 512];
  file[0] = sizeof header - 1;
  memcpy(file + 8, header, sizeof header - 1);
  fuzz_write("model.safetensors", (fuzz_part){.data = file, .size = sizeof file});
}

void fuzz_input(const uint8_t *data, size_t size) {
  static const char *const files[] = {"config.json", "modules.json", "1_Pooling/config.json",
                                      "sentence_bert_config.json", "artifact.metadata"};
  enum { FILES = sizeof files / sizeof files[0] };
  fuzz_part parts[FILES];
  fuzz_split(data, size, parts, FILES);
  for (size_t i = 0; i < FILES; i++) {
    fuzz_write(files[i], parts[i]);
  }
  rr_config config;
  rr_error err = {.message = ""};
  rr_status status = rr_config_load(fuzz_folder(), &config, &err);
  fuzz_require_status(status, &err);
  if (status == RR_OK) {
    fuzz_require(config.heads >= 1 && config.hidden_size % config.heads == 0,
                 "heads that do not fit");
    fuzz_require(config.layers >= 1 && config.intermediate_size >= 1 && config.vocabulary_size >= 1,
                 "a size of 0");
    fuzz_require(config.types >= 1 && config.types <= 256, "a wrong number of types");
    fuzz_require(config.max_input_length >= 1 && config.max_input_length <= config.positions,
                 "a wrong length");
    fuzz_require((config.head == RR_HEAD_TOKENS) == (config.colbert.dim > 0) &&
                     config.token_vectors == (config.head == RR_HEAD_TOKENS) &&
                     config.colbert.query_length <= config.positions &&
                     config.colbert.document_length <= config.positions,
                 "a ColBERT that does not fit");
    fuzz_require(config.norm_epsilon >= 0.0f && config.norm_epsilon <= 1.0f, "a wrong epsilon");
    fuzz_require(memchr(config.label, '\0', sizeof config.label) != NULL, "a label without an end");
    fuzz_require(strncmp(config.folder, fuzz_folder(), strlen(fuzz_folder())) == 0 &&
                     strstr(config.folder, "/..") == NULL,
                 "a folder outside of the model");
  }
}
