#include "server/request/documents.h"

static document_cache *cache_of(const rerank_task *task) { return task->tools.documents; }

/* A split model's texts: their kept state needs its place before they are computed. */
static bool leaves_when_computed(const rerank_task *task) {
  return rr_scorer_info(task->tools.scorer)->kind == RR_CROSS_ENCODER;
}

bool rerank_documents_fail_without(rerank_task *task) {
  bool none = !rr_scorer_info(task->tools.scorer)->keeps_texts;
  task->failed = true;
  return rr_api_fail_field(&task->error, RR_API_VALIDATION, task->request.texts_name,
                           none ? "the model is a cross-encoder: documents cannot be computed ahead"
                                : "the server keeps no documents (--document-cache-bytes 0)");
}

/* A copy, so that the document can go. */
static bool take_text(rerank_task *task, size_t i) {
  rr_rerank_request *request = &task->request;
  rr_text name = request->ids[i];
  document *kept =
      document_cache_find_text(cache_of(task), document_key_of_name(cache_of(task), name));
  if (kept == NULL || *(const char *)document_data(kept) != DOCUMENT_TEXT) {
    document_release(kept);
    task->failed = true;
    return rr_api_fail_field(
        &task->error, RR_API_VALIDATION, request->texts_name,
        "`%s[%zu].id`: no document '%.80s' is kept; send its text, or POST it to /documents",
        request->texts_name, i, name.data); /* without NUL within, and with one behind it */
  }
  size_t size = document_size(kept) - 1; /* behind DOCUMENT_TEXT */
  char *copy = rr_arena_strndup(&task->arena, (const char *)document_data(kept) + 1, size);
  document_release(kept);
  if (copy == NULL) {
    rerank_fail(task, RR_API_MEMORY, "out of memory");
    return false;
  }
  request->texts[i] = (rr_text){.data = copy, .size = size};
  return true;
}

bool rerank_documents_name(rerank_task *task) {
  const rr_rerank_request *request = &task->request;
  if (request->ids == NULL) {
    return true;
  }
  if (cache_of(task) == NULL) {
    return rerank_documents_fail_without(task);
  }
  for (size_t i = 0; i < request->n_texts; i++) {
    if (request->ids[i].data != NULL && !take_text(task, i)) {
      return false;
    }
  }
  return true;
}

static rerank_kept *group_of(rerank_task *task, size_t g) {
  if (task->kept == NULL) {
    size_t groups = task->request.queries == NULL ? 1 : task->request.n_texts;
    task->kept = rr_arena_calloc(&task->arena, groups, sizeof *task->kept);
  }
  return task->kept == NULL ? NULL : &task->kept[g];
}

rr_status rerank_documents_find(rerank_task *task, size_t g, const rr_text *texts, size_t n,
                                rr_encode_options *options, rr_error *err) {
  if (cache_of(task) == NULL || options->alone) {
    return RR_OK;
  }
  rerank_kept *group = group_of(task, g);
  lfu_key *keys = rr_arena_calloc(&task->arena, n, sizeof *keys);
  document **found = rr_arena_calloc(&task->arena, n, sizeof(document *));
  rr_kept *states = rr_arena_calloc(&task->arena, n, sizeof *states);
  document **made = rr_arena_calloc(&task->arena, n, sizeof(document *));
  if (group == NULL || keys == NULL || found == NULL || states == NULL || made == NULL) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory");
  }
  *group = (rerank_kept){.keys = keys, .found = found, .states = states, .made = made, .n = n};
  document_keys hashed;
  document_keys_init(&hashed, cache_of(task), options);
  for (size_t i = 0; i < n; i++) {
    keys[i] = document_key_of_text(&hashed, texts[i]);
    found[i] = document_cache_find_kept(cache_of(task), keys[i]);
    if (found[i] != NULL) {
      states[i] = (rr_kept){.data = document_data(found[i]), .size = document_size(found[i])};
    }
  }
  options->kept = states;
  return RR_OK;
}

void rerank_documents_place(rerank_task *task, size_t g) {
  const rr_scorer *scorer = task->tools.scorer;
  const rr_encoded *group = &task->groups[g];
  if (task->kept == NULL || task->kept[g].n == 0 || !leaves_when_computed(task)) {
    return;
  }
  rerank_kept *kept = &task->kept[g];
  uint32_t next = 0; /* a cross-encoder's texts are all of the group's sequences */
  for (size_t i = 0; i < kept->n; i++) {
    rr_sequence *sequence = &group->sequences[group->sequence_of[i]];
    bool first = group->sequence_of[i] == next; /* else the text came before */
    next += first;
    if (!first || kept->found[i] != NULL) { /* also what does not fit beside this query */
      continue;
    }
    size_t size = rr_scorer_kept_bytes(scorer, sequence);
    kept->made[i] = size == 0 ? NULL : document_cache_reserve(cache_of(task), size);
    rr_scorer_kept_place(scorer, sequence,
                         kept->made[i] == NULL ? NULL : document_data(kept->made[i]));
  }
}

/* Keeps what text i left, unless there is no room; whether it is kept. */
static bool keep_text(rerank_task *task, const rerank_kept *kept, size_t i,
                      const rr_sequence *sequence) {
  const rr_scorer *scorer = task->tools.scorer;
  bool firmly = task->purpose->documents_alone;
  document *made = kept->found[i] != NULL ? kept->found[i] : kept->made[i];
  if (made == NULL && leaves_when_computed(task)) {
    return false;
  }
  if (made == NULL) {
    made = document_cache_reserve(cache_of(task), rr_scorer_kept_bytes(scorer, sequence));
    if (made == NULL) {
      return false;
    }
    rr_scorer_kept_write(scorer, sequence, document_data(made));
    bool there = document_cache_insert(cache_of(task), kept->keys[i], made, firmly);
    document_release(made);
    return there;
  }
  bool there = kept->made[i] == NULL && !firmly;
  return there || document_cache_insert(cache_of(task), kept->keys[i], made, firmly);
}

void rerank_documents_keep(rerank_task *task, size_t g, const uint8_t *done) {
  const rr_encoded *group = &task->groups[g];
  if (task->kept == NULL || task->kept[g].n == 0 || group->n_candidates == 0) {
    return;
  }
  const rerank_kept *kept = &task->kept[g];
  uint32_t next = group->sequence_of[0];
  for (size_t i = 0; i < group->n_candidates; i++) {
    uint32_t at = group->sequence_of[i];
    if (at == next) { /* else the text came before */
      next++;
      if (done == NULL || done[at] != 0) {
        (void)keep_text(task, kept, i, &group->sequences[at]);
      }
    }
  }
}

void rerank_documents_let_go(rerank_kept *kept) {
  for (size_t i = 0; i < kept->n; i++) {
    document_release(kept->found[i]);
    document_release(kept->made[i]);
  }
  kept->n = 0;
}

void rerank_documents_release(rerank_task *task) {
  size_t groups = task->kept == NULL              ? 0
                  : task->request.queries == NULL ? 1
                                                  : task->request.n_texts;
  for (size_t g = 0; g < groups; g++) {
    rerank_documents_let_go(&task->kept[g]);
  }
  task->kept = NULL;
}
