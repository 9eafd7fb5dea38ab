#include "server/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/cpu.h"
#include "server/cache.h"
#include "server/document_cache.h"
#include "server/memory_limit.h"
#include "server/shared_address.h"
#include "server/shared_commands.h"
#include "server/version.h"

#define DOCUMENT_FILE_BYTES_DEFAULT ((size_t)1 << 30)

enum { FLAGS_MAX = 128, NAME_MAX_BYTES = 64, THREADS_MAX = 1024 };

typedef enum kind { TEXT, LIST, NUMBER, SMALL_NUMBER, FLAG, SWITCH, DTYPE, SCORING, LEVEL, HEALTH, HELP, VERSION } kind;

typedef struct spec {
  const char *name;
  kind kind;
  size_t offset; /* of the field in options */
  size_t minimum;
  size_t maximum;
  const char *argument;
  const char *help;
} spec;

#define FIELD(name) offsetof(options, name)

static const spec specs[] = {
    {"model-id", TEXT, FIELD(model_id), 0, 0, "MODEL",
     "model directory, or name on the Hugging Face hub (default: rerankd-minilm-en-v1, which comes with rerankd)"},
    {"revision", TEXT, FIELD(revision), 0, 0, "REV", "branch, tag or commit on the hub (default: main)"},
    {"hf-token", TEXT, FIELD(hf_token), 0, 0, "TOKEN", "token for private and gated models of the hub"},
    {"hf-endpoint", TEXT, FIELD(hf_endpoint), 0, 0, "URL", "the hub (default: https://huggingface.co)"},
    {"hf-home", TEXT, FIELD(hf_home), 0, 0, "DIR", "the hub's files (default: ~/.cache/huggingface)"},
    {"huggingface-hub-cache", TEXT, FIELD(huggingface_hub_cache), 0, 0, "DIR",
     "downloaded models (or HF_HUB_CACHE; default: hub/ in --hf-home)"},
    {"hf-hub-offline", FLAG, FIELD(hf_hub_offline), 0, 0, "BOOL",
     "use downloaded models only (default: false)"},
    {"served-model-name", TEXT, FIELD(served_model_name), 0, 0, "NAME",
     "the model's name in /info (default: as --model-id)"},
    {"hostname", TEXT, FIELD(hostname), 0, 0, "HOST", "address to listen on (default: 0.0.0.0)"},
    {"port", SMALL_NUMBER, FIELD(port), 0, 65535, "PORT",
     "port to listen on; 0 takes a free one (default: 3000)"},
    {"dtype", DTYPE, FIELD(dtype), 0, 0, "TYPE",
     "number format of the products: float32, bfloat16, int8, or auto, which takes the faster of the first two "
     "on this CPU (default: auto)"},
    {"scoring", SCORING, FIELD(scoring), 0, 0, "HOW",
     "what a bi-encoder scores by: cosine, maxsim (late interaction), hybrid of both, or auto: maxsim for a ColBERT "
     "checkpoint, else cosine (default: auto)"},
    {"isa", TEXT, FIELD(isa), 0, 0, "LIST",
     "use these instruction sets only, as avx2,avx512 or portable (RERANKD_ISA; default: all)"},
    {"pack-cache", FLAG, FIELD(pack_cache), 0, 0, "BOOL",
     "keep packed weights in a file beside the model, for the next start (default: false)"},
    {"threads", SMALL_NUMBER, FIELD(threads), 1, THREADS_MAX, "N",
     "threads that compute (default: the cores that affinity and cgroup allow)"},
    {"tokenization-workers", SMALL_NUMBER, FIELD(tokenization_workers), 1, THREADS_MAX, "N",
     "threads that parse and tokenize (default: as --threads)"},
    {"max-concurrent-requests", NUMBER, FIELD(max_concurrent_requests), 1, 1000000, "N",
     "rerank requests at work or waiting; more get 429 (default: 512)"},
    {"max-queue-ms", NUMBER, FIELD(max_queue_ms), 1, 86400000, "MS",
     "longest that a request may be predicted to wait for its first computing; more get 429 (default: 30000)"},
    {"max-queue-tokens", NUMBER, FIELD(max_queue_tokens), 1, (size_t)1 << 40, "N",
     "tokens waiting to be computed; more get 429 (default: 4194304)"},
    {"default-timeout-ms", NUMBER, FIELD(default_timeout_ms), 0, 86400000, "MS",
     "deadline of requests that give none; 0: none (default: 0)"},
    {"max-batch-tokens", NUMBER, FIELD(max_batch_tokens), 1, 1u << 20, "N",
     "tokens of a micro-batch, at most (default: 1024)"},
    {"max-client-batch-size", NUMBER, FIELD(max_client_batch_size), 1, 1000000, "N",
     "texts a request may hold (default: 1000)"},
    {"payload-limit", NUMBER, FIELD(payload_limit), 1, 1u << 30, "BYTES",
     "size of a request body, at most (default: 10000000)"},
    {"request-memory", NUMBER, FIELD(request_memory), 0, (size_t)1 << 44, "BYTES",
     "memory that all requests may take together, 1048576 and more; beyond it they get 429 (default: a share of what cgroup "
     "or machine have, told in the log)"},
    {"cache-bytes", NUMBER, FIELD(cache_bytes), 0, (size_t)1 << 40, "BYTES",
     "memory for scores of pairs that come again: 0, for none, or 65536 and more (default: 0)"},
    {"shared-cache", TEXT, FIELD(shared_cache), 0, 0, "URL",
     "share scores with other replicas through this engine: redis://[user[:password]@]host[:port][/database], or a socket's "
     "path; with --cache-bytes (default: none)"},
    {"shared-cache-password", TEXT, FIELD(shared_cache_password), 0, 0, "PASSWORD",
     "its password, instead of the URL's (RERANKD_SHARED_CACHE_PASSWORD)"},
    {"shared-cache-secret", TEXT, FIELD(shared_cache_secret), 0, 0, "SECRET",
     "key of all that is kept there, the same for all replicas, so that nobody else can forge scores "
     "(RERANKD_SHARED_CACHE_SECRET; default: none)"},
    {"shared-cache-prefix", TEXT, FIELD(shared_cache_prefix), 0, 0, "TEXT",
     "how its keys begin (default: rerankd:)"},
    {"shared-cache-timeout-ms", NUMBER, FIELD(shared_cache_timeout_ms), 1, 1000, "MS",
     "longest that it may delay a request (default: 2)"},
    {"shared-cache-ttl", NUMBER, FIELD(shared_cache_ttl), 1, 315360000, "SECONDS",
     "how long it keeps a score (default: 86400)"},
    {"document-cache-bytes", NUMBER, FIELD(document_cache_bytes), 0, (size_t)1 << 40, "BYTES",
     "memory for what a bi-encoder or split layers compute of documents that come again: 0, for none, or 1048576 and more "
     "(default: 67108864)"},
    {"documents", TEXT, FIELD(documents), 0, 0, "FILE",
     "keep what the document cache holds in this file, across restarts (default: none)"},
    {"documents-bytes", NUMBER, FIELD(documents_bytes), DOCUMENT_FILE_BYTES_MIN, (size_t)1 << 44, "BYTES",
     "size of that file, taken when it is made (default: 1073741824)"},
    {"idle-timeout", SMALL_NUMBER, FIELD(idle_timeout), 1, 86400, "SECONDS",
     "time from a connection's opening, or a reply, to the next request's headers (default: 75)"},
    {"client-timeout", SMALL_NUMBER, FIELD(client_timeout), 1, 86400, "SECONDS",
     "time a client has to send a body, and again to take the reply (default: 60)"},
    {"drain-delay", SMALL_NUMBER, FIELD(drain_delay), 0, 3600, "SECONDS",
     "go on for so long after SIGTERM, while /ready says 503 and clients are asked to leave (default: 0)"},
    {"drain-timeout", SMALL_NUMBER, FIELD(drain_timeout), 1, 86400, "SECONDS",
     "time that requests under way then have, once nobody new is let in (default: 120)"},
    {"auto-truncate", FLAG, FIELD(auto_truncate), 0, 0, "BOOL",
     "truncate what is too long, unless the request says otherwise (default: true)"},
    {"unix-socket", TEXT, FIELD(unix_socket), 0, 0, "PATH",
     "listen on this socket, open to its owner alone, instead of host and port"},
    {"api-key", LIST, FIELD(api_keys), 0, 0, "KEY",
     "require `Authorization: Bearer KEY`, but for /health, /metrics and the like; several times, or a,b; "
     "'KEY priority=N' puts its requests N steps back"},
    {"api-key-file", TEXT, FIELD(api_key_file), 0, 0, "FILE",
     "keys, one a line, in a regular file of at most 4 MiB; read again on SIGHUP"},
    {"cors-allow-origin", LIST, FIELD(cors_origins), 0, 0, "ORIGIN",
     "let pages of this origin, or of any (*), call; several times, or a,b"},
    {"user", TEXT, FIELD(user), 0, 0, "NAME",
     "user to become once listening, or NAME:GROUP (RERANKD_USER; default: nobody, if started by root and if "
     "nobody may use what is named)"},
    {"seccomp", SWITCH, FIELD(seccomp), 0, 0, "MODE",
     "filter system calls: on, off, or auto, which goes on without where it cannot be done (default: auto)"},
    {"core-dumps", FLAG, FIELD(core_dumps), 0, 0, "BOOL",
     "leave core files and debuggers of the same user allowed (default: false)"},
    {"otlp-endpoint", TEXT, FIELD(otlp_endpoint), 0, 0, "URL",
     "send spans to the OpenTelemetry collector here, as OTLP over HTTP in JSON (or OTEL_EXPORTER_OTLP_ENDPOINT and "
     "its like; default: none)"},
    {"otlp-service-name", TEXT, FIELD(otlp_service_name), 0, 0, "NAME",
     "what the server is called in them (or OTEL_SERVICE_NAME; default: rerankd)"},
    {"otlp-sample", TEXT, FIELD(otlp_sample), 0, 0, "RATIO",
     "share of the traces sent on which no caller has decided, 0 to 1 (or OTEL_TRACES_SAMPLER; default: 1)"},
    {"slow-request-ms", NUMBER, FIELD(slow_request_ms), 0, 86400000, "MS",
     "warn in the log of requests for scores that take so long and longer, with their phases; 0: do not (default: 0)"},
    {"json-output", FLAG, FIELD(json_output), 0, 0, "BOOL", "log in JSON (default: false)"},
    {"log-level", LEVEL, FIELD(log_level), 0, 0, "LEVEL", "error, warn, info or debug (default: info)"},
    {"health", HEALTH, FIELD(health), 0, 0, "URL",
     "ask the server at http://HOST:PORT/ready or unix:PATH:/ready and end: with 0 if it says 200, else 1 (here alone)"},
    {"health-timeout-ms", NUMBER, FIELD(health_timeout_ms), 1, 600000, "MS", "time for --health (default: 2000)"},
    {"help", HELP, 0, 0, 0, NULL, "print this and stop"},
    {"version", VERSION, 0, 0, 0, NULL, "print the version and stop"},
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

static bool parse_flag(const char *text, bool *ret_flag) {
  if (strcasecmp(text, "true") == 0 || strcmp(text, "1") == 0 || strcasecmp(text, "yes") == 0 ||
      strcasecmp(text, "on") == 0) { /* as huggingface_hub takes them */
    *ret_flag = true;
  } else if (strcasecmp(text, "false") == 0 || strcmp(text, "0") == 0 || strcasecmp(text, "no") == 0 ||
             strcasecmp(text, "off") == 0) {
    *ret_flag = false;
  } else {
    return false;
  }
  return true;
}

static bool parse_switch(const char *text, option_switch *ret_switch) {
  bool flag;
  if (strcasecmp(text, "auto") == 0) {
    *ret_switch = OPTION_AUTO;
  } else if (parse_flag(text, &flag)) {
    *ret_switch = flag ? OPTION_ON : OPTION_OFF;
  } else {
    return false;
  }
  return true;
}

static bool parse_dtype(const char *text, rr_dtype *ret_dtype) {
  static const struct {
    const char *name;
    rr_dtype dtype;
  } names[] = {{"auto", RR_DTYPE_AUTO},
               {"float32", RR_DTYPE_FLOAT32},
               {"bfloat16", RR_DTYPE_BFLOAT16},
               {"int8", RR_DTYPE_INT8}};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (strcmp(text, names[i].name) == 0) {
      *ret_dtype = names[i].dtype;
      return true;
    }
  }
  return false;
}

static bool parse_scoring(const char *text, rr_scoring *ret_scoring) {
  static const struct {
    const char *name;
    rr_scoring scoring;
  } names[] = {{"auto", RR_SCORING_AUTO},
               {"cosine", RR_SCORING_COSINE},
               {"maxsim", RR_SCORING_MAXSIM},
               {"hybrid", RR_SCORING_HYBRID}};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (strcmp(text, names[i].name) == 0) {
      *ret_scoring = names[i].scoring;
      return true;
    }
  }
  return false;
}

static bool add_item(option_list *list, const char *text) {
  if (text[0] == '\0' || list->n == OPTION_LIST_MAX) {
    return false;
  }
  list->items[list->n++] = text;
  return true;
}

/* Stores one value; on failure writes what would have been right into `expected`. */
static bool store(const spec *option, const char *text, options *self, char *expected, size_t size) {
  void *field = (char *)self + option->offset;
  size_t number;
  switch (option->kind) {
  case TEXT:
  case HEALTH:
    (void)snprintf(expected, size, "some text");
    *(const char **)field = text;
    return text[0] != '\0';
  case LIST:
    (void)snprintf(expected, size, "some text, %d times at most", (int)OPTION_LIST_MAX);
    return add_item(field, text);
  case NUMBER:
  case SMALL_NUMBER:
    (void)snprintf(expected, size, "a whole number from %zu to %zu", option->minimum, option->maximum);
    if (!parse_number(text, option->minimum, option->maximum, &number)) {
      return false;
    }
    if (option->kind == NUMBER) {
      *(size_t *)field = number;
    } else {
      *(unsigned *)field = (unsigned)number;
    }
    return true;
  case FLAG:
    (void)snprintf(expected, size, "true or false");
    return parse_flag(text, (bool *)field);
  case SWITCH:
    (void)snprintf(expected, size, "on, off or auto");
    return parse_switch(text, (option_switch *)field);
  case DTYPE:
    (void)snprintf(expected, size, "float32, bfloat16 or int8");
    return parse_dtype(text, (rr_dtype *)field);
  case SCORING:
    (void)snprintf(expected, size, "auto, cosine, maxsim or hybrid");
    return parse_scoring(text, (rr_scoring *)field);
  case LEVEL:
    (void)snprintf(expected, size, "error, warn, info or debug");
    return log_level_parse(text, (log_level *)field);
  case HELP:
  case VERSION: break;
  }
  return false;
}

static bool apply(const spec *option, const char *source, const char *text, options *self,
                  char problem[OPTIONS_PROBLEM_MAX]) {
  char expected[128];
  if (store(option, text, self, expected, sizeof expected)) {
    return true;
  }
  (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "%s: '%.100s' is not valid; expected %s", source, text,
                 expected);
  return false;
}

static void print_help(FILE *out) {
  (void)fprintf(out, "Usage: rerankd [--model-id MODEL] [OPTION]...\n"
                     "Ranks texts by their relevance to a query, over HTTP.\n\n"
                     "Each option is also an environment variable in upper snake case (MAX_BATCH_TOKENS);\n"
                     "the command line wins.\n\n");
  for (int i = 0; i < SPECS; i++) {
    char left[NAME_MAX_BYTES];
    (void)snprintf(left, sizeof left, "--%s%s%s", specs[i].name, specs[i].argument == NULL ? "" : " ",
                   specs[i].argument == NULL ? "" : specs[i].argument);
    (void)fprintf(out, "  %-31s %s\n", left, specs[i].help);
  }
}

static bool read_environment(char *(*lookup)(const char *name), options *self,
                             char problem[OPTIONS_PROBLEM_MAX]) {
  for (int i = 0; i < SPECS; i++) {
    char name[NAME_MAX_BYTES];
    environment_name(specs[i].name, name);
    const char *text = specs[i].kind < HEALTH ? lookup(name) : NULL;
    if (text == NULL || text[0] == '\0') { /* set but empty: as compose files leave it */
      continue;
    }
    if (!apply(&specs[i], name, text, self, problem)) {
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
  if (optind < argc && parse_flag(argv[optind], &ignored)) {
    return argv[optind++];
  }
  return "true";
}

static options_result read_arguments(int argc, char **argv, FILE *out, options *self,
                                     char problem[OPTIONS_PROBLEM_MAX]) {
  struct option table[FLAGS_MAX] = {{0}};
  for (int i = 0; i < SPECS; i++) {
    int argument = specs[i].kind == FLAG  ? optional_argument
                   : specs[i].kind < HELP ? required_argument
                                          : no_argument;
    table[i] = (struct option){.name = specs[i].name, .has_arg = argument, .val = 'A' + i};
  }
  opterr = 0;
  optind = 0; /* glibc: start afresh, also in a second call */
  int found;
  while ((found = getopt_long(argc, argv, ":", table, NULL)) != -1) {
    if (found == '?' || found == ':') {
      (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "%.100s: %s", argv[optind - 1],
                     found == ':' ? "needs a value" : "unknown option (see --help)");
      return OPTIONS_INVALID;
    }
    const spec *option = &specs[found - 'A'];
    if (option->kind == HELP || option->kind == VERSION) {
      if (option->kind == HELP) {
        print_help(out);
      } else {
        (void)fprintf(out, "rerankd %s\n", RERANKD_VERSION);
      }
      return OPTIONS_DONE;
    }
    char source[NAME_MAX_BYTES];
    (void)snprintf(source, sizeof source, "--%s", option->name);
    if (!apply(option, source, option->kind == FLAG ? flag_value(argc, argv) : optarg, self, problem)) {
      return OPTIONS_INVALID;
    }
  }
  if (optind < argc) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "'%.100s': unexpected argument (see --help)",
                   argv[optind]);
    return OPTIONS_INVALID;
  }
  return OPTIONS_RUN;
}

/* The URL is not told again: it may hold a password. */
static bool check_shared(const options *self, char problem[OPTIONS_PROBLEM_MAX]) {
  shared_address address;
  rr_error error;
  if (self->shared_cache == NULL) {
    return true;
  }
  if (self->cache_bytes == 0) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "--shared-cache: only with --cache-bytes, which goes before it");
    return false;
  }
  if (strlen(self->shared_cache_prefix) > SHARED_PREFIX_MAX) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "--shared-cache-prefix: %d bytes at most", (int)SHARED_PREFIX_MAX);
    return false;
  }
  if (shared_address_parse(self->shared_cache, self->shared_cache_password, &address, &error) != RR_OK) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "--shared-cache: %s", error.message);
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
  if (self.cache_bytes > 0 && self.cache_bytes < CACHE_BYTES_MIN) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "--cache-bytes: 0, or at least %d", (int)CACHE_BYTES_MIN);
    return OPTIONS_INVALID;
  }
  if (self.request_memory > 0 && self.request_memory < REQUEST_MEMORY_MIN) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "--request-memory: 0, for a share of what there is, or at least %d",
                   (int)REQUEST_MEMORY_MIN);
    return OPTIONS_INVALID;
  }
  if (self.document_cache_bytes > 0 && self.document_cache_bytes < DOCUMENT_CACHE_BYTES_MIN) {
    (void)snprintf(problem, OPTIONS_PROBLEM_MAX, "--document-cache-bytes: 0, or at least %d",
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
