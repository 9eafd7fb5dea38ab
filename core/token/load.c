#include <stdbool.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/token/internal.h"

/* Lengths beyond this mean "none": the reference writes 1e30 for that. */
static const double LENGTH_BEYOND_REASON = 1e9;

static rr_status join(const char *directory, const char *name, char path[RR_PATH_MAX],
                      rr_error *err) {
  return rr_path_join(directory, name, path, NULL) == RR_OK
             ? RR_OK
             : rr_fail(err, RR_ERR_IO, "the path of %s is too long", name);
}

/* *ret_json is NULL where there is no such file; what is there must be an object. */
static rr_status load_optional(const char *directory, const char *name, json_t **ret_json,
                               rr_error *err) {
  char path[RR_PATH_MAX];
  rr_status status = join(directory, name, path, err);
  bool there = false;
  if (status == RR_OK) {
    status = rr_file_find(path, &there, err);
  }
  if (status != RR_OK) {
    return status;
  }
  if (!there) {
    *ret_json = NULL;
    return RR_OK;
  }
  json_t *json;
  status = rr_json_load(path, RR_TOKEN_FILE_BYTES_MAX, &json, err);
  if (status != RR_OK) {
    return status;
  }
  if (!json_is_object(json)) {
    json_decref(json);
    return rr_fail(err, RR_ERR_FORMAT, "%s: not an object", path);
  }
  *ret_json = json;
  return RR_OK;
}

static rr_status read_flag(const json_t *config, const char *name, bool otherwise, bool *ret_flag,
                           rr_error *err) {
  const json_t *value = json_object_get(config, name);
  if (value != NULL && !json_is_null(value) && !json_is_boolean(value)) {
    return rr_fail(err, RR_ERR_FORMAT, "tokenizer_config.json: %s is neither true nor false", name);
  }
  *ret_flag = json_is_boolean(value) ? json_is_true(value) : otherwise;
  return RR_OK;
}

static rr_status read_max_length(const json_t *config, size_t *ret_length, rr_error *err) {
  const json_t *value = json_object_get(config, "model_max_length");
  if (value == NULL || json_is_null(value)) {
    *ret_length = SIZE_MAX;
    return RR_OK;
  }
  if (!json_is_number(value) || json_number_value(value) < 1) {
    return rr_fail(err, RR_ERR_FORMAT,
                   "tokenizer_config.json: model_max_length is no positive number");
  }
  double length = json_number_value(value);
  *ret_length = length > LENGTH_BEYOND_REASON ? SIZE_MAX : (size_t)length;
  return RR_OK;
}

/* The classes that build their normalizer from the configuration and ignore tokenizer.json's.
 * Without a class the model's type decides, which is BERT for everything that loads here. */
static bool is_bert_class(const json_t *config) {
  static const char *const names[] = {"BertTokenizer",       "BertTokenizerFast",
                                      "DistilBertTokenizer", "DistilBertTokenizerFast",
                                      "ElectraTokenizer",    "ElectraTokenizerFast"};
  const char *class_name = json_string_value(json_object_get(config, "tokenizer_class"));
  if (class_name == NULL) {
    return true;
  }
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (strcmp(class_name, names[i]) == 0) {
      return true;
    }
  }
  return false;
}

static rr_status apply_config(rr_tokenizer *tokenizer, const json_t *config, rr_error *err) {
  rr_status status = read_max_length(config, &tokenizer->max_length, err);
  if (status != RR_OK || config == NULL || !is_bert_class(config)) {
    return status;
  }
  rr_normalizer *normalizer = &tokenizer->normalizer;
  normalizer->clean_text = true;
  status = read_flag(config, "do_lower_case", true, &normalizer->lowercase, err);
  if (status == RR_OK) {
    status =
        read_flag(config, "strip_accents", normalizer->lowercase, &normalizer->strip_accents, err);
  }
  if (status == RR_OK) {
    status =
        read_flag(config, "tokenize_chinese_chars", true, &normalizer->handle_chinese_chars, err);
  }
  return status;
}

/* Neither tokenizer.json nor vocab.txt: there may be a tokenizer of another kind. */
static rr_status lacks_tokenizer(const char *directory, rr_error *err) {
  static const struct {
    const char *file;
    const char *kind;
  } others[] = {{"spiece.model", "SentencePiece"},
                {"sentencepiece.bpe.model", "SentencePiece"},
                {"tokenizer.model", "SentencePiece"},
                {"merges.txt", "byte-pair"},
                {"vocab.json", "byte-pair"}};
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
    char path[RR_PATH_MAX];
    bool there = false;
    if (join(directory, others[i].file, path, NULL) == RR_OK &&
        rr_file_find(path, &there, NULL) == RR_OK && there) {
      return rr_fail(
          err, RR_ERR_UNSUPPORTED,
          "%.200s has a %s tokenizer (%s), which is not supported: only WordPiece is, in "
          "tokenizer.json or vocab.txt",
          directory, others[i].kind, others[i].file);
    }
  }
  return rr_fail(err, RR_ERR_IO,
                 "%.200s has neither tokenizer.json nor vocab.txt: download one of them, and "
                 "tokenizer_config.json if the model has one",
                 directory);
}

static rr_status read_vocabulary(rr_tokenizer *tokenizer, const char *directory,
                                 const json_t *config, rr_error *err) {
  if (config != NULL && !is_bert_class(config)) {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "%s: a vocabulary alone for a tokenizer of class %.64s",
                   directory, json_string_value(json_object_get(config, "tokenizer_class")));
  }
  json_t *added;
  rr_status status = load_optional(directory, "added_tokens.json", &added, err);
  if (status != RR_OK) {
    return status;
  }
  size_t added_count = json_object_size(added);
  json_decref(added);
  if (added_count > 0) {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "%s: added_tokens.json without tokenizer.json",
                   directory);
  }
  char path[RR_PATH_MAX];
  json_t *map;
  bool there = true;
  status = join(directory, "vocab.txt", path, err);
  if (status == RR_OK) {
    status = rr_file_find(path, &there, err);
  }
  if (status == RR_OK && !there) {
    return lacks_tokenizer(directory, err);
  }
  if (status == RR_OK) {
    status = load_optional(directory, "special_tokens_map.json", &map, err);
  }
  if (status == RR_OK) {
    status = rr_tokenizer_read_vocabulary(tokenizer, path, config, map, err);
    json_decref(map);
  }
  return status;
}

rr_status rr_tokenizer_read(rr_tokenizer *tokenizer, const char *directory, rr_error *err) {
  json_t *config;
  json_t *json = NULL;
  rr_status status = rr_trie_init(&tokenizer->wordpiece.tokens, err);
  if (status != RR_OK) {
    return status;
  }
  status = load_optional(directory, "tokenizer_config.json", &config, err);
  if (status != RR_OK) {
    return status;
  }
  status = load_optional(directory, "tokenizer.json", &json, err);
  if (status == RR_OK && json == NULL) {
    status = read_vocabulary(tokenizer, directory, config, err);
  } else if (status == RR_OK) {
    rr_error inner = {.status = RR_OK, .message = ""};
    status = rr_tokenizer_read_json(tokenizer, json, &inner);
    if (status != RR_OK) {
      (void)rr_fail(err, status, "%s/tokenizer.json: %s", directory, inner.message);
    }
  }
  if (status == RR_OK) {
    status = apply_config(tokenizer, config, err);
  }
  if (status == RR_OK) {
    int32_t largest = rr_templates_max_id(&tokenizer->templates);
    if (largest >= 0 && (size_t)largest >= tokenizer->id_bound) {
      tokenizer->id_bound = (size_t)largest + 1;
    }
  }
  json_decref(json);
  json_decref(config);
  return status;
}

rr_status rr_tokenizer_add_vocabulary(rr_tokenizer *tokenizer, const char *token, size_t size,
                                      int32_t id, rr_error *err) {
  if ((size_t)id >= tokenizer->id_bound) {
    tokenizer->id_bound = (size_t)id + 1;
  }
  /* Never matched, but some vocabularies have it. */
  if (size == 0) {
    return RR_OK;
  }
  return rr_trie_insert(&tokenizer->wordpiece.tokens, token, size, id, err);
}

rr_status rr_added_reader_init(rr_added_reader *reader, rr_tokenizer *tokenizer,
                               size_t vocabulary_size, rr_error *err) {
  *reader = (rr_added_reader){.tokenizer = tokenizer, .next_id = vocabulary_size};
  rr_status status = rr_trie_init(&reader->contents, err);
  if (status == RR_OK) {
    status = rr_trie_init(&reader->ids, err);
  }
  return status;
}

void rr_added_reader_finish(rr_added_reader *reader) {
  rr_trie_finish(&reader->contents);
  rr_trie_finish(&reader->ids);
}

rr_status rr_added_reader_add(rr_added_reader *reader, rr_added_token token, rr_error *err) {
  rr_added *added = &reader->tokenizer->added;
  if (token.size == 0) {
    return RR_OK;
  }
  int32_t known = rr_trie_find(&reader->contents, token.content, token.size);
  if (known >= 0) {
    rr_added_token *old = &added->tokens[known];
    token.content = old->content;
    token.id = old->id;
    *old = token;
    return RR_OK;
  }
  token.id = rr_trie_find(&reader->tokenizer->wordpiece.tokens, token.content, token.size);
  if (token.id < 0) {
    if (reader->next_id >= RR_TOKEN_ID_BOUND) {
      return rr_fail(err, RR_ERR_FORMAT, "token ids of %d and more", RR_TOKEN_ID_BOUND);
    }
    token.id = (int32_t)reader->next_id++;
    if ((size_t)token.id >= reader->tokenizer->id_bound) {
      reader->tokenizer->id_bound = (size_t)token.id + 1;
    }
  }
  const char *id_bytes = (const char *)&token.id;
  if (rr_trie_find(&reader->ids, id_bytes, sizeof token.id) >= 0) {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "two added tokens share the id %d", token.id);
  }
  int32_t index = (int32_t)added->count;
  rr_status status = rr_added_append(added, token, err);
  if (status == RR_OK) {
    status = rr_trie_insert(&reader->contents, token.content, token.size, index, err);
  }
  if (status == RR_OK) {
    status = rr_trie_insert(&reader->ids, id_bytes, sizeof token.id, index, err);
  }
  return status;
}
