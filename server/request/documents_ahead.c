/* POST /documents: documents are computed ahead of any query, and kept under their names with their
 * texts. */
#include <stdio.h>
#include <string.h>

#include <nettle/sha2.h>

#include "server/request/documents.h"
#include "server/request/known.h"

enum { HASH_NAME_BYTES = 7 + 2 * SHA256_DIGEST_SIZE + 1 /* "sha256-", digits, the end */ };

static document_cache *cache_of(const rerank_task *task) { return task->tools.documents; }

static bool look_up(rerank_task *task) {
  return cache_of(task) != NULL || rerank_documents_fail_without(task);
}

/* The name of a text that came without one. */
static bool name_by_hash(rerank_task *task, size_t i) {
  struct sha256_ctx hash;
  uint8_t digest[SHA256_DIGEST_SIZE];
  rr_text text = task->request.texts[i];
  char *name = rr_arena_alloc(&task->arena, HASH_NAME_BYTES);
  if (name == NULL) {
    return false;
  }
  sha256_init(&hash);
  sha256_update(&hash, text.size, (const uint8_t *)text.data);
  sha256_digest(&hash, sizeof digest, digest);
  int size = snprintf(name, HASH_NAME_BYTES, "sha256-");
  for (size_t b = 0; b < sizeof digest; b++) {
    size += snprintf(name + size, (size_t)(HASH_NAME_BYTES - size), "%02x", digest[b]);
  }
  task->request.ids[i] = (rr_text){.data = name, .size = (size_t)size};
  return true;
}

static bool keep_name(rerank_task *task, size_t i) {
  rr_text text = task->request.texts[i];
  lfu_key key = document_key_of_name(cache_of(task), task->request.ids[i]);
  document *made = document_cache_reserve(cache_of(task), text.size + 1);
  if (made == NULL) {
    document_cache_forget(cache_of(task), key);
    return false;
  }
  char *to = document_data(made);
  to[0] = DOCUMENT_TEXT; /* so that an empty text is a document too */
  memcpy(to + 1, text.data, text.size);
  bool kept = document_cache_insert(cache_of(task), key, made, true);
  document_release(made);
  return kept;
}

static size_t count_computed(const rerank_task *task) {
  const rr_encoded *group = &task->groups[0];
  size_t count = 0;
  for (size_t i = 0; i < group->n_candidates; i++) {
    count += task->kept[0].found[i] == NULL && !group->sequences[group->sequence_of[i]].at_hand;
  }
  return count;
}

/* Keeps documents and names, and tells of each whether both are there. */
static bool collect(rerank_task *task, task_outcome *out) {
  const rr_rerank_request *request = &task->request;
  rerank_group_tokens(&task->groups[0], out->tokens);
  if (task->cut_short) {
    rerank_fail_late(task);
    return false;
  }
  rerank_documents_keep(task, 0, NULL);
  out->computed = count_computed(task);
  rerank_documents_let_go(&task->kept[0]);
  for (size_t i = 0; i < request->n_texts; i++) {
    if (request->ids[i].data == NULL && !name_by_hash(task, i)) {
      rerank_fail(task, RR_API_MEMORY, "out of memory");
      return false;
    }
    out->kept[i] = keep_name(task, i);
  }
  for (size_t i = 0; i < request->n_texts;
       i++) { /* what came later may have driven out what came before */
    lfu_key name = document_key_of_name(cache_of(task), request->ids[i]);
    out->kept[i] = out->kept[i] && document_cache_has(cache_of(task), name) &&
                   document_cache_has(cache_of(task), task->kept[0].keys[i]);
  }
  return true;
}

const task_purpose purpose_documents = {
    .look_up = look_up, .collect = collect, .documents_alone = true};
