#include "server/options/help.h"

#include <stdarg.h>
#include <string.h>

#include "server/options/sizes.h"
#include "server/options/table.h"

enum { TEXT_MAX = 1024, LEFT_COLUMNS = 34, COLUMNS = 100 };

/* Adds to what a buffer of `size` bytes holds, as far as there is room. */
__attribute__((format(printf, 3, 4))) static void append(char *text, size_t size,
                                                         const char *format, ...) {
  size_t at = strlen(text);
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(text + at, size - at, format, arguments);
  va_end(arguments);
}

/* "1 to 65535", or "" for what is no number. */
static void bounds_of(const option_spec *option, char ret_text[2 * SIZE_TEXT_MAX + 8]) {
  char least[SIZE_TEXT_MAX];
  char most[SIZE_TEXT_MAX];
  ret_text[0] = '\0';
  if (option->maximum == 0) {
    return;
  }
  (void)snprintf(least, sizeof least, "%zu", option->minimum);
  (void)snprintf(most, sizeof most, "%zu", option->maximum);
  if (option->kind == OPTION_SIZE) {
    size_print(option->minimum, least);
    size_print(option->maximum, most);
  }
  (void)snprintf(ret_text, 2 * SIZE_TEXT_MAX + 8, "%s to %s", least, most);
}

/* In words; "" where nothing is the default. */
static const char *default_of(const option_spec *option) {
  return option->otherwise != NULL ? option->otherwise
         : option->initial != NULL ? option->initial
                                   : "";
}

/* Help, then in parentheses the variable where its name is not the option's, bounds and default. */
static void describe(const option_spec *option, char text[TEXT_MAX]) {
  char bounds[2 * SIZE_TEXT_MAX + 8];
  char facts[TEXT_MAX] = "";
  const char *otherwise = default_of(option);
  bounds_of(option, bounds);
  if (option->variable != NULL) {
    append(facts, sizeof facts, "%s", option->variable);
  }
  if (bounds[0] != '\0') {
    append(facts, sizeof facts, "%s%s", facts[0] == '\0' ? "" : "; ", bounds);
  }
  if (otherwise[0] != '\0') {
    append(facts, sizeof facts, "%sdefault: %s", facts[0] == '\0' ? "" : "; ", otherwise);
  }
  text[0] = '\0';
  append(text, TEXT_MAX, "%s", option->help);
  if (facts[0] != '\0') {
    append(text, TEXT_MAX, " (%s)", facts);
  }
}

/* Words in lines of at most COLUMNS, behind LEFT_COLUMNS; the first line has its left part. */
static void print_wrapped(const char *text, FILE *out) {
  size_t column = LEFT_COLUMNS;
  while (*text != '\0') {
    size_t word = strcspn(text, " ");
    if (column > LEFT_COLUMNS && column + 1 + word > COLUMNS) {
      (void)fprintf(out, "\n%*s", (int)LEFT_COLUMNS, "");
      column = LEFT_COLUMNS;
    } else if (column > LEFT_COLUMNS) {
      (void)fputc(' ', out);
      column++;
    }
    (void)fprintf(out, "%.*s", (int)word, text);
    column += word;
    text += word + (text[word] == ' ');
  }
  (void)fputc('\n', out);
}

static void print_option(const option_spec *option, FILE *out) {
  char left[OPTION_NAME_MAX + 32];
  char text[TEXT_MAX];
  char letter[] = {'-', option->letter, ',', ' ', '\0'};
  (void)snprintf(left, sizeof left, "%s--%s%s%s", option->letter == 0 ? "" : letter, option->name,
                 option->argument == NULL ? "" : " ",
                 option->argument == NULL ? "" : option->argument);
  describe(option, text);
  (void)fprintf(out, "  %-*s", (int)LEFT_COLUMNS - 2, left);
  if (strlen(left) + 2 >= LEFT_COLUMNS) { /* too long for its column */
    (void)fprintf(out, "\n%*s", (int)LEFT_COLUMNS, "");
  }
  print_wrapped(text, out);
}

static void print_usage(FILE *out) {
  (void)fprintf(
      out, "Usage: rerankd [--model-id MODEL] [OPTION]...\n"
           "Ranks texts by their relevance to a query, over HTTP.\n\n"
           "Each option is also an environment variable in upper snake case (MAX_BATCH_TOKENS);\n"
           "the command line wins. BYTES may be as 67108864, 64MB (64,000,000) or 64MiB "
           "(67,108,864).\n");
}

static void print_most(FILE *out) {
  size_t n;
  const option_spec *rows = option_table(&n);
  print_usage(out);
  (void)fprintf(out, "\nThe options that matter most:\n");
  for (size_t i = 0; i < n; i++) {
    if (rows[i].matters) {
      print_option(&rows[i], out);
    }
  }
  (void)fprintf(out, "\nrerankd --help all prints all %zu options, by what they are about.\n", n);
}

static void print_all(FILE *out) {
  size_t n;
  const option_spec *rows = option_table(&n);
  print_usage(out);
  for (int group = 0; group < OPTION_GROUPS; group++) {
    (void)fprintf(out, "\n%s:\n", option_group_name((option_group)group));
    for (size_t i = 0; i < n; i++) {
      if (rows[i].group == (option_group)group) {
        print_option(&rows[i], out);
      }
    }
  }
}

/* A cell of a table, in which | would begin the next. */
static void print_cell(const char *text, FILE *out) {
  for (; *text != '\0'; text++) {
    (void)fprintf(out, "%s%c", *text == '|' ? "\\" : "", *text);
  }
}

static void print_row(const option_spec *option, FILE *out) {
  char variable[OPTION_NAME_MAX];
  char bounds[2 * SIZE_TEXT_MAX + 8];
  option_variable(option, variable);
  bounds_of(option, bounds);
  (void)fprintf(out, "| `--%s%s%s` | ", option->name, option->argument == NULL ? "" : " ",
                option->argument == NULL ? "" : option->argument);
  if (option->kind < OPTION_HEALTH) {
    (void)fprintf(out, "`%s`", variable);
  }
  (void)fprintf(out, " | %s | ", bounds);
  print_cell(default_of(option), out);
  (void)fprintf(out, " | ");
  print_cell(option->help, out);
  if (option->page != NULL) {
    (void)fprintf(out, " ([more](%s))", option->page);
  }
  (void)fprintf(out, " |\n");
}

static void print_markdown(FILE *out) {
  size_t n;
  const option_spec *rows = option_table(&n);
  (void)fprintf(out,
                "# Options\n\n"
                "`build/server/rerankd --help markdown >docs/options.md` writes this page.\n\n"
                "Each option is also an environment variable; the command line wins.\n"
                "[operations.md](operations.md) has the rules of both, and the units of BYTES.\n");
  for (int group = 0; group < OPTION_GROUPS; group++) {
    (void)fprintf(out, "\n## %s\n\n", option_group_name((option_group)group));
    (void)fprintf(out,
                  "| option | variable | bounds | default | |\n| --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < n; i++) {
      if (rows[i].group == (option_group)group) {
        print_row(&rows[i], out);
      }
    }
  }
}

bool help_print(const char *form, FILE *out) {
  if (form == NULL) {
    print_most(out);
  } else if (strcmp(form, "all") == 0) {
    print_all(out);
  } else if (strcmp(form, "markdown") == 0) {
    print_markdown(out);
  } else {
    return false;
  }
  return true;
}
