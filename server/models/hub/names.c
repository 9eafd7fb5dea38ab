#include "server/models/hub/names.h"

#include <stddef.h>
#include <string.h>

static bool is_alphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* A part of a repository's name or of a revision, of `length` bytes. */
static bool is_word(const char *at, size_t length) {
  if (length == 0 || at[0] == '.' || at[0] == '-') {
    return false;
  }
  for (size_t i = 0; i < length; i++) {
    if (!is_alphanumeric(at[i]) && strchr("._-", at[i]) == NULL) {
      return false;
    }
  }
  return at[length - 1] != '.';
}

static bool are_words(const char *text, size_t most) {
  for (size_t parts = 0; parts < most; parts++) {
    size_t length = strcspn(text, "/");
    if (!is_word(text, length)) {
      return false;
    }
    if (text[length] == '\0') {
      return true;
    }
    text += length + 1;
  }
  return false;
}

bool hub_is_repo(const char *text) {
  /* "--" stands for the slash in the cache's folder names. */
  return strlen(text) < HUB_REPO_MAX && are_words(text, 2) && strstr(text, "--") == NULL &&
         strstr(text, "..") == NULL;
}

bool hub_is_revision(const char *text) {
  return strlen(text) < HUB_REVISION_MAX && are_words(text, 8) && strstr(text, "..") == NULL;
}

static bool is_hexadecimal(const char *text, size_t length) {
  return strlen(text) == length && strspn(text, "0123456789abcdef") == length;
}

bool hub_is_commit(const char *text) { return is_hexadecimal(text, HUB_COMMIT_MAX - 1); }

bool hub_is_etag(const char *text) {
  return is_hexadecimal(text, HUB_COMMIT_MAX - 1) || is_hexadecimal(text, HUB_ETAG_MAX - 1);
}

bool hub_is_file(const char *text) {
  if (strlen(text) >= HUB_FILE_MAX) {
    return false;
  }
  for (;;) {
    size_t length = strcspn(text, "/");
    if (length == 0 || text[0] == '.') {
      return false;
    }
    for (size_t i = 0; i < length; i++) {
      if ((unsigned char)text[i] < ' ' || text[i] == 0x7f || text[i] == '\\') {
        return false;
      }
    }
    if (text[length] == '\0') {
      return true;
    }
    text += length + 1;
  }
}
