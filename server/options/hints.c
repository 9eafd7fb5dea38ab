#include "server/options/hints.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

enum { COMPARED_MAX = 64 };

static int letter(char c) { return c == '_' ? '-' : tolower((unsigned char)c); }

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Damerau and Levenshtein's, in the form that edits no place twice. */
size_t option_distance(const char *a, const char *b) {
  size_t n = strnlen(a, COMPARED_MAX);
  size_t m = strnlen(b, COMPARED_MAX);
  size_t rows[3][COMPARED_MAX +
                 1]; /* the row before the last, the last, the one under way; in turns */
  for (size_t j = 0; j <= m; j++) {
    rows[0][j] = j;
  }
  for (size_t i = 1; i <= n; i++) {
    size_t *row = rows[i % 3];
    const size_t *last = rows[(i + 2) % 3];
    const size_t *before = rows[(i + 1) % 3];
    row[0] = i;
    for (size_t j = 1; j <= m; j++) {
      bool same = letter(a[i - 1]) == letter(b[j - 1]);
      row[j] = least(last[j - 1] + (same ? 0 : 1), least(last[j], row[j - 1]) + 1);
      if (i > 1 && j > 1 && letter(a[i - 1]) == letter(b[j - 2]) &&
          letter(a[i - 2]) == letter(b[j - 1])) {
        row[j] = least(row[j], before[j - 2] + 1);
      }
    }
  }
  return rows[n % 3][m];
}

size_t option_distance_most(const char *word) {
  size_t third = strnlen(word, COMPARED_MAX) / 3;
  return third == 0 ? 1 : third;
}

bool option_is_begin(const char *letters, const char *word) {
  size_t size = strlen(letters);
  for (size_t i = 0; i < size; i++) {
    if (letter(letters[i]) != letter(word[i])) { /* at the word's end too */
      return false;
    }
  }
  return size >= 3;
}

static const char model[] = "the model, a folder or a name on the hub, is --model-id";
static const char device[] = "there is none: this server computes on the CPU";
static const char tls[] =
    "there is none: this server speaks plain HTTP; put a proxy that speaks TLS before it";
static const char threads[] = "threads that compute are --threads";
static const char lengths[] =
    "there is none: the model's files say how long inputs may be; a request may ask for less";
static const char batch[] =
    "there is none: a micro-batch is bounded by its tokens, --max-batch-tokens";
static const char always[] = "there is none: it is always on";
static const char logged[] = "what is logged is --log-level";

/* Those of embedding and language model servers, and words that people try. */
static const struct {
  const char *name;
  const char *instead;
} elsewhere[] = {
    {"m", model},
    {"model", model},
    {"model-name", model},
    {"model-path", model},
    {"model-name-or-path", model},
    {"hf", model},
    {"hfr", model},
    {"hf-repo", model},
    {"tokenizer", "there is none: the tokenizer is read from the model's folder, --model-id"},
    {"tokenizer-mode", "there is none: the tokenizer is read from the model's folder, --model-id"},
    {"trust-remote-code", "there is none: no code of a model is run"},
    {"pooling", "there is none: pooling is read from the model's 1_Pooling/config.json"},
    {"pooling-type", "there is none: pooling is read from the model's 1_Pooling/config.json"},
    {"dense-path", "there is none: models with Dense modules are not served"},
    {"default-prompt", "there is none: put the prompt before the query in each request"},
    {"default-prompt-name", "there is none: put the prompt before the query in each request"},
    {"task", always},
    {"runner", always},
    {"rerank", always},
    {"reranking", always},
    {"embedding", "there is none: this server reranks alone"},
    {"embeddings", "there is none: this server reranks alone"},
    {"max-batch-requests", batch},
    {"batch-size", batch},
    {"ubatch-size", batch},
    {"b", batch},
    {"ub", batch},
    {"max-num-batched-tokens", "tokens of a micro-batch are --max-batch-tokens"},
    {"max-num-seqs", "requests at work or waiting are --max-concurrent-requests"},
    {"np", "requests at work or waiting are --max-concurrent-requests"},
    {"parallel", "requests at work or waiting are --max-concurrent-requests"},
    {"max-model-len", lengths},
    {"max-length", lengths},
    {"max-input-length", lengths},
    {"ctx-size", lengths},
    {"c", lengths},
    {"hf-api-token", "the hub's token is --hf-token"},
    {"token", "the hub's token is --hf-token"},
    {"download-dir", "downloaded models are kept in --huggingface-hub-cache"},
    {"cache-dir", "downloaded models are kept in --huggingface-hub-cache"},
    {"offline", "downloaded models alone are used with --hf-hub-offline"},
    {"uds-path", "a socket in the file system is --unix-socket"},
    {"uds", "a socket in the file system is --unix-socket"},
    {"socket", "a socket in the file system is --unix-socket"},
    {"host", "the address to listen on is --hostname"},
    {"bind", "the address to listen on is --hostname, with --port"},
    {"listen", "the address to listen on is --hostname, with --port"},
    {"address", "the address to listen on is --hostname, with --port"},
    {"prometheus-port", "there is none: /metrics is at the same port as all, --port"},
    {"metrics", always},
    {"url-prefix", "there is none: let a proxy take the prefix off"},
    {"root-path", "there is none: let a proxy take the prefix off"},
    {"api-prefix", "there is none: let a proxy take the prefix off"},
    {"disable-spans", "there is none: no spans are sent without --otlp-endpoint"},
    {"otlp-traces-endpoint", "spans are sent to --otlp-endpoint"},
    {"allowed-origins", "origins whose pages may call are --cors-allow-origin"},
    {"cors", "origins whose pages may call are --cors-allow-origin"},
    {"ssl-keyfile", tls},
    {"ssl-certfile", tls},
    {"ssl-key-file", tls},
    {"ssl-cert-file", tls},
    {"tls", tls},
    {"alias", "the model's name in answers is --served-model-name"},
    {"a", "the model's name in answers is --served-model-name"},
    {"quantization", "number formats are --dtype, as --dtype int8"},
    {"quantize", "number formats are --dtype, as --dtype int8"},
    {"device", device},
    {"gpu-memory-utilization", device},
    {"tensor-parallel-size", device},
    {"n-gpu-layers", device},
    {"gpu-layers", device},
    {"ngl", device},
    {"engine", device},
    {"workers", threads},
    {"num-workers", threads},
    {"threads-batch", threads},
    {"t", threads},
    {"j", threads},
    {"timeout", "times are --default-timeout-ms for a request, --client-timeout and --idle-timeout "
                "for connections"},
    {"config", "there is none: each option is also an environment variable, such as MODEL_ID"},
    {"f", "there is none: each option is also an environment variable, such as MODEL_ID"},
    {"daemon", "there is none: a service manager, or &, puts the server behind"},
    {"d", "there is none: a service manager, or &, puts the server behind"},
    {"verbose", "more is logged with --log-level debug"},
    {"debug", "more is logged with --log-level debug"},
    {"v", "the version is --version; more is logged with --log-level debug"},
    {"quiet", "less is logged with --log-level warn"},
    {"q", "less is logged with --log-level warn"},
    {"uvicorn-log-level", logged},
    {"disable-log-requests", logged},
    {"log-disable", logged},
    {"log-file", "there is none: the log goes to standard error; redirect it"},
    {"log-format", "a log in JSON is --json-output"},
    {"cache-size", "caches are --cache-bytes for scores and --document-cache-bytes for documents"},
    {"max-body-size", "the size of a request body is --payload-limit"},
};

const char *option_elsewhere(const char *name) {
  for (size_t i = 0; i < sizeof elsewhere / sizeof elsewhere[0]; i++) {
    if (strlen(name) == strlen(elsewhere[i].name) &&
        option_distance(name, elsewhere[i].name) == 0 &&
        (name[1] != '\0' || name[0] == elsewhere[i].name[0])) {
      return elsewhere[i].instead;
    }
  }
  return NULL;
}
