/* The way back to the loop's thread: other threads post, the loop's thread receives.
 *
 * A list behind a lock, newest first, and a uv_async_t. libuv may merge several wake-ups into one,
 * so each takes all that was posted, and hands it on in the order of posting, outside of the lock.
 *
 *   thread:  lock, mail -> newest, uv_async_send, unlock
 *   loop:    lock, newest -> NULL, unlock, reverse, receive each
 *
 * Nothing is allocated: `mail` is embedded in what is sent. A mail is in at most one mailbox,
 * once. */
#ifndef RR_SERVER_SCHED_MAILBOX_H
#define RR_SERVER_SCHED_MAILBOX_H

#include <pthread.h>
#include <uv.h>

typedef struct mail {
  struct mail *next; /* the mailbox's own */
} mail;

/* Called on the loop's thread for each mail; may free it. */
typedef void (*mailbox_receive)(mail *received);

typedef struct mailbox {
  pthread_mutex_t lock;
  mail *newest; /* of those that came; by their `next` on to the oldest; guarded by lock */
  uv_async_t wake;
  mailbox_receive receive;
} mailbox;

/* Loop thread only. Returns 0 or a libuv error. */
int mailbox_init(mailbox *self, uv_loop_t *loop, mailbox_receive receive);

/* Loop thread only. Waits for a thread that is still inside mailbox_post, and closes the handle:
 * the loop has to run until it is closed. Nobody may post after that. */
void mailbox_close(mailbox *self);

/* Any thread but the loop's. What was posted is the loop's from here on. */
void mailbox_post(mailbox *self, mail *posted);

#endif
