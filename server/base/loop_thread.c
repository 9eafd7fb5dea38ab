#include "server/base/loop_thread.h"

static _Thread_local bool runs_the_loop;

void loop_thread_claim(void) { runs_the_loop = true; }

bool loop_thread_is_this(void) { return runs_the_loop; }
