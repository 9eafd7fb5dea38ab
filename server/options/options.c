#include "server/options/options.h"

#include <ctype.h>
#include <getopt.h>
#include <string.h>

#include "core/base/cpu.h"
#include "server/base/version.h"
#include "server/cache/document_cache.h"
#include "server/cache/lfu.h"
#include "server/options/hints.h"
#include "server/options/sizes.h"
#include "server/options/values.h"
#include "server/redis/address.h"
#include "server/redis/commands.h"
#include "server/system/memory_limit.h"

#define DOCUMENT_FILE_BYTES_DEFAULT ((size_t)1 << 30)

enum { FLAGS_MAX = 128, NAME_MAX_BYTES = 64, THREADS_MAX = 1024, FIRST_LONG = 256 };

#define FIELD(name) offsetof(options, name)

static const option_spec specs[] = {
    {"model-id", OPTION_TEXT, FIELD(model_id), 0, 0, "MODEL",
     "model directory, or name on the Hugging Face hub (default: rerankd-minilm-en-v1, which comes "
     "with rerankd)"},
    {"revision", OPTION_TEXT, FIELD(revision), 0, 0, "REV",
     "branch, tag or commit on the hub (default: main)"},
    {"hf-token", OPTION_TEXT, FIELD(hf_token), 0, 0, "TOKEN",
     "token for private and gated models of the hub"},
    {"hf-endpoint", OPTION_TEXT, FIELD(hf_endpoint), 0, 0, "URL",
     "the hub (default: https://huggingface.co)"},
    {"hf-home", OPTION_TEXT, FIELD(hf_home), 0, 0, "DIR",
     "the hub's files (default: ~/.cache/huggingface)"},
    {"huggingface-hub-cache", OPTION_TEXT, FIELD(huggingface_hub_cache), 0, 0, "DIR",
     "downloaded models (or HF_HUB_CACHE; default: hub/ in --hf-home)"},
    {"hf-hub-offline", OPTION_FLAG, FIELD(hf_hub_offline), 0, 0, "BOOL",
     "use downloaded models only (default: false)"},
    {"served-model-name", OPTION_TEXT, FIELD(served_model_name), 0, 0, "NAME",
     "the model's name in /info (default: as --model-id)"},
    {"hostname", OPTION_TEXT, FIELD(hostname), 0, 0, "HOST",
     "address to listen on (default: 0.0.0.0)"},
    {"port", OPTION_SMALL_NUMBER, FIELD(port), 0, 65535, "PORT",
     "port to listen on, also as -p; 0 takes a free one (default: 3000)"},
    {"dtype", OPTION_DTYPE, FIELD(dtype), 0, 0, "TYPE",
     "number format of the products: float32, bfloat16 (also for float16), int8, or auto, which "
     "takes the faster of the "
     "first two on this CPU (default: auto)"},
    {"scoring", OPTION_SCORING, FIELD(scoring), 0, 0, "HOW",
     "what a bi-encoder scores by: cosine, maxsim (late interaction), hybrid of both, or auto: "
     "what the model's "
     "rerankd.json says, without one maxsim for a ColBERT checkpoint, else cosine (default: auto)"},
    {"isa", OPTION_TEXT, FIELD(isa), 0, 0, "LIST",
     "use these instruction sets only, as avx2,avx512 or portable (RERANKD_ISA; default: all)"},
    {"pack-cache", OPTION_FLAG, FIELD(pack_cache), 0, 0, "BOOL",
     "keep packed weights in a file beside the model, for the next start (default: false)"},
    {"threads", OPTION_SMALL_NUMBER, FIELD(threads), 1, THREADS_MAX, "N",
     "threads that compute (default: the cores that affinity and cgroup allow)"},
    {"tokenization-workers", OPTION_SMALL_NUMBER, FIELD(tokenization_workers), 1, THREADS_MAX, "N",
     "threads that parse and tokenize (default: as --threads)"},
    {"max-concurrent-requests", OPTION_NUMBER, FIELD(max_concurrent_requests), 1, 1000000, "N",
     "rerank requests at work or waiting; more get 429 (default: 512)"},
    {"max-queue-ms", OPTION_NUMBER, FIELD(max_queue_ms), 1, 86400000, "MS",
     "longest that a request may be predicted to wait for its first computing; more get 429 "
     "(default: 30000)"},
    {"max-queue-tokens", OPTION_NUMBER, FIELD(max_queue_tokens), 1, (size_t)1 << 40, "N",
     "tokens waiting to be computed; more get 429 (default: 4194304)"},
    {"default-timeout-ms", OPTION_NUMBER, FIELD(default_timeout_ms), 0, 86400000, "MS",
     "deadline of requests that give none; 0: none (default: 0)"},
    {"max-batch-tokens", OPTION_NUMBER, FIELD(max_batch_tokens), 1, 1u << 20, "N",
     "tokens of a micro-batch, at most (default: 1024)"},
    {"max-client-batch-size", OPTION_NUMBER, FIELD(max_client_batch_size), 1, 1000000, "N",
     "texts a request may hold (default: 1000)"},
    {"payload-limit", OPTION_SIZE, FIELD(payload_limit), 1, 1u << 30, "BYTES",
     "size of a request body, at most (default: 10MB)"},
    {"request-memory", OPTION_SIZE, FIELD(request_memory), 0, (size_t)1 << 44, "BYTES",
     "memory that all requests may take together, 1MiB and more; beyond it they get 429 (default: "
     "a share of what cgroup "
     "or machine have, told in the log)"},
    {"cache-bytes", OPTION_SIZE, FIELD(cache_bytes), 0, (size_t)1 << 40, "BYTES",
     "memory for scores of pairs that come again: 0, for none, or 64KiB and more (default: 0)"},
    {"shared-cache", OPTION_TEXT, FIELD(shared_cache), 0, 0, "URL",
     "share scores with other replicas through this engine: "
     "redis://[user[:password]@]host[:port][/database], or a socket's "
     "path; with --cache-bytes (default: none)"},
    {"shared-cache-password", OPTION_TEXT, FIELD(shared_cache_password), 0, 0, "PASSWORD",
     "its password, instead of the URL's (RERANKD_SHARED_CACHE_PASSWORD)"},
    {"shared-cache-secret", OPTION_TEXT, FIELD(shared_cache_secret), 0, 0, "SECRET",
     "key of all that is kept there, the same for all replicas, so that nobody else can forge "
     "scores "
     "(RERANKD_SHARED_CACHE_SECRET; default: none)"},
    {"shared-cache-prefix", OPTION_TEXT, FIELD(shared_cache_prefix), 0, 0, "TEXT",
     "how its keys begin (default: rerankd:)"},
    {"shared-cache-timeout-ms", OPTION_NUMBER, FIELD(shared_cache_timeout_ms), 1, 1000, "MS",
     "longest that it may delay a request (default: 2)"},
    {"shared-cache-ttl", OPTION_NUMBER, FIELD(shared_cache_ttl), 1, 315360000, "SECONDS",
     "how long it keeps a score (default: 86400)"},
    {"document-cache-bytes", OPTION_SIZE, FIELD(document_cache_bytes), 0, (size_t)1 << 40, "BYTES",
     "memory for what a bi-encoder or split layers compute of documents that come again: 0, for "
     "none, or 1MiB and more "
     "(default: 64MiB)"},
    {"documents", OPTION_TEXT, FIELD(documents), 0, 0, "FILE",
     "keep what the document cache holds in this file, across restarts (default: none)"},
    {"documents-bytes", OPTION_SIZE, FIELD(documents_bytes), DOCUMENT_FILE_BYTES_MIN,
     (size_t)1 << 44, "BYTES", "size of that file, taken when it is made (default: 1GiB)"},
    {"idle-timeout", OPTION_SMALL_NUMBER, FIELD(idle_timeout), 1, 86400, "SECONDS",
     "time from a connection's opening, or a reply, to the next request's headers (default: 75)"},
    {"client-timeout", OPTION_SMALL_NUMBER, FIELD(client_timeout), 1, 86400, "SECONDS",
     "time a client has to send a body, and again to take the reply (default: 60)"},
    {"drain-delay", OPTION_SMALL_NUMBER, FIELD(drain_delay), 0, 3600, "SECONDS",
     "go on for so long after SIGTERM, while /ready says 503 and clients are asked to leave "
     "(default: 0)"},
    {"drain-timeout", OPTION_SMALL_NUMBER, FIELD(drain_timeout), 1, 86400, "SECONDS",
     "time that requests under way then have, once nobody new is let in (default: 120)"},
    {"auto-truncate", OPTION_FLAG, FIELD(auto_truncate), 0, 0, "BOOL",
     "truncate what is too long, unless the request says otherwise (default: true)"},
    {"unix-socket", OPTION_TEXT, FIELD(unix_socket), 0, 0, "PATH",
     "listen on this socket, open to its owner alone, instead of host and port"},
    {"api-key", OPTION_LIST, FIELD(api_keys), 0, 0, "KEY",
     "require `Authorization: Bearer KEY`, but for /health, /metrics and the like; several times, "
     "or a,b; "
     "'KEY priority=N' puts its requests N steps back"},
    {"api-key-file", OPTION_TEXT, FIELD(api_key_file), 0, 0, "FILE",
     "keys, one a line, in a regular file of at most 4 MiB; read again on SIGHUP"},
    {"cors-allow-origin", OPTION_LIST, FIELD(cors_origins), 0, 0, "ORIGIN",
     "let pages of this origin, or of any (*), call; several times, or a,b"},
    {"user", OPTION_TEXT, FIELD(user), 0, 0, "NAME",
     "user to become once listening, or NAME:GROUP (RERANKD_USER; default: nobody, if started by "
     "root and if "
     "nobody may use what is named)"},
    {"seccomp", OPTION_SWITCH, FIELD(seccomp), 0, 0, "MODE",
     "filter system calls: on, off, or auto, which goes on without where it cannot be done "
     "(default: auto)"},
    {"core-dumps", OPTION_FLAG, FIELD(core_dumps), 0, 0, "BOOL",
     "leave core files and debuggers of the same user allowed (default: false)"},
    {"otlp-endpoint", OPTION_TEXT, FIELD(otlp_endpoint), 0, 0, "URL",
     "send spans to the OpenTelemetry collector here, as OTLP over HTTP in JSON (or "
     "OTEL_EXPORTER_OTLP_ENDPOINT and "
     "its like; default: none)"},
    {"otlp-service-name", OPTION_TEXT, FIELD(otlp_service_name), 0, 0, "NAME",
     "what the server is called in them (or OTEL_SERVICE_NAME; default: rerankd)"},
    {"otlp-sample", OPTION_TEXT, FIELD(otlp_sample), 0, 0, "RATIO",
     "share of the traces sent on which no caller has decided, 0 to 1 (or OTEL_TRACES_SAMPLER; "
     "default: 1)"},
    {"slow-request-ms", OPTION_NUMBER, FIELD(slow_request_ms), 0, 86400000, "MS",
     "warn in the log of requests for scores that take so long and longer, with their phases; 0: "
     "do not (default: 0)"},
    {"json-output", OPTION_FLAG, FIELD(json_output), 0, 0, "BOOL", "log in JSON (default: false)"},
    {"log-level", OPTION_LEVEL, FIELD(log_level), 0, 0, "LEVEL",
     "error, warn, info or debug (default: info)"},
    {"health", OPTION_HEALTH, FIELD(health), 0, 0, "URL",
     "ask the server at http://HOST:PORT/ready or unix:PATH:/ready and end: with 0 if it says 200, "
     "else 1 (here alone)"},
    {"health-timeout-ms", OPTION_NUMBER, FIELD(health_timeout_ms), 1, 600000, "MS",
     "time for --health (default: 2000)"},
    {"help", OPTION_HELP, 0, 0, 0, NULL, "print this and stop; also -h"},
    {"version", OPTION_VERSION, 0, 0, 0, NULL, "print the version and stop; also -V"},
};

enum { SPECS = sizeof specs / sizeof specs[0] };
_Static_assert((int)SPECS < (int)FLAGS_MAX, "the option table fits");

static void environment_name(const char *name, char *ret_name) {
  /* ISA is anybody's, USER the shell's; a secret's name tells whose it is. */
  bool common = strcmp(name, "isa") == 0 || strcmp(name, "user") == 0 || strcmp(name, "shared-cache-password") == 0 ||
                strcmp(name, "shared-cache-secret") == 0;
  size_t at = (size_t)snprintf(ret_name, NAME_MAX_BYTES, "%s", common ? "RERANKD_" : "");
  for (size_t i = 0; name[i] != '\0' && at + 1 < NAME_MAX_BYTES; i++) {
    ret_name[at++] = name[i] == '-' ? '_' : (char)toupper((unsigned char)name[i]);
  }
  ret_name[at] = '\0';
}

static void print_help(FILE *out) {
  (void)fprintf(
      out, "Usage: rerankd [--model-id MODEL] [OPTION]...\n"
           "Ranks texts by their relevance to a query, over HTTP.\n\n"
           "Each option is also an environment variable in upper snake case (MAX_BATCH_TOKENS);\n"
           "the command line wins. BYTES may be as 67108864, 64MB (64,000,000) or 64MiB "
           "(67,108,864).\n\n");
  for (int i = 0; i < SPECS; i++) {
    char left[NAME_MAX_BYTES];
    (void)snprintf(left, sizeof left, "--%s%s%s", specs[i].name,
                   specs[i].argument == NULL ? "" : " ",
                   specs[i].argument == NULL ? "" : specs[i].argument);
    (void)fprintf(out, "  %-31s %s\n", left, specs[i].help);
  }
}

static bool read_environment(char *(*lookup)(const char *name), options *self,
                             char problem[OPTIONS_PROBLEM_MAX]) {
  for (int i = 0; i < SPECS; i++) {
    char name[NAME_MAX_BYTES];
    environment_name(specs[i].name, name);
    const char *text = specs[i].kind < OPTION_HEALTH ? lookup(name) : NULL;
    if (text == NULL || text[0] == '\0') { /* set but empty: as compose files leave it */
      continue;
    }
    if (!option_store(&specs[i], name, text, self, problem)) {
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

static int letter_of(const option_spec *option) {
  return strcmp(option->name, "port") == 0 ? 'p'
         : option->kind == OPTION_HELP     ? 'h'
         : option->kind == OPTION_VERSION  ? 'V'
                                           : 0;
}

/* The option of a name of so many bytes, - and _ the same. NULL if there is none. */
static const option_spec *find(const char *name, size_t size) {
  char word[NAME_MAX_BYTES];
  if (size == 0 || size >= sizeof word) {
    return NULL;
  }
  (void)snprintf(word, sizeof word, "%.*s", (int)size, name);
  for (int i = 0; i < SPECS; i++) {
    if (strlen(specs[i].name) == size && option_distance(word, specs[i].name) == 0) {
      return &specs[i];
    }
  }
  return NULL;
}

/* The only option within reach that is nearest to the word; NULL if there is none. */
static const option_spec *find_near(const char *word) {
  const option_spec *near = NULL;
  size_t best = option_distance_most(word) + 1;
  for (int i = 0; i < SPECS; i++) {
    size_t distance = option_distance(word, specs[i].name);
    if (distance < best) {
      best = distance;
      near = &specs[i];
    }
  }
  return near;
}

/* Of a name that begins several options: which. */
static bool list_begun(const char *word, char text[OPTIONS_PROBLEM_MAX]) {
  size_t at = 0;
  int n = 0;
  for (int i = 0; i < SPECS && at < OPTIONS_PROBLEM_MAX; i++) {
    if (strncmp(specs[i].name, word, strlen(word)) == 0 && word[0] != '\0') {
      at += (size_t)snprintf(text + at, OPTIONS_PROBLEM_MAX - at, "%s--%s", n++ == 0 ? "" : ", ",
                             specs[i].name);
    }
  }
  return n > 1;
}

/* `text` is as on the command line, with its dashes. Its value is not told: it may be a secret. */
static options_result unknown(const char *text, char problem[OPTIONS_PROBLEM_MAX]) {
  char word[NAME_MAX_BYTES + 8];
  char begun[OPTIONS_PROBLEM_MAX];
  (void)snprintf(word, sizeof word, "%.*s", (int)strcspn(text, "="), text);
  const char *name = word + strspn(word, "-");
  const option_spec *same = find(name, strlen(name));
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

/* A word that is no option, nor an option's value. `before` is the word before it, NULL for none.
 */
static options_result stray(const char *word, const char *before,
                            char problem[OPTIONS_PROBLEM_MAX]) {
  bool follows = before != NULL && before[0] == '-' && before[1] == '-';
  const option_spec *flag = follows ? find(before + 2, strlen(before + 2)) : NULL;
  int size = (int)strcspn(word, "=");
  size_t bytes;
  char joined[NAME_MAX_BYTES];
  (void)snprintf(joined, sizeof joined, "%.40s%.20s", before == NULL ? "" : before, word);
  const char *value = word[size] == '=' ? "=..." : "";
  if (flag != NULL && flag->kind == OPTION_FLAG) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX,
                   "--%s: '%.100s' is not valid; expected true or false", flag->name, word);
  } else if (isalpha((unsigned char)word[0]) && size_parse(joined, &bytes)) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX,
                   "'%.40s': unexpected argument; write the size without a blank, as %s", word,
                   joined);
  } else if (find(word, (size_t)size) != NULL) {
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

/* What getopt_long does not take: the word at `at`. */
static options_result refuse(int found, char *const *argv, int at,
                             char problem[OPTIONS_PROBLEM_MAX]) {
  char word[NAME_MAX_BYTES + 8];
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
  if (text[1] != '-' && text[2] != '\0' && find(word + 1, strlen(word + 1)) == NULL &&
      option_elsewhere(word + 1) == NULL) { /* -xvalue */
    word[2] = '\0';
  }
  return unknown(word, problem);
}

/* A long option behind one dash, as -port, would be taken for -p and its value. */
static bool is_long_by_one_dash(const char *word) {
  return word[0] == '-' && word[1] != '-' && word[1] != '\0' && word[2] != '\0' &&
         find(word + 1, strcspn(word + 1, "=")) != NULL;
}

/* The next word was taken as the value, but is an option: the value was forgotten. */
static bool is_forgotten(const char *value, const char *word) {
  return value == word && value[0] == '-' && value[1] == '-' &&
         find(value + 2, strcspn(value + 2, "=")) != NULL;
}

static void fill_table(struct option table[FLAGS_MAX]) {
  for (int i = 0; i < SPECS; i++) {
    int argument = specs[i].kind == OPTION_FLAG  ? optional_argument
                   : specs[i].kind < OPTION_HELP ? required_argument
                                                 : no_argument;
    table[i] = (struct option){.name = specs[i].name, .has_arg = argument, .val = FIRST_LONG + i};
  }
}

static const option_spec *spec_of(int found) {
  for (int i = 0; found < FIRST_LONG && i < SPECS; i++) {
    if (letter_of(&specs[i]) == found) {
      return &specs[i];
    }
  }
  return &specs[found - FIRST_LONG];
}

/* One option that getopt_long has found; OPTIONS_RUN to go on. */
static options_result take(const option_spec *option, int argc, char **argv, FILE *out,
                           options *self, char problem[OPTIONS_PROBLEM_MAX]) {
  char source[NAME_MAX_BYTES];
  if (option->kind == OPTION_HELP || option->kind == OPTION_VERSION) {
    if (option->kind == OPTION_HELP) {
      print_help(out);
    } else {
      (void)fprintf(out, "rerankd %s\n", RERANKD_VERSION);
    }
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
  struct option table[FLAGS_MAX] = {{0}};
  fill_table(table);
  opterr = 0;
  optind = 0; /* glibc: start afresh, also in a second call */
  for (int at = 1;; at = optind) {
    if (at < argc && is_long_by_one_dash(argv[at])) {
      return unknown(argv[at], problem);
    }
    int found = getopt_long(argc, argv, "-:hp:V", table,
                            NULL); /* "-": words that are no options come in their order */
    if (found == -1) {
      break;
    }
    options_result result = found == 1 ? stray(argv[at], at > 1 ? argv[at - 1] : NULL, problem)
                            : found == '?' || found == ':'
                                ? refuse(found, argv, at, problem)
                                : take(spec_of(found), argc, argv, out, self, problem);
    if (result != OPTIONS_RUN) {
      return result;
    }
  }
  return optind < argc ? stray(argv[optind], NULL, problem) : OPTIONS_RUN; /* behind "--" */
}

/* The URL is not told again: it may hold a password. */
static bool check_shared(const options *self, char problem[OPTIONS_PROBLEM_MAX]) {
  redis_address address;
  rr_error error;
  if (self->shared_cache == NULL) {
    return true;
  }
  if (self->cache_bytes == 0) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "--shared-cache: only with --cache-bytes, which goes before it");
    return false;
  }
  if (strlen(self->shared_cache_prefix) > REDIS_PREFIX_MAX) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "--shared-cache-prefix: %d bytes at most", (int)REDIS_PREFIX_MAX);
    return false;
  }
  if (redis_address_parse(self->shared_cache, self->shared_cache_password, &address, &error) != RR_OK) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "--shared-cache: %.400s", error.message);
    return false;
  }
  explicit_bzero(&address, sizeof address);
  return true;
}

options_result options_read(int argc, char **argv, char *(*lookup)(const char *name), FILE *out,
                            options *ret_options, char problem[OPTIONS_PROBLEM_MAX]) {
  options self = {
      .hostname = "0.0.0.0",
      .port = 3000,
      .dtype = RR_DTYPE_AUTO,
      .max_concurrent_requests = 512,
      .max_queue_ms = 30000,
      .max_queue_tokens = (size_t)4 << 20,
      .max_batch_tokens = 1024,
      .max_client_batch_size = 1000,
      .payload_limit = 10000000,
      .document_cache_bytes = DOCUMENT_CACHE_BYTES_DEFAULT,
      .documents_bytes = DOCUMENT_FILE_BYTES_DEFAULT,
      .shared_cache_prefix = "rerankd:",
      .shared_cache_timeout_ms = 2,
      .shared_cache_ttl = 86400,
      .idle_timeout = 75,
      .client_timeout = 60,
      .drain_timeout = 120,
      .auto_truncate = true,
      .log_level = LOG_LEVEL_INFO,
      .health_timeout_ms = 2000,
  };
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
  if (self.cache_bytes > 0 && self.cache_bytes < LFU_BYTES_MIN) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "--cache-bytes: 0, or at least %d (64KiB)",
                   (int)LFU_BYTES_MIN);
    return OPTIONS_INVALID;
  }
  if (self.request_memory > 0 && self.request_memory < REQUEST_MEMORY_MIN) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX,
                   "--request-memory: 0, for a share of what there is, or at least %d",
                   (int)REQUEST_MEMORY_MIN);
    return OPTIONS_INVALID;
  }
  if (self.document_cache_bytes > 0 && self.document_cache_bytes < DOCUMENT_CACHE_BYTES_MIN) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "--document-cache-bytes: 0, or at least %d (1MiB)",
                   (int)DOCUMENT_CACHE_BYTES_MIN);
    return OPTIONS_INVALID;
  }
  if (!check_shared(&self, problem)) {
    return OPTIONS_INVALID;
  }
  if (self.document_cache_bytes == 0 && self.documents != NULL) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "--documents: not with --document-cache-bytes 0");
    return OPTIONS_INVALID;
  }
  self.threads = self.threads == 0 ? rr_cpu_count() : self.threads;
  self.tokenization_workers =
      self.tokenization_workers == 0 ? self.threads : self.tokenization_workers;
  *ret_options = self;
  return OPTIONS_RUN;
}
