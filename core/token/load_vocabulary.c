#include <stdlib.h>
#include <string.h>

#include "core/base/alloc.h"
#include "core/base/file.h"
#include "core/base/kind.h"
#include "core/token/internal.h"

/* The reference drops blanks at a line's end, line feed and carriage return among them. */
static size_t trimmed_size(const rr_unicode *unicode, const char *line, size_t size) {
  while (size > 0) {
    size_t before = size;
    if (!(rr_unicode_flags(unicode, rr_utf8_previous(line, &before)) & RR_UNICODE_SPACE)) {
      break;
    }
    size = before;
  }
  return size;
}

/* A line a token, its number the id; of equal ones the last counts. *ret_size: different tokens. */
static rr_status read_lines(rr_tokenizer *tokenizer, const char *data, size_t size,
                            size_t *ret_size, rr_error *err) {
  size_t distinct = 0;
  bool empty_seen = false;
  int32_t id = 0;
  for (size_t start = 0; start < size; id++) {
    if (id == RR_TOKEN_ID_BOUND) {
      return rr_fail(err, RR_ERR_FORMAT, "more than %d tokens", RR_TOKEN_ID_BOUND);
    }
    const char *end = memchr(data + start, '\n', size - start);
    size_t line_size = end == NULL ? size - start : (size_t)(end - data) - start;
    size_t token_size = trimmed_size(&tokenizer->unicode, data + start, line_size);
    if (token_size == 0) {
      distinct += !empty_seen;
      empty_seen = true;
    } else {
      distinct += rr_trie_find(&tokenizer->wordpiece.tokens, data + start, token_size) < 0;
    }
    rr_status status = rr_tokenizer_add_vocabulary(tokenizer, data + start, token_size, id, err);
    if (status != RR_OK) {
      return status;
    }
    start += line_size + 1;
  }
  *ret_size = distinct;
  return RR_OK;
}

/* A special token is a string or an object with the added token's properties. */
static rr_status read_token(const json_t *json, const char *name, rr_added_token *token,
                            rr_error *err) {
  const json_t *content = json_is_object(json) ? json_object_get(json, "content") : json;
  if (!json_is_string(content)) {
    return rr_fail(err, RR_ERR_FORMAT, "%s is neither a string nor an added token", name);
  }
  token->content = (char *)json_string_value(content);
  token->size = json_string_length(content);
  token->single_word = json_is_true(json_object_get(json, "single_word"));
  token->lstrip = json_is_true(json_object_get(json, "lstrip"));
  token->rstrip = json_is_true(json_object_get(json, "rstrip"));
  token->normalized = json_is_true(json_object_get(json, "normalized"));
  return RR_OK;
}

enum { UNKNOWN, SEPARATOR, PADDING, CLASSIFICATION, MASK, SPECIALS };

/* In the order in which the reference adds them. */
static const struct {
  const char *name;
  const char *usual;
} special_names[SPECIALS] = {{"unk_token", "[UNK]"},
                             {"sep_token", "[SEP]"},
                             {"pad_token", "[PAD]"},
                             {"cls_token", "[CLS]"},
                             {"mask_token", "[MASK]"}};

static rr_status read_specials(const json_t *config, const json_t *map,
                               rr_added_token specials[SPECIALS], rr_error *err) {
  for (size_t i = 0; i < SPECIALS; i++) {
    const char *usual = special_names[i].usual;
    specials[i] = (rr_added_token){.content = (char *)usual, .size = strlen(usual)};
    const json_t *json = json_object_get(map, special_names[i].name);
    if (json == NULL || json_is_null(json)) {
      json = json_object_get(config, special_names[i].name);
    }
    if (json == NULL || json_is_null(json)) {
      continue;
    }
    rr_status status = read_token(json, special_names[i].name, &specials[i], err);
    if (status != RR_OK) {
      return status;
    }
  }
  return RR_OK;
}

typedef struct numbered {
  long id;
  const json_t *token;
} numbered;

static int by_id(const void *left, const void *right) {
  long a = ((const numbered *)left)->id;
  long b = ((const numbered *)right)->id;
  return (a > b) - (a < b);
}

/* {"100": {"content": "[UNK]", ...}, ...}, in ascending order of the numbers. */
static rr_status add_decoder_tokens(rr_added_reader *reader, json_t *decoder, rr_error *err) {
  size_t count = json_object_size(decoder);
  numbered *tokens = rr_calloc(count, sizeof *tokens);
  if (tokens == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for the added tokens");
  }
  const char *key;
  json_t *value;
  size_t i = 0;
  json_object_foreach(decoder, key, value) {
    tokens[i++] = (numbered){strtol(key, NULL, 10), value};
  }
  qsort(tokens, count, sizeof *tokens, by_id);
  rr_status status = RR_OK;
  for (i = 0; i < count && status == RR_OK; i++) {
    rr_added_token token = {.size = 0};
    status = read_token(tokens[i].token, "added_tokens_decoder", &token, err);
    if (status == RR_OK) {
      status = rr_added_reader_add(reader, token, err);
    }
  }
  rr_free(tokens);
  return status;
}

static rr_status add_tokens(rr_added_reader *reader, const json_t *config,
                            const rr_added_token specials[SPECIALS], rr_error *err) {
  json_t *decoder = json_object_get(config, "added_tokens_decoder");
  rr_status status = RR_OK;
  if (json_is_object(decoder)) {
    status = add_decoder_tokens(reader, decoder, err);
  } else if (json_object_size(json_object_get(config, "additional_special_tokens")) > 0 ||
             json_array_size(json_object_get(config, "additional_special_tokens")) > 0 ||
             json_object_size(json_object_get(config, "extra_special_tokens")) > 0 ||
             json_array_size(json_object_get(config, "extra_special_tokens")) > 0) {
    status =
        rr_fail(err, RR_ERR_UNSUPPORTED,
                "tokenizer_config.json: additional special tokens without added_tokens_decoder");
  }
  for (size_t i = 0; i < SPECIALS && status == RR_OK; i++) {
    if (rr_trie_find(&reader->contents, specials[i].content, specials[i].size) < 0) {
      status = rr_added_reader_add(reader, specials[i], err);
    }
  }
  return status;
}

static int32_t id_of(const rr_added_reader *reader, const rr_added_token *token) {
  int32_t index = rr_trie_find(&reader->contents, token->content, token->size);
  return index < 0 ? -1 : reader->tokenizer->added.tokens[index].id;
}

static rr_status read_vocabulary(rr_tokenizer *tokenizer, rr_text text, const json_t *config,
                                 const rr_added_token specials[SPECIALS], rr_added_reader *reader,
                                 rr_error *err) {
  size_t vocabulary_size = 0;
  rr_status status = read_lines(tokenizer, text.data, text.size, &vocabulary_size, err);
  if (status == RR_OK) {
    status = rr_wordpiece_link(&tokenizer->wordpiece, specials[UNKNOWN].content, "##", err);
  }
  if (status == RR_OK) {
    status = rr_added_reader_init(reader, tokenizer, vocabulary_size, err);
  }
  if (status == RR_OK) {
    status = add_tokens(reader, config, specials, err);
  }
  if (status != RR_OK) {
    return status;
  }
  int32_t cls = id_of(reader, &specials[CLASSIFICATION]);
  int32_t sep = id_of(reader, &specials[SEPARATOR]);
  if (cls < 0 || sep < 0) {
    return rr_fail(err, RR_ERR_FORMAT, "cls_token or sep_token is empty");
  }
  rr_templates_bert(cls, sep, &tokenizer->templates);
  return RR_OK;
}

rr_status rr_tokenizer_read_vocabulary(rr_tokenizer *tokenizer, const char *path,
                                       const json_t *config, const json_t *map, rr_error *err) {
  rr_added_token specials[SPECIALS];
  /* added_tokens_decoder makes the older map void. */
  const json_t *used_map = json_object_get(config, "added_tokens_decoder") == NULL ? map : NULL;
  rr_status status = read_specials(config, used_map, specials, err);
  char *data = NULL;
  size_t size = 0;
  if (status == RR_OK) {
    status = rr_file_read(path, RR_TOKEN_FILE_BYTES_MAX, &data, &size, err);
  }
  if (status != RR_OK) {
    return status;
  }
  tokenizer->normalizer = (rr_normalizer){
      .clean_text = true, .handle_chinese_chars = true, .strip_accents = true, .lowercase = true};
  tokenizer->wordpiece.word_chars_max = 100;
  rr_error inner = {.status = RR_OK, .message = ""};
  rr_added_reader reader = {.tokenizer = tokenizer};
  rr_text text = {data, size};
  status = rr_utf8_check(text, &inner);
  if (status != RR_OK) {
    status = RR_ERR_FORMAT;
  } else {
    status = read_vocabulary(tokenizer, text, config, specials, &reader, &inner);
  }
  rr_added_reader_finish(&reader);
  const char *kind =
      status == RR_OK || status == RR_ERR_MEMORY ? NULL : rr_kind_of_bytes(data, size);
  rr_free(data);
  if (kind != NULL) {
    return rr_fail(err, status, "%s: %.150s; the file %s", path, inner.message, kind);
  }
  if (status != RR_OK) {
    (void)rr_fail(err, status, "%s: %s", path, inner.message);
  }
  return status;
}
