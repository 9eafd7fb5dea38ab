/* The way to a collector: one POST after another by libcurl, each with its time limit.
 *
 * 1. Belongs to one thread, but for otlp_post_hurry.
 * 2. Nothing that a collector sends is believed beyond a status, a time to come again and a number
 *    of rejected spans; 64 KiB of it are read at most, and no redirect is followed.
 */
#ifndef RR_SERVER_OTLP_POST_H
#define RR_SERVER_OTLP_POST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/status.h"
#include "server/otlp/settings.h"

typedef struct otlp_post otlp_post;

typedef enum otlp_outcome {
  OTLP_DONE,
  OTLP_AGAIN,  /* another try may help */
  OTLP_REFUSED /* it would not */
} otlp_outcome;

typedef struct otlp_reply {
  long status;          /* 0: there was none */
  uint64_t retry_after; /* ns; 0: not told */
  uint64_t rejected;    /* spans that the collector did not take, of an answer that is otherwise
                           OTLP_DONE */
  char problem[256];    /* what went wrong, without the address; "" for OTLP_DONE */
} otlp_reply;

/* Before any other thread runs: libcurl is set up. Borrows the settings. RR_ERR_MEMORY. */
rr_status otlp_post_create(const otlp_settings *settings, otlp_post **ret_post, rr_error *err);
void otlp_post_destroy(otlp_post *post); /* NULL is allowed */

/* Sends a body, already packed where the settings say so and `packed` is true. Blocks, at most
 * until the monotonic time `until` or what otlp_post_hurry said. */
otlp_outcome otlp_post_send(otlp_post *post, const char *body, size_t size, bool packed,
                            uint64_t until, otlp_reply *ret_reply);

/* From here on no call blocks longer than until this monotonic time. Any thread. */
void otlp_post_hurry(otlp_post *post, uint64_t until);

/* What a status means. */
otlp_outcome otlp_judge(long status);

/* partialSuccess.rejectedSpans of an answer; 0 where it says nothing that can be understood. */
uint64_t otlp_rejected(const char *body, size_t size);

#endif
