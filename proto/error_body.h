/* The bodies of errors: one for clients of many kinds, in which each finds the member it reads,
 * and a terse one. */
#ifndef RR_PROTO_ERROR_BODY_H
#define RR_PROTO_ERROR_BODY_H

#include "proto/error.h"
#include "proto/json_writer.h"

/* {"message":..., "detail":..., "error":{"message":..., "type":..., "param":..., "code":...}}: the
 * message three times, the field at fault as `param`, the status as `code`. `listed`: where the
 * status is 422, `detail` is [{"loc":["body", the field at fault], "msg":..., "type":...}]. */
void rr_error_put_full(const rr_api_error *error, bool listed, rr_json_writer *writer);

/* The same where there is no memory. */
extern const char rr_error_full_fallback[];

/* {"error":..., "error_type":...} */
void rr_error_put_terse(const rr_api_error *error, rr_json_writer *writer);

/* The same where there is no memory. Static storage. */
const char *rr_error_terse_fallback(rr_api_error_kind kind);

#endif
