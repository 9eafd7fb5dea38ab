/* What a model directory's JSON files may say, and how they are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "core/model/config.h"
#include "tests/core/score_support.h"

enum { PATH_SIZE = 4200 };

static const char *directory;

static int set_up(void **state) {
  (void)state;
  directory = scratch_create();
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  scratch_remove(directory);
  return 0;
}

static const char cross_encoder[] =
    "{\"architectures\":[\"BertForSequenceClassification\"],\"hidden_size\":384,"
    "\"num_hidden_layers\":6,\"num_attention_heads\":12,\"intermediate_size\":1536,"
    "\"max_position_embeddings\":512,\"vocab_size\":30522,\"id2label\":{\"0\":\"relevant\"}}";

static const char bi_encoder[] =
    "{\"architectures\":[\"BertModel\"],\"hidden_size\":384,\"num_hidden_layers\":6,"
    "\"num_attention_heads\":12,\"intermediate_size\":1536,\"max_position_embeddings\":512,"
    "\"vocab_size\":30522,\"type_vocab_size\":2,\"hidden_act\":\"gelu\",\"layer_norm_eps\":1e-12}";

static rr_config accept(void) {
  rr_config config;
  rr_error err = {.message = ""};
  if (rr_config_load(directory, &config, &err) != RR_OK) {
    fail_msg("%s", err.message);
  }
  return config;
}

static void refuse(rr_status status, const char *message) {
  rr_config config;
  rr_error err = {.message = ""};
  rr_status got = rr_config_load(directory, &config, &err);
  if (got != status || strstr(err.message, message) == NULL ||
      strstr(err.message, directory) == NULL) {
    fail_msg("%s: \"%s\" instead of \"%s\"", rr_status_name(got), err.message, message);
  }
}

/* cross_encoder with one key set to a JSON value, or removed if that is NULL. */
static void write_changed(const char *key, const char *value) {
  json_t *json = json_loads(cross_encoder, 0, NULL);
  assert_non_null(json);
  if (value == NULL) {
    assert_int_equal(json_object_del(json, key), 0);
  } else {
    json_t *parsed = json_loads(value, JSON_DECODE_ANY, NULL);
    assert_non_null(parsed);
    assert_int_equal(json_object_set_new(json, key, parsed), 0);
  }
  char *text = json_dumps(json, 0);
  assert_non_null(text);
  scratch_text(directory, "config.json", text);
  free(text);
  json_decref(json);
}

static void refuse_changed(const char *key, const char *value, rr_status status,
                           const char *message) {
  write_changed(key, value);
  refuse(status, message);
}

static void a_cross_encoder_is_read(void **state) {
  (void)state;
  scratch_text(directory, "config.json", cross_encoder);
  rr_config config = accept();
  assert_int_equal(config.head, RR_HEAD_CLASSIFIER);
  assert_int_equal(config.activation, RR_ACTIVATION_GELU_ERF);
  assert_int_equal(config.hidden_size, 384);
  assert_int_equal(config.layers, 6);
  assert_int_equal(config.heads, 12);
  assert_int_equal(config.intermediate_size, 1536);
  assert_int_equal(config.positions, 512);
  assert_int_equal(config.types, 2);
  assert_int_equal(config.vocabulary_size, 30522);
  assert_int_equal(config.max_input_length, 512);
  assert_float_equal(config.norm_epsilon, 1e-12f, 1e-15f);
  assert_string_equal(config.label, "relevant");
  assert_string_equal(config.folder, directory);
}

static void a_bi_encoder_without_modules_pools_the_mean(void **state) {
  (void)state;
  scratch_text(directory, "config.json", bi_encoder);
  assert_int_equal(accept().head, RR_HEAD_MEAN);
}

static void activations_are_known_by_name(void **state) {
  (void)state;
  static const struct {
    const char *name;
    rr_activation activation;
  } known[] = {{"\"gelu\"", RR_ACTIVATION_GELU_ERF},
               {"\"gelu_new\"", RR_ACTIVATION_GELU_TANH},
               {"\"gelu_pytorch_tanh\"", RR_ACTIVATION_GELU_TANH},
               {"\"relu\"", RR_ACTIVATION_RELU}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    write_changed("hidden_act", known[i].name);
    assert_int_equal(accept().activation, known[i].activation);
  }
  refuse_changed("hidden_act", "\"swish\"", RR_ERR_UNSUPPORTED, "swish");
  refuse_changed("hidden_act", "3", RR_ERR_UNSUPPORTED, "hidden_act");
}

static void unknown_architectures_are_named(void **state) {
  (void)state;
  refuse_changed("architectures", "[\"LlamaForCausalLM\"]", RR_ERR_UNSUPPORTED, "LlamaForCausalLM");
  refuse_changed("architectures", NULL, RR_ERR_FORMAT, "architectures");
  refuse_changed("architectures", "\"BertModel\"", RR_ERR_FORMAT, "architectures");
  refuse_changed("architectures", "[]", RR_ERR_FORMAT, "architectures");
  refuse_changed("architectures", "[7]", RR_ERR_FORMAT, "architectures");
}

static void a_reranker_has_one_label(void **state) {
  (void)state;
  const char *message = "model has 3 labels; a reranker needs exactly one";
  refuse_changed("id2label", "{\"0\":\"a\",\"1\":\"b\",\"2\":\"c\"}", RR_ERR_UNSUPPORTED, message);
  refuse_changed("id2label", NULL, RR_ERR_UNSUPPORTED, "model has 2 labels");
  refuse_changed("id2label", "[\"a\"]", RR_ERR_FORMAT, "id2label");
  scratch_text(directory, "config.json",
               "{\"architectures\":[\"BertForSequenceClassification\"],\"hidden_size\":4,"
               "\"num_hidden_layers\":1,\"num_attention_heads\":2,\"intermediate_size\":8,"
               "\"max_position_embeddings\":16,\"vocab_size\":9,\"num_labels\":1}");
  assert_string_equal(accept().label, "LABEL_0");
}

static void sizes_are_typed_and_bounded(void **state) {
  (void)state;
  static const char *const keys[] = {
      "hidden_size",       "num_hidden_layers",       "num_attention_heads",
      "intermediate_size", "max_position_embeddings", "vocab_size",
      "type_vocab_size"};
  static const char *const values[] = {
      "0", "-1", "1.5", "\"8\"", "null", "[]", "9223372036854775807"};
  for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
    for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
      refuse_changed(keys[k], values[v], RR_ERR_FORMAT, keys[k]);
    }
  }
  refuse_changed("hidden_size", NULL, RR_ERR_FORMAT, "hidden_size");
  refuse_changed("num_attention_heads", "7", RR_ERR_FORMAT, "no multiple");
  refuse_changed("type_vocab_size", "257", RR_ERR_FORMAT, "type_vocab_size");
}

static void what_is_not_computed_is_refused(void **state) {
  (void)state;
  refuse_changed("position_embedding_type", "\"relative_key\"", RR_ERR_UNSUPPORTED, "relative_key");
  refuse_changed("is_decoder", "true", RR_ERR_UNSUPPORTED, "is_decoder");
  refuse_changed("layer_norm_eps", "-1", RR_ERR_FORMAT, "layer_norm_eps");
  refuse_changed("layer_norm_eps", "\"small\"", RR_ERR_FORMAT, "layer_norm_eps");
}

static void files_that_are_no_config_are_refused(void **state) {
  (void)state;
  refuse(RR_ERR_IO, "config.json");
  scratch_text(directory, "config.json", "[]");
  refuse(RR_ERR_FORMAT, "object");
  scratch_text(directory, "config.json", "{\"architectures\"");
  refuse(RR_ERR_FORMAT, "invalid JSON");
}

static void the_input_length_is_the_shortest_said(void **state) {
  (void)state;
  scratch_text(directory, "config.json", bi_encoder);
  scratch_text(directory, "sentence_bert_config.json", "{\"max_seq_length\":256}");
  assert_int_equal(accept().max_input_length, 256);
  scratch_text(directory, "sentence_bert_config.json", "{\"max_seq_length\":8192}");
  assert_int_equal(accept().max_input_length, 512);
  scratch_text(directory, "sentence_bert_config.json", "{\"max_seq_length\":null}");
  assert_int_equal(accept().max_input_length, 512);
  scratch_text(directory, "sentence_bert_config.json", "{\"max_seq_length\":0}");
  refuse(RR_ERR_FORMAT, "max_seq_length");
  scratch_text(directory, "sentence_bert_config.json", "7");
  refuse(RR_ERR_FORMAT, "object");
}

/* A bi-encoder with these modules and this pooling config. */
static void write_pipeline(const char *modules, const char *pooling) {
  char path[PATH_SIZE];
  (void)snprintf(path, sizeof path, "%s/1_Pooling", directory);
  (void)mkdir(path, 0700);
  scratch_text(directory, "config.json", bi_encoder);
  scratch_text(directory, "modules.json", modules);
  scratch_text(directory, "1_Pooling/config.json", pooling);
}

#define MODULE(path, type) "{\"path\":\"" path "\",\"type\":\"" type "\"}"
#define TRANSFORMER MODULE("", "sentence_transformers.models.Transformer")
#define POOLING MODULE("1_Pooling", "sentence_transformers.models.Pooling")
#define NORMALIZE MODULE("2_Normalize", "sentence_transformers.models.Normalize")

static const char three_modules[] = "[" TRANSFORMER "," POOLING "," NORMALIZE "]";

static void pooling_is_read_in_both_forms(void **state) {
  (void)state;
  static const struct {
    const char *config;
    rr_head head;
  } known[] = {
      {"{\"pooling_mode\":\"mean\"}", RR_HEAD_MEAN},
      {"{\"pooling_mode\":\"cls\",\"include_prompt\":true}", RR_HEAD_CLS},
      {"{\"pooling_mode\":[\"cls\"]}", RR_HEAD_CLS},
      {"{\"pooling_mode_cls_token\":true,\"pooling_mode_mean_tokens\":false}", RR_HEAD_CLS},
      {"{\"pooling_mode_cls_token\":false,\"pooling_mode_mean_tokens\":true}", RR_HEAD_MEAN},
      {"{\"word_embedding_dimension\":384}", RR_HEAD_MEAN},
  };
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    write_pipeline(three_modules, known[i].config);
    assert_int_equal(accept().head, known[i].head);
  }
}

static void newer_class_paths_are_known(void **state) {
  (void)state;
  static const char modules[] =
      "[" MODULE("", "sentence_transformers.base.modules.transformer.Transformer") "," MODULE(
          "1_Pooling", "sentence_transformers.sentence_transformer.modules.pooling.Pooling") "]";
  write_pipeline(modules, "{\"pooling_mode\":\"cls\"}");
  assert_int_equal(accept().head, RR_HEAD_CLS);
}

static void other_poolings_are_named(void **state) {
  (void)state;
  write_pipeline(three_modules, "{\"pooling_mode\":\"lasttoken\"}");
  refuse(RR_ERR_UNSUPPORTED, "lasttoken");
  write_pipeline(three_modules, "{\"pooling_mode_max_tokens\":true}");
  refuse(RR_ERR_UNSUPPORTED, "pooling_mode_max_tokens");
  write_pipeline(three_modules,
                 "{\"pooling_mode_max_tokens\":true,\"pooling_mode_mean_tokens\":true}");
  refuse(RR_ERR_UNSUPPORTED, "more than one");
  write_pipeline(three_modules, "{\"pooling_mode\":[\"cls\",\"mean\"]}");
  refuse(RR_ERR_UNSUPPORTED, "more than one");
  write_pipeline(three_modules, "{\"pooling_mode\":3}");
  refuse(RR_ERR_FORMAT, "pooling_mode");
  write_pipeline(three_modules, "[]");
  refuse(RR_ERR_FORMAT, "object");
}

static void other_modules_are_named(void **state) {
  (void)state;
  write_pipeline("[" TRANSFORMER "," POOLING
                 "," MODULE("2_Dense", "sentence_transformers.models.Dense") "]",
                 "{}");
  refuse(RR_ERR_UNSUPPORTED, "sentence_transformers.models.Dense");
  write_pipeline("[" POOLING "," TRANSFORMER "]", "{}");
  refuse(RR_ERR_UNSUPPORTED, "in this order");
  write_pipeline("[" TRANSFORMER "," POOLING "," POOLING "]", "{}");
  refuse(RR_ERR_UNSUPPORTED, "in this order");
  write_pipeline("[]", "{}");
  refuse(RR_ERR_FORMAT, "modules");
  write_pipeline("[7]", "{}");
  refuse(RR_ERR_FORMAT, "module 0");
}

static void paths_that_leave_the_directory_are_refused(void **state) {
  (void)state;
  static const char *const paths[] = {"..",   "../other",   "/etc",         "a/../../b",
                                      "1/..", "..\\\\evil", "1_Pooling/..", "a\\u0000b"};
  for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
    char modules[512];
    (void)snprintf(modules, sizeof modules,
                   "[" TRANSFORMER ",{\"path\":\"%s\",\"type\":\"models.Pooling\"}]", paths[i]);
    write_pipeline(modules, "{}");
    refuse(RR_ERR_FORMAT, "leaves the directory");
  }
}

static void the_transformer_may_lie_in_a_folder(void **state) {
  (void)state;
  char path[PATH_SIZE];
  write_pipeline("[" MODULE("0_Transformer", "models.Transformer") "," POOLING "]",
                 "{\"pooling_mode\":\"cls\"}");
  (void)snprintf(path, sizeof path, "%s/0_Transformer", directory);
  assert_int_equal(mkdir(path, 0700), 0);
  scratch_text(directory, "config.json", "not read");
  scratch_text(directory, "0_Transformer/config.json", bi_encoder);
  scratch_text(directory, "0_Transformer/sentence_bert_config.json", "{\"max_seq_length\":100}");
  rr_config config = accept();
  assert_string_equal(config.folder, path);
  assert_int_equal(config.max_input_length, 100);
}

/* cross_encoder (or another) with more members. */
static void write_with(const char *json, const char *more) {
  char text[1024];
  (void)snprintf(text, sizeof text, "%.*s,%s}", (int)strlen(json) - 1, json, more);
  scratch_text(directory, "config.json", text);
}

static void split_layers_are_read(void **state) {
  (void)state;
  scratch_text(directory, "config.json", cross_encoder);
  assert_int_equal(accept().split.layers, 0);
  write_with(cross_encoder, "\"split_layers\":5");
  rr_split split = accept().split;
  assert_int_equal(split.layers, 5);
  assert_false(split.joint_positions);
  assert_false(split.mean_head);
  assert_int_equal(split.residual, RR_SPLIT_NO_RESIDUAL);
  write_with(cross_encoder,
             "\"split_layers\":1,\"split_positions\":\"joint\",\"split_head\":\"mean\","
             "\"split_residual\":\"cosine\",\"split_residual_weight\":-0.5");
  split = accept().split;
  assert_int_equal(split.layers, 1);
  assert_true(split.joint_positions);
  assert_true(split.mean_head);
  assert_int_equal(split.residual, RR_SPLIT_COSINE);
  assert_float_equal(split.weight, -0.5f, 0.0f);
  write_with(cross_encoder, "\"split_layers\":1,\"split_residual\":\"maxsim\"");
  assert_float_equal(accept().split.weight, 1.0f, 0.0f);
}

static void split_layers_make_a_cross_encoder_of_a_bert_model(void **state) {
  (void)state;
  write_with(bi_encoder, "\"split_layers\":2,\"id2label\":{\"0\":\"yes\"}");
  assert_int_equal(accept().head, RR_HEAD_CLASSIFIER);
  assert_string_equal(accept().label, "yes");
  write_with(bi_encoder, "\"split_layers\":2"); /* two labels, as transformers has it */
  refuse(RR_ERR_UNSUPPORTED, "2 labels");
}

static void impossible_split_layers_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *members;
    rr_status status;
    const char *says;
  } known[] = {
      {"\"split_layers\":0", RR_ERR_FORMAT, "split_layers must be an integer from 1 to 5"},
      {"\"split_layers\":-1", RR_ERR_FORMAT, "split_layers"},
      {"\"split_layers\":6", RR_ERR_FORMAT, "split_layers"},
      {"\"split_layers\":4294967298", RR_ERR_FORMAT, "split_layers"},
      {"\"split_layers\":9223372036854775807", RR_ERR_FORMAT, "split_layers"},
      {"\"split_layers\":2.0", RR_ERR_FORMAT, "split_layers"},
      {"\"split_layers\":\"2\"", RR_ERR_FORMAT, "split_layers"},
      {"\"split_layers\":null", RR_ERR_FORMAT, "split_layers"},
      {"\"split_layers\":[2]", RR_ERR_FORMAT, "split_layers"},
      {"\"split_layers\":true", RR_ERR_FORMAT, "split_layers"},
      {"\"split_layers\":2,\"split_positions\":\"Joint\"", RR_ERR_UNSUPPORTED,
       "split_positions Joint"},
      {"\"split_layers\":2,\"split_positions\":1", RR_ERR_UNSUPPORTED, "split_positions"},
      {"\"split_layers\":2,\"split_positions\":null", RR_ERR_UNSUPPORTED, "split_positions"},
      {"\"split_layers\":2,\"split_head\":\"max\"", RR_ERR_UNSUPPORTED, "split_head max"},
      {"\"split_layers\":2,\"split_head\":\"\"", RR_ERR_UNSUPPORTED, "split_head"},
      {"\"split_layers\":2,\"split_residual\":\"dot\"", RR_ERR_UNSUPPORTED, "split_residual dot"},
      {"\"split_layers\":2,\"split_residual\":{}", RR_ERR_UNSUPPORTED, "split_residual"},
      {"\"split_layers\":2,\"split_residual_weight\":1", RR_ERR_FORMAT, "without split_residual"},
      {"\"split_layers\":2,\"split_residual\":\"none\",\"split_residual_weight\":1", RR_ERR_FORMAT,
       "without split_residual"},
      {"\"split_layers\":2,\"split_residual\":\"cosine\",\"split_residual_weight\":1e300",
       RR_ERR_FORMAT, "-1000 to 1000"},
      {"\"split_layers\":2,\"split_residual\":\"cosine\",\"split_residual_weight\":\"1\"",
       RR_ERR_FORMAT, "split_residual_weight"},
      {"\"split_layers\":2,\"split_residual\":\"cosine\",\"split_residual_weight\":null",
       RR_ERR_FORMAT, "split_residual_weight"},
      {"\"split_layers\":2,\"split_pooling\":\"mean\"", RR_ERR_UNSUPPORTED, "split_pooling"},
      {"\"split_head\":\"mean\"", RR_ERR_FORMAT, "split_head without split_layers"},
      {"\"split_residual\":\"none\"", RR_ERR_FORMAT, "split_residual without split_layers"},
  };
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    write_with(cross_encoder, known[i].members);
    refuse(known[i].status, known[i].says);
  }
  scratch_text(directory, "config.json",
               "{\"architectures\":[\"HF_ColBERT\"],\"hidden_size\":32,\"num_hidden_layers\":2,"
               "\"num_attention_heads\":2,"
               "\"intermediate_size\":32,\"max_position_embeddings\":32,\"vocab_size\":99,\"split_"
               "layers\":1}");
  refuse(RR_ERR_UNSUPPORTED, "split_layers of a ColBERT");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_cross_encoder_is_read),
      TEST(a_bi_encoder_without_modules_pools_the_mean),
      TEST(activations_are_known_by_name),
      TEST(unknown_architectures_are_named),
      TEST(a_reranker_has_one_label),
      TEST(sizes_are_typed_and_bounded),
      TEST(what_is_not_computed_is_refused),
      TEST(files_that_are_no_config_are_refused),
      TEST(the_input_length_is_the_shortest_said),
      TEST(pooling_is_read_in_both_forms),
      TEST(newer_class_paths_are_known),
      TEST(other_poolings_are_named),
      TEST(other_modules_are_named),
      TEST(paths_that_leave_the_directory_are_refused),
      TEST(the_transformer_may_lie_in_a_folder),
      TEST(split_layers_are_read),
      TEST(split_layers_make_a_cross_encoder_of_a_bert_model),
      TEST(impossible_split_layers_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
