/* Folders and files that are no model, or a broken one: each is refused with words that say what it
 * is and what to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/scorer.h"
#include "tests/core/score_support.h"

enum { PATH_SIZE = 4200 };

static const char *directory;
static const rr_load_options how = {.dtype = RR_DTYPE_FLOAT32};
static const char *const model_files[] = {"config.json", "tokenizer.json", "tokenizer_config.json",
                                          "model.safetensors"};

static int empty(void **state) {
  (void)state;
  directory = scratch_create();
  return 0;
}

static int copy(void **state) {
  char source[PATH_SIZE];
  (void)empty(state);
  (void)snprintf(source, sizeof source, "%s", golden_path("cross-encoder"));
  for (size_t i = 0; i < sizeof model_files / sizeof model_files[0]; i++) {
    scratch_copy(source, directory, model_files[i]);
  }
  return 0;
}

static const char *path_of(const char *name) {
  static char path[PATH_SIZE];
  (void)snprintf(path, sizeof path, "%s/%s", directory, name);
  return path;
}

static int tear_down(void **state) {
  static const char *const folders[] = {"onnx", "below", "snapshots"};
  (void)state;
  for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
    char file[PATH_SIZE + 32];
    (void)snprintf(file, sizeof file, "%s/model.onnx", path_of(folders[i]));
    (void)unlink(file);
    (void)snprintf(file, sizeof file, "%s/config.json", path_of(folders[i]));
    (void)unlink(file);
    (void)rmdir(path_of(folders[i]));
  }
  scratch_remove(directory);
  return 0;
}

/* What is said holds both texts, and where it is a line that is cut, it is not. */
static void refuse_path(const char *path, const char *what, const char *advice) {
  rr_scorer *scorer = NULL;
  rr_error err = {.message = ""};
  rr_status status = rr_scorer_load(path, &how, &scorer, &err);
  if (status == RR_OK || strstr(err.message, what) == NULL || strstr(err.message, advice) == NULL ||
      strchr(err.message, '\n') != NULL || strlen(err.message) > RR_ERROR_MESSAGE_MAX - 2) {
    fail_msg("%s: \"%s\" says not \"%s\" and \"%s\"", rr_status_name(status), err.message, what,
             advice);
  }
  assert_null(scorer);
}

static void refuse(const char *what, const char *advice) { refuse_path(directory, what, advice); }

static void a_path_that_leads_nowhere_is_said_to(void **state) {
  (void)state;
  refuse_path(path_of("absent"), "absent", "No such file or directory");
}

static void an_empty_folder_is_said_to_be(void **state) {
  (void)state;
  refuse("is empty", "download the model into it");
}

static void files_are_no_folders(void **state) {
  (void)state;
  scratch_text(directory, "a.gguf", "GGUF\3\0\0\0");
  refuse_path(path_of("a.gguf"), "is a file, and it is a GGUF file",
              "model.safetensors, config.json and tokenizer.json");
  scratch_text(directory, "a.onnx", "\x08\x07\x12\x07pytorch");
  refuse_path(path_of("a.onnx"), "is an ONNX model", "model.safetensors");
  scratch_text(directory, "a.safetensors", "{}");
  refuse_path(path_of("a.safetensors"), "is a file", "name the folder that it is in");
  assert_int_equal(mkfifo(path_of("pipe"), 0600), 0);
  refuse_path(path_of("pipe"), "no folder", "config.json, model.safetensors");
}

/* Of folders with a configuration and without. */
static void weights_in_other_forms_are_named(void **state) {
  static const struct {
    const char *file;
    const char *what;
    const char *advice;
  } forms[] = {
      {"model-q8_0.gguf", "model-q8_0.gguf only", "model.safetensors"},
      {"model.onnx", "model.onnx only", "model.safetensors"},
      {"pytorch_model.bin", "pytorch_model.bin only", "safe_serialization=True"},
      {"pytorch_model.bin.index.json", "pytorch_model.bin.index.json only",
       "safe_serialization=True"},
      {"weights.pt", "weights.pt only", "safe_serialization=True"},
      {"tf_model.h5", "tf_model.h5 only", "from_tf=True"},
      {"flax_model.msgpack", "flax_model.msgpack only", "from_flax=True"},
      {"openvino_model.bin", "openvino_model.bin only", "model.safetensors"},
      {"openvino_model.xml", "openvino_model.xml only", "model.safetensors"},
      {"adapter_model.safetensors", "adapter_model.safetensors only", "merge"},
      {"other.safetensors", "other.safetensors only", "model.safetensors"},
      {"model-00001-of-00002.safetensors", "shards, without their index",
       "model.safetensors.index.json"},
      {"model.safetensors.incomplete", "an unfinished download", "download it again"},
  };
  for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
    scratch_text(directory, forms[i].file, "x");
    refuse(forms[i].what, forms[i].advice);
    (void)copy(state);
    assert_int_equal(unlink(path_of("model.safetensors")), 0);
    scratch_text(directory, "training_args.bin", "x");
    scratch_text(directory, forms[i].file, "x");
    refuse(forms[i].what, forms[i].advice);
    (void)tear_down(state);
    (void)empty(state);
  }
  assert_int_equal(mkdir(path_of("onnx"), 0700), 0);
  scratch_text(directory, "onnx/model.onnx", "x");
  refuse("onnx/model.onnx only", "model.safetensors");
}

static void the_right_folder_is_named(void **state) {
  (void)state;
  assert_int_equal(mkdir(path_of("below"), 0700), 0);
  scratch_text(directory, "below/config.json", "{}");
  refuse("has one in below/", "name that folder");
  assert_int_equal(mkdir(path_of("snapshots"), 0700), 0);
  refuse("hub's cache", "snapshots/");
}

static void files_that_are_missing_are_named(void **state) {
  (void)state;
  assert_int_equal(unlink(path_of("tokenizer.json")), 0);
  refuse("neither tokenizer.json nor vocab.txt", "download");
  scratch_text(directory, "sentencepiece.bpe.model", "x");
  refuse("SentencePiece tokenizer", "only WordPiece");
  assert_int_equal(unlink(path_of("config.json")), 0);
  refuse("config.json: No such file", "download what is missing");
}

typedef struct content {
  const char *bytes;
  size_t size;
  const char *what;
  const char *advice;
} content;

#define CONTENT(bytes, what, advice)                                                               \
  { bytes, sizeof bytes - 1, what, advice }

/* What comes in place of weights. */
static void what_is_no_safetensors_is_said_to_be(void **state) {
  static const content contents[] = {
      CONTENT("", "is empty", "download it again"),
      CONTENT("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
              "Git LFS pointer", "git lfs pull"),
      CONTENT("GGUF\3\0\0\0\1\0\0\0\0\0\0\0", "GGUF file", "of the original model"),
      CONTENT("\x08\x07\x12\x07pytorch\x1a\x05", "ONNX model", "of the original model"),
      CONTENT("PK\3\4\0\0\0\0\0\0\0\0\0\0\0\0", "zip archive", "safetensors"),
      CONTENT("\x80\2\x8a\nl\xfc\x9c\x46\xf9\x20\x6a\xa8P\x19.\x80\2", "Python pickle",
              "safetensors"),
      CONTENT("\x89HDF\r\n\x1a\n\0\0\0\0\0\0\0\0", "HDF5", "safetensors"),
      CONTENT("<!DOCTYPE html><html><body>Sign in</body></html>", "HTML", "download it again"),
      CONTENT("\n  <html lang=\"en\"></html>", "HTML", "download it again"),
      CONTENT("{\"error\":\"Invalid username or password.\"}", "JSON", "download it again"),
      CONTENT("\x1f\x8b\x08\0\0\0\0\0\0\0\0\0\0\0\0\0", "gzip", "unpack"),
      CONTENT("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "zero bytes", "download it again"),
      CONTENT("abc", "3 bytes cannot be a safetensors file", "download it again"),
      CONTENT("\x80\0\0\0\0\0\0\0{\"a\":", "is too long for the file, which is cut",
              "download it again"),
  };
  (void)state;
  for (size_t i = 0; i < sizeof contents / sizeof contents[0]; i++) {
    scratch_bytes(directory, "model.safetensors", contents[i].bytes, contents[i].size);
    refuse(contents[i].what, contents[i].advice);
    refuse("model.safetensors", contents[i].advice);
  }
}

static void cut_weights_are_said_to_be_with_their_size(void **state) {
  static char bytes[1 << 20];
  char words[64];
  (void)state;
  FILE *file = fopen(path_of("model.safetensors"), "rb");
  assert_non_null(file);
  size_t size = fread(bytes, 1, sizeof bytes, file);
  assert_int_equal(fclose(file), 0);
  assert_in_range(size, 1000, sizeof bytes - 1);
  const size_t cuts[] = {size - 1, size - 1000, size / 2};
  for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
    scratch_bytes(directory, "model.safetensors", bytes, cuts[i]);
    (void)snprintf(words, sizeof words, "it has %zu bytes and should have %zu", cuts[i], size);
    refuse(words, "download it again");
  }
}

/* What comes in place of a configuration or tokenizer. */
static void what_is_no_json_is_said_to_be(void **state) {
  static const content contents[] = {
      CONTENT("", "is empty", "download it again"),
      CONTENT("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
              "Git LFS pointer", "git lfs pull"),
      CONTENT("<!DOCTYPE html><html></html>", "HTML", "download it again"),
      CONTENT("\xef\xbb\xbf{\"a\":1}", "byte order mark", "save it as UTF-8"),
      CONTENT("\xff\xfe{\0}\0", "UTF-16", "save it as UTF-8"),
      CONTENT("{\"layer_norm_eps\": NaN}", "NaN", "number or null"),
      CONTENT("{\"layer_norm_eps\": -Infinity}", "Infinity", "number or null"),
      CONTENT("{\"architectures\": [\"BertModel\"], \"hidden", "cut", "download it again"),
      CONTENT("{\"architectures\": [\"BertModel\"]", "cut", "download it again"),
  };
  static const char *const files[] = {"tokenizer.json", "config.json"};
  (void)state;
  for (size_t f = 0; f < sizeof files / sizeof files[0]; f++) {
    for (size_t i = 0; i < sizeof contents / sizeof contents[0]; i++) {
      scratch_bytes(directory, files[f], contents[i].bytes, contents[i].size);
      refuse(contents[i].what, contents[i].advice);
      refuse(files[f], contents[i].advice);
    }
  }
}

static void a_vocabulary_may_be_a_pointer(void **state) {
  (void)state;
  assert_int_equal(unlink(path_of("tokenizer.json")), 0);
  scratch_text(directory, "vocab.txt",
               "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n");
  refuse("vocab.txt", "git lfs pull");
}

static void configurations_of_others_get_the_names_of_models_that_load(void **state) {
  static const struct {
    const char *config;
    const char *what;
    const char *advice;
  } others[] = {
      {"{\"architectures\":[\"XLMRobertaForSequenceClassification\"],\"model_type\":\"xlm-"
       "roberta\"}",
       "architecture XLMRobertaForSequenceClassification is not supported",
       "cross-encoder/ms-marco-MiniLM-L6-v2"},
      {"{\"architectures\":[\"Qwen3ForCausalLM\"]}", "Qwen3ForCausalLM", "BAAI/bge-small-en-v1.5"},
      {"{\"model_type\":\"modernbert\"}", "model_type modernbert is not supported",
       "sentence-transformers/all-MiniLM-L6-v2"},
      {"{\"model_type\":\"bert\"}", "architectures must name one",
       "\"BertForSequenceClassification\""},
      {"{\"hidden_size\":32}", "there is no model_type", "config.json"},
      {"{\"word_embedding_dimension\":384,\"pooling_mode_mean_tokens\":true}", "pooling module",
       "the folder above"},
  };
  (void)state;
  assert_int_equal(unlink(path_of("model.safetensors")), 0); /* is not asked for */
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
    scratch_text(directory, "config.json", others[i].config);
    refuse(others[i].what, others[i].advice);
  }
}

static void a_model_is_looked_at_without_its_weights(void **state) {
  (void)state;
  bool keeps = true;
  rr_error err = {.message = ""};
  const rr_load_options cosine = {.scoring = RR_SCORING_COSINE};
  assert_int_equal(unlink(path_of("model.safetensors")), 0);
  assert_int_equal(rr_scorer_check(directory, &how, true, &keeps, &err), RR_OK);
  assert_false(keeps);
  assert_int_equal(rr_scorer_check(directory, &cosine, false, &keeps, &err), RR_ERR_UNSUPPORTED);
  assert_int_equal(unlink(path_of("tokenizer.json")), 0);
  assert_int_equal(rr_scorer_check(directory, &how, false, &keeps, &err), RR_OK);
  assert_int_equal(rr_scorer_check(directory, &how, true, &keeps, &err), RR_ERR_IO);
  assert_int_equal(rr_scorer_check(golden_path("colbert"), &how, false, &keeps, &err), RR_OK);
  assert_true(keeps);
  scratch_text(directory, "config.json", "{\"architectures\":[\"T5\"]}");
  assert_int_equal(rr_scorer_check(directory, &how, false, &keeps, &err), RR_ERR_UNSUPPORTED);
}

#define EMPTY(name) cmocka_unit_test_setup_teardown(name, empty, tear_down)
#define COPY(name) cmocka_unit_test_setup_teardown(name, copy, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      EMPTY(a_path_that_leads_nowhere_is_said_to),
      EMPTY(an_empty_folder_is_said_to_be),
      EMPTY(files_are_no_folders),
      EMPTY(weights_in_other_forms_are_named),
      EMPTY(the_right_folder_is_named),
      COPY(files_that_are_missing_are_named),
      COPY(what_is_no_safetensors_is_said_to_be),
      COPY(cut_weights_are_said_to_be_with_their_size),
      COPY(what_is_no_json_is_said_to_be),
      COPY(a_vocabulary_may_be_a_pointer),
      COPY(configurations_of_others_get_the_names_of_models_that_load),
      COPY(a_model_is_looked_at_without_its_weights),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
