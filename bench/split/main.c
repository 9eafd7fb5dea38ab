/* What split layers save: see README.md. */
#include <dirent.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/scorer.h"

enum { PATH_SIZE = 4096, ROUNDS_MAX = 1000, BATCH_TOKENS = 2048 };
enum { UNSPLIT, WHOLE, DOCUMENTS, WARM, WAYS };

typedef struct model {
  rr_scorer *scorer;
  rr_workspace *workspace;
  rr_arena arena;
} model;

/* Everything of a request that a round computes. */
typedef struct bench {
  model plain;
  model split;
  rr_text query;
  rr_text *texts;
  size_t n_texts;
  rr_encoded ways[WAYS];
  float *scores[WAYS];
  rr_kept *kept; /* one a text of the split model; of a text that came before, none */
} bench;

static void die(const char *what, const char *why) {
  (void)fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static void *memory(size_t count, size_t size) {
  void *data = calloc(count, size);
  if (data == NULL) {
    die("bench/split", "out of memory");
  }
  return data;
}

/* Processor time: what others do on the machine hardly counts. */
static double now(void) {
  struct timespec time;
  (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* A directory of links to the files of `from`, but for config.json, which gets more members. */
static void make_copy(const char *from, const char *members, char to[PATH_SIZE]) {
  const char *root = getenv("TMPDIR");
  char whole[PATH_SIZE];
  char path[2 * PATH_SIZE];
  char target[2 * PATH_SIZE];
  (void)snprintf(to, PATH_SIZE, "%s/rerankd-split-XXXXXX", root == NULL ? "/tmp" : root);
  DIR *files = opendir(from);
  if (files == NULL || realpath(from, whole) == NULL || mkdtemp(to) == NULL) {
    die(from, "cannot be copied");
  }
  for (struct dirent *entry = readdir(files); entry != NULL; entry = readdir(files)) {
    (void)snprintf(target, sizeof target, "%s/%s", whole, entry->d_name);
    (void)snprintf(path, sizeof path, "%s/%s", to, entry->d_name);
    if (entry->d_name[0] != '.' && strcmp(entry->d_name, "config.json") != 0 &&
        symlink(target, path) != 0) {
      die(path, "cannot be made");
    }
  }
  (void)closedir(files);
  (void)snprintf(target, sizeof target, "%s/config.json", whole);
  (void)snprintf(path, sizeof path, "%s/config.json", to);
  json_t *config = json_load_file(target, 0, NULL);
  json_t *more = json_loads(members, 0, NULL);
  if (json_object_update(config, more) != 0 || json_dump_file(config, path, 0) != 0) {
    die(members, "cannot be put into config.json");
  }
  json_decref(more);
  json_decref(config);
}

static void remove_copy(const char *directory) {
  char path[2 * PATH_SIZE];
  DIR *files = opendir(directory);
  for (struct dirent *entry = files == NULL ? NULL : readdir(files); entry != NULL;
       entry = readdir(files)) {
    if (entry->d_name[0] != '.') {
      (void)snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
      (void)unlink(path);
    }
  }
  if (files != NULL) {
    (void)closedir(files);
  }
  (void)rmdir(directory);
}

/* The first line of the candidates. */
static json_t *read_request(const char *path, rr_text *ret_query, rr_text **ret_texts,
                            size_t *ret_count) {
  json_error_t problem;
  FILE *file = fopen(path, "r");
  json_t *json = file == NULL ? NULL : json_loadf(file, JSON_DISABLE_EOF_CHECK, &problem);
  const json_t *query = json_object_get(json, "query");
  const json_t *candidates = json_object_get(json, "candidates");
  size_t count = json_array_size(candidates);
  if (file == NULL || !json_is_string(query) || count == 0) {
    die(path, "no query with candidates");
  }
  (void)fclose(file);
  *ret_query = (rr_text){json_string_value(query), json_string_length(query)};
  *ret_texts = memory(count, sizeof **ret_texts);
  for (size_t i = 0; i < count; i++) {
    const json_t *text = json_object_get(json_array_get(candidates, i), "text");
    (*ret_texts)[i] = (rr_text){json_string_value(text), json_string_length(text)};
  }
  *ret_count = count;
  return json;
}

static void load(const char *directory, rr_dtype dtype, model *to) {
  const rr_load_options options = {.dtype = dtype};
  rr_error err = {.message = ""};
  rr_arena_init(&to->arena, SIZE_MAX);
  if (rr_scorer_load(directory, &options, &to->scorer, &err) != RR_OK ||
      rr_workspace_create(to->scorer, BATCH_TOKENS, &to->workspace, &err) != RR_OK) {
    die(directory, err.message);
  }
}

static void unload(model *self) {
  rr_workspace_destroy(self->workspace);
  rr_scorer_destroy(self->scorer);
  rr_arena_finish(&self->arena);
}

static rr_encoded encode(const bench *b, model *with, const rr_encode_options *options) {
  rr_encoded encoded;
  rr_error err = {.message = ""};
  if (rr_scorer_encode(with->scorer, b->query, b->texts, b->n_texts, options, &with->arena,
                       &encoded, &err) != RR_OK) {
    die("encode", err.message);
  }
  return encoded;
}

/* Gives every document of the split model its place; it is written in every round. */
static void place(bench *b, rr_encoded *documents) {
  uint32_t next = 0;
  b->kept = memory(b->n_texts, sizeof *b->kept);
  for (size_t i = 0; i < b->n_texts; i++) {
    rr_sequence *document = &documents->sequences[documents->sequence_of[i]];
    if (documents->sequence_of[i] == next) {
      next++;
      size_t size = rr_scorer_kept_bytes(b->split.scorer, document);
      void *bytes = size == 0 ? NULL : memory(1, size);
      rr_scorer_kept_place(b->split.scorer, document, bytes);
      b->kept[i] = (rr_kept){.data = bytes, .size = size};
    }
  }
}

/* The request as each way has it. */
static void arrange(bench *b) {
  rr_encode_options options = {.truncate = true, .cut = RR_CUT_TEXT};
  if (!rr_scorer_info(b->split.scorer)->keeps_texts) {
    die("bench/split", "a model with these members keeps no texts");
  }
  b->ways[UNSPLIT] = encode(b, &b->plain, &options);
  b->ways[WHOLE] = encode(b, &b->split, &options);
  options.kept_only = true;
  b->ways[DOCUMENTS] = encode(b, &b->split, &options);
  place(b, &b->ways[DOCUMENTS]);
  options.kept_only = false;
  options.kept = b->kept;
  b->ways[WARM] = encode(b, &b->split, &options);
  for (size_t w = 0; w < WAYS; w++) {
    b->scores[w] = memory(b->n_texts, sizeof *b->scores[w]);
  }
}

static void release(bench *b) {
  for (size_t i = 0; i < b->n_texts; i++) {
    free((void *)(uintptr_t)b->kept[i].data);
  }
  for (size_t w = 0; w < WAYS; w++) {
    free(b->scores[w]);
  }
  free(b->kept);
  free(b->texts);
}

static void forward(const model *with, const rr_encoded *encoded) {
  rr_sequence *batch[BATCH_TOKENS];
  rr_error err = {.message = ""};
  for (size_t next = 0; next < encoded->n_sequences;) {
    size_t count = 0;
    for (size_t tokens = 0; next < encoded->n_sequences; next++) {
      rr_sequence *sequence = &encoded->sequences[next];
      tokens += sequence->length;
      if (count > 0 && tokens > BATCH_TOKENS) {
        break;
      }
      batch[count++] = sequence;
    }
    if (rr_scorer_forward(with->workspace, batch, count, &err) != RR_OK) {
      die("forward", err.message);
    }
  }
}

/* Seconds of processor time of each way. */
static void run_round(bench *b, double times[WAYS]) {
  for (size_t w = 0; w < WAYS; w++) {
    double began = now();
    forward(w == UNSPLIT ? &b->plain : &b->split, &b->ways[w]);
    times[w] = now() - began;
  }
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a;
  double y = *(const double *)b;
  return (x > y) - (x < y);
}

static void print(double times[][ROUNDS_MAX], size_t rounds) {
  static const char *const names[WAYS] = {"unsplit", "split, whole pairs", "documents alone",
                                          "warm"};
  for (size_t w = 0; w < WAYS; w++) {
    qsort(times[w], rounds, sizeof times[w][0], by_value);
    (void)printf("%-22s least %6.1f ms, median %6.1f ms: %5.1f %% of unsplit by the least, %5.1f "
                 "%% by the median\n",
                 names[w], times[w][0] * 1e3, times[w][rounds / 2] * 1e3,
                 100.0 * times[w][0] / times[0][0],
                 100.0 * times[w][rounds / 2] / times[0][rounds / 2]);
  }
}

static size_t differing(bench *b) {
  static const size_t ways[] = {WHOLE, WARM};
  size_t count = 0;
  rr_error err = {.message = ""};
  for (size_t w = 0; w < 2; w++) {
    if (rr_scorer_scores(b->split.scorer, &b->ways[ways[w]], true, b->scores[ways[w]], &err) !=
        RR_OK) {
      die("scores", err.message);
    }
  }
  for (size_t i = 0; i < b->n_texts; i++) {
    count += memcmp(&b->scores[WARM][i], &b->scores[WHOLE][i], sizeof(float)) != 0;
  }
  return count;
}

static rr_dtype dtype_of(const char *name) {
  static const char *const names[] = {"float32", "bfloat16", "int8", "auto"};
  static const rr_dtype dtypes[] = {RR_DTYPE_FLOAT32, RR_DTYPE_BFLOAT16, RR_DTYPE_INT8,
                                    RR_DTYPE_AUTO};
  for (size_t i = 0; i < 4; i++) {
    if (strcmp(name, names[i]) == 0) {
      return dtypes[i];
    }
  }
  die(name, "DTYPE is float32, bfloat16, int8 or auto");
  return RR_DTYPE_AUTO;
}

int main(int argc, char **argv) {
  if (argc < 4 || argc > 6) {
    (void)fprintf(stderr,
                  "usage: split MODEL_DIR CANDIDATES.jsonl CONFIG_MEMBERS [DTYPE [ROUNDS]]\n");
    return 2;
  }
  static double times[WAYS][ROUNDS_MAX];
  rr_dtype dtype = dtype_of(argc > 4 ? argv[4] : "auto");
  size_t rounds = argc > 5 ? strtoul(argv[5], NULL, 10) : 15;
  rounds = rounds < 1 ? 1 : rounds > ROUNDS_MAX ? ROUNDS_MAX : rounds;
  char copy[PATH_SIZE];
  bench b = {.n_texts = 0};
  json_t *json = read_request(argv[2], &b.query, &b.texts, &b.n_texts);
  make_copy(argv[1], argv[3], copy);
  load(argv[1], dtype, &b.plain);
  load(copy, dtype, &b.split);
  remove_copy(copy);
  arrange(&b);
  const rr_model_info *info = rr_scorer_info(b.split.scorer);
  (void)printf("%zu pairs of %llu tokens, %u of %u layers split, %s on %s\n",
               b.ways[WHOLE].n_sequences, (unsigned long long)b.ways[WHOLE].tokens,
               info->split_layers, info->layers, info->dtype_name, info->kernels);
  double unused[WAYS];
  run_round(&b, unused);
  for (size_t round = 0; round < rounds; round++) {
    double here[WAYS];
    run_round(&b, here);
    for (size_t w = 0; w < WAYS; w++) {
      times[w][round] = here[w];
    }
  }
  print(times, rounds);
  size_t wrong = differing(&b);
  (void)printf("%zu of %zu warm scores differ from the whole pair's\n", wrong, b.n_texts);
  release(&b);
  unload(&b.split);
  unload(&b.plain);
  json_decref(json);
  return wrong != 0;
}
