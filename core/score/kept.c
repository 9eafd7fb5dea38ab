#include "core/score/kept.h"

#include <string.h>

enum { HALF_VERSION = 1 };

/* Of another byte order it is another number. */
static const uint64_t magic = 0x666c61686b6e6172u;

/* Then the text's vector, then its tokens' vectors, without gaps; or a document side's rows. */
typedef struct header {
  uint64_t magic;
  uint32_t version;
  uint32_t outputs;
  uint32_t row_size;
  uint32_t n_vectors;
  uint32_t length;
  uint32_t text_tokens;
  uint32_t dropped_tokens;
  uint32_t split;     /* 1: rows of a split model's document side, of which length tells */
  uint32_t unused[2]; /* 0 */
} header;

_Static_assert(sizeof(header) == 48, "no padding, and what follows is aligned to 16 bytes");

/* No overflow: lengths are below 2^16, rows below 2^20 bytes. */
static size_t bytes_for(const rr_half_form *form, size_t n_vectors) {
  return sizeof(header) + (size_t)form->outputs * sizeof(float) + n_vectors * form->row_size;
}

static uint32_t vectors_of(const rr_half_form *form, const rr_sequence *sequence) {
  return form->split           ? sequence->length - sequence->split_at
         : form->row_size == 0 ? 0
                               : sequence->n_vectors;
}

size_t rr_half_bytes(const rr_half_form *form, const rr_sequence *sequence) {
  return form->split && !sequence->split_keepable ? 0 : bytes_for(form, vectors_of(form, sequence));
}

static header header_of(const rr_half_form *form, const rr_sequence *sequence) {
  return (header){.magic = magic,
                  .version = HALF_VERSION,
                  .outputs = form->outputs,
                  .row_size = form->row_size,
                  .n_vectors = vectors_of(form, sequence),
                  .length = sequence->length - sequence->split_at,
                  .text_tokens = sequence->text_tokens,
                  .dropped_tokens = sequence->dropped_tokens,
                  .split = form->split};
}

void rr_half_place(const rr_half_form *form, rr_sequence *sequence, void *bytes) {
  const header head = header_of(form, sequence);
  memcpy(bytes, &head, sizeof head);
  sequence->split_document = (char *)bytes + sizeof head;
}

void rr_half_write(const rr_half_form *form, const rr_sequence *sequence, void *ret_bytes) {
  char *to = ret_bytes;
  const header head = header_of(form, sequence);
  memcpy(to, &head, sizeof head);
  to += sizeof head;
  if (form->outputs > 0) {
    memcpy(to, sequence->output, form->outputs * sizeof(float));
    to += form->outputs * sizeof(float);
  }
  if (head.n_vectors > 0) {
    memcpy(to, form->split ? sequence->split_document : sequence->vectors,
           (size_t)head.n_vectors * form->row_size);
  }
}

/* The text's own tokens that are left, and what is around them, are the side; a query's is beside
 * it. */
static bool is_side(const rr_half_form *form, const header *head) {
  return head->n_vectors == head->length && head->length < form->max_length &&
         head->length >= form->tail && head->dropped_tokens <= head->text_tokens &&
         head->text_tokens - head->dropped_tokens == head->length - form->tail;
}

bool rr_half_read(const rr_half_form *form, rr_half half, rr_sequence *ret_sequence) {
  header head;
  if (half.data == NULL || half.size < sizeof head) {
    return false;
  }
  memcpy(&head, half.data, sizeof head);
  bool tokens = form->row_size > 0;
  if (head.magic != magic || head.version != HALF_VERSION || head.outputs != form->outputs ||
      head.row_size != form->row_size || head.length == 0 || head.length > form->max_length ||
      (head.n_vectors > 0) != tokens || head.n_vectors > head.length ||
      half.size != bytes_for(form, head.n_vectors) || head.split != (form->split ? 1 : 0) ||
      (form->split && !is_side(form, &head))) {
    return false;
  }
  char *at = (char *)(uintptr_t)half.data +
             sizeof head; /* nobody writes there: it is not computed again */
  *ret_sequence = (rr_sequence){.length = head.length,
                                .text_tokens = head.text_tokens,
                                .dropped_tokens = head.dropped_tokens,
                                .output = form->outputs > 0 ? (float *)(void *)at : NULL,
                                .n_vectors = head.n_vectors,
                                .vectors = tokens ? at + form->outputs * sizeof(float) : NULL,
                                .at_hand = true};
  if (form->split) {
    ret_sequence->n_vectors = 0;
    ret_sequence->vectors = NULL;
    ret_sequence->split_part = RR_SPLIT_DOCUMENT;
    ret_sequence->split_keepable = true;
    ret_sequence->split_document = at;
  }
  return true;
}
