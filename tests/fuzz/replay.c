/* Takes the place of libFuzzer where the compiler has none: every file of the folders that it is
 * given, once. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The file's bytes, exactly as large as they are, so that reading beyond shows. */
static int replay_file(const char *path) {
  FILE *file = fopen(path, "rbe");
  if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
    perror(path);
    return 1;
  }
  long size = ftell(file);
  rewind(file);
  uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
  int failed = size < 0 || data == NULL || fread(data, 1, (size_t)size, file) != (size_t)size;
  (void)fclose(file);
  if (!failed) {
    (void)LLVMFuzzerTestOneInput(data, (size_t)size);
  }
  free(data);
  return failed;
}

static int replay_folder(const char *folder, size_t *count) {
  struct dirent **entries;
  int n = scandir(folder, &entries, NULL, alphasort);
  int failed = n < 0;
  for (int i = 0; i < n; i++) {
    char path[4096];
    if (entries[i]->d_name[0] != '.') {
      (void)snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
      failed |= replay_file(path);
      (*count)++;
    }
    free(entries[i]);
  }
  free(n < 0 ? NULL : entries);
  return failed;
}

int main(int argc, char **argv) {
  size_t count = 0;
  int failed = 0;
  (void)LLVMFuzzerInitialize(&argc, &argv);
  for (int i = 1; i < argc; i++) {
    failed |= replay_folder(argv[i], &count);
  }
  (void)fprintf(stderr, "Done %zu runs\n", count);
  return failed;
}
