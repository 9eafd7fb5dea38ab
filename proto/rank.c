#include <math.h>
#include <string.h>

#include "proto/rerank.h"

bool rr_on_timeout_parse(const char *name, rr_on_timeout *ret_wish) {
  bool partial = strcmp(name, "partial") == 0;
  if (!partial && strcmp(name, "error") != 0) {
    return false;
  }
  *ret_wish = partial ? RR_ON_TIMEOUT_PARTIAL : RR_ON_TIMEOUT_ERROR;
  return true;
}

/* A total order (score, then index), so that any sort gives the stable result. */
static bool comes_before(rr_ranked a, rr_ranked b) {
  bool a_is_nan = isnan(a.score);
  bool b_is_nan = isnan(b.score);
  if (a_is_nan != b_is_nan) {
    return b_is_nan;
  }
  if (!a_is_nan && a.score != b.score) {
    return a.score > b.score;
  }
  return a.index < b.index;
}

/* Lets the entry at `parent` sink until no child of it comes later. */
static void sift_down(rr_ranked *heap, size_t n, size_t parent) {
  rr_ranked sinking = heap[parent];
  while (parent < n / 2) {
    size_t child = 2 * parent + 1;
    if (child + 1 < n && comes_before(heap[child], heap[child + 1])) {
      child++;
    }
    if (!comes_before(sinking, heap[child])) {
      break;
    }
    heap[parent] = heap[child];
    parent = child;
  }
  heap[parent] = sinking;
}

/* A heap sort: no recursion, no scratch memory, no bad case a request could provoke. */
void rr_rank(const float *scores, size_t n, rr_ranked *ret_ranked) {
  for (size_t i = 0; i < n; i++) {
    ret_ranked[i] = (rr_ranked){.index = (uint32_t)i, .score = scores[i]};
  }
  for (size_t parent = n / 2; parent > 0; parent--) {
    sift_down(ret_ranked, n, parent - 1);
  }
  for (size_t end = n; end > 1; end--) {
    rr_ranked last = ret_ranked[0];
    ret_ranked[0] = ret_ranked[end - 1];
    ret_ranked[end - 1] = last;
    sift_down(ret_ranked, end - 1, 0);
  }
}
