/* How far a download is: a bar on a terminal, else a log line now and then.
 *
 * 1. One thread downloads and calls everything but hub_progress_text.
 * 2. Any thread may call hub_progress_text meanwhile.
 */
#ifndef RR_SERVER_MODELS_HUB_PROGRESS_H
#define RR_SERVER_MODELS_HUB_PROGRESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HUB_PROGRESS_TEXT_MAX = 96 };

typedef struct hub_progress {
  _Atomic uint64_t total; /* bytes to have; 0: nothing is downloaded yet */
  _Atomic uint64_t done;  /* bytes there */
  bool on_terminal;
  bool drawn;        /* the bar stands on the terminal's last line */
  uint64_t shown_at; /* ns */
} hub_progress;

/* on_terminal: draw a bar on standard error. */
void hub_progress_init(hub_progress *progress, bool on_terminal);

/* So many bytes more are wanted. */
void hub_progress_expect(hub_progress *progress, uint64_t bytes);

/* So many bytes more are there; negative where some had to be thrown away. */
void hub_progress_add(hub_progress *progress, int64_t bytes);

/* Takes the bar off the terminal's line, before other output or at the end. */
void hub_progress_clear(hub_progress *progress);

/* "downloading, 12.3 of 90.9 MB", or "" while nothing is downloaded. */
void hub_progress_text(const hub_progress *progress, char ret_text[HUB_PROGRESS_TEXT_MAX]);

#endif
