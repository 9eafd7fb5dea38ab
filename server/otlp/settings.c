#include "server/otlp/settings.h"

#include <ctype.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/alloc.h"
#include "core/base/file.h"
#include "server/base/version.h"
#include "server/http/trace_context.h"

typedef char *(*look_up)(const char *name);

/* NULL if it is not set, or empty. */
static const char *variable(look_up lookup, const char *name) {
  const char *value = lookup(name);
  return value == NULL || value[0] == '\0' ? NULL : value;
}

/* The first of two that is set; *ret_name tells which. */
static const char *either(look_up lookup, const char *first, const char *second,
                          const char **ret_name) {
  const char *value = variable(lookup, first);
  *ret_name = value != NULL ? first : second;
  return value != NULL ? value : variable(lookup, second);
}

/* An address in the form that curl writes it, with /v1/traces behind its path: always, where it is
 * not there yet, or not at all. */
typedef enum path_rule { PATH_APPENDED, PATH_ENSURED, PATH_GIVEN } path_rule;

static bool fix_path(CURLU *parsed, path_rule rule) {
  static const char signal[] = "/v1/traces";
  char path[OTLP_URL_BYTES];
  char *given = NULL;
  if (rule == PATH_GIVEN || curl_url_get(parsed, CURLUPART_PATH, &given, 0) != CURLUE_OK) {
    return rule == PATH_GIVEN;
  }
  size_t size = strlen(given);
  while (size > 0 && given[size - 1] == '/') {
    size--;
  }
  bool there = size >= sizeof signal - 1 &&
               strncmp(given + size - (sizeof signal - 1), signal, sizeof signal - 1) == 0;
  int length = snprintf(path, sizeof path, "%.*s%s", (int)size, given,
                        rule == PATH_ENSURED && there ? "" : signal);
  curl_free(given);
  return length > 0 && (size_t)length < sizeof path &&
         curl_url_set(parsed, CURLUPART_PATH, path, 0) == CURLUE_OK;
}

static bool is_web(CURLU *parsed) {
  char *scheme = NULL;
  bool web = curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
             (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
  curl_free(scheme);
  return web;
}

static void describe(CURLU *parsed, char ret_where[OTLP_VALUE_BYTES]) {
  char *rest = NULL;
  (void)curl_url_set(parsed, CURLUPART_USER, NULL, 0);
  (void)curl_url_set(parsed, CURLUPART_PASSWORD, NULL, 0);
  (void)curl_url_set(parsed, CURLUPART_QUERY, NULL, 0);
  (void)curl_url_set(parsed, CURLUPART_FRAGMENT, NULL, 0);
  bool known = curl_url_get(parsed, CURLUPART_URL, &rest, 0) == CURLUE_OK;
  (void)snprintf(ret_where, OTLP_VALUE_BYTES, "%s", known ? rest : "a collector");
  curl_free(rest);
}

static rr_status read_url(const char *text, const char *source, path_rule rule,
                          otlp_settings *settings, rr_error *err) {
  CURLU *parsed = curl_url();
  char *whole = NULL;
  bool good = parsed != NULL && curl_url_set(parsed, CURLUPART_URL, text, 0) == CURLUE_OK &&
              is_web(parsed) && fix_path(parsed, rule) &&
              curl_url_get(parsed, CURLUPART_URL, &whole, 0) == CURLUE_OK &&
              strlen(whole) < OTLP_URL_BYTES;
  if (good) {
    (void)snprintf(settings->url, OTLP_URL_BYTES, "%s", whole);
    describe(parsed, settings->where);
  }
  curl_free(whole);
  curl_url_cleanup(parsed);
  return good ? RR_OK
              : rr_fail(err, RR_ERR_INPUT,
                        "%s: no http:// or https:// address, or longer than %d bytes", source,
                        (int)OTLP_URL_BYTES);
}

static int hex_digit(char c) {
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : -1;
}

/* Undoes %XX; false where it is none, is NUL, or does not fit. */
static bool unescape(const char *text, size_t size, char ret_text[OTLP_VALUE_BYTES]) {
  size_t used = 0;
  for (size_t i = 0; i < size; i++) {
    char c = text[i];
    if (c == '%') {
      int high = i + 2 < size ? hex_digit(text[i + 1]) : -1;
      int low = i + 2 < size ? hex_digit(text[i + 2]) : -1;
      c = high < 0 || low < 0 ? '\0' : (char)(high * 16 + low);
      i += 2;
    }
    if (c == '\0' || used + 1 >= OTLP_VALUE_BYTES) {
      return false;
    }
    ret_text[used++] = c;
  }
  ret_text[used] = '\0';
  return true;
}

static size_t trim(const char **text, size_t size) {
  while (size > 0 && isspace((unsigned char)(*text)[0])) {
    (*text)++;
    size--;
  }
  while (size > 0 && isspace((unsigned char)(*text)[size - 1])) {
    size--;
  }
  return size;
}

/* "name=value,name=value", escaped by %XX. take may refuse a pair. */
static bool read_pairs(const char *text,
                       bool (*take)(otlp_settings *, const char *name, const char *value),
                       otlp_settings *settings) {
  while (*text != '\0') {
    char name[OTLP_VALUE_BYTES];
    char value[OTLP_VALUE_BYTES];
    size_t size = strcspn(text, ",");
    const char *next = text + size + (text[size] == ',');
    size = trim(&text, size);
    const char *equals = memchr(text, '=', size);
    if (size > 0) {
      if (equals == NULL) {
        return false;
      }
      const char *right = equals + 1;
      size_t right_size = trim(&right, size - (size_t)(right - text));
      size_t left_size = trim(&text, (size_t)(equals - text));
      if (left_size == 0 || !unescape(text, left_size, name) ||
          !unescape(right, right_size, value) || !take(settings, name, value)) {
        return false;
      }
    }
    text = next;
  }
  return true;
}

/* A token of HTTP's, and no header that says what the body is: that is decided here. */
static bool is_header_name(const char *name) {
  static const char *const own[] = {
      "content-type", "content-length", "content-encoding", "transfer-encoding", "host",
      "connection",   "expect"};
  for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
    if (strcasecmp(name, own[i]) == 0) {
      return false;
    }
  }
  for (; *name != '\0'; name++) {
    if (!isalnum((unsigned char)*name) && strchr("!#$&'*+-.^_`|~", *name) == NULL) {
      return false;
    }
  }
  return true;
}

static bool take_header(otlp_settings *settings, const char *name, const char *value) {
  if (settings->n_headers == OTLP_HEADERS_MAX || !is_header_name(name)) {
    return false;
  }
  for (const char *c = value; *c != '\0'; c++) {
    if (*c < ' ' || *c > '~') {
      return false;
    }
  }
  char *line = settings->headers[settings->n_headers++];
  int length = snprintf(line, OTLP_VALUE_BYTES, "%s: %s", name, value);
  return length > 0 && (size_t)length < OTLP_VALUE_BYTES;
}

/* A later value replaces an earlier one of the same name. */
static bool take_attribute(otlp_settings *settings, const char *name, const char *value) {
  size_t i = 0;
  while (i < settings->n_attributes && strcmp(settings->attributes[i].name, name) != 0) {
    i++;
  }
  if (i == OTLP_ATTRIBUTES_MAX) {
    return false;
  }
  settings->n_attributes += i == settings->n_attributes;
  (void)snprintf(settings->attributes[i].name, OTLP_VALUE_BYTES, "%s", name);
  (void)snprintf(settings->attributes[i].value, OTLP_VALUE_BYTES, "%s", value);
  return true;
}

static rr_status read_headers(look_up lookup, otlp_settings *settings, rr_error *err) {
  const char *name;
  const char *text =
      either(lookup, "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS", &name);
  return text == NULL || read_pairs(text, take_header, settings)
             ? RR_OK
             : rr_fail(err, RR_ERR_INPUT,
                       "%s: expected name=value,name=value, %d at most, escaped by %%XX", name,
                       (int)OTLP_HEADERS_MAX);
}

static rr_status read_attributes(look_up lookup, otlp_settings *settings, rr_error *err) {
  const char *text = variable(lookup, "OTEL_RESOURCE_ATTRIBUTES");
  const char *service = variable(lookup, "OTEL_SERVICE_NAME");
  char instance[TRACE_CONTEXT_BYTES];
  char unused[TRACE_PARENT_BYTES];
  trace_new_ids(instance, unused);
  (void)take_attribute(settings, "service.name", "rerankd");
  (void)take_attribute(settings, "service.version", RERANKD_VERSION);
  (void)take_attribute(settings, "service.instance.id", instance);
  if (text != NULL && !read_pairs(text, take_attribute, settings)) {
    return rr_fail(
        err, RR_ERR_INPUT,
        "OTEL_RESOURCE_ATTRIBUTES: expected name=value,name=value, %d at most, escaped by %%XX",
        (int)OTLP_ATTRIBUTES_MAX - 3);
  }
  if (service != NULL) {
    (void)take_attribute(settings, "service.name", service);
  }
  return RR_OK;
}

static bool read_ratio(const char *text, uint64_t *ret_bound) {
  char *end;
  double ratio = strtod(text, &end);
  if (end == text || *end != '\0' || !(ratio >= 0 && ratio <= 1)) { /* NaN is none either */
    return false;
  }
  *ret_bound = trace_bound(ratio);
  return true;
}

static rr_status read_sampler(look_up lookup, otlp_settings *settings, rr_error *err) {
  static const char parent[] = "parentbased_";
  const char *name = variable(lookup, "OTEL_TRACES_SAMPLER");
  const char *argument = variable(lookup, "OTEL_TRACES_SAMPLER_ARG");
  if (name == NULL) {
    return RR_OK;
  }
  settings->by_parent = strncmp(name, parent, sizeof parent - 1) == 0;
  const char *rest = name + (settings->by_parent ? sizeof parent - 1 : 0);
  if (strcmp(rest, "always_on") == 0) {
    settings->bound = TRACE_RATIO_ONE;
  } else if (strcmp(rest, "always_off") == 0) {
    settings->bound = 0;
  } else if (strcmp(rest, "traceidratio") != 0) {
    return rr_fail(err, RR_ERR_INPUT, "OTEL_TRACES_SAMPLER: '%.50s' is not known here", name);
  } else if (argument != NULL && !read_ratio(argument, &settings->bound)) {
    return rr_fail(err, RR_ERR_INPUT, "OTEL_TRACES_SAMPLER_ARG: expected a number from 0 to 1");
  }
  return RR_OK;
}

static rr_status read_transport(look_up lookup, otlp_settings *settings, rr_error *err) {
  const char *name;
  const char *text = either(lookup, "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
                            "OTEL_EXPORTER_OTLP_COMPRESSION", &name);
  settings->gzip = text != NULL && strcmp(text, "gzip") == 0;
  if (text != NULL && !settings->gzip && strcmp(text, "none") != 0) {
    return rr_fail(err, RR_ERR_INPUT, "%s: expected gzip or none", name);
  }
  text = either(lookup, "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE",
                &name);
  if (text != NULL) {
    int length = snprintf(settings->ca_file, sizeof settings->ca_file, "%s", text);
    if (length < 0 || (size_t)length >= sizeof settings->ca_file) {
      return rr_fail(err, RR_ERR_INPUT, "%s: path too long", name);
    }
    bool there; /* of what is not there, libcurl tells */
    return rr_file_find(settings->ca_file, &there, err);
  }
  return RR_OK;
}

static bool is_disabled(look_up lookup) {
  const char *disabled = variable(lookup, "OTEL_SDK_DISABLED");
  const char *exporter = variable(lookup, "OTEL_TRACES_EXPORTER");
  return (disabled != NULL && strcasecmp(disabled, "true") == 0) ||
         (exporter != NULL && strcmp(exporter, "none") == 0);
}

/* The address of OpenTelemetry's variables; "" where they name none. */
static rr_status read_foreign_url(look_up lookup, otlp_settings *settings, rr_error *err) {
  const char *name;
  const char *text =
      either(lookup, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT", &name);
  bool whole = strcmp(name, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == 0;
  const char *which;
  const char *protocol =
      either(lookup, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL", &which);
  /* Whoever takes http/protobuf takes JSON at the same address; gRPC's port speaks another
   * protocol. */
  if (text != NULL && protocol != NULL && strncmp(protocol, "http/", 5) != 0) {
    return rr_fail(err, RR_ERR_INPUT, "%s: rerankd speaks http/json", which);
  }
  return text == NULL ? RR_OK
                      : read_url(text, name, whole ? PATH_GIVEN : PATH_APPENDED, settings, err);
}

static rr_status read_foreign(look_up lookup, bool with_url, otlp_settings *settings,
                              rr_error *err) {
  rr_status status = with_url ? read_foreign_url(lookup, settings, err) : RR_OK;
  if (status != RR_OK || (with_url && settings->url[0] == '\0')) {
    return status;
  }
  status = read_headers(lookup, settings, err);
  status = status != RR_OK ? status : read_attributes(lookup, settings, err);
  status = status != RR_OK ? status : read_sampler(lookup, settings, err);
  return status != RR_OK ? status : read_transport(lookup, settings, err);
}

rr_status otlp_settings_read(const otlp_choices *choices, look_up lookup,
                             otlp_settings *ret_settings, bool *ret_foreign, rr_error *err) {
  otlp_settings *self = ret_settings;
  memset(self, 0, sizeof *self);
  self->by_parent = true;
  self->bound = TRACE_RATIO_ONE;
  *ret_foreign = false;
  uint64_t bound = 0;
  if (choices->sample != NULL && !read_ratio(choices->sample, &bound)) {
    return rr_fail(err, RR_ERR_INPUT, "--otlp-sample (OTLP_SAMPLE): expected a number from 0 to 1");
  }
  if (choices->endpoint != NULL) {
    rr_status status =
        read_url(choices->endpoint, "--otlp-endpoint (OTLP_ENDPOINT)", PATH_ENSURED, self, err);
    if (status != RR_OK) {
      return status;
    }
  }
  if (is_disabled(lookup)) {
    return RR_OK;
  }
  rr_status status = read_foreign(lookup, choices->endpoint == NULL, self, err);
  if (status != RR_OK) {
    *ret_foreign = true;
    return status;
  }
  if (choices->service != NULL) {
    (void)take_attribute(self, "service.name", choices->service);
  }
  if (choices->sample != NULL) {
    self->bound = bound;
  }
  self->on = self->url[0] != '\0';
  return RR_OK;
}
