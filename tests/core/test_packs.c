/* The pack cache: it changes no score, and notices that the model or the kernels have changed. */
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/alloc.h"
#include "core/base/json.h"
#include "core/kernel/kernel.h"
#include "tests/core/packs_support.h"
#include "tests/core/score_support.h"
#include "tests/slow.h"

static const rr_dtype dtypes[] = {RR_DTYPE_FLOAT32, RR_DTYPE_BFLOAT16, RR_DTYPE_INT8};
enum { DTYPES = 3 };

static void without_the_option_nothing_is_written(void **state) {
  (void)state;
  packs_outcome outcome = packs_must_load(RR_DTYPE_INT8, false);
  assert_int_equal(outcome.cache, RR_PACK_CACHE_OFF);
  assert_string_equal(outcome.note, "");
  assert_int_equal(packs_count(), 0);
}

static void scores_are_the_same_to_the_bit(void **state) {
  (void)state;
  static const char *const models[] = {"cross-encoder", "bi-encoder-mean", "bi-encoder-cls"};
  for (size_t m = 0; m < 3; m++) {
    for (size_t d = 0; d < DTYPES; d++) {
      (void)packs_tear_down(NULL);
      (void)packs_set_up(NULL);
      packs_copy_model(models[m]);
      (void)packs_expect(dtypes[d], RR_PACK_CACHE_WRITTEN);
      packs_outcome outcome = packs_expect(dtypes[d], RR_PACK_CACHE_READ);
      assert_non_null(strstr(outcome.note, packs_file()));
    }
  }
}

static void a_file_that_fits_is_left_alone(void **state) {
  (void)state;
  struct stat before;
  struct stat after;
  (void)packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_WRITTEN);
  assert_int_equal(stat(packs_file(), &before), 0);
  (void)packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_READ);
  assert_int_equal(stat(packs_file(), &after), 0);
  assert_true(before.st_ino == after.st_ino && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
  assert_int_equal(packs_count(), 1);
}

static void each_dtype_has_a_file_of_its_own(void **state) {
  (void)state;
  for (size_t d = 0; d < DTYPES; d++) {
    (void)packs_expect(dtypes[d], RR_PACK_CACHE_WRITTEN);
    assert_int_equal(packs_count(), d + 1);
  }
  for (size_t d = 0; d < DTYPES; d++) {
    (void)packs_expect(dtypes[d], RR_PACK_CACHE_READ);
  }
}

/* The last bytes of the file are some tensor's; size and, set back, even the time stay the same. */
static void a_changed_weight_is_noticed(void **state) {
  (void)state;
  char path[PACKS_PATH];
  struct stat about;
  size_t size;
  packs_outcome old = packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_WRITTEN);
  (void)snprintf(path, sizeof path, "%s/model.safetensors", packs_folder);
  assert_int_equal(stat(path, &about), 0);
  unsigned char *bytes = read_bytes(path, &size);
  for (size_t i = size / 2; i + 4 <= size; i += 4) {
    bytes[i + 3] ^= 0x80; /* another sign */
  }
  scratch_bytes(packs_folder, "model.safetensors", bytes, size);
  free(bytes);
  const struct timespec times[] = {about.st_atim, about.st_mtim};
  assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
  packs_outcome new = packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_WRITTEN);
  assert_memory_not_equal(old.scores, new.scores, sizeof old.scores);
  (void)packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_READ);
  assert_int_equal(packs_count(), 1);
}

static void another_model_in_the_folder_replaces_the_file(void **state) {
  (void)state;
  (void)packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_WRITTEN);
  packs_copy_model("bi-encoder-cls");
  (void)packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_WRITTEN);
  (void)packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_READ);
}

static void other_kernels_do_not_read_the_file(void **state) {
  (void)state;
  char own[PACKS_PATH];
  (void)packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_WRITTEN);
  (void)snprintf(own, sizeof own, "%s", packs_file());
  assert_int_equal(rr_kernels_set_mask("portable", NULL), RR_OK);
  if (strstr(own, rr_gemm_best(RR_FORMAT_INT8)->name) != NULL) {
    assert_int_equal(rr_kernels_set_mask(NULL, NULL), RR_OK);
    print_message("# this CPU has the portable kernels only\n");
    skip();
  }
  size_t size;
  unsigned char *bytes = read_bytes(own, &size);
  (void)packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_WRITTEN);
  assert_int_equal(packs_count(), 2);
  (void)packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_READ);
  /* Not under the name of their own either. */
  assert_int_equal(remove(own), 0);
  scratch_bytes(packs_folder, strrchr(packs_file(), '/') + 1, bytes, size);
  free(bytes);
  (void)packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_WRITTEN);
  assert_int_equal(rr_kernels_set_mask(NULL, NULL), RR_OK);
  (void)packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_WRITTEN);
}

static void the_file_is_as_private_as_the_weights(void **state) {
  (void)state;
  char path[PACKS_PATH];
  struct stat about;
  (void)snprintf(path, sizeof path, "%s/model.safetensors", packs_folder);
  assert_int_equal(chmod(path, 0600), 0);
  (void)packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_WRITTEN);
  assert_int_equal(stat(packs_file(), &about), 0);
  assert_int_equal(about.st_mode & 0777, 0600);
}

/* Either the load fails for want of memory, or its scores are right: the cache's own allocations
 * may fail without harm. */
static void any_failed_allocation_harms_no_score(void **state) {
  (void)state;
  static const bool there[] = {false, true};
  rr_json_init();
  packs_outcome plain = packs_must_load(RR_DTYPE_INT8, false);
  for (size_t round = 0; round < 2; round++) {
    rr_alloc_fail_at(ULONG_MAX, 0);
    packs_outcome first = packs_must_load(RR_DTYPE_INT8, true);
    unsigned long total = rr_alloc_count();
    rr_alloc_fail_at(0, 0);
    assert_int_equal(first.cache, there[round] ? RR_PACK_CACHE_READ : RR_PACK_CACHE_WRITTEN);
    assert_true(total > 100);
    size_t without_cache = 0;
    /* The cache's are among the last: the tokenizer comes first, the workspace's few after it. */
    for (unsigned long n = 1; n <= total; n += n + 200 > total ? slow_step(1, 5) : 17) {
      packs_outcome outcome = {.note = ""};
      if (!there[round] && packs_count() > 0) {
        assert_int_equal(remove(packs_file()), 0);
      }
      rr_alloc_fail_at(n, 0);
      rr_status status = packs_load(RR_DTYPE_INT8, true, &outcome);
      rr_alloc_fail_at(0, 0);
      if (status == RR_OK) {
        assert_memory_equal(outcome.scores, plain.scores, sizeof plain.scores);
        without_cache += outcome.cache == RR_PACK_CACHE_NOT_WRITTEN;
      } else {
        assert_int_equal(status, RR_ERR_MEMORY);
      }
    }
    assert_true(without_cache > 0);
    (void)packs_must_load(RR_DTYPE_INT8, true);
  }
}

/* Four processes load and write while this one breaks and removes the file. */
static void processes_at_once_do_not_disturb_each_other(void **state) {
  (void)state;
  enum { PROCESSES = 4 };
  const int loads = getenv("RR_SLOW") != NULL ? 5 : 25;
  packs_outcome plain = packs_must_load(RR_DTYPE_INT8, false);
  (void)packs_expect(RR_DTYPE_INT8, RR_PACK_CACHE_WRITTEN);
  char name[256];
  (void)snprintf(name, sizeof name, "%s", strrchr(packs_file(), '/') + 1);
  pid_t children[PROCESSES];
  for (size_t p = 0; p < PROCESSES; p++) {
    children[p] = fork();
    assert_true(children[p] >= 0);
    if (children[p] == 0) {
      for (int i = 0; i < loads; i++) {
        packs_outcome outcome;
        if (packs_load(RR_DTYPE_INT8, true, &outcome) != RR_OK ||
            memcmp(outcome.scores, plain.scores, sizeof plain.scores) != 0) {
          _exit(1);
        }
      }
      _exit(0);
    }
  }
  size_t size;
  unsigned char *bytes = read_bytes(packs_file(), &size);
  size_t ended = 0;
  for (size_t round = 0; ended < PROCESSES; round++) {
    int status;
    pid_t child = waitpid(-1, &status, WNOHANG);
    if (child > 0) {
      assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
      ended++;
    }
    scratch_bytes(packs_folder, name, bytes,
                  round % 2 == 0 ? size / 2 : size); /* truncates first */
    (void)usleep(2000);
  }
  free(bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, packs_set_up, packs_tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(without_the_option_nothing_is_written),
      TEST(scores_are_the_same_to_the_bit),
      TEST(a_file_that_fits_is_left_alone),
      TEST(each_dtype_has_a_file_of_its_own),
      TEST(a_changed_weight_is_noticed),
      TEST(another_model_in_the_folder_replaces_the_file),
      TEST(other_kernels_do_not_read_the_file),
      TEST(the_file_is_as_private_as_the_weights),
      TEST(any_failed_allocation_harms_no_score),
      TEST(processes_at_once_do_not_disturb_each_other),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
