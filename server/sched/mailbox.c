#include "server/sched/mailbox.h"

#include <stddef.h>

#include "server/base/loop_thread.h"

/* All that was posted, oldest first. */
static mail *take_all(mailbox *self) {
  (void)pthread_mutex_lock(&self->lock);
  mail *newest = self->newest;
  self->newest = NULL;
  (void)pthread_mutex_unlock(&self->lock);
  mail *oldest = NULL;
  while (newest != NULL) {
    mail *next = newest->next;
    newest->next = oldest;
    oldest = newest;
    newest = next;
  }
  return oldest;
}

static void on_wake(uv_async_t *wake) {
  mailbox *self = wake->data;
  mail *first = take_all(self);
  while (first != NULL) {
    mail *next = first->next; /* whoever receives it may free it */
    self->receive(first);
    first = next;
  }
}

int mailbox_init(mailbox *self, uv_loop_t *loop, mailbox_receive receive) {
  assert_loop_thread();
  *self = (mailbox){.receive = receive};
  (void)pthread_mutex_init(&self->lock, NULL);
  int status = uv_async_init(loop, &self->wake, on_wake);
  self->wake.data = self;
  return status;
}

void mailbox_close(mailbox *self) {
  assert_loop_thread();
  (void)pthread_mutex_lock(&self->lock);
  (void)pthread_mutex_unlock(&self->lock);
  uv_close((uv_handle_t *)&self->wake, NULL);
}

void mailbox_post(mailbox *self, mail *posted) {
  assert_other_thread();
  (void)pthread_mutex_lock(&self->lock);
  posted->next = self->newest;
  self->newest = posted;
  /* Under the lock: once the loop has seen the mail, the mailbox may be on its way down. */
  (void)uv_async_send(&self->wake);
  (void)pthread_mutex_unlock(&self->lock);
}
