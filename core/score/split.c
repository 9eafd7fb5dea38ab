#include "core/scorer.h"

/* As rr_bert_half_type has it: the linear layers' format is the dtype's. */
size_t rr_scorer_split_size(const rr_scorer *scorer, rr_split_part part, uint32_t tokens) {
  const rr_model_info *info = rr_scorer_info(scorer);
  bool full = part == RR_SPLIT_QUERY || info->dtype == RR_DTYPE_FLOAT32;
  return (size_t)tokens * info->hidden_size * (full ? sizeof(float) : sizeof(uint16_t));
}

rr_sequence rr_sequence_split_side(const rr_sequence *pair, rr_split_part part, void *half) {
  bool query = part == RR_SPLIT_QUERY;
  uint32_t first = query ? 0 : pair->split_at;
  return (rr_sequence){
      .ids = pair->ids + first,
      .type_ids = pair->type_ids + first,
      .length = query ? pair->split_at : pair->length - first,
      .split_part = part,
      .split_query = query ? half : NULL,
      .split_document = query ? NULL : half,
  };
}

void rr_sequence_split_join(rr_sequence *pair, void *query_half, void *document_half) {
  pair->split_part = query_half == NULL ? RR_SPLIT_WARM : RR_SPLIT_JOINT;
  pair->split_query = query_half;
  pair->split_document = document_half;
}
