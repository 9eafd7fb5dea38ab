/* How a dialect declares itself: how it reads and writes, and at which paths it is spoken. A file
 * a dialect, NAME.c, which exports rr_endpoints_NAME alone; the build collects these from its
 * list (list.h), and proto/dialect.h looks into them. Static and constant: any thread. */
#ifndef RR_PROTO_DIALECTS_DECLARE_H
#define RR_PROTO_DIALECTS_DECLARE_H

#include "proto/dialect.h"
#include "proto/dialects/list.h"
#include "proto/json_writer.h"
#include "proto/reader.h"

/* decode fills a request that begins with the defaults: no truncation flag, the text alone is cut.
 * Returns false with reader->error filled. encode appends one JSON value. */
struct rr_dialect {
  const char *name;       /* for logs */
  rr_operation operation; /* the same for all dialects at one path */
  rr_error_shape errors;  /* where the path leaves it open */
  bool (*decode)(const rr_reader *reader, rr_rerank_request *request);
  void (*encode)(const rr_result *result, rr_json_writer *writer);
};

/* The order in which the endpoints at one path are asked whether a body is theirs: the least number
 * first, and the first that says yes has it. A dialect adds a number of its own, below 100, so that
 * no two at one path are the same. */
typedef enum rr_precedence {
  RR_TOLD_FIRST = 0,          /* whatever other members are there */
  RR_TOLD_BY_MEMBERS = 100,   /* by members that few dialects have */
  RR_TOLD_BY_DOCUMENTS = 200, /* by `documents`, which many have */
  RR_TAKES_THE_REST = 300     /* what is left, without members: exactly one a path */
} rr_precedence;

enum { RR_TELLING_MEMBERS_MAX = 4 };

/* A path that a dialect is spoken at, and what tells it there: any of the members is in the body,
 * even with null, and `without` is not, or null. Of the endpoints at one path that which takes the
 * rest stands for all (rr_endpoint_at). */
struct rr_endpoint {
  const char *path; /* NULL ends a list */
  const rr_dialect *dialect;
  int precedence; /* an rr_precedence, plus the dialect's own number */
  const char *any[RR_TELLING_MEMBERS_MAX];
  const char *without;
};

/* `texts` without `documents`: answered by an array wherever it is sent. */
#define RR_TOLD_BY_TEXTS_ALONE .precedence = RR_TOLD_FIRST, .any = {"texts"}, .without = "documents"

/* What each file exports. */
#define RR_DECLARE_ENDPOINTS(name) extern const rr_endpoint rr_endpoints_##name[];
RR_EACH_DIALECT(RR_DECLARE_ENDPOINTS)
#undef RR_DECLARE_ENDPOINTS

/* All of them, in the order of the build's list; NULL ends it. */
extern const rr_endpoint *const rr_endpoints_declared[];

#endif
