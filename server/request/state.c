#include "server/request/state.h"

#include <stdint.h>

#define TO(state) (1u << (state))

enum { ANY_END = TO(TASK_ANSWERED) | TO(TASK_LATE) | TO(TASK_LEFT) };

/* Bit s of a state's entry: state s may follow it. */
static const uint32_t may_follow[TASK_STATES] = {
    [TASK_STARTING] = TO(TASK_WAITING) | TO(TASK_ANSWERED),
    [TASK_WAITING] = TO(TASK_PREPARING) | TO(TASK_LATE) | TO(TASK_LEFT),
    [TASK_PREPARING] = TO(TASK_ASKING) | TO(TASK_COMPUTING) | ANY_END,
    [TASK_ASKING] = TO(TASK_WAITING_AGAIN) | ANY_END,
    [TASK_WAITING_AGAIN] = TO(TASK_TOKENIZING) | TO(TASK_LATE) | TO(TASK_LEFT),
    [TASK_TOKENIZING] = TO(TASK_COMPUTING) | ANY_END,
    [TASK_COMPUTING] = TO(TASK_CONCLUDING) | TO(TASK_COMPUTING_IN_VAIN) | ANY_END,
    [TASK_CONCLUDING] = TO(TASK_CONCLUDING_IN_VAIN) | TO(TASK_ANSWERED),
    [TASK_COMPUTING_IN_VAIN] = TO(TASK_LEFT),
    [TASK_CONCLUDING_IN_VAIN] = TO(TASK_LEFT),
    [TASK_ANSWERED] = TO(TASK_OVER),
    [TASK_LATE] = TO(TASK_OVER),
    [TASK_LEFT] = TO(TASK_OVER),
};

bool task_state_may_follow(task_state from, task_state to) {
  return (may_follow[from] & TO(to)) != 0;
}

bool task_state_is_answered(task_state state) { return (TO(state) & ANY_END) != 0; }

bool task_state_is_in_vain(task_state state) {
  return state == TASK_COMPUTING_IN_VAIN || state == TASK_CONCLUDING_IN_VAIN;
}

const char *task_state_name(task_state state) {
  static const char *const names[TASK_STATES] = {
      [TASK_STARTING] = "STARTING",
      [TASK_WAITING] = "WAITING",
      [TASK_PREPARING] = "PREPARING",
      [TASK_ASKING] = "ASKING",
      [TASK_WAITING_AGAIN] = "WAITING_AGAIN",
      [TASK_TOKENIZING] = "TOKENIZING",
      [TASK_COMPUTING] = "COMPUTING",
      [TASK_CONCLUDING] = "CONCLUDING",
      [TASK_COMPUTING_IN_VAIN] = "COMPUTING_IN_VAIN",
      [TASK_CONCLUDING_IN_VAIN] = "CONCLUDING_IN_VAIN",
      [TASK_ANSWERED] = "ANSWERED",
      [TASK_LATE] = "LATE",
      [TASK_LEFT] = "LEFT",
      [TASK_OVER] = "OVER",
  };
  return names[state];
}
