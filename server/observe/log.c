#include "server/observe/log.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/base/alloc.h"

enum {
  QUEUE_LINES = 4096,
  LINE_MAX_BYTES = 2048,
  TIME_BYTES = 48,
  FIELD_BYTES = 160,
  LAST_WORDS_SECONDS = 2
};

static struct {
  pthread_mutex_t lock;
  pthread_cond_t filled;
  pthread_cond_t over; /* by the monotonic clock; made once */
  bool over_made;
  bool ended;
  pthread_t writer;
  bool running;
  bool stopping;
  bool json;
  log_level level;
  char *lines[QUEUE_LINES]; /* a ring */
  size_t first;
  size_t count;
  unsigned long dropped;
} logger = {
    .lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER, .level = LOG_LEVEL_INFO};

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static const char *const level_marks[] = {"ERROR", "WARN ", "INFO ", "DEBUG"};

bool log_level_parse(const char *text, log_level *ret_level) {
  for (int level = 0; level <= LOG_LEVEL_DEBUG; level++) {
    if (strcmp(text, level_names[level]) == 0) {
      *ret_level = (log_level)level;
      return true;
    }
  }
  return false;
}

/* Returns false where the line is lost: the disk is full, the reader gone. */
static bool write_whole(const char *line) {
  size_t left = strlen(line);
  while (left > 0) {
    ssize_t written = write(STDERR_FILENO, line, left);
    if (written > 0) {
      line += written;
      left -= (size_t)written;
    } else if (written < 0 && errno == EAGAIN) { /* somebody who shares the pipe made it so */
      struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
      (void)poll(&room, 1, -1);
    } else if (written < 0 && errno != EINTR) {
      return false;
    }
  }
  return true;
}

static void timestamp(char *ret_time) {
  struct timespec now;
  struct tm broken;
  char seconds[TIME_BYTES];
  (void)clock_gettime(CLOCK_REALTIME, &now);
  (void)gmtime_r(&now.tv_sec, &broken);
  if (strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &broken) == 0) {
    seconds[0] = '\0';
  }
  (void)snprintf(ret_time, TIME_BYTES, "%.20s.%03ldZ", seconds, now.tv_nsec / 1000000);
}

static void keep_line(const char *line) {
  (void)pthread_mutex_lock(&logger.lock);
  if (!logger.running) {
    (void)pthread_mutex_unlock(&logger.lock);
    (void)write_whole(line);
    return;
  }
  char *copy = logger.count == QUEUE_LINES ? NULL : rr_strdup(line);
  if (copy == NULL) {
    logger.dropped++;
  } else {
    logger.lines[(logger.first + logger.count) % QUEUE_LINES] = copy;
    logger.count++;
    (void)pthread_cond_signal(&logger.filled);
  }
  (void)pthread_mutex_unlock(&logger.lock);
}

/* Takes the next line, owned by the caller; NULL to stop. *ret_dropped: lines that never came into
 * the queue, told once the queue is empty. */
static char *next_line(unsigned long *ret_dropped) {
  char *line = NULL;
  (void)pthread_mutex_lock(&logger.lock);
  while (logger.count == 0 && !logger.stopping) {
    (void)pthread_cond_wait(&logger.filled, &logger.lock);
  }
  if (logger.count > 0) {
    line = logger.lines[logger.first];
    logger.first = (logger.first + 1) % QUEUE_LINES;
    logger.count--;
  }
  *ret_dropped = logger.count == 0 ? logger.dropped : 0;
  if (*ret_dropped > 0) {
    logger.dropped = 0;
  }
  (void)pthread_mutex_unlock(&logger.lock);
  return line;
}

static void format_text(log_level level, const char *message, char *ret_line, size_t size);

static bool report_lost(unsigned long lost) {
  char message[64];
  char report[LINE_MAX_BYTES];
  (void)snprintf(message, sizeof message, "%lu log lines were dropped", lost);
  format_text(LOG_LEVEL_WARN, message, report, sizeof report);
  return write_whole(report);
}

static void *write_lines(void *unused) {
  (void)unused;
  unsigned long lost = 0; /* not yet told */
  char *line;
  do {
    unsigned long dropped;
    line = next_line(&dropped);
    lost += dropped;
    bool written = line == NULL || write_whole(line);
    lost += !written;
    if (lost > 0 && written && report_lost(lost)) {
      lost = 0;
    }
    rr_free(line);
  } while (line != NULL);
  (void)pthread_mutex_lock(&logger.lock);
  logger.ended = true;
  (void)pthread_cond_signal(&logger.over);
  (void)pthread_mutex_unlock(&logger.lock);
  return NULL;
}

void log_configure(log_level level, bool json) {
  logger.level = level;
  logger.json = json;
}

static void make_over(void) {
  pthread_condattr_t monotonic;
  (void)pthread_condattr_init(&monotonic);
  (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  (void)pthread_cond_init(&logger.over, &monotonic);
  (void)pthread_condattr_destroy(&monotonic);
  logger.over_made = true;
}

bool log_start(log_level level, bool json) {
  log_configure(level, json);
  if (!logger.over_made) {
    make_over();
  }
  logger.stopping = false;
  logger.ended = false;
  logger.running = pthread_create(&logger.writer, NULL, write_lines, NULL) == 0;
  return logger.running;
}

/* Whether the writer ends in time; the lock is held. */
static bool wait_for_the_end(void) {
  struct timespec end;
  (void)clock_gettime(CLOCK_MONOTONIC, &end);
  end.tv_sec += LAST_WORDS_SECONDS;
  while (!logger.ended && pthread_cond_timedwait(&logger.over, &logger.lock, &end) == 0) {
  }
  return logger.ended;
}

void log_stop(void) {
  (void)pthread_mutex_lock(&logger.lock);
  bool was_running = logger.running;
  logger.running = false;
  logger.stopping = true;
  (void)pthread_cond_signal(&logger.filled);
  bool ended = was_running && wait_for_the_end();
  (void)pthread_mutex_unlock(&logger.lock);
  if (ended) {
    (void)pthread_join(logger.writer, NULL);
  } else if (was_running) { /* who does not read what is written to the pipe shall not keep the
                               process from ending */
    (void)pthread_detach(logger.writer);
  }
}

/* Bytes outside of printable ASCII become '?', so that nobody writes into the log what it is
 * not. */
static const char *printable(const char *text, char *ret_field) {
  size_t i = 0;
  for (; text[i] != '\0' && i + 1 < FIELD_BYTES; i++) {
    ret_field[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
  }
  ret_field[i] = '\0';
  return ret_field;
}

/* Ends a line that may have been cut. */
static void end_line(char *line, size_t size) {
  size_t length = strlen(line);
  if (length + 1 >= size) {
    length = size - 2;
  }
  line[length] = '\n';
  line[length + 1] = '\0';
}

/* Takes over the object. */
static void dump_json(json_t *object, char *ret_line, size_t size) {
  size_t length = object == NULL ? 0
                                 : json_dumpb(object, ret_line, size - 2,
                                              JSON_COMPACT | JSON_REAL_PRECISION(9));
  json_decref(object);
  if (length == 0 || length > size - 2) {
    (void)snprintf(ret_line, size,
                   "{\"level\":\"error\",\"message\":\"a log line could not be made\"}");
    length = strlen(ret_line);
  }
  ret_line[length] = '\0';
  end_line(ret_line, size);
}

static void format_text(log_level level, const char *message, char *ret_line, size_t size) {
  char time_text[TIME_BYTES];
  timestamp(time_text);
  if (logger.json) {
    dump_json(json_pack("{s:s,s:s,s:s}", "timestamp", time_text, "level", level_names[level],
                        "message", message),
              ret_line, size);
    return;
  }
  (void)snprintf(ret_line, size, "%s %s %s", time_text, level_marks[level], message);
  end_line(ret_line, size);
}

void log_text(log_level level, const char *format, ...) {
  if (level > logger.level) {
    return;
  }
  char message[LINE_MAX_BYTES / 2];
  char line[LINE_MAX_BYTES];
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  for (char *c = message; *c != '\0'; c++) {
    if ((unsigned char)*c < ' ' || (unsigned char)*c > '~') {
      *c = '?';
    }
  }
  format_text(level, message, line, sizeof line);
  keep_line(line);
}

static double milliseconds(uint64_t ns) { return (double)(ns / 1000) / 1000.0; }

/* All phases that there were, and what lies between them. */
static void add_phases(json_t *object, const log_request_fields *f) {
  json_t *phases = json_object();
  for (int i = 0; i < REQUEST_PHASES; i++) {
    if (f->phases->of[i].begin != 0) {
      (void)json_object_set_new(phases, phase_name((request_phase)i),
                                json_real(milliseconds(phase_ns(f->phases->of[i]))));
    }
  }
  (void)json_object_set_new(phases, "between", json_real(milliseconds(phases_between(f->phases))));
  (void)json_object_set_new(object, "phases_ms", phases);
  (void)json_object_set_new(object, "slow_untold", json_integer((json_int_t)f->untold));
}

static int print_phases(char *text, size_t size, const log_request_fields *f) {
  int length = snprintf(text, size, " SLOW");
  for (int i = 0; i < REQUEST_PHASES && (size_t)length < size; i++) {
    if (f->phases->of[i].begin != 0) {
      length += snprintf(text + length, size - (size_t)length, " %s:%.1f",
                         phase_name((request_phase)i), milliseconds(phase_ns(f->phases->of[i])));
    }
  }
  if ((size_t)length < size) {
    length += snprintf(text + length, size - (size_t)length, " between:%.1f untold:%llu",
                       milliseconds(phases_between(f->phases)), (unsigned long long)f->untold);
  }
  return length;
}

static json_t *request_object(log_level level, const char *time_text, const log_request_fields *f) {
  char id[FIELD_BYTES];
  char method[FIELD_BYTES];
  char path[FIELD_BYTES];
  json_t *object =
      json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:i,s:f,s:I}", "timestamp", time_text, "level",
                level_names[level], "message", f->phases == NULL ? "request" : "slow request",
                "request_id", printable(f->request_id, id), "method", printable(f->method, method),
                "path", printable(f->path, path), "status", f->status, "total_ms",
                milliseconds(f->total), "body_bytes", (json_int_t)f->body_bytes);
  if (object != NULL && f->texts > 0) {
    json_t *work =
        json_pack("{s:I,s:I,s:I,s:f,s:f,s:f,s:f}", "texts", (json_int_t)f->texts, "tokens",
                  (json_int_t)f->tokens, "truncated", (json_int_t)f->truncated, "parse_ms",
                  milliseconds(f->parse), "tokenization_ms", milliseconds(f->tokenization),
                  "queue_ms", milliseconds(f->queue), "inference_ms", milliseconds(f->inference));
    (void)json_object_update_new(object, work);
    (void)json_object_set_new(object, "cached", json_integer((json_int_t)f->cached));
  }
  if (object != NULL && f->trace != NULL && f->trace[0] != '\0') {
    (void)json_object_set_new(object, "trace_id", json_string(f->trace));
  }
  if (object != NULL && f->parent != NULL && f->parent[0] != '\0') {
    (void)json_object_set_new(object, "parent_id", json_string(f->parent));
  }
  if (object != NULL && f->span != NULL && f->span[0] != '\0') {
    (void)json_object_set_new(object, "span_id", json_string(f->span));
  }
  if (object != NULL && f->dialect != NULL) {
    (void)json_object_set_new(object, "dialect", json_string(f->dialect));
  }
  if (object != NULL && f->phases != NULL) {
    add_phases(object, f);
  }
  if (object != NULL && f->error != NULL) {
    char error[FIELD_BYTES];
    (void)json_object_set_new(object, "error", json_string(printable(f->error, error)));
  }
  return object;
}

static void format_request(log_level level, const log_request_fields *f, char *ret_line,
                           size_t size) {
  char time_text[TIME_BYTES];
  timestamp(time_text);
  if (logger.json) {
    dump_json(request_object(level, time_text, f), ret_line, size);
    return;
  }
  char id[FIELD_BYTES];
  char method[FIELD_BYTES];
  char path[FIELD_BYTES];
  char error[FIELD_BYTES];
  int length =
      snprintf(ret_line, size, "%s %s %s %s %d %.1fms id=%s bytes=%zu", time_text,
               level_marks[level], printable(f->method, method), printable(f->path, path),
               f->status, milliseconds(f->total), printable(f->request_id, id), f->body_bytes);
  if (f->texts > 0 && length > 0 && (size_t)length < size) {
    length +=
        snprintf(ret_line + length, size - (size_t)length,
                 " texts=%zu tokens=%llu truncated=%zu parse=%.1f tokenize=%.1f queue=%.1f "
                 "inference=%.1f",
                 f->texts, (unsigned long long)f->tokens, f->truncated, milliseconds(f->parse),
                 milliseconds(f->tokenization), milliseconds(f->queue), milliseconds(f->inference));
  }
  if (f->texts > 0 && length > 0 && (size_t)length < size) {
    length += snprintf(ret_line + length, size - (size_t)length, " cached=%zu", f->cached);
  }
  if (f->dialect != NULL && length > 0 && (size_t)length < size) {
    length += snprintf(ret_line + length, size - (size_t)length, " dialect=%s", f->dialect);
  }
  if (f->trace != NULL && f->trace[0] != '\0' && length > 0 && (size_t)length < size) {
    length += snprintf(ret_line + length, size - (size_t)length, " trace=%s", f->trace);
  }
  if (f->parent != NULL && f->parent[0] != '\0' && length > 0 && (size_t)length < size) {
    length += snprintf(ret_line + length, size - (size_t)length, " parent=%s", f->parent);
  }
  if (f->span != NULL && f->span[0] != '\0' && length > 0 && (size_t)length < size) {
    length += snprintf(ret_line + length, size - (size_t)length, " span=%s", f->span);
  }
  if (f->phases != NULL && length > 0 && (size_t)length < size) {
    length += print_phases(ret_line + length, size - (size_t)length, f);
  }
  if (f->error != NULL && length > 0 && (size_t)length < size) {
    (void)snprintf(ret_line + length, size - (size_t)length, " error=\"%s\"",
                   printable(f->error, error));
  }
  end_line(ret_line, size);
}

void log_request(log_level level, const log_request_fields *fields) {
  if (level > logger.level) {
    return;
  }
  char line[LINE_MAX_BYTES];
  format_request(level, fields, line, sizeof line);
  keep_line(line);
}
