#include "server/options/refusal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "server/options/hints.h"
#include "server/options/sizes.h"
#include "server/options/table.h"

/* The only option within reach that is nearest to the word; NULL if there is none. */
static const option_spec *find_near(const char *word) {
  const option_spec *near = NULL;
  size_t best = option_distance_most(word) + 1;
  size_t n;
  const option_spec *rows = option_table(&n);
  for (size_t i = 0; i < n; i++) {
    size_t distance = option_distance(word, rows[i].name);
    if (distance < best) {
      best = distance;
      near = &rows[i];
    }
  }
  return near;
}

/* Of a name that begins several options: which. */
static bool list_begun(const char *word, char text[OPTIONS_PROBLEM_MAX]) {
  size_t at = 0;
  size_t begun = 0;
  size_t n;
  const option_spec *rows = option_table(&n);
  for (size_t i = 0; i < n && at < OPTIONS_PROBLEM_MAX; i++) {
    if (strncmp(rows[i].name, word, strlen(word)) == 0 && word[0] != '\0') {
      at += (size_t)snprintf(text + at, OPTIONS_PROBLEM_MAX - at, "%s--%s",
                             begun++ == 0 ? "" : ", ", rows[i].name);
    }
  }
  return begun > 1;
}

options_result option_refuse_unknown(const char *text, char problem[OPTIONS_PROBLEM_MAX]) {
  char word[OPTION_NAME_MAX + 8];
  char begun[OPTIONS_PROBLEM_MAX];
  (void)snprintf(word, sizeof word, "%.*s", (int)strcspn(text, "="), text);
  const char *name = word + strspn(word, "-");
  const option_spec *same = option_find(name, strlen(name));
  const char *elsewhere = option_elsewhere(name);
  const option_spec *near = same != NULL                         ? same
                            : name[0] == '\0' || name[1] == '\0' ? NULL
                                                                 : find_near(name);
  if (word[1] == '-' && list_begun(name, begun)) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "'%s' may be each of %.400s", word, begun);
  } else if (same == NULL && elsewhere != NULL) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "unknown option '%s': %s", word, elsewhere);
  } else if (near != NULL) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "unknown option '%s'; did you mean '--%s'?", word,
                   near->name);
  } else {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "unknown option '%s' (see --help)", word);
  }
  return OPTIONS_INVALID;
}

options_result option_refuse_stray(const char *word, const char *before,
                                   char problem[OPTIONS_PROBLEM_MAX]) {
  bool follows = before != NULL && before[0] == '-' && before[1] == '-';
  const option_spec *flag = follows ? option_find(before + 2, strlen(before + 2)) : NULL;
  int size = (int)strcspn(word, "=");
  size_t bytes;
  char joined[OPTION_NAME_MAX];
  (void)snprintf(joined, sizeof joined, "%.40s%.20s", before == NULL ? "" : before, word);
  const char *value = word[size] == '=' ? "=..." : "";
  if (flag != NULL && flag->kind == OPTION_FLAG) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX,
                   "--%s: '%.100s' is not valid; expected true or false", flag->name, word);
  } else if (isalpha((unsigned char)word[0]) && size_parse(joined, &bytes)) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX,
                   "'%.40s': unexpected argument; write the size without a blank, as %s", word,
                   joined);
  } else if (option_find(word, (size_t)size) != NULL) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX,
                   "'%.*s%s': unexpected argument; did you mean '--%.*s%s'?", size, word, value,
                   size, word, value);
  } else {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX,
                   "'%.100s': unexpected argument; options begin with --, and a model is named as "
                   "--model-id %.100s",
                   word, word);
  }
  return OPTIONS_INVALID;
}
