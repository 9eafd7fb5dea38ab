/* What of a query and a text that are too long together loses tokens. */
#ifndef RR_CORE_BASE_CUT_H
#define RR_CORE_BASE_CUT_H

/* A bi-encoder's query and texts are sequences of their own: there it only matters whether a query
 * may be cut; a ColBERT's may always, to the query_maxlen of its training. */
typedef enum rr_cut {
  RR_CUT_LONGEST,          /* the longer of query and text first: Hugging Face's longest_first */
  RR_CUT_TEXT,             /* the text alone (only_second); an error where the query leaves it no
                              token */
  RR_CUT_TEXT_IF_POSSIBLE, /* the text alone, but as RR_CUT_LONGEST where the query leaves it no
                              token */
} rr_cut;

#endif
