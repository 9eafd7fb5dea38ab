#include "server/options/options.h"

#include <assert.h>
#include <getopt.h>
#include <string.h>

#include "core/base/cpu.h"
#include "server/base/version.h"
#include "server/options/check.h"
#include "server/options/help.h"
#include "server/options/hints.h"
#include "server/options/refusal.h"
#include "server/options/table.h"

enum { FIRST_LONG = 256 }; /* getopt_long's value of the first option; below are letters */

static bool read_environment(char *(*lookup)(const char *name), options *self,
                             char problem[OPTIONS_PROBLEM_MAX]) {
  size_t n;
  const option_spec *table = option_table(&n);
  for (size_t i = 0; i < n; i++) {
    char name[OPTION_NAME_MAX];
    option_variable(&table[i], name);
    const char *text = table[i].kind < OPTION_HEALTH ? lookup(name) : NULL;
    if (text == NULL || text[0] == '\0') { /* set but empty: as compose files leave it */
      continue;
    }
    if (!option_store(&table[i], name, text, self, problem)) {
      return false;
    }
  }
  return true;
}

/* A flag may stand alone, or with its value as the next word. */
static const char *flag_value(int argc, char **argv) {
  bool ignored;
  if (optarg != NULL) {
    return optarg;
  }
  if (optind < argc && option_flag(argv[optind], &ignored)) {
    return argv[optind++];
  }
  return "true";
}

/* What getopt_long does not take: the word at `at`. */
static options_result refuse(int found, char *const *argv, int at,
                             char problem[OPTIONS_PROBLEM_MAX]) {
  char word[OPTION_NAME_MAX + 8];
  const char *text = argv[at];
  (void)snprintf(word, sizeof word, "%.*s", (int)strcspn(text, "="), text);
  bool whole = optopt >= FIRST_LONG; /* a known option, but for its value */
  if (found == ':') {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "%.64s: needs a value", word);
    return OPTIONS_INVALID;
  }
  if (whole) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "%.64s: takes no value", word);
    return OPTIONS_INVALID;
  }
  if (text[1] != '-' && text[2] != '\0' && option_find(word + 1, strlen(word + 1)) == NULL &&
      option_elsewhere(word + 1) == NULL) { /* -xvalue */
    word[2] = '\0';
  }
  return option_refuse_unknown(word, problem);
}

/* A long option behind one dash, as -port, would be taken for -p and its value. */
static bool is_long_by_one_dash(const char *word) {
  return word[0] == '-' && word[1] != '-' && word[1] != '\0' && word[2] != '\0' &&
         option_find(word + 1, strcspn(word + 1, "=")) != NULL;
}

/* The next word was taken as the value, but is an option: the value was forgotten. */
static bool is_forgotten(const char *value, const char *word) {
  return value == word && value[0] == '-' && value[1] == '-' &&
         option_find(value + 2, strcspn(value + 2, "=")) != NULL;
}

static void fill_table(struct option table[OPTIONS_MAX + 1]) {
  size_t n;
  const option_spec *rows = option_table(&n);
  for (size_t i = 0; i < n; i++) {
    bool may = rows[i].kind == OPTION_FLAG || rows[i].kind == OPTION_HELP;
    int argument = may                              ? optional_argument
                   : rows[i].kind == OPTION_VERSION ? no_argument
                                                    : required_argument;
    table[i] =
        (struct option){.name = rows[i].name, .has_arg = argument, .val = FIRST_LONG + (int)i};
  }
}

static const option_spec *spec_of(int found) {
  size_t n;
  const option_spec *rows = option_table(&n);
  for (size_t i = 0; found < FIRST_LONG && i < n; i++) {
    if (rows[i].letter == found) {
      return &rows[i];
    }
  }
  return &rows[found - FIRST_LONG];
}

/* The form may be the next word. */
static options_result take_help(int argc, char **argv, FILE *out,
                                char problem[OPTIONS_PROBLEM_MAX]) {
  static const char *const forms[] = {"all", "markdown"};
  const char *form = optarg;
  for (size_t i = 0; form == NULL && optind < argc && i < sizeof forms / sizeof forms[0]; i++) {
    form = strcmp(argv[optind], forms[i]) == 0 ? forms[i] : NULL;
  }
  if (help_print(form, out)) {
    return OPTIONS_DONE;
  }
  (void)snprintf(problem, OPTIONS_PROBLEM_MAX,
                 "--help: '%.100s' is not valid; expected all or markdown", form);
  return OPTIONS_INVALID;
}

/* One option that getopt_long has found; OPTIONS_RUN to go on. */
static options_result take(const option_spec *option, int argc, char **argv, FILE *out,
                           options *self, char problem[OPTIONS_PROBLEM_MAX]) {
  char source[OPTION_NAME_MAX];
  if (option->kind == OPTION_HELP) {
    return take_help(argc, argv, out, problem);
  }
  if (option->kind == OPTION_VERSION) {
    (void)fprintf(out, "rerankd %s\n", RERANKD_VERSION);
    return OPTIONS_DONE;
  }
  (void)snprintf(source, sizeof source, "--%s", option->name);
  if (option->kind != OPTION_FLAG && is_forgotten(optarg, argv[optind - 1])) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "%s: needs a value; '%.64s' is an option", source,
                   optarg);
    return OPTIONS_INVALID;
  }
  const char *text = option->kind == OPTION_FLAG ? flag_value(argc, argv) : optarg;
  return option_store(option, source, text, self, problem) ? OPTIONS_RUN : OPTIONS_INVALID;
}

static options_result read_arguments(int argc, char **argv, FILE *out, options *self,
                                     char problem[OPTIONS_PROBLEM_MAX]) {
  struct option table[OPTIONS_MAX + 1] = {{0}};
  fill_table(table);
  opterr = 0;
  optind = 0; /* glibc: start afresh, also in a second call */
  for (int at = 1;; at = optind) {
    if (at < argc && is_long_by_one_dash(argv[at])) {
      return option_refuse_unknown(argv[at], problem);
    }
    int found = getopt_long(argc, argv, "-:hp:V", table,
                            NULL); /* "-": words that are no options come in their order */
    if (found == -1) {
      break;
    }
    options_result result =
        found == 1 ? option_refuse_stray(argv[at], at > 1 ? argv[at - 1] : NULL, problem)
        : found == '?' || found == ':' ? refuse(found, argv, at, problem)
                                       : take(spec_of(found), argc, argv, out, self, problem);
    if (result != OPTIONS_RUN) {
      return result;
    }
  }
  return optind < argc ? option_refuse_stray(argv[optind], NULL, problem)
                       : OPTIONS_RUN; /* behind "--" */
}

/* What the table says. */
static options defaults(void) {
  char problem[OPTIONS_PROBLEM_MAX];
  options self = {0};
  size_t n;
  const option_spec *table = option_table(&n);
  for (size_t i = 0; i < n; i++) {
    bool valid = table[i].initial == NULL ||
                 option_store(&table[i], table[i].name, table[i].initial, &self, problem);
    assert(valid);
    (void)valid;
  }
  return self;
}

options_result options_read(int argc, char **argv, char *(*lookup)(const char *name), FILE *out,
                            options *ret_options, char problem[OPTIONS_PROBLEM_MAX]) {
  options self = defaults();
  /* The command line goes first where it only asks for help, whatever the environment holds. */
  options from_arguments = self;
  options_result result = read_arguments(argc, argv, out, &from_arguments, problem);
  if (result != OPTIONS_RUN) {
    return result;
  }
  if (!read_environment(lookup, &self, problem)) {
    return OPTIONS_INVALID;
  }
  const char *cache = lookup("HF_HUB_CACHE"); /* the newer name of HUGGINGFACE_HUB_CACHE */
  if (cache != NULL && cache[0] != '\0') {
    self.huggingface_hub_cache = cache;
  }
  /* A list on the command line replaces the environment's. */
  self.api_keys.n = from_arguments.api_keys.n > 0 ? 0 : self.api_keys.n;
  self.cors_origins.n = from_arguments.cors_origins.n > 0 ? 0 : self.cors_origins.n;
  result = read_arguments(argc, argv, out, &self, problem);
  if (result != OPTIONS_RUN) {
    return result;
  }
  if (self.health != NULL) {
    *ret_options = self;
    return OPTIONS_HEALTH;
  }
  if (!options_check(&self, problem)) {
    return OPTIONS_INVALID;
  }
  self.threads = self.threads == 0 ? rr_cpu_count() : self.threads;
  self.tokenization_workers =
      self.tokenization_workers == 0 ? self.threads : self.tokenization_workers;
  *ret_options = self;
  return OPTIONS_RUN;
}
