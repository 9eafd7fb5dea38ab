#include "server/models/hub/progress.h"

#include <stdio.h>

#include "server/base/clock.h"
#include "server/observe/log.h"

enum { BAR_CELLS = 30 };

static const double MEGABYTE = 1e6;
static const uint64_t BAR_NS = 100000000;    /* between two drawings */
static const uint64_t LOG_NS = 10000000000u; /* between two log lines */

void hub_progress_init(hub_progress *progress, bool on_terminal) {
  *progress = (hub_progress){.on_terminal = on_terminal, .shown_at = clock_now()};
}

static void draw(hub_progress *progress, uint64_t done, uint64_t total) {
  static const char full[] = "##############################";
  static const char empty[] = "..............................";
  _Static_assert(sizeof full == BAR_CELLS + 1 && sizeof empty == sizeof full, "a sign a cell");
  int cells = total == 0 ? 0 : (int)((double)done / (double)total * BAR_CELLS);
  cells = cells > BAR_CELLS ? BAR_CELLS : cells;
  (void)fprintf(stderr, "\r\033[K[%.*s%.*s] %.1f of %.1f MB", cells, full, BAR_CELLS - cells, empty,
                (double)done / MEGABYTE, (double)total / MEGABYTE);
  (void)fflush(stderr);
  progress->drawn = true;
}

static void show(hub_progress *progress) {
  uint64_t now = clock_now();
  uint64_t done = atomic_load(&progress->done);
  uint64_t total = atomic_load(&progress->total);
  if (now - progress->shown_at < (progress->on_terminal ? BAR_NS : LOG_NS)) {
    return;
  }
  progress->shown_at = now;
  if (progress->on_terminal) {
    draw(progress, done, total);
  } else {
    log_text(LOG_LEVEL_INFO, "downloading the model, %.1f of %.1f MB", (double)done / MEGABYTE,
             (double)total / MEGABYTE);
  }
}

void hub_progress_expect(hub_progress *progress, uint64_t bytes) {
  (void)atomic_fetch_add(&progress->total, bytes);
}

void hub_progress_add(hub_progress *progress, int64_t bytes) {
  (void)atomic_fetch_add(&progress->done, (uint64_t)bytes); /* wraps where negative, as wanted */
  show(progress);
}

void hub_progress_clear(hub_progress *progress) {
  if (progress->drawn) {
    (void)fprintf(stderr, "\r\033[K");
    (void)fflush(stderr);
    progress->drawn = false;
  }
}

void hub_progress_text(const hub_progress *progress, char ret_text[HUB_PROGRESS_TEXT_MAX]) {
  uint64_t total = atomic_load(&progress->total);
  ret_text[0] = '\0';
  if (total > 0) {
    (void)snprintf(ret_text, HUB_PROGRESS_TEXT_MAX, "downloading, %.1f of %.1f MB",
                   (double)atomic_load(&progress->done) / MEGABYTE, (double)total / MEGABYTE);
  }
}
