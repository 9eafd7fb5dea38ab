/* Names, settings, hashes and listings of the hub: everything that needs no network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/alloc.h"
#include "core/base/json.h"
#include "server/models/hub/cache.h"
#include "server/models/hub/client.h"
#include "server/models/hub/digest.h"
#include "server/models/hub/listing.h"
#include "server/models/hub/names.h"
#include "server/models/hub/reply.h"
#include "server/models/hub/settings.h"

#define COMMIT "0123456789abcdef0123456789abcdef01234567"

static void names_of_models(void **state) {
  (void)state;
  static const char *const good[] = {"a", "a/b", "cross-encoder/ms-marco-MiniLM-L6-v2",
                                     "A.b_c-d/E.f"};
  static const char *const bad[] = {"",     "/",    "a/",   "/a",   "a/b/c", "../a", "a/..",
                                    ".a",   "a/.b", "a..b", "a--b", "-a",    "a b",  "a%2f",
                                    "a\nb", "a//b", "a\\b", "a:b",  "~/a",   "a/b."};
  char longest[HUB_REPO_MAX + 1];
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    assert_true(hub_is_repo(good[i]));
  }
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    if (hub_is_repo(bad[i])) {
      fail_msg("\"%s\"", bad[i]);
    }
  }
  memset(longest, 'a', sizeof longest);
  longest[HUB_REPO_MAX] = '\0';
  assert_false(hub_is_repo(longest));
  longest[HUB_REPO_MAX - 1] = '\0';
  assert_true(hub_is_repo(longest));
}

static void names_of_revisions_and_files(void **state) {
  (void)state;
  assert_true(hub_is_revision("main") && hub_is_revision("refs/pr/12") && hub_is_revision("v1.0"));
  assert_true(hub_is_revision(COMMIT) && hub_is_commit(COMMIT));
  static const char *const bad_revisions[] = {"",    "../x", "a/../b", "/a",  "a/",
                                              "a b", "a?b",  "-a",     ".git"};
  for (size_t i = 0; i < sizeof bad_revisions / sizeof bad_revisions[0]; i++) {
    assert_false(hub_is_revision(bad_revisions[i]));
  }
  assert_false(hub_is_commit("main"));
  assert_false(hub_is_commit("0123456789ABCDEF0123456789abcdef01234567"));
  assert_false(hub_is_commit(COMMIT "0"));
  assert_true(hub_is_etag(COMMIT));
  assert_false(hub_is_etag(COMMIT "00"));
  assert_true(hub_is_file("config.json") && hub_is_file("1_Pooling/config.json"));
  static const char *const bad_files[] = {"",     "/a", "a/",   "../a", "a/../b",
                                          "a//b", ".",  "a/.b", "a\\b", "a\tb"};
  for (size_t i = 0; i < sizeof bad_files / sizeof bad_files[0]; i++) {
    assert_false(hub_is_file(bad_files[i]));
  }
}

static void hashes_are_those_of_git_and_sha_256(void **state) {
  (void)state;
  static const struct {
    const char *data;
    const char *digits;
  } known[] = {
      {"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"}, /* git hash-object of an empty file */
      {"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a"},
      {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
  };
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    hub_digest digest;
    char digits[HUB_ETAG_MAX];
    size_t size = strlen(known[i].data);
    hub_digest_init(&digest, known[i].digits, size);
    for (size_t at = 0; at < size; at++) {
      hub_digest_update(&digest, known[i].data + at, 1);
    }
    hub_digest_finish(&digest, digits);
    assert_string_equal(digits, known[i].digits);
  }
}

/* NAME, value, NAME, value, NULL. */
static const char *const *environment;

static char *look_up(const char *name) {
  for (size_t i = 0; environment[i] != NULL; i += 2) {
    if (strcmp(environment[i], name) == 0) {
      return (char *)environment[i + 1];
    }
  }
  return NULL;
}

static void settings_come_from_options_and_environment(void **state) {
  (void)state;
  static const char *const variables[] = {
      "HOME", "/h", "HF_HUB_DOWNLOAD_TIMEOUT", "7", "SSL_CERT_FILE", "/ca", "TRANSFORMERS_OFFLINE",
      "YES",  NULL};
  hub_settings settings;
  environment = variables;
  hub_choices choices = {.repo = "a/b"};
  assert_int_equal(hub_settings_read(&choices, look_up, &settings, NULL), RR_OK);
  assert_string_equal(settings.cache, "/h/.cache/huggingface/hub");
  assert_string_equal(settings.endpoint, "https://huggingface.co");
  assert_string_equal(settings.revision, "main");
  assert_string_equal(settings.token, "");
  assert_string_equal(settings.ca_file, "/ca");
  assert_int_equal(settings.transfer_seconds, 7);
  assert_int_equal(settings.metadata_seconds, 10);
  assert_true(settings.offline);
  choices = (hub_choices){
      .repo = "a/b", .revision = "v1", .token = "t", .endpoint = "http://e:1//", .home = "~/x"};
  assert_int_equal(hub_settings_read(&choices, look_up, &settings, NULL), RR_OK);
  assert_string_equal(settings.cache, "/h/x/hub");
  assert_string_equal(settings.endpoint, "http://e:1");
  assert_string_equal(settings.token, "t");
  choices.cache = "/c";
  assert_int_equal(hub_settings_read(&choices, look_up, &settings, NULL), RR_OK);
  assert_string_equal(settings.cache, "/c");
}

static void settings_without_a_place_are_refused(void **state) {
  (void)state;
  static const char *const nothing[] = {NULL};
  hub_settings settings;
  rr_error err;
  environment = nothing;
  hub_choices choices = {.repo = "a/b"};
  assert_int_equal(hub_settings_read(&choices, look_up, &settings, &err), RR_ERR_INPUT);
  assert_non_null(strstr(err.message, "HF_HOME"));
  choices.cache = "/c";
  assert_int_equal(hub_settings_read(&choices, look_up, &settings, &err), RR_OK);
  choices.repo = "a/b/c";
  assert_int_equal(hub_settings_read(&choices, look_up, &settings, &err), RR_ERR_INPUT);
}

#define FILE_ENTRY(name) "{\"rfilename\":\"" name "\"},"

static rr_status read_listing(const char *files, hub_listing *ret_listing) {
  char text[2048];
  (void)snprintf(text, sizeof text,
                 "{\"sha\":\"" COMMIT "\",\"siblings\":[%s{\"rfilename\":\"x\"}]}", files);
  return hub_listing_read("m", text, strlen(text), ret_listing, NULL);
}

static void needed_files_are_chosen(void **state) {
  (void)state;
  static char storage[HUB_FILES_MAX][HUB_FILE_MAX];
  hub_file_names names = {.names = storage};
  hub_listing listing;
  char folder[HUB_FILE_MAX];
  bool sharded = true;
  assert_int_equal(
      read_listing(FILE_ENTRY("config.json") FILE_ENTRY("model.safetensors")
                       FILE_ENTRY("model.safetensors.index.json") FILE_ENTRY("../vocab.txt")
                           FILE_ENTRY("onnx/config.json") FILE_ENTRY("1_Pooling/config.json")
                               FILE_ENTRY("1_Pooling/x/config.json") FILE_ENTRY("vocab.txt.bak"),
                   &listing),
      RR_OK);
  hub_listing_folder(&listing, folder);
  assert_string_equal(folder, "");
  hub_listing_configurations(&listing, &names);
  assert_int_equal(names.count, 2); /* without the tokenizer, the index and the weights */
  names.count = 0;
  hub_listing_small_files(&listing, &names);
  assert_int_equal(names.count, 2);
  assert_string_equal(names.names[0], "config.json");
  assert_string_equal(names.names[1], "1_Pooling/config.json");
  assert_int_equal(hub_listing_check_weights(&listing, "m", folder, &sharded, NULL), RR_OK);
  assert_false(sharded);
  assert_int_equal(hub_listing_add(&listing, "m", "", "../vocab.txt", &names, NULL), RR_ERR_FORMAT);
  assert_int_equal(hub_listing_add(&listing, "m", "", "absent", &names, NULL), RR_ERR_FORMAT);
  hub_listing_free(&listing);
}

static void a_transformer_may_lie_in_its_own_folder(void **state) {
  (void)state;
  hub_listing listing;
  char folder[HUB_FILE_MAX];
  bool sharded = false;
  assert_int_equal(read_listing(FILE_ENTRY("1_Pooling/config.json")
                                    FILE_ENTRY("0_Transformer/config.json")
                                        FILE_ENTRY("0_Transformer/model.safetensors.index.json"),
                                &listing),
                   RR_OK);
  hub_listing_folder(&listing, folder);
  assert_string_equal(folder, "0_Transformer/");
  assert_int_equal(hub_listing_check_weights(&listing, "m", folder, &sharded, NULL), RR_OK);
  assert_true(sharded);
  hub_listing_free(&listing);
}

static void configurations_come_before_tokenizers(void **state) {
  (void)state;
  static char storage[HUB_FILES_MAX][HUB_FILE_MAX];
  hub_file_names names = {.names = storage};
  hub_listing listing;
  assert_int_equal(
      read_listing(FILE_ENTRY("tokenizer.json") FILE_ENTRY("config.json") FILE_ENTRY("vocab.txt")
                       FILE_ENTRY("modules.json") FILE_ENTRY("1_Pooling/config.json")
                           FILE_ENTRY("rerankd.json") FILE_ENTRY("model.safetensors.index.json"),
                   &listing),
      RR_OK);
  hub_listing_configurations(&listing, &names);
  assert_int_equal(names.count, 4);
  for (size_t i = 0; i < names.count; i++) {
    assert_null(strstr(names.names[i], "tokenizer"));
    assert_null(strstr(names.names[i], "index"));
  }
  names.count = 0;
  hub_listing_small_files(&listing, &names);
  assert_int_equal(names.count, 7);
  hub_listing_free(&listing);
}

static void other_weights_are_named(void **state) {
  (void)state;
  static const struct {
    const char *files;
    const char *words;
  } cases[] = {
      {FILE_ENTRY("model.gguf"),
       "m has no model.safetensors: it has its weights as model.gguf only"},
      {FILE_ENTRY("onnx/model.onnx") FILE_ENTRY("pytorch_model.bin"),
       "pytorch_model.bin only; convert"},
      {FILE_ENTRY("config.json") FILE_ENTRY("training_args.bin"), "nor weights in another form"}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    hub_listing listing;
    bool sharded;
    rr_error err = {.message = ""};
    assert_int_equal(read_listing(cases[i].files, &listing), RR_OK);
    assert_int_equal(hub_listing_check_weights(&listing, "m", "", &sharded, &err),
                     RR_ERR_UNSUPPORTED);
    if (strstr(err.message, cases[i].words) == NULL) {
      fail_msg("\"%s\" instead of \"%s\"", err.message, cases[i].words);
    }
    hub_listing_free(&listing);
  }
}

static void allocations_of_a_listing_may_fail(void **state) {
  (void)state;
  rr_status status = RR_ERR_MEMORY;
  for (unsigned long n = 1; status != RR_OK && n < 200; n++) {
    hub_listing listing;
    rr_alloc_fail_at(n, 1);
    status = read_listing(FILE_ENTRY("config.json"), &listing);
    rr_alloc_fail_at(0, 0);
    if (status == RR_OK) {
      hub_listing_free(&listing);
    }
  }
  assert_int_equal(status, RR_OK);
}

static void read_line(hub_reply *reply, const char *line) {
  hub_reply_header(reply, line, strlen(line));
}

static void headers_are_read_as_they_come(void **state) {
  (void)state;
  hub_reply reply = {.status = 0};
  hub_reply_next(&reply, 302);
  read_line(&reply, "etag: W/\"of-the-redirect\"\r\n");
  read_line(&reply, "Content-Length: 5\r\n");
  assert_string_equal(reply.etag, "of-the-redirect");
  assert_false(reply.has_size);
  read_line(&reply, "X-Linked-ETag: \"" COMMIT "\"\r\n");
  read_line(&reply, "X-LINKED-SIZE:  77 \r\n");
  hub_reply_next(&reply, 200);
  read_line(&reply, "ETag: \"other\"\r\n");
  read_line(&reply, "Content-Length: 5\r\n");
  read_line(&reply, "no header at all\r\n");
  read_line(&reply, "Retry-After: 99999\r\n");
  read_line(&reply, "Content-Range: bytes 5-9/10\r\n");
  assert_string_equal(reply.etag, COMMIT);
  assert_true(reply.has_size && reply.size == 77);
  assert_int_equal(reply.retry_after, 60);
  assert_true(reply.has_range && reply.range_first == 5 && reply.range_size == 10);
  read_line(&reply, "Content-Range: bytes 7-9/*\r\n");
  assert_true(reply.has_range && reply.range_first == 7 && reply.range_size == 0);
  read_line(&reply, "Content-Range: bytes nonsense\r\n");
  assert_false(reply.has_range);
}

static void urls_are_escaped(void **state) {
  (void)state;
  atomic_bool cancelled = false;
  const hub_client_config config = {.endpoint = "https://e", .cancelled = &cancelled};
  hub_client *client;
  char url[HUB_URL_MAX];
  assert_int_equal(hub_client_create(&config, &client, NULL), RR_OK);
  assert_true(hub_client_url(client, "/a/resolve/c", "1_P/x #?%.json", url));
  assert_string_equal(url, "https://e/a/resolve/c/1_P/x%20%23%3F%25.json");
  char small[8];
  assert_true(hub_client_escape("a/b", small, sizeof small));
  assert_string_equal(small, "a%2Fb");
  assert_false(hub_client_escape("a/b/c", small, sizeof small));
  hub_client_destroy(client);
}

static void wrong_endpoints_and_tokens_are_refused(void **state) {
  (void)state;
  atomic_bool cancelled = false;
  hub_client *client = NULL;
  static const char *const endpoints[] = {"", "e", "ftp://e", "file:///etc", "http://"};
  for (size_t i = 0; i < sizeof endpoints / sizeof endpoints[0]; i++) {
    const hub_client_config config = {.endpoint = endpoints[i], .cancelled = &cancelled};
    assert_int_equal(hub_client_create(&config, &client, NULL), RR_ERR_INPUT);
  }
  const hub_client_config config = {
      .endpoint = "https://e", .token = "a\r\nX: y", .cancelled = &cancelled};
  assert_int_equal(hub_client_create(&config, &client, NULL), RR_ERR_INPUT);
  assert_null(client);
}

static void refs_that_are_no_commits_are_not_believed(void **state) {
  (void)state;
  char folder[] = "/tmp/rerankd-test-XXXXXX";
  hub_settings settings = {.repo = "a/b"};
  hub_cache cache;
  char commit[HUB_COMMIT_MAX];
  char path[HUB_PATH_MAX + 64];
  assert_non_null(mkdtemp(folder));
  (void)snprintf(settings.cache, sizeof settings.cache, "%s", folder);
  assert_int_equal(hub_cache_init(&settings, &cache, NULL), RR_OK);
  assert_false(hub_cache_read_ref(&cache, "main", commit));
  assert_int_equal(hub_cache_write_ref(&cache, "main", COMMIT, NULL), RR_OK);
  assert_true(hub_cache_read_ref(&cache, "main", commit));
  assert_string_equal(commit, COMMIT);
  (void)snprintf(path, sizeof path, "%s/refs/main", cache.folder);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  assert_true(fputs("../../../../etc", file) >= 0);
  assert_int_equal(fclose(file), 0);
  assert_false(hub_cache_read_ref(&cache, "main", commit));
  assert_int_equal(remove(path), 0);
  (void)snprintf(path, sizeof path, "%s/refs", cache.folder);
  assert_int_equal(rmdir(path), 0);
  assert_int_equal(rmdir(cache.folder), 0);
  assert_int_equal(rmdir(folder), 0);
}

int main(void) {
  rr_json_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names_of_models),
      cmocka_unit_test(names_of_revisions_and_files),
      cmocka_unit_test(hashes_are_those_of_git_and_sha_256),
      cmocka_unit_test(settings_come_from_options_and_environment),
      cmocka_unit_test(settings_without_a_place_are_refused),
      cmocka_unit_test(needed_files_are_chosen),
      cmocka_unit_test(a_transformer_may_lie_in_its_own_folder),
      cmocka_unit_test(configurations_come_before_tokenizers),
      cmocka_unit_test(other_weights_are_named),
      cmocka_unit_test(allocations_of_a_listing_may_fail),
      cmocka_unit_test(headers_are_read_as_they_come),
      cmocka_unit_test(urls_are_escaped),
      cmocka_unit_test(wrong_endpoints_and_tokens_are_refused),
      cmocka_unit_test(refs_that_are_no_commits_are_not_believed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
