/* Prints the token ids of texts, for tests and for measuring.
 *
 *   tokenize MODEL_DIR [--max-length N] [--left] [--bench SECONDS]
 *
 * Each line of standard input is JSON: a string, or an array of two for a pair. Each gives a line
 * of ids with special tokens, or "error: ..." where it is refused. --max-length truncates. --bench
 * tokenizes all of the input over and over on one core instead and prints the speed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/alloc.h"
#include "core/base/json.h"
#include "core/token/tokenizer.h"

enum { VALUES_MAX = 16 };

static const size_t ARENA_LIMIT = (size_t)1 << 32;

typedef struct options {
  const char *directory;
  rr_truncation truncation;
  double bench_seconds; /* 0: none */
} options;

/* One line of input. */
typedef struct item {
  json_t *json;
  rr_text texts[2];
  size_t count; /* 1 or 2 */
} item;

static int usage(void) {
  (void)fprintf(stderr, "usage: tokenize MODEL_DIR [--max-length N] [--left] [--bench SECONDS]\n");
  return 2;
}

static bool parse_options(int argc, char **argv, options *ret_options) {
  options found = {.truncation = {.max_length = SIZE_MAX}};
  for (int i = 1; i < argc; i++) {
    bool has_value = i + 1 < argc;
    if (strcmp(argv[i], "--left") == 0) {
      found.truncation.left = true;
    } else if (strcmp(argv[i], "--max-length") == 0 && has_value) {
      found.truncation.max_length = (size_t)strtoull(argv[++i], NULL, 10);
      found.truncation.enabled = true;
    } else if (strcmp(argv[i], "--bench") == 0 && has_value) {
      found.bench_seconds = strtod(argv[++i], NULL);
    } else if (argv[i][0] != '-' && found.directory == NULL) {
      found.directory = argv[i];
    } else {
      return false;
    }
  }
  *ret_options = found;
  return found.directory != NULL;
}

static rr_status parse_item(const char *line, size_t size, item *ret_item, rr_error *err) {
  item parsed = {.count = 1};
  rr_status status = rr_json_parse(line, size, VALUES_MAX, &parsed.json, err);
  if (status != RR_OK) {
    return status;
  }
  if (json_is_array(parsed.json)) {
    parsed.count = 2;
  }
  for (size_t i = 0; i < parsed.count; i++) {
    const json_t *text = parsed.count == 2 ? json_array_get(parsed.json, i) : parsed.json;
    if (!json_is_string(text) || (parsed.count == 2 && json_array_size(parsed.json) != 2)) {
      json_decref(parsed.json);
      return rr_fail(err, RR_ERR_INPUT, "neither a string nor an array of two");
    }
    parsed.texts[i] = (rr_text){json_string_value(text), json_string_length(text)};
  }
  *ret_item = parsed;
  return RR_OK;
}

static rr_status encode(const rr_tokenizer *tokenizer, const item *in,
                        const rr_truncation *truncation, rr_arena *arena, rr_encoding *ret_encoding,
                        rr_error *err) {
  rr_tokens tokens[2];
  for (size_t i = 0; i < in->count; i++) {
    rr_status status = rr_tokenizer_tokens(tokenizer, in->texts[i], arena, &tokens[i], err);
    if (status != RR_OK) {
      return status;
    }
  }
  if (in->count == 2) {
    return rr_tokenizer_pair(tokenizer, &tokens[0], &tokens[1], truncation, arena, ret_encoding,
                             err);
  }
  return rr_tokenizer_single(tokenizer, &tokens[0], truncation, arena, ret_encoding, err);
}

static void print_ids(const rr_tokenizer *tokenizer, const options *chosen, const char *line,
                      size_t size) {
  rr_error err = {.message = ""};
  rr_arena arena;
  rr_arena_init(&arena, ARENA_LIMIT);
  item in = {.json = NULL};
  rr_encoding encoding;
  rr_status status = parse_item(line, size, &in, &err);
  if (status == RR_OK) {
    status = encode(tokenizer, &in, &chosen->truncation, &arena, &encoding, &err);
  }
  if (status == RR_OK) {
    for (size_t i = 0; i < encoding.length; i++) {
      (void)printf(i == 0 ? "%" PRId32 : " %" PRId32, encoding.ids[i]);
    }
    (void)printf("\n");
  } else {
    (void)printf("error: %s\n", err.message);
  }
  json_decref(in.json);
  rr_arena_finish(&arena);
}

static double seconds_now(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int bench(const rr_tokenizer *tokenizer, const options *chosen, const item *items,
                 size_t count) {
  size_t tokens = 0;
  size_t bytes = 0;
  double start = seconds_now();
  double passed = 0;
  while (count > 0 && passed < chosen->bench_seconds) {
    for (size_t i = 0; i < count; i++) {
      rr_arena arena;
      rr_arena_init(&arena, ARENA_LIMIT);
      rr_encoding encoding;
      rr_error err;
      if (encode(tokenizer, &items[i], &chosen->truncation, &arena, &encoding, &err) != RR_OK) {
        (void)fprintf(stderr, "tokenize: %s\n", err.message);
        rr_arena_finish(&arena);
        return 1;
      }
      tokens += encoding.length + encoding.dropped;
      bytes += items[i].texts[0].size + items[i].texts[1].size;
      rr_arena_finish(&arena);
    }
    passed = seconds_now() - start;
  }
  (void)printf("%.2f M tokens/s, %.1f MB/s, %zu tokens in %.2f s\n", (double)tokens / passed * 1e-6,
               (double)bytes / passed * 1e-6, tokens, passed);
  return 0;
}

static int read_and_bench(const rr_tokenizer *tokenizer, const options *chosen) {
  item *items = NULL;
  size_t count = 0;
  size_t capacity = 0;
  char *line = NULL;
  size_t line_capacity = 0;
  int result = 0;
  for (ssize_t size; result == 0 && (size = getline(&line, &line_capacity, stdin)) > 0;) {
    if (count == capacity) {
      capacity = capacity == 0 ? 1024 : 2 * capacity;
      item *grown = rr_realloc(items, capacity * sizeof *items);
      if (grown == NULL) {
        result = 1;
        break;
      }
      items = grown;
    }
    rr_error err = {.message = ""};
    if (parse_item(line, (size_t)size, &items[count], &err) != RR_OK) {
      (void)fprintf(stderr, "tokenize: %s\n", err.message);
      result = 1;
    } else {
      count++;
    }
  }
  if (result == 0) {
    result = bench(tokenizer, chosen, items, count);
  }
  for (size_t i = 0; i < count; i++) {
    json_decref(items[i].json);
  }
  rr_free(items);
  free(line);
  return result;
}

int main(int argc, char **argv) {
  options chosen;
  if (!parse_options(argc, argv, &chosen)) {
    return usage();
  }
  rr_json_init();
  rr_error err = {.message = ""};
  rr_tokenizer *tokenizer;
  if (rr_tokenizer_load(chosen.directory, &tokenizer, &err) != RR_OK) {
    (void)fprintf(stderr, "tokenize: %s\n", err.message);
    return 1;
  }
  int result = 0;
  if (chosen.bench_seconds > 0) {
    result = read_and_bench(tokenizer, &chosen);
  } else {
    char *line = NULL;
    size_t capacity = 0;
    for (ssize_t size; (size = getline(&line, &capacity, stdin)) > 0;) {
      print_ids(tokenizer, &chosen, line, (size_t)size);
    }
    free(line);
  }
  rr_tokenizer_destroy(tokenizer);
  return result;
}
