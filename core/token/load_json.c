#include <string.h>

#include "core/token/internal.h"

static rr_status read_bool(const json_t *object, const char *part, const char *name,
                           bool *ret_value, rr_error *err) {
  const json_t *value = json_object_get(object, name);
  if (!json_is_boolean(value)) {
    return rr_fail(err, RR_ERR_FORMAT, "%s: %s is neither true nor false", part, name);
  }
  *ret_value = json_is_true(value);
  return RR_OK;
}

static rr_status check_type(const json_t *object, const char *part, const char *wanted,
                            rr_error *err) {
  const char *type = json_string_value(json_object_get(object, "type"));
  if (type == NULL) {
    return rr_fail(err, RR_ERR_FORMAT, "%s is missing or without a type", part);
  }
  if (strcmp(type, wanted) != 0) {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "%s of type %.64s (only %s)", part, type, wanted);
  }
  return RR_OK;
}

static rr_status read_normalizer(const json_t *json, rr_normalizer *ret_normalizer, rr_error *err) {
  static const char part[] = "normalizer";
  if (json == NULL || json_is_null(json)) {
    *ret_normalizer = (rr_normalizer){.clean_text = false};
    return RR_OK;
  }
  rr_normalizer normalizer;
  rr_status status = check_type(json, part, "BertNormalizer", err);
  if (status == RR_OK) {
    status = read_bool(json, part, "clean_text", &normalizer.clean_text, err);
  }
  if (status == RR_OK) {
    status = read_bool(json, part, "handle_chinese_chars", &normalizer.handle_chinese_chars, err);
  }
  if (status == RR_OK) {
    status = read_bool(json, part, "lowercase", &normalizer.lowercase, err);
  }
  const json_t *strip = json_object_get(json, "strip_accents");
  if (status == RR_OK && (strip == NULL || json_is_null(strip))) {
    normalizer.strip_accents = normalizer.lowercase;
  } else if (status == RR_OK) {
    status = read_bool(json, part, "strip_accents", &normalizer.strip_accents, err);
  }
  if (status == RR_OK) {
    *ret_normalizer = normalizer;
  }
  return status;
}

static rr_status read_vocabulary(rr_tokenizer *tokenizer, json_t *vocabulary, rr_error *err) {
  const char *token;
  json_t *value;
  json_object_foreach(vocabulary, token, value) {
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) >= RR_TOKEN_ID_BOUND) {
      return rr_fail(err, RR_ERR_FORMAT, "model: the id of \"%.64s\" is no integer from 0 to %d",
                     token, RR_TOKEN_ID_BOUND - 1);
    }
    rr_status status = rr_tokenizer_add_vocabulary(tokenizer, token, strlen(token),
                                                   (int32_t)json_integer_value(value), err);
    if (status != RR_OK) {
      return status;
    }
  }
  return RR_OK;
}

static rr_status read_model(rr_tokenizer *tokenizer, const json_t *model, rr_error *err) {
  /* Old files have no type. */
  rr_status status = RR_OK;
  if (!json_is_object(model) || json_object_get(model, "type") != NULL) {
    status = check_type(model, "model", "WordPiece", err);
  }
  if (status != RR_OK) {
    return status;
  }
  const char *unknown = json_string_value(json_object_get(model, "unk_token"));
  const char *prefix = json_string_value(json_object_get(model, "continuing_subword_prefix"));
  const json_t *chars = json_object_get(model, "max_input_chars_per_word");
  json_t *vocabulary = json_object_get(model, "vocab");
  if (unknown == NULL || prefix == NULL || !json_is_integer(chars) || !json_is_object(vocabulary)) {
    return rr_fail(
        err, RR_ERR_FORMAT,
        "model: unk_token, continuing_subword_prefix, max_input_chars_per_word or vocab is "
        "missing or of a wrong type");
  }
  json_int_t chars_max = json_integer_value(chars);
  if (chars_max < 0) {
    return rr_fail(err, RR_ERR_FORMAT, "model: max_input_chars_per_word is negative");
  }
  if (chars_max > RR_WORD_CHARS_MAX) {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "model: max_input_chars_per_word over %d",
                   RR_WORD_CHARS_MAX);
  }
  tokenizer->wordpiece.word_chars_max = (size_t)chars_max;
  status = read_vocabulary(tokenizer, vocabulary, err);
  if (status == RR_OK) {
    status = rr_wordpiece_link(&tokenizer->wordpiece, unknown, prefix, err);
  }
  return status;
}

static rr_status read_added_token(rr_added_reader *reader, const json_t *json, rr_error *err) {
  static const char part[] = "added_tokens";
  const json_t *content = json_object_get(json, "content");
  if (!json_is_string(content) || !json_is_integer(json_object_get(json, "id"))) {
    return rr_fail(err, RR_ERR_FORMAT, "added_tokens: a token without content or id");
  }
  rr_added_token token = {.content = (char *)json_string_value(content),
                          .size = json_string_length(content)};
  bool special;
  rr_status status = read_bool(json, part, "special", &special, err);
  if (status == RR_OK) {
    status = read_bool(json, part, "single_word", &token.single_word, err);
  }
  if (status == RR_OK) {
    status = read_bool(json, part, "lstrip", &token.lstrip, err);
  }
  if (status == RR_OK) {
    status = read_bool(json, part, "rstrip", &token.rstrip, err);
  }
  if (status == RR_OK) {
    status = read_bool(json, part, "normalized", &token.normalized, err);
  }
  return status == RR_OK ? rr_added_reader_add(reader, token, err) : status;
}

static rr_status read_added_tokens(rr_tokenizer *tokenizer, const json_t *tokens,
                                   size_t vocabulary_size, rr_error *err) {
  if (tokens == NULL || json_is_null(tokens)) {
    return RR_OK;
  }
  if (!json_is_array(tokens)) {
    return rr_fail(err, RR_ERR_FORMAT, "added_tokens is not an array");
  }
  rr_added_reader reader;
  rr_status status = rr_added_reader_init(&reader, tokenizer, vocabulary_size, err);
  for (size_t i = 0; i < json_array_size(tokens) && status == RR_OK; i++) {
    status = read_added_token(&reader, json_array_get(tokens, i), err);
  }
  rr_added_reader_finish(&reader);
  return status;
}

rr_status rr_tokenizer_read_json(rr_tokenizer *tokenizer, const json_t *json, rr_error *err) {
  const json_t *model = json_object_get(json, "model");
  rr_status status =
      read_normalizer(json_object_get(json, "normalizer"), &tokenizer->normalizer, err);
  if (status == RR_OK) {
    status = check_type(json_object_get(json, "pre_tokenizer"), "pre_tokenizer", "BertPreTokenizer",
                        err);
  }
  if (status == RR_OK) {
    status =
        rr_templates_parse(json_object_get(json, "post_processor"), &tokenizer->templates, err);
  }
  if (status == RR_OK) {
    status = read_model(tokenizer, model, err);
  }
  if (status == RR_OK) {
    status = read_added_tokens(tokenizer, json_object_get(json, "added_tokens"),
                               json_object_size(json_object_get(model, "vocab")), err);
  }
  return status;
}
