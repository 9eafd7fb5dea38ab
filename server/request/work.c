#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/alloc.h"
#include "server/base/clock.h"
#include "server/request/documents.h"
#include "server/request/known.h"
#include "server/request/partial.h"
#include "server/request/shared.h"
#include "server/request/task.h"

enum {
  JSON_VALUES_MAX = 1000000,
  ARENA_BLOCK_MOST = 1 << 20, /* bytes: more an arena never takes ahead */
  /* A text, of what an answer is made from: scores, names of hashes, words to the shared cache. */
  OUTCOME_BYTES = 384,
  WORTH_PACKING = 1024 /* bytes: below, a reply fits into a packet anyway */
};

void rerank_fail(rerank_task *task, rr_api_error_kind kind, const char *message) {
  task->failed = true;
  (void)rr_api_fail(&task->error, kind, "%s", message);
}

void rerank_late(size_t timeout_ms, rr_api_error *ret_error) {
  (void)rr_api_fail(ret_error, RR_API_TIMEOUT, "not done within the request's %zu ms", timeout_ms);
}

void rerank_fail_late(rerank_task *task) {
  task->failed = true;
  rerank_late(task->timeout_ms, &task->error);
}

void rerank_refuse(rerank_task *task, const admission *verdict) {
  const uint64_t ms = 1000000;
  task->failed = true;
  task->refused = verdict->verdict;
  if (verdict->verdict == ADMISSION_NEVER) {
    (void)rr_api_fail(&task->error, RR_API_TIMEOUT,
                      "the request would take about %" PRIu64 " ms, and is given %zu", verdict->alone / ms,
                      task->timeout_ms);
    return;
  }
  static const char *const words[ADMISSION_VERDICTS] = {
      [ADMISSION_REQUESTS] = "too many requests",
      [ADMISSION_TOKENS] = "too many tokens wait",
      [ADMISSION_WAIT] = "the queue is too long",
      [ADMISSION_DEADLINE] = "it would be too late",
      [ADMISSION_MEMORY] = "requests take all the memory that they may"};
  (void)rr_api_fail(&task->error, RR_API_OVERLOADED, "Model is overloaded: %s", words[verdict->verdict]);
  task->error.retry_after = admission_seconds(verdict->retry_after);
}

void rerank_blame_memory(rerank_task *task) {
  const rerank_config *config = &task->tools.config;
  if (!task->failed || task->error.kind != RR_API_MEMORY) {
    return;
  }
  switch (task->claim.refused) {
  case RR_REFUSAL_NONE: break;
  case RR_REFUSAL_OWN:
    (void)rr_api_fail(&task->error, RR_API_TOO_LARGE,
                      "the request needs more than the %zu bytes of memory that one may take (by "
                      "--payload-limit)",
                      config->request_limit);
    break;
  case RR_REFUSAL_NEVER:
    (void)rr_api_fail(&task->error, RR_API_TOO_LARGE,
                      "the request needs more than the %zu bytes of memory that one may take (by "
                      "--request-memory)",
                      rr_budget_most(config->memory));
    break;
  case RR_REFUSAL_FULL: {
    workers_stats stats;
    workers_read_stats(task->tools.workers, &stats);
    uint64_t each = stats.queued_ns / (stats.queued_requests > 0 ? stats.queued_requests : 1);
    rerank_refuse(task, &(admission){.verdict = ADMISSION_MEMORY,
                                     .retry_after = each}); /* one is done then */
    break;
  }
  }
}

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

/* The order of computing: long sequences first, so that the last micro-batches are fine-grained. Where a deadline may
 * cut it short, the caller's order: the texts that it put first are the likeliest. */
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
  static const rr_cut cuts[] = {[RR_REQUEST_CUT_TEXT] = RR_CUT_TEXT,
                                [RR_REQUEST_CUT_TEXT_IF_POSSIBLE] = RR_CUT_TEXT_IF_POSSIBLE,
                                [RR_REQUEST_CUT_LONGEST] = RR_CUT_LONGEST};
  const rr_rerank_request *request = &task->request;
  return (rr_encode_options){
      .truncate = request->truncate == RR_TRUNCATE_DEFAULT ? task->tools.config.auto_truncate
                                                           : request->truncate != 0,
      .side = request->truncate_left ? RR_TRUNCATE_LEFT : RR_TRUNCATE_RIGHT,
      .strategy = cuts[request->cut],
      .max_length = bounded(request->max_tokens),
      .max_text_tokens = bounded(request->max_text_tokens),
      .alone = request->queries != NULL && request->queries[g].data == NULL,
      .halves_only = request->keep,
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

static void look_up(rerank_task *task) {
  rr_error problem;
  if (task->request.classify && rr_scorer_info(task->tools.scorer)->kind != RR_CROSS_ENCODER) {
    rerank_fail(task, RR_API_BACKEND, "the model is not a classifier: it has no label");
  } else if (look_up_groups(task, &problem) != RR_OK) {
    rerank_fail(task, RR_API_MEMORY, problem.message);
  }
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
static void encode(rerank_task *task, uint64_t begun) {
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
  return rr_api_fail(&task->error, RR_API_TOO_LARGE, "the unpacked body is over the limit of %zu bytes",
                     limit);
}

/* What the body says of its time; and whether there still is enough of it, before the expensive part. */
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

static void prepare(rerank_task *task) {
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
  }
  task->parse.end = clock_now();
  if (!task->failed) {
    take_schedule(task);
  }
  if (!task->failed && rerank_documents_name(task)) {
    look_up(task);
    if (!task->failed && rerank_shared_prepare(task)) {
      task->look_up = (phase_span){task->parse.end, clock_now()};
    } else if (!task->failed) {
      encode(task, task->parse.end);
    } else {
      task->tokenize = (phase_span){task->parse.end, clock_now()};
    }
  }
}

void rerank_prepare(rerank_task *task) {
  prepare(task);
  rerank_blame_memory(task);
}

void rerank_resume(rerank_task *task) {
  uint64_t begin = clock_now();
  if (is_late(task)) {
    task->tokenize = (phase_span){begin, begin};
    rerank_fail_late(task);
    return;
  }
  rerank_shared_take(task);
  encode(task, begin);
  rerank_blame_memory(task);
}

/* What rerank_conclude needs, one entry a text. */
typedef struct outcome {
  float *scores;
  bool *kept;        /* documents, where the request is to keep them */
  size_t computed;
  bool *unscored;
  rr_ranked *ranked;
  rr_text_tokens *tokens;
} outcome;

static bool make_outcome(rerank_task *task, outcome *ret_out) {
  size_t n = task->request.n_texts;
  ret_out->scores = rr_arena_calloc(&task->arena, n, sizeof *ret_out->scores);
  ret_out->kept = rr_arena_calloc(&task->arena, n, sizeof *ret_out->kept);
  ret_out->computed = 0;
  ret_out->unscored = rr_arena_calloc(&task->arena, n, sizeof *ret_out->unscored);
  ret_out->ranked = rr_arena_calloc(&task->arena, n, sizeof *ret_out->ranked);
  ret_out->tokens = rr_arena_calloc(&task->arena, n, sizeof *ret_out->tokens);
  return ret_out->scores != NULL && ret_out->kept != NULL && ret_out->unscored != NULL && ret_out->ranked != NULL && ret_out->tokens != NULL;
}

static bool read_scores(rerank_task *task, outcome *out) {
  rr_error problem;
  if (task->request.keep) {
    rerank_group_tokens(&task->groups[0], out->tokens);
    return rerank_documents_keep_all(task, out->kept, &out->computed);
  }
  if (task->cut_short) {
    return partial_scores(task, out->scores, out->unscored, out->tokens, &task->n_unscored);
  }
  for (size_t g = 0; g < task->n_groups; g++) { /* group g begins with text g */
    rr_status status =
        rerank_group_scores(task, g, NULL, out->scores + g, out->tokens + g, &problem);
    if (status != RR_OK) {
      rerank_fail(task, status == RR_ERR_MEMORY ? RR_API_MEMORY : RR_API_BACKEND, problem.message);
      return false;
    }
  }
  return true;
}

static void order(const rr_rerank_request *request, const outcome *out) {
  if (!request->in_order) {
    rr_rank(out->scores, request->n_texts, out->ranked);
    return;
  }
  for (size_t i = 0; i < request->n_texts; i++) {
    out->ranked[i] = (rr_ranked){.index = (uint32_t)i, .score = out->scores[i]};
  }
}

/* Packs the reply where the client wants it and it helps; else it stays as it is. */
static void pack(rerank_task *task) {
  size_t room = task->reply_size;
  size_t size = 0;
  char *packed = NULL;
  if (task->reply_coding != CODING_IDENTITY && room >= WORTH_PACKING &&
      rr_claim_take(&task->claim, room)) {
    packed = coding_encode(task->reply_coding, task->reply, room, &size);
    rr_claim_give(&task->claim, packed == NULL ? room : room - size);
  }
  if (packed == NULL) {
    task->reply_coding = CODING_IDENTITY;
    return;
  }
  rr_claim_give(&task->claim, task->reply_held);
  rr_free(task->reply);
  task->reply = packed;
  task->reply_size = size;
  task->reply_held = size;
}

static void conclude(rerank_task *task) {
  const rr_rerank_request *request = &task->request;
  outcome out;
  if (!make_outcome(task, &out)) {
    rerank_fail(task, RR_API_MEMORY, "out of memory");
    return;
  }
  if (!read_scores(task, &out)) {
    return;
  }
  rerank_shared_keep(task);
  order(request, &out);
  partial_fill(out.ranked, request->n_texts);
  size_t n = request->top_n == 0 || request->top_n > request->n_texts ? request->n_texts : request->top_n;
  const rr_rerank_answer answer = {
      .request = request,
      .ranked = out.ranked,
      .n = n,
      .text_tokens = out.tokens,
      .unscored = task->n_unscored > 0 ? out.unscored : NULL,
      .n_unscored = task->n_unscored,
      .kept = out.kept,
      .n_computed = out.computed,
      .tokens = task->tokens,
      .created = task->created,
      .id = task->id,
      .model = task->tools.config.model_name,
      .label = rr_scorer_info(task->tools.scorer)->label,
  };
  size_t before = rr_claim_taken(&task->claim);
  task->reply = rr_dialect_encode(task->dialect, &answer, &task->claim, &task->reply_size);
  if (task->reply == NULL) {
    rerank_fail(task, RR_API_MEMORY, "out of memory");
    return;
  }
  task->reply_held = rr_claim_taken(&task->claim) - before;
  pack(task);
}

void rerank_conclude(rerank_task *task) {
  task->encode.begin = clock_now();
  conclude(task);
  rerank_blame_memory(task);
  task->encode.end = clock_now();
}

void rerank_computed(workers_job *job) {
  rerank_task *task = (rerank_task *)job;
  rerank_mailbox *mailbox = task->tools.mailbox;
  if (!job->detached) { /* else the loop has answered, or will */
    task->cut_short = job->queue.dropped > 0;
    if (job->error.status != RR_OK) {
      rerank_fail(task, RR_API_BACKEND, job->error.message);
    } else {
      rerank_conclude(task);
    }
  }
  (void)pthread_mutex_lock(&mailbox->lock);
  task->next = mailbox->newest;
  mailbox->newest = task;
  /* Under the lock: once the loop has seen the task, the service may be on its way down. */
  (void)uv_async_send(&mailbox->wake);
  (void)pthread_mutex_unlock(&mailbox->lock);
}
