#include "core/score/kept.h"

#include <string.h>

#include "core/score/internal.h"

enum { KEPT_VERSION = 1 };

/* Of another byte order it is another number. */
static const uint64_t magic = 0x666c61686b6e6172u;

typedef struct header {
  uint64_t magic;
  uint32_t version;
  uint32_t outputs;
  uint32_t row_size;
  uint32_t n_rows;
  uint32_t length;
  uint32_t text_tokens;
  uint32_t dropped_tokens;
  uint32_t pairs;     /* 1: rows of a split model's document side, of which length tells */
  uint32_t unused[2]; /* 0 */
} header;

_Static_assert(sizeof(header) == 48, "no padding, and what follows is aligned to 16 bytes");

bool rr_keeps_texts(const rr_config *config) {
  return config->head != RR_HEAD_CLASSIFIER ||
         (config->split.layers > 0 && !config->split.joint_positions);
}

rr_kept_form rr_kept_form_of(const rr_scorer *scorer) {
  const rr_bert *bert = scorer->bert;
  rr_kept_form form = {.max_length = scorer->info.max_input_length};
  if (scorer->info.kind == RR_CROSS_ENCODER) {
    form.row_size = (uint32_t)(scorer->info.hidden_size * rr_type_size(rr_bert_kept_type(bert)));
    form.pairs = true;
    form.tail = (uint32_t)rr_tokenizer_pair_tail(scorer->tokenizer);
  } else {
    form.outputs = (uint32_t)rr_scorer_output_size(scorer);
    form.row_size = bert->maxsim == NULL ? 0 : (uint32_t)rr_late_row_size(&scorer->late);
  }
  return form;
}

/* No overflow: lengths are below 2^16, rows below 2^20 bytes. */
static size_t bytes_for(const rr_kept_form *form, size_t n_rows) {
  return sizeof(header) + (size_t)form->outputs * sizeof(float) + n_rows * form->row_size;
}

static header header_of(const rr_kept_form *form, const rr_sequence *sequence) {
  return (header){.magic = magic,
                  .version = KEPT_VERSION,
                  .outputs = form->outputs,
                  .row_size = form->row_size,
                  .n_rows = sequence->input->rows,
                  .length = sequence->length - (uint32_t)sequence->input->split_at,
                  .text_tokens = sequence->text_tokens,
                  .dropped_tokens = sequence->dropped_tokens,
                  .pairs = form->pairs};
}

size_t rr_scorer_kept_bytes(const rr_scorer *scorer, const rr_sequence *sequence) {
  uint32_t rows = sequence->input->rows;
  bool none = !scorer->info.keeps_texts || (scorer->kept.pairs && rows == 0);
  return none ? 0 : bytes_for(&scorer->kept, rows);
}

void rr_scorer_kept_place(const rr_scorer *scorer, rr_sequence *sequence, void *bytes) {
  rr_input *input = sequence->input;
  if (bytes == NULL) {
    sequence->at_hand = sequence->at_hand || input->part == RR_PART_DOCUMENT;
    return;
  }
  const header head = header_of(&scorer->kept, sequence);
  memcpy(bytes, &head, sizeof head);
  input->kept = (char *)bytes + sizeof head;
}

void rr_scorer_kept_write(const rr_scorer *scorer, const rr_sequence *sequence, void *ret_bytes) {
  const rr_kept_form *form = &scorer->kept;
  const rr_input *input = sequence->input;
  const header head = header_of(form, sequence);
  size_t vector = form->outputs * sizeof(float);
  char *to = ret_bytes;
  memcpy(to, &head, sizeof head);
  to += sizeof head;
  if (vector > 0) {
    memcpy(to, input->output, vector);
  }
  if (head.n_rows > 0) {
    memcpy(to + vector, form->pairs ? input->kept : input->vectors,
           (size_t)head.n_rows * form->row_size);
  }
}

/* The text's own tokens that are left, and what is around them, are the side; a query's is beside
 * it. */
static bool is_side(const rr_kept_form *form, const header *head) {
  return head->n_rows == head->length && head->length < form->max_length &&
         head->length >= form->tail && head->dropped_tokens <= head->text_tokens &&
         head->text_tokens - head->dropped_tokens == head->length - form->tail;
}

static bool fits(const rr_kept_form *form, rr_kept kept, header *ret_head) {
  if (kept.data == NULL || kept.size < sizeof *ret_head) {
    return false;
  }
  memcpy(ret_head, kept.data, sizeof *ret_head);
  const header *head = ret_head;
  return head->magic == magic && head->version == KEPT_VERSION && head->outputs == form->outputs &&
         head->row_size == form->row_size && head->length > 0 && head->length <= form->max_length &&
         (head->n_rows > 0) == (form->row_size > 0) && head->n_rows <= head->length &&
         kept.size == bytes_for(form, head->n_rows) && head->pairs == (form->pairs ? 1 : 0) &&
         (!form->pairs || is_side(form, head));
}

bool rr_scorer_kept_fits(const rr_scorer *scorer, rr_kept kept) {
  header head;
  return scorer->info.keeps_texts && fits(&scorer->kept, kept, &head);
}

bool rr_kept_read(const rr_kept_form *form, rr_kept kept, rr_sequence *ret_sequence) {
  header head;
  if (!fits(form, kept, &head)) {
    return false;
  }
  /* nobody writes there: it is not computed again */
  char *vector = (char *)(uintptr_t)kept.data + sizeof head;
  char *rows = form->row_size > 0 ? vector + form->outputs * sizeof(float) : NULL;
  rr_input *input = ret_sequence->input;
  *input = (rr_input){.length = head.length,
                      .rows = head.n_rows,
                      .output = form->outputs > 0 ? (float *)(void *)vector : NULL};
  if (form->pairs) {
    input->part = RR_PART_DOCUMENT;
    input->kept = rows;
  } else {
    input->vectors = rows;
  }
  *ret_sequence = (rr_sequence){.length = head.length,
                                .text_tokens = head.text_tokens,
                                .dropped_tokens = head.dropped_tokens,
                                .at_hand = true,
                                .input = input};
  return true;
}
