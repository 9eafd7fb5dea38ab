#include "bench/load/options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum kind { TEXT, LIST, NUMBER, REAL, FLAG } kind;

typedef struct spec {
  const char *name;
  kind kind;
  size_t offset;
  double minimum, maximum;
  const char *argument;
  const char *help;
} spec;

#define FIELD(name) offsetof(options, name)

static const spec specs[] = {
    {"url", TEXT, FIELD(url), 0, 0, "URL", "the server (default: http://127.0.0.1:8080)"},
    {"dialect", TEXT, FIELD(dialect_name), 0, 0, "NAME",
     "tei, cohere, infinity, llamacpp, jina, vllm or voyage (default: tei)"},
    {"path", TEXT, FIELD(path), 0, 0, "PATH", "instead of the dialect's path; follows the URL's"},
    {"model", TEXT, FIELD(model), 0, 0, "NAME", "the request's `model` (default: none)"},
    {"api-key", TEXT, FIELD(api_key), 0, 0, "KEY", "sent as `Authorization: Bearer KEY`"},
    {"header", LIST, FIELD(headers), 0, 0, "LINE",
     "one more header, as 'x-request-timeout-ms: 500'; several times"},
    {"allow-remote", FLAG, FIELD(allow_remote), 0, 0, NULL,
     "talk to a server that is not on this machine's loopback"},
    {"candidates", TEXT, FIELD(candidates), 0, 0, "FILE",
     "queries and their candidates, as JSON lines; - for standard input (required)"},
    {"sizes", TEXT, FIELD(sizes_text), 0, 0, "LIST",
     "candidates a request: 100, or with weights 10:0.5,100:0.4,1000:0.1 (default: 100)"},
    {"words", NUMBER, FIELD(words), 0, 1e6, "N",
     "cut each candidate to N words (default: 0, as given)"},
    {"repeat", REAL, FIELD(repeat), 0, 1, "SHARE",
     "this share of the candidates was sent before, all others are new (default: as the file's "
     "queries "
     "come again)"},
    {"top-n", NUMBER, FIELD(top_n), 0, 1e6, "N",
     "ask for N results where the dialect can (default: 0, all)"},
    {"seed", NUMBER, FIELD(seed), 0, 1e15, "N", "of arrivals and requests (default: 1)"},
    {"rate", REAL, FIELD(rate), 1e-3, 1e6, "R",
     "open loop: R requests a second start, whatever the server does"},
    {"arrivals", TEXT, FIELD(arrivals), 0, 0, "KIND",
     "of the open loop: poisson, even, or a file of seconds, one a line (default: poisson)"},
    {"connections", NUMBER, FIELD(connections), 1, 65536, "N",
     "closed loop: N connections, each sends again when its answer came"},
    {"max-in-flight", NUMBER, FIELD(max_in_flight), 1, 65536, "N",
     "open loop: requests beyond this are dropped and counted (default: 1024)"},
    {"max-buffer-mb", NUMBER, FIELD(max_buffer_mb), 1, 65536, "N",
     "and so are those beyond this much of bodies in flight; as much again is held of answers "
     "(default: 256)"},
    {"duration", REAL, FIELD(duration), 1e-3, 1e6, "S",
     "seconds, after the warm-up (default: 10, without --requests)"},
    {"requests", NUMBER, FIELD(requests), 1, 1e12, "N", "requests, after the warm-up, at most"},
    {"warmup", REAL, FIELD(warmup), 0, 1e6, "S",
     "requests of the first S seconds are not counted (default: 0)"},
    {"warmup-requests", NUMBER, FIELD(warmup_requests), 0, 1e9, "N",
     "nor are the first N (default: 0)"},
    {"deadline-ms", NUMBER, FIELD(deadline_ms), 1, 1e9, "MS",
     "answers later than this are not goodput"},
    {"timeout-ms", NUMBER, FIELD(timeout_ms), 1, 1e8, "MS",
     "give a request up after this (default: 60000)"},
    {"label", TEXT, FIELD(label), 0, 0, "TEXT",
     "a name for the run, for the reports (default: the URL)"},
    {"json", TEXT, FIELD(json), 0, 0, "FILE", "write the report as JSON; - for standard output"},
    {"csv", TEXT, FIELD(csv), 0, 0, "FILE", "as CSV: a line of names and one of figures"},
    {"html", TEXT, FIELD(html), 0, 0, "FILE", "as a page with plots"},
    {"journal", TEXT, FIELD(journal), 0, 0, "FILE",
     "write a line for each request as it ends: when it was to start, how long it took, how it "
     "ended"},
    {"quiet", FLAG, FIELD(quiet), 0, 0, NULL, "no table and no progress line"},
    {"help", FLAG, FIELD(help), 0, 0, NULL, "print this and stop"},
};

enum { SPECS = sizeof specs / sizeof *specs };

void options_help(void) {
  printf("Usage: load --candidates FILE (--rate R | --connections N | --arrivals FILE) [options]\n"
         "Drives a reranking server and measures it.\n\n");
  for (size_t i = 0; i < SPECS; i++) {
    char head[64];
    (void)snprintf(head, sizeof head, "--%s%s%s", specs[i].name,
                   specs[i].argument == NULL ? "" : " ",
                   specs[i].argument == NULL ? "" : specs[i].argument);
    printf("  %-22s %s\n", head, specs[i].help);
  }
  printf("\nThe status is 0 if at least one right answer came, 1 if none did, 2 where it could not "
         "begin.\n");
}

static rr_status set_number(const spec *wanted, const char *text, void *field, rr_error *err) {
  char *end;
  errno = 0;
  double value = strtod(text, &end);
  bool good = end != text && *end == '\0' && errno == 0 && isfinite(value) &&
              value >= wanted->minimum && value <= wanted->maximum &&
              (wanted->kind == REAL || value == floor(value));
  if (!good) {
    return rr_fail(err, RR_ERR_INPUT, "--%s wants a %snumber from %.15g to %.15g", wanted->name,
                   wanted->kind == REAL ? "" : "whole ", wanted->minimum, wanted->maximum);
  }
  if (wanted->kind == REAL) {
    *(double *)field = value;
  } else {
    *(size_t *)field = (size_t)value;
  }
  return RR_OK;
}

static rr_status set(options *self, const spec *wanted, const char *text, rr_error *err) {
  void *field = (char *)self + wanted->offset;
  switch (wanted->kind) {
  case TEXT: *(const char **)field = text; return RR_OK;
  case FLAG: *(bool *)field = true; return RR_OK;
  case LIST:
    if (self->n_headers == OPTIONS_HEADERS_MAX) {
      return rr_fail(err, RR_ERR_INPUT, "--header comes more than %d times", OPTIONS_HEADERS_MAX);
    }
    self->headers[self->n_headers++] = text;
    return RR_OK;
  default: return set_number(wanted, text, field, err);
  }
}

static bool is_named_arrival(const char *name) {
  return strcmp(name, "poisson") == 0 || strcmp(name, "even") == 0;
}

/* A line break or another control character would add headers of its own. */
static bool is_header_text(const char *text) {
  for (; *text != '\0'; text++) {
    if ((unsigned char)*text < 0x20 || *text == 0x7f) {
      return false;
    }
  }
  return true;
}

static rr_status check_headers(const options *self, rr_error *err) {
  for (size_t i = 0; i < self->n_headers; i++) {
    const char *colon = strchr(self->headers[i], ':');
    if (colon == NULL || colon == self->headers[i] || !is_header_text(self->headers[i])) {
      return rr_fail(err, RR_ERR_INPUT, "--header wants 'name: value'");
    }
  }
  if (self->api_key != NULL && !is_header_text(self->api_key)) {
    return rr_fail(err, RR_ERR_INPUT, "--api-key holds control characters");
  }
  if (self->path != NULL &&
      (self->path[0] != '/' || !is_header_text(self->path) || strchr(self->path, ' '))) {
    return rr_fail(err, RR_ERR_INPUT, "--path wants a path that begins with /, without spaces");
  }
  return RR_OK;
}

static rr_status check_loop(options *self, rr_error *err) {
  bool recorded = !is_named_arrival(self->arrivals);
  if (self->connections > 0 ? self->rate > 0 || recorded : (self->rate > 0) == recorded) {
    return rr_fail(err, RR_ERR_INPUT, "wants one of --rate R, --arrivals FILE and --connections N");
  }
  if (self->connections > 0 && self->max_in_flight < self->connections) {
    self->max_in_flight = self->connections;
  }
  if (self->duration == 0 && self->requests == 0) {
    self->duration = recorded ? INFINITY : 10;
  }
  if (self->duration == 0) {
    self->duration = INFINITY;
  }
  return RR_OK;
}

static rr_status check(options *self, rr_error *err) {
  if (self->candidates == NULL) {
    return rr_fail(err, RR_ERR_INPUT, "wants --candidates FILE");
  }
  self->spoken = dialect_find(self->dialect_name);
  if (self->spoken == NULL) {
    return rr_fail(err, RR_ERR_INPUT, "--dialect knows %s", dialect_names());
  }
  rr_error inner;
  if (mix_sizes_parse(self->sizes_text, &self->sizes, &inner) != RR_OK) {
    return rr_fail(err, RR_ERR_INPUT, "--sizes %.200s", inner.message);
  }
  rr_status status = check_loop(self, err);
  return status == RR_OK ? check_headers(self, err) : status;
}

rr_status options_parse(int argc, char **argv, options *ret_options, rr_error *err) {
  options self = {.url = "http://127.0.0.1:8080",
                  .dialect_name = "tei",
                  .sizes_text = "100",
                  .arrivals = "poisson",
                  .seed = 1,
                  .repeat = -1,
                  .max_in_flight = 1024,
                  .max_buffer_mb = 256,
                  .timeout_ms = 60000};
  struct option known[SPECS + 1] = {0};
  for (size_t i = 0; i < SPECS; i++) {
    known[i] = (struct option){specs[i].name,
                               specs[i].kind == FLAG ? no_argument : required_argument, NULL, 0};
  }
  optind = 0;
  opterr = 0;
  int found, at = -1;
  while ((found = getopt_long(argc, argv, ":", known, &at)) != -1) {
    if (found == ':') {
      return rr_fail(err, RR_ERR_INPUT, "%.100s wants a value", argv[optind - 1]);
    }
    if (found != 0) {
      return rr_fail(err, RR_ERR_INPUT, "%.100s is not an option; --help lists them",
                     argv[optind - 1]);
    }
    rr_status status = set(&self, &specs[at], optarg, err);
    if (status != RR_OK) {
      return status;
    }
  }
  if (optind < argc) {
    return rr_fail(err, RR_ERR_INPUT, "%.100s is not an option; --help lists them", argv[optind]);
  }
  rr_status status = self.help ? RR_OK : check(&self, err);
  if (status == RR_OK) {
    self.label = self.label == NULL ? self.url : self.label;
    *ret_options = self;
  }
  return status;
}
