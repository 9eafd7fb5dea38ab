/* The way from other threads to the loop's: nothing lost, nothing twice, in the order of each
 * sender. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/base/loop_thread.h"
#include "server/sched/mailbox.h"

enum { SENDERS = 4, LETTERS = 2000 };

typedef struct letter {
  mail mail;
  int sender;
  int number;
} letter;

typedef struct sender {
  pthread_t thread;
  letter letters[LETTERS];
} sender;

static uv_loop_t loop;
static mailbox box;
static sender senders[SENDERS];
static int received[SENDERS];
static int all;

static void on_mail(mail *arrived) {
  letter *self = (letter *)((char *)arrived - offsetof(letter, mail));
  assert_true(loop_thread_is_this());
  assert_int_equal(self->number, received[self->sender]);
  received[self->sender]++;
  all++;
}

static void *post_all(void *argument) {
  sender *self = argument;
  for (int i = 0; i < LETTERS; i++) {
    mailbox_post(&box, &self->letters[i].mail);
  }
  return NULL;
}

static int begin(void **state) {
  (void)state;
  loop_thread_claim();
  all = 0;
  for (int i = 0; i < SENDERS; i++) {
    received[i] = 0;
    for (int k = 0; k < LETTERS; k++) {
      senders[i].letters[k] = (letter){.sender = i, .number = k};
    }
  }
  return uv_loop_init(&loop) == 0 && mailbox_init(&box, &loop, on_mail) == 0 ? 0 : -1;
}

static int end(void **state) {
  (void)state;
  mailbox_close(&box);
  (void)uv_run(&loop, UV_RUN_DEFAULT);
  return uv_loop_close(&loop);
}

static void all_arrive_once_and_in_order(void **state) {
  (void)state;
  for (int i = 0; i < SENDERS; i++) {
    assert_int_equal(pthread_create(&senders[i].thread, NULL, post_all, &senders[i]), 0);
  }
  while (all < SENDERS * LETTERS) {
    (void)uv_run(&loop, UV_RUN_ONCE);
  }
  for (int i = 0; i < SENDERS; i++) {
    assert_int_equal(pthread_join(senders[i].thread, NULL), 0);
    assert_int_equal(received[i], LETTERS);
  }
  (void)uv_run(&loop, UV_RUN_NOWAIT);
  assert_int_equal(all, SENDERS * LETTERS);
}

static void many_posts_before_a_turn_are_received_in_it(void **state) {
  (void)state;
  assert_int_equal(pthread_create(&senders[0].thread, NULL, post_all, &senders[0]), 0);
  assert_int_equal(pthread_join(senders[0].thread, NULL), 0);
  (void)uv_run(&loop, UV_RUN_ONCE);
  assert_int_equal(all, LETTERS);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(all_arrive_once_and_in_order, begin, end),
      cmocka_unit_test_setup_teardown(many_posts_before_a_turn_are_received_in_it, begin, end),
  };
  return cmocka_run_group_tests_name("server-mailbox", tests, NULL, NULL);
}
