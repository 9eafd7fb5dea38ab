#include "server/options/values.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/options/hints.h"
#include "server/options/sizes.h"

enum { WORDS_MAX = 8, EXPECTED_MAX = 256 };

/* The values that an option may have, for people; the aliases are not among them. */
typedef struct choice {
  const char *name;
  int value;
} choice;

static const choice dtypes[] = {{"auto", RR_DTYPE_AUTO},
                                {"float32", RR_DTYPE_FLOAT32},
                                {"bfloat16", RR_DTYPE_BFLOAT16},
                                {"int8", RR_DTYPE_INT8},
                                {"fp32", RR_DTYPE_FLOAT32},
                                {"float", RR_DTYPE_FLOAT32},
                                {"bf16", RR_DTYPE_BFLOAT16},
                                {"float16", RR_DTYPE_BFLOAT16},
                                {"fp16", RR_DTYPE_BFLOAT16},
                                {"half", RR_DTYPE_BFLOAT16},
                                {NULL, 0}};
static const choice scorings[] = {{"auto", RR_SCORING_AUTO},
                                  {"cosine", RR_SCORING_COSINE},
                                  {"maxsim", RR_SCORING_MAXSIM},
                                  {"hybrid", RR_SCORING_HYBRID},
                                  {NULL, 0}};
static const choice switches[] = {
    {"on", OPTION_ON}, {"off", OPTION_OFF}, {"auto", OPTION_AUTO}, {NULL, 0}};
static const choice levels[] = {{"error", LOG_LEVEL_ERROR},
                                {"warn", LOG_LEVEL_WARN},
                                {"info", LOG_LEVEL_INFO},
                                {"debug", LOG_LEVEL_DEBUG},
                                {NULL, 0}};
static const choice flags[] = {{"true", 1}, {"false", 0}, {NULL, 0}};

static bool choose(const choice *choices, const char *text, int *ret_value) {
  for (size_t i = 0; choices[i].name != NULL; i++) {
    if (strcasecmp(text, choices[i].name) == 0) {
      *ret_value = choices[i].value;
      return true;
    }
  }
  return false;
}

bool option_flag(const char *text, bool *ret_flag) {
  static const choice words[] = {
      {"true", 1},  {"1", 1}, {"yes", 1}, {"on", 1}, /* as huggingface_hub takes them */
      {"false", 0}, {"0", 0}, {"no", 0},  {"off", 0}, {NULL, 0}};
  int value;
  if (!choose(words, text, &value)) {
    return false;
  }
  *ret_flag = value != 0;
  return true;
}

static bool parse_number(const char *text, size_t minimum, size_t maximum, size_t *ret_number) {
  if (!isdigit((unsigned char)text[0])) {
    return false;
  }
  char *end;
  errno = 0;
  unsigned long long number = strtoull(text, &end, 10);
  if (errno != 0 || *end != '\0' || number < minimum || number > maximum) {
    return false;
  }
  *ret_number = (size_t)number;
  return true;
}

static bool parse_dtype(const char *text, options *self) {
  int value;
  if (!choose(dtypes, text, &value)) {
    return false;
  }
  self->dtype = (rr_dtype)value;
  self->dtype_float16 = strcasecmp(text, "float16") == 0 || strcasecmp(text, "fp16") == 0 ||
                        strcasecmp(text, "half") == 0;
  return true;
}

static bool parse_switch(const char *text, option_switch *ret_switch) {
  bool flag;
  if (strcasecmp(text, "auto") == 0) {
    *ret_switch = OPTION_AUTO;
  } else if (option_flag(text, &flag)) {
    *ret_switch = flag ? OPTION_ON : OPTION_OFF;
  } else {
    return false;
  }
  return true;
}

static bool add_item(option_list *list, const char *text) {
  if (text[0] == '\0' || list->n == OPTION_LIST_MAX) {
    return false;
  }
  list->items[list->n++] = text;
  return true;
}

static bool store_number(const option_spec *option, const char *text, void *field) {
  size_t number;
  if (option->kind == OPTION_SIZE
          ? !size_parse(text, &number) || number < option->minimum || number > option->maximum
          : !parse_number(text, option->minimum, option->maximum, &number)) {
    return false;
  }
  if (option->kind == OPTION_SMALL_NUMBER) {
    *(unsigned *)field = (unsigned)number;
  } else {
    *(size_t *)field = number;
  }
  return true;
}

static bool store(const option_spec *option, const char *text, options *self) {
  void *field = (char *)self + option->offset;
  int value;
  switch (option->kind) {
  case OPTION_TEXT:
  case OPTION_HEALTH: *(const char **)field = text; return text[0] != '\0';
  case OPTION_LIST: return add_item(field, text);
  case OPTION_NUMBER:
  case OPTION_SMALL_NUMBER:
  case OPTION_SIZE: return store_number(option, text, field);
  case OPTION_FLAG: return option_flag(text, field);
  case OPTION_SWITCH: return parse_switch(text, field);
  case OPTION_DTYPE: return parse_dtype(text, self);
  case OPTION_SCORING:
    if (!choose(scorings, text, &value)) {
      return false;
    }
    *(rr_scoring *)field = (rr_scoring)value;
    return true;
  case OPTION_LEVEL: return log_level_parse(text, field);
  case OPTION_HELP:
  case OPTION_VERSION: break;
  }
  return false;
}

/* The values that it may have, where they have names. */
static const choice *choices_of(option_kind kind) {
  switch (kind) {
  case OPTION_FLAG: return flags;
  case OPTION_SWITCH: return switches;
  case OPTION_DTYPE: return dtypes;
  case OPTION_SCORING: return scorings;
  case OPTION_LEVEL: return levels;
  default: return NULL;
  }
}

static void expect_choice(const option_spec *option, const char *text,
                          char expected[EXPECTED_MAX]) {
  const choice *choices = choices_of(option->kind);
  const char *near = NULL;
  size_t best = 0;
  size_t at = 0;
  size_t told = option->kind == OPTION_DTYPE ? 4 : WORDS_MAX; /* and then aliases */
  expected[0] = '\0';
  for (size_t i = 0; i < told && choices[i].name != NULL; i++) {
    bool begins = option_is_begin(text, choices[i].name) || option_is_begin(choices[i].name, text);
    size_t distance = begins ? 0 : option_distance(text, choices[i].name);
    if (distance <= option_distance_most(text) && (near == NULL || distance < best)) {
      near = choices[i].name;
      best = distance;
    }
    if (at < EXPECTED_MAX) {
      bool last = choices[i + 1].name == NULL || i + 1 == told;
      at += (size_t)snprintf(expected + at, EXPECTED_MAX - at, "%s%s",
                             i == 0 ? ""
                             : last ? " or "
                                    : ", ",
                             choices[i].name);
    }
  }
  if (near != NULL && at < EXPECTED_MAX) {
    (void)snprintf(expected + at, EXPECTED_MAX - at, "; did you mean '%s'?", near);
  }
}

static void expect_size(const option_spec *option, const char *text, char expected[EXPECTED_MAX]) {
  char most[SIZE_TEXT_MAX];
  size_t digits = strspn(text, "0123456789");
  const char *note = digits > 0 && text[digits] == ' ' ? ", without a blank"
                     : digits > 0 && (text[digits] == '.' || text[digits] == ',')
                         ? ", without a fraction"
                         : "";
  size_print(option->maximum, most);
  (void)snprintf(expected, EXPECTED_MAX,
                 "%zu to %zu (%s) bytes%s, as 67108864, 64MB (64,000,000) or 64MiB (67,108,864)",
                 option->minimum, option->maximum, most, note);
}

/* What would have been right. */
static void expect(const option_spec *option, const char *text, char expected[EXPECTED_MAX]) {
  switch (option->kind) {
  case OPTION_LIST:
    (void)snprintf(expected, EXPECTED_MAX, "some text, %d times at most", (int)OPTION_LIST_MAX);
    break;
  case OPTION_NUMBER:
  case OPTION_SMALL_NUMBER:
    (void)snprintf(expected, EXPECTED_MAX, "a whole number from %zu to %zu", option->minimum,
                   option->maximum);
    break;
  case OPTION_SIZE: expect_size(option, text, expected); break;
  default:
    if (choices_of(option->kind) != NULL) {
      expect_choice(option, text, expected);
    } else {
      (void)snprintf(expected, EXPECTED_MAX, "some text");
    }
  }
}

bool option_store(const option_spec *option, const char *source, const char *text, options *self,
                  char problem[OPTIONS_PROBLEM_MAX]) {
  char expected[EXPECTED_MAX];
  if (store(option, text, self)) {
    return true;
  }
  expect(option, text, expected);
  if (option->kind == OPTION_LIST) { /* of keys, some of them */
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "%s: not valid; expected %s", source, expected);
    return false;
  }
  (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "%s: '%.100s' is not valid; expected %s", source,
                 text, expected);
  return false;
}
