/* Where spans go and which, from the options and from the environment variables that OpenTelemetry
 * names. */
#ifndef RR_SERVER_OTLP_SETTINGS_H
#define RR_SERVER_OTLP_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/status.h"

enum {
  OTLP_URL_BYTES = 2048,
  OTLP_VALUE_BYTES = 1024, /* of a header or an attribute, as NAME: VALUE or either */
  OTLP_HEADERS_MAX = 16,
  OTLP_ATTRIBUTES_MAX = 32
};

/* What the user chose; NULL for nothing. Strings are borrowed. */
typedef struct otlp_choices {
  const char *endpoint; /* --otlp-endpoint */
  const char *service;  /* --otlp-service-name */
  const char *sample;   /* --otlp-sample */
} otlp_choices;

typedef struct otlp_attribute {
  char name[OTLP_VALUE_BYTES];
  char value[OTLP_VALUE_BYTES];
} otlp_attribute;

typedef struct otlp_settings {
  bool on;
  bool by_parent; /* the caller's decision counts, where there is one */
  bool gzip;
  uint64_t bound; /* trace_is_sampled's, for all others */
  char url[OTLP_URL_BYTES];
  char where[OTLP_VALUE_BYTES];   /* the same for the log: without a user, a password or a query */
  char ca_file[OTLP_VALUE_BYTES]; /* "": the system's certificates */
  char headers[OTLP_HEADERS_MAX][OTLP_VALUE_BYTES]; /* "name: value" */
  size_t n_headers;
  otlp_attribute attributes[OTLP_ATTRIBUTES_MAX]; /* of the resource: service.name, .version,
                                                     .instance.id, others */
  size_t n_attributes;
} otlp_settings;

/* Not on: no endpoint was named, or OTEL_SDK_DISABLED or OTEL_TRACES_EXPORTER says so. `lookup` is
 * getenv, or a test's own. RR_ERR_INPUT with a message that names what is wrong; *ret_foreign then
 * tells whether that is a variable of OpenTelemetry's, which may be meant for other programs, and
 * not an option of ours. */
rr_status otlp_settings_read(const otlp_choices *choices, char *(*lookup)(const char *name),
                             otlp_settings *ret_settings, bool *ret_foreign, rr_error *err);

#endif
