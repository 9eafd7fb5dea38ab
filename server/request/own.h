/* What the loop knows of a rerank request under way, and no thread may touch: for rerank.c,
 * reply.c and ask.c. */
#ifndef RR_SERVER_REQUEST_OWN_H
#define RR_SERVER_REQUEST_OWN_H

#include "server/request/deadline.h"
#include "server/request/state.h"
#include "server/request/task.h"
#include "server/sched/intake.h"

typedef struct rerank_own {
  rerank_task *task;
  rerank_service *service;
  http_exchange *exchange; /* gone once TASK_OVER, whoever holds the task */
  intake_job intake;
  deadline cut;
  task_state state; /* by task_enter alone */
  unsigned holders; /* threads that may still touch the task; it may be answered before that ends */
  size_t told_ms;   /* as the task's timeout_ms, as far as the loop knows */
  size_t arena_counted; /* bytes of the task's arena */
  phase_span pool; /* its first wait for a thread, once the shared cache is to be asked; else 0 */
  uint64_t shared_end; /* ns when the shared cache had answered, or the wait for it was over */
  uint64_t stopped_at; /* ns when it was answered, or taken back to be */
} rerank_own;

/* The task is in this state from now on. Asserts that it may follow the one before. Loop
 * thread only, as all of this file. */
void task_enter(rerank_task *task, task_state next);

/* Whether the body was read and its texts were looked up with a question to the shared cache left:
 * a thread that has it after that only tokenizes. */
bool task_was_looked_up(const rerank_task *task);

/* Whether a thread of the pool is at what comes before computing. */
bool task_is_being_prepared(const rerank_task *task);

/* The reply, or the error where the task has failed. The loop alone holds the task.
 * Nothing but its log line is left to it after this, nor after the next two. */
void rerank_reply(rerank_task *task);

/* The answer to a task whose deadline came first, which another thread may still hold: nothing
 * of its results is read. */
void rerank_reply_late(rerank_task *task);

/* To a client that is gone. */
void rerank_reply_to_nobody(rerank_task *task);

/* The dialect of a body that nobody has read, or a thread is reading; NULL where it does not
 * tell. */
const rr_dialect *rerank_guess(const rerank_task *task);

/* Asks the shared cache what rerank_shared_prepare has prepared; go_on is called on the loop
 * when that is over. False: it is over already. */
bool rerank_shared_ask(rerank_task *task, void (*go_on)(rerank_task *task));
void rerank_shared_cancel(rerank_task *task);

/* Counts, and has sent what is to be written there. No thread holds the task. */
void rerank_shared_release(rerank_task *task);

#endif
