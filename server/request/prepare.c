/* From a body to sequences: unpacked, decoded, looked up, tokenized. On a thread of the pool. */
#include <stdlib.h>
#include <string.h>

#include "core/base/alloc.h"
#include "server/base/clock.h"
#include "server/base/loop_thread.h"
#include "server/request/documents.h"
#include "server/request/known.h"
#include "server/request/shared.h"
#include "server/request/task.h"

enum {
  JSON_VALUES_MAX = 1000000,
  ARENA_BLOCK_MOST = 1 << 20, /* bytes: more an arena never takes ahead */
  /* A text, of what an answer is made from: scores, names of hashes, words to the shared cache. */
  OUTCOME_BYTES = 384
};

/* Code points: every byte that does not continue one. */
static uint64_t count_characters(rr_text text) {
  uint64_t count = 0;
  for (size_t i = 0; i < text.size; i++) {
    count += ((unsigned char)text.data[i] & 0xC0u) != 0x80u;
  }
  return count;
}

static uint64_t request_characters(const rr_rerank_request *request) {
  uint64_t count = count_characters(request->query);
  for (size_t i = 0; i < request->n_texts; i++) {
    count += count_characters(request->texts[i]);
    count += request->queries == NULL ? 0 : count_characters(request->queries[i]);
  }
  return count;
}

static int longest_first(const void *a, const void *b) {
  uint32_t left = (*(rr_sequence *const *)a)->length;
  uint32_t right = (*(rr_sequence *const *)b)->length;
  return left < right ? 1 : left > right ? -1 : 0;
}

/* The order of computing: long sequences first, so that the last micro-batches are fine-grained.
 * Where a deadline may cut it short, the caller's order: the texts that it put first are the
 * likeliest. */
static bool order_sequences(rerank_task *task) {
  size_t n = task->n_sequences;
  rr_sequence **sequences = rr_arena_calloc(&task->arena, n, sizeof(rr_sequence *));
  uint32_t *lengths = rr_arena_calloc(&task->arena, n, sizeof *lengths);
  if (sequences == NULL || lengths == NULL) {
    return false;
  }
  size_t at = 0;
  for (size_t g = 0; g < task->n_groups; g++) {
    for (size_t i = 0; i < task->groups[g].n_sequences; i++) {
      if (!task->groups[g].sequences[i].at_hand) {
        sequences[at++] = &task->groups[g].sequences[i];
      }
    }
  }
  if (task->job.queue.deadline == 0) {
    qsort(sequences, n, sizeof *sequences, longest_first);
  } else if ((task->job.computed = rr_arena_calloc(&task->arena, n, 1)) == NULL) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    lengths[i] = sequences[i]->length;
  }
  task->job.sequences = sequences;
  task->job.queue.lengths = lengths;
  task->job.queue.n = (uint32_t)n;
  return true;
}

static uint32_t bounded(size_t value) { return value < UINT32_MAX ? (uint32_t)value : UINT32_MAX; }

/* Of group g. */
static rr_encode_options encode_options(const rerank_task *task, size_t g) {
  const rr_rerank_request *request = &task->request;
  return (rr_encode_options){
      .truncate = request->truncate == RR_TRUNCATE_DEFAULT ? task->tools.config.auto_truncate
                                                           : request->truncate != 0,
      .side = request->truncate_left ? RR_TRUNCATE_LEFT : RR_TRUNCATE_RIGHT,
      .cut = request->cut,
      .max_length = bounded(request->max_tokens),
      .max_text_tokens = bounded(request->max_text_tokens),
      .alone = request->queries != NULL && request->queries[g].data == NULL,
      .kept_only = task->purpose->documents_alone,
  };
}

/* Whether nobody waits for the task any more: the loop has answered or is about to. */
static bool is_late(const rerank_task *task) {
  uint64_t until = task->job.queue.deadline;
  return atomic_load(&task->cancelled) || (until != 0 && until <= clock_now());
}

/* One group of all texts, or one a text where each has a query of its own or none. */
static size_t count_groups(const rerank_task *task) {
  return task->request.queries == NULL ? 1 : task->request.n_texts;
}

static rr_status look_up_groups(rerank_task *task, rr_error *problem) {
  rr_status status = RR_OK;
  for (size_t g = 0; status == RR_OK && g < count_groups(task); g++) {
    const rr_encode_options options = encode_options(task, g);
    status = rerank_look_up_group(task, g, &options, problem);
  }
  return status;
}

/* *ret_member: what of the
 * request is at fault. */
static rr_status encode_groups(rerank_task *task, const char **ret_member, rr_error *problem) {
  const rr_rerank_request *request = &task->request;
  size_t culprit = RR_CULPRIT_QUERY;
  size_t n = count_groups(task);
  rr_encoded *groups = rr_arena_calloc(&task->arena, n, sizeof *groups);
  if (groups == NULL) {
    return rr_fail(problem, RR_ERR_MEMORY, "out of memory");
  }
  task->groups = groups;
  for (; task->n_groups < n; task->n_groups++) {
    size_t g = task->n_groups;
    if (is_late(task)) {
      return rr_fail(problem, RR_ERR_INPUT, "too late");
    }
    rr_encode_options options = encode_options(task, g);
    options.ret_culprit = &culprit;
    rr_status status = rerank_encode_group(task, g, &options, problem);
    if (status != RR_OK) {
      *ret_member = culprit == RR_CULPRIT_QUERY ? request->query_name : request->texts_name;
      return status;
    }
  }
  return order_sequences(task) ? RR_OK : rr_fail(problem, RR_ERR_MEMORY, "out of memory");
}

bool rerank_look_up_scores(rerank_task *task) {
  rr_error problem;
  if (!rerank_documents_name(task)) {
    return false;
  }
  if (task->request.classify && rr_scorer_info(task->tools.scorer)->kind != RR_CROSS_ENCODER) {
    rerank_fail(task, RR_API_BACKEND, "the model is not a classifier: it has no label");
  } else if (look_up_groups(task, &problem) != RR_OK) {
    rerank_fail(task, RR_API_MEMORY, problem.message);
  }
  return !task->failed;
}

static void tokenize(rerank_task *task) {
  rr_error problem;
  const char *member = "";
  rr_status status = encode_groups(task, &member, &problem);
  if (status != RR_OK && is_late(task)) {
    rerank_fail_late(task);
    return;
  }
  if (status == RR_ERR_INPUT) {
    task->failed = true;
    (void)rr_api_fail_field(&task->error, RR_API_VALIDATION, member, "%s", problem.message);
    return;
  }
  if (status != RR_OK) {
    rerank_fail(task, status == RR_ERR_MEMORY ? RR_API_MEMORY : RR_API_TOKENIZER, problem.message);
    return;
  }
  task->characters = request_characters(&task->request);
}

/* What concluding will take, so that nothing is computed for an answer that there is no memory for.
 * */
static void reserve_reply(rerank_task *task) {
  const char *label = rr_scorer_info(task->tools.scorer)->label;
  size_t block =
      task->arena.total < ARENA_BLOCK_MOST ? task->arena.total : (size_t)ARENA_BLOCK_MOST;
  size_t bytes = rr_dialect_reply_bytes(&task->request, label == NULL ? 0 : strlen(label)) +
                 task->request.n_texts * (size_t)OUTCOME_BYTES + block;
  if (!rr_claim_reserve(&task->claim, bytes)) {
    rerank_fail(task, RR_API_MEMORY, "out of memory for the answer");
  }
}

/* Tokenizes what is not known; where every score is, on to the reply. */
static void tokenize_unknown(rerank_task *task, uint64_t begun) {
  task->tokenize.begin = begun;
  tokenize(task);
  task->tokenize.end = clock_now();
  if (!task->failed && task->n_sequences > 0) {
    reserve_reply(task);
  } else if (!task->failed) {
    rerank_conclude(task);
  }
}

/* A body as JSON. */
typedef struct unpacked {
  const char *data;
  size_t size;
  char *own;   /* to be freed; NULL where the body is not coded */
  size_t held; /* bytes that the claim has for it */
} unpacked;

static bool unpack(rerank_task *task, unpacked *ret_body) {
  const http_body *body = &task->body;
  size_t limit = task->tools.config.payload_limit;
  size_t before = rr_claim_taken(&task->claim);
  *ret_body = (unpacked){.data = body->data, .size = body->size};
  if (task->body_coding == CODING_IDENTITY) {
    return true;
  }
  switch (coding_decode(task->body_coding, body->data, body->size, limit, &task->claim,
                        &ret_body->own, &ret_body->size)) {
  case CODING_OK:
    ret_body->data = ret_body->own;
    ret_body->held = rr_claim_taken(&task->claim) - before;
    return true;
  case CODING_NO_MEMORY: rerank_fail(task, RR_API_MEMORY, "out of memory"); return false;
  case CODING_BROKEN:
    task->failed = true;
    return rr_api_fail(&task->error, RR_API_MALFORMED, "the body is not valid %s",
                       coding_name(task->body_coding));
  case CODING_TOO_LARGE: break;
  }
  task->failed = true;
  return rr_api_fail(&task->error, RR_API_TOO_LARGE,
                     "the unpacked body is over the limit of %zu bytes", limit);
}

/* What the body says of its time; and whether there still is enough of it, before the expensive
 * part. */
static void take_schedule(rerank_task *task) {
  const rerank_config *config = &task->tools.config;
  request_time wishes = request_time_merge(&task->headers, &task->request);
  batcher_job *queue = &task->job.queue;
  task->timeout_ms = wishes.timeout_ms > 0 ? wishes.timeout_ms : config->default_timeout_ms;
  queue->deadline = request_time_cut(&wishes, config->default_timeout_ms, task->received_at);
  queue->priority = request_time_priority(&wishes, task->key_priority);
  task->job.all_or_nothing = wishes.on_timeout == RR_ON_TIMEOUT_ERROR;
  if (is_late(task)) {
    rerank_fail_late(task);
    return;
  }
  admission_outlook outlook = task->outlook;
  if (queue->deadline != 0) {
    outlook.request.time_left = queue->deadline - clock_now();
  }
  outlook.request.all_or_nothing = task->job.all_or_nothing;
  outlook.priority = queue->priority;
  admission answer = workers_ask(task->tools.workers, &outlook);
  if (answer.verdict != ADMISSION_GRANTED) {
    rerank_refuse(task, &answer);
  }
}

static void read_and_look_up(rerank_task *task) {
  const rr_rerank_limits limits = {.max_texts = task->tools.config.max_texts,
                                   .max_json_values = JSON_VALUES_MAX};
  task->parse.begin = clock_now();
  unpacked body;
  if (is_late(task)) {
    rerank_fail_late(task);
  } else if (unpack(task, &body)) {
    task->failed = !rr_dialect_decode(task->endpoint, body.data, body.size, &limits, &task->arena,
                                      &task->dialect, &task->request, &task->error);
    rr_claim_give(&task->claim, body.held);
    rr_free(body.own);
    bool documents = rr_endpoint_operation(task->endpoint) == RR_OPERATION_DOCUMENTS;
    task->purpose = documents ? &purpose_documents : &purpose_scores;
  }
  task->parse.end = clock_now();
  if (!task->failed) {
    take_schedule(task);
  }
  if (task->failed) {
    return;
  }
  if (!task->purpose->look_up(task)) {
    task->tokenize = (phase_span){task->parse.end, clock_now()};
  } else if (rerank_shared_prepare(task)) {
    task->look_up = (phase_span){task->parse.end, clock_now()};
  } else {
    tokenize_unknown(task, task->parse.end);
  }
}

void rerank_prepare(rerank_task *task) {
  assert_other_thread();
  read_and_look_up(task);
  rerank_blame_memory(task);
}

void rerank_resume(rerank_task *task) {
  assert_other_thread();
  uint64_t begin = clock_now();
  if (is_late(task)) {
    task->tokenize = (phase_span){begin, begin};
    rerank_fail_late(task);
    return;
  }
  rerank_shared_take(task);
  tokenize_unknown(task, begin);
  rerank_blame_memory(task);
}
