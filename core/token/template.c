#include "core/token/template.h"

#include <stdbool.h>
#include <string.h>

#include "core/token/wordpiece.h"

static rr_status add_piece(rr_template *form, rr_template_piece piece, rr_error *err) {
  if (form->count == RR_TEMPLATE_PIECES_MAX) {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "post_processor: more than %d pieces",
                   RR_TEMPLATE_PIECES_MAX);
  }
  form->pieces[form->count++] = piece;
  form->specials += piece.kind == RR_TEMPLATE_SPECIAL;
  return RR_OK;
}

/* Reads an integer in [0, bound). */
static bool read_bounded(const json_t *json, json_int_t bound, json_int_t *ret_value) {
  if (!json_is_integer(json) || json_integer_value(json) < 0 || json_integer_value(json) >= bound) {
    return false;
  }
  *ret_value = json_integer_value(json);
  return true;
}

static rr_status add_special(rr_template *form, const json_t *specials, const char *name,
                             uint8_t type_id, rr_error *err) {
  const json_t *ids = json_object_get(json_object_get(specials, name), "ids");
  if (!json_is_array(ids)) {
    return rr_fail(err, RR_ERR_FORMAT, "post_processor: special token \"%.64s\" has no ids", name);
  }
  rr_status status = RR_OK;
  for (size_t i = 0; i < json_array_size(ids) && status == RR_OK; i++) {
    json_int_t id;
    if (!read_bounded(json_array_get(ids, i), RR_TOKEN_ID_BOUND, &id)) {
      return rr_fail(err, RR_ERR_FORMAT, "post_processor: special token \"%.64s\" has a bad id",
                     name);
    }
    status = add_piece(form, (rr_template_piece){RR_TEMPLATE_SPECIAL, (int32_t)id, type_id}, err);
  }
  return status;
}

/* {"SpecialToken": {"id": "[CLS]", "type_id": 0}} or {"Sequence": {"id": "A", "type_id": 0}}. */
static rr_status parse_piece(const json_t *json, const json_t *specials, rr_template *form,
                             rr_error *err) {
  const json_t *special = json_object_get(json, "SpecialToken");
  const json_t *sequence = json_object_get(json, "Sequence");
  const json_t *body = special != NULL ? special : sequence;
  const char *id = json_string_value(json_object_get(body, "id"));
  json_int_t type_id;
  if (id == NULL || !read_bounded(json_object_get(body, "type_id"), 256, &type_id)) {
    return rr_fail(err, RR_ERR_FORMAT, "post_processor: a piece without id or with a bad type_id");
  }
  if (special != NULL) {
    return add_special(form, specials, id, (uint8_t)type_id, err);
  }
  if (strcmp(id, "A") != 0 && strcmp(id, "B") != 0) {
    return rr_fail(err, RR_ERR_FORMAT, "post_processor: sequence \"%.64s\" is neither A nor B", id);
  }
  rr_template_kind kind = id[0] == 'A' ? RR_TEMPLATE_A : RR_TEMPLATE_B;
  return add_piece(form, (rr_template_piece){kind, 0, (uint8_t)type_id}, err);
}

static size_t count_kind(const rr_template *form, rr_template_kind kind) {
  size_t count = 0;
  for (size_t i = 0; i < form->count; i++) {
    count += form->pieces[i].kind == kind;
  }
  return count;
}

static rr_status parse_template(const json_t *processor, const char *name, size_t b_count,
                                rr_template *form, rr_error *err) {
  const json_t *pieces = json_object_get(processor, name);
  const json_t *specials = json_object_get(processor, "special_tokens");
  if (!json_is_array(pieces) || !json_is_object(specials)) {
    return rr_fail(err, RR_ERR_FORMAT, "post_processor: \"%s\" or \"special_tokens\" is missing",
                   name);
  }
  rr_status status = RR_OK;
  for (size_t i = 0; i < json_array_size(pieces) && status == RR_OK; i++) {
    status = parse_piece(json_array_get(pieces, i), specials, form, err);
  }
  if (status == RR_OK &&
      (count_kind(form, RR_TEMPLATE_A) != 1 || count_kind(form, RR_TEMPLATE_B) != b_count)) {
    status = rr_fail(err, RR_ERR_UNSUPPORTED,
                     "post_processor: \"%s\" must hold each of its sequences once", name);
  }
  return status;
}

void rr_templates_bert(int32_t cls, int32_t sep, rr_templates *ret_templates) {
  *ret_templates = (rr_templates){
      .single = {.pieces = {{RR_TEMPLATE_SPECIAL, cls, 0},
                            {RR_TEMPLATE_A, 0, 0},
                            {RR_TEMPLATE_SPECIAL, sep, 0}},
                 .count = 3,
                 .specials = 2},
      .pair = {.pieces = {{RR_TEMPLATE_SPECIAL, cls, 0},
                          {RR_TEMPLATE_A, 0, 0},
                          {RR_TEMPLATE_SPECIAL, sep, 0},
                          {RR_TEMPLATE_B, 0, 1},
                          {RR_TEMPLATE_SPECIAL, sep, 1}},
               .count = 5,
               .specials = 3},
  };
}

/* {"sep": ["[SEP]", 102], "cls": ["[CLS]", 101]} */
static rr_status parse_bert(const json_t *processor, rr_templates *ret_templates, rr_error *err) {
  json_int_t cls;
  json_int_t sep;
  if (!read_bounded(json_array_get(json_object_get(processor, "cls"), 1), RR_TOKEN_ID_BOUND,
                    &cls) ||
      !read_bounded(json_array_get(json_object_get(processor, "sep"), 1), RR_TOKEN_ID_BOUND,
                    &sep)) {
    return rr_fail(err, RR_ERR_FORMAT, "post_processor: \"cls\" or \"sep\" has no id or a bad one");
  }
  rr_templates_bert((int32_t)cls, (int32_t)sep, ret_templates);
  return RR_OK;
}

rr_status rr_templates_parse(const json_t *post_processor, rr_templates *ret_templates,
                             rr_error *err) {
  if (post_processor == NULL || json_is_null(post_processor)) {
    *ret_templates = (rr_templates){
        .single = {.pieces = {{RR_TEMPLATE_A, 0, 0}}, .count = 1},
        .pair = {.pieces = {{RR_TEMPLATE_A, 0, 0}, {RR_TEMPLATE_B, 0, 1}}, .count = 2},
    };
    return RR_OK;
  }
  const char *type = json_string_value(json_object_get(post_processor, "type"));
  if (type == NULL) {
    return rr_fail(err, RR_ERR_FORMAT, "post_processor: no type");
  }
  if (strcmp(type, "BertProcessing") == 0) {
    return parse_bert(post_processor, ret_templates, err);
  }
  if (strcmp(type, "TemplateProcessing") != 0) {
    return rr_fail(err, RR_ERR_UNSUPPORTED, "post_processor of type %.64s", type);
  }
  rr_templates templates = {.single = {.count = 0}};
  rr_status status = parse_template(post_processor, "single", 0, &templates.single, err);
  if (status == RR_OK) {
    status = parse_template(post_processor, "pair", 1, &templates.pair, err);
  }
  if (status == RR_OK) {
    *ret_templates = templates;
  }
  return status;
}

static int32_t template_max_id(const rr_template *form) {
  int32_t largest = -1;
  for (size_t i = 0; i < form->count; i++) {
    const rr_template_piece *piece = &form->pieces[i];
    if (piece->kind == RR_TEMPLATE_SPECIAL && piece->id > largest) {
      largest = piece->id;
    }
  }
  return largest;
}

int32_t rr_templates_max_id(const rr_templates *templates) {
  int32_t single = template_max_id(&templates->single);
  int32_t pair = template_max_id(&templates->pair);
  return single > pair ? single : pair;
}

/* The reference's rule: the shorter one stays whole if it fits into half of the budget, and where
 * both are cut the odd token goes to the longer one (to b if they are equal). */
void rr_truncate_longest_first(size_t budget, size_t *a_size, size_t *b_size) {
  if (*a_size <= budget && *b_size <= budget - *a_size) {
    return;
  }
  bool swap = *a_size > *b_size;
  size_t shorter = swap ? *b_size : *a_size;
  size_t longer;
  if (shorter <= budget / 2) {
    longer = budget - shorter;
  } else {
    shorter = budget / 2;
    longer = budget - shorter;
  }
  *a_size = swap ? longer : shorter;
  *b_size = swap ? shorter : longer;
}

/* How much of the sequences is kept of one that is longer than it may be. */
static rr_status cut(const rr_template *form, const rr_truncation *truncation, size_t whole,
                     bool is_pair, size_t *a_size, size_t *b_size, rr_error *err) {
  if (!truncation->enabled) {
    return rr_fail(err, RR_ERR_INPUT, "`inputs` must have less than %zu tokens. Given: %zu",
                   truncation->max_length, whole);
  }
  if (truncation->max_length < form->specials) {
    return rr_fail(err, RR_ERR_INPUT, "%zu tokens leave no room beside %zu special tokens",
                   truncation->max_length, form->specials);
  }
  bool room = *a_size + form->specials < truncation->max_length;
  if (!is_pair || truncation->cut == RR_CUT_LONGEST ||
      (truncation->cut == RR_CUT_TEXT_IF_POSSIBLE && !room)) {
    rr_truncate_longest_first(truncation->max_length - form->specials, a_size, b_size);
    return RR_OK;
  }
  size_t excess = whole - truncation->max_length;
  if (*b_size <= excess) {
    return rr_fail(err, RR_ERR_INPUT,
                   "a query of %zu tokens leaves no room for a text within %zu tokens", *a_size,
                   truncation->max_length);
  }
  *b_size -= excess;
  return RR_OK;
}

/* The part of a sequence that is kept. */
static rr_tokens keep(const rr_tokens *tokens, size_t size, bool left) {
  size_t skipped = left ? tokens->size - size : 0;
  return (rr_tokens){.ids = size == 0 ? NULL : tokens->ids + skipped, .size = size};
}

/* Returns where b begins; 0 if the template has none. */
static size_t fill(const rr_template *form, rr_tokens a, rr_tokens b, int32_t *ids,
                   uint8_t *type_ids) {
  size_t at = 0;
  size_t second = 0;
  for (size_t i = 0; i < form->count; i++) {
    const rr_template_piece *piece = &form->pieces[i];
    if (piece->kind == RR_TEMPLATE_SPECIAL) {
      ids[at] = piece->id;
      type_ids[at++] = piece->type_id;
      continue;
    }
    rr_tokens tokens = piece->kind == RR_TEMPLATE_A ? a : b;
    second = piece->kind == RR_TEMPLATE_B ? at : second;
    if (tokens.size > 0) {
      memcpy(ids + at, tokens.ids, tokens.size * sizeof *ids);
      memset(type_ids + at, piece->type_id, tokens.size);
      at += tokens.size;
    }
  }
  return second;
}

rr_status rr_template_apply(const rr_template *form, const rr_tokens *a, const rr_tokens *b,
                            const rr_truncation *truncation, rr_arena *arena,
                            rr_encoding *ret_encoding, rr_error *err) {
  const rr_tokens none = {NULL, 0};
  const rr_tokens *second = b == NULL ? &none : b;
  size_t a_size = a->size;
  size_t b_size = second->size;
  size_t whole;
  if (__builtin_add_overflow(a_size, b_size, &whole) ||
      __builtin_add_overflow(whole, form->specials, &whole)) {
    return rr_fail(err, RR_ERR_INPUT, "too many tokens");
  }
  rr_status status = RR_OK;
  if (whole > truncation->max_length) {
    status = cut(form, truncation, whole, b != NULL, &a_size, &b_size, err);
  }
  if (status != RR_OK) {
    return status;
  }
  size_t length = a_size + b_size + form->specials;
  int32_t *ids = rr_arena_calloc(arena, length, sizeof *ids);
  uint8_t *type_ids = rr_arena_alloc(arena, length);
  if (ids == NULL || type_ids == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for %zu tokens", length);
  }
  size_t begin = fill(form, keep(a, a_size, truncation->left),
                      keep(second, b_size, truncation->left), ids, type_ids);
  *ret_encoding = (rr_encoding){.ids = ids,
                                .type_ids = type_ids,
                                .length = length,
                                .dropped = whole - length,
                                .split_at = begin};
  return RR_OK;
}
