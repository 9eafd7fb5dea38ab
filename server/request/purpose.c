#include "server/request/purpose.h"

const task_purpose purpose_scores = {.look_up = rerank_look_up_scores,
                                     .collect = rerank_collect_scores};
