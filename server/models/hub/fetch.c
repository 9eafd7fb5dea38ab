#include "server/models/hub/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/base/file.h"
#include "server/models/hub/digest.h"
#include "server/observe/log.h"

enum { WHAT_MAX = 100, READ_BYTES = 1 << 14 };

/* A try that brought so many bytes counts as the first one again. */
static const uint64_t PROGRESS_BYTES = 1 << 20;
static const double MEGABYTE = 1e6;

/* A blob in the making. */
typedef struct partial {
  hub_session *session;
  const hub_file *file;
  const char *what;
  int fd;
  uint64_t have; /* bytes written, and hashed */
  hub_digest digest;
} partial;

static void name_it(const hub_session *session, const char *name, char to[WHAT_MAX]) {
  (void)snprintf(to, WHAT_MAX, "%.50s, %.44s", session->settings->repo, name);
}

static rr_status file_url(const hub_session *session, const char *name, char to[HUB_URL_MAX],
                          rr_error *err) {
  char prefix[HUB_REPO_MAX + HUB_COMMIT_MAX + 16];
  (void)snprintf(prefix, sizeof prefix, "/%s/resolve/%s", session->settings->repo, session->commit);
  return hub_client_url(session->client, prefix, name, to)
             ? RR_OK
             : rr_fail(err, RR_ERR_INPUT, "%.100s: the file's address is too long", name);
}

/* Takes over what the hub said of a file, if it is all there. */
static rr_status check_about(const hub_session *session, const char *what, const hub_reply *reply,
                             uint64_t max_size, hub_file *file, rr_error *err) {
  if (reply->commit[0] == '\0') {
    return rr_fail(err, RR_ERR_FORMAT,
                   "%.100s: the answer has no X-Repo-Commit; is HF_ENDPOINT a hub?", what);
  }
  if (strcmp(reply->commit, session->commit) != 0) {
    return rr_fail(err, RR_ERR_FORMAT, "%.100s: the hub answers for another commit, %.40s", what,
                   reply->commit);
  }
  if (!hub_is_etag(reply->etag)) {
    return rr_fail(err, RR_ERR_FORMAT,
                   "%.100s: the hub sends no hash to check it by (ETag \"%.30s\")", what,
                   reply->etag);
  }
  if (!reply->has_size) {
    return rr_fail(err, RR_ERR_FORMAT, "%.100s: the hub does not say its size", what);
  }
  if (reply->size > max_size) {
    return rr_fail(err, RR_ERR_FORMAT, "%.100s: %" PRIu64 " bytes are over the limit of %" PRIu64,
                   what, reply->size, max_size);
  }
  (void)snprintf(file->etag, sizeof file->etag, "%.64s", reply->etag);
  file->size = reply->size;
  return RR_OK;
}

rr_status hub_fetch_about(hub_session *session, const char *name, uint64_t max_size,
                          hub_file *ret_file, hub_outcome *ret_outcome, rr_error *err) {
  char what[WHAT_MAX];
  char url[HUB_URL_MAX];
  char path[HUB_PATH_MAX];
  hub_file file = {.name = name};
  hub_reply reply;
  *ret_outcome = HUB_REFUSED;
  name_it(session, name, what);
  rr_status status = hub_cache_snapshot(&session->cache, session->commit, name, path, err);
  if (status == RR_OK && hub_cache_has(path, &file.size)) {
    file.cached = true;
    *ret_outcome = HUB_DONE;
    *ret_file = file;
    return RR_OK;
  }
  if (status == RR_OK) {
    status = file_url(session, name, url, err);
  }
  if (status != RR_OK) {
    return status;
  }
  const hub_call call = {.what = what, .url = url, .head = true};
  *ret_outcome = hub_client_call(session->client, &call, HUB_TRIES, &reply, err);
  if (*ret_outcome != HUB_DONE) {
    return RR_ERR_IO;
  }
  status = check_about(session, what, &reply, max_size, &file, err);
  if (status == RR_OK) {
    *ret_file = file;
  }
  return status;
}

static rr_status forget(partial *self, rr_error *err) {
  hub_progress_add(self->session->progress, -(int64_t)self->have);
  self->have = 0;
  hub_digest_init(&self->digest, self->file->etag, self->file->size);
  if (ftruncate(self->fd, 0) != 0 || lseek(self->fd, 0, SEEK_SET) != 0) {
    return rr_fail(err, RR_ERR_IO, "%.100s: %s", self->what, strerror(errno));
  }
  return RR_OK;
}

static rr_status on_begin(void *context, const hub_reply *reply, rr_error *err) {
  partial *self = context;
  uint64_t size = self->file->size;
  if (reply->status == 206) {
    if (!reply->has_range || reply->range_first != self->have) {
      return rr_fail(err, RR_ERR_FORMAT, "%.100s: asked for the bytes from %" PRIu64 ", got others",
                     self->what, self->have);
    }
    if (reply->range_size == 0 || reply->range_size == size) {
      return RR_OK;
    }
    return rr_fail(err, RR_ERR_FORMAT, "%.100s: %" PRIu64 " bytes, where the hub said %" PRIu64,
                   self->what, reply->range_size, size);
  }
  if (reply->has_size && reply->size != size) {
    return rr_fail(err, RR_ERR_FORMAT, "%.100s: %" PRIu64 " bytes, where the hub said %" PRIu64,
                   self->what, reply->size, size);
  }
  return self->have == 0 ? RR_OK
                         : forget(self, err); /* the whole file, although a part was asked for */
}

static rr_status on_take(void *context, const void *data, size_t size, rr_error *err) {
  partial *self = context;
  if (size > self->file->size - self->have) {
    return rr_fail(err, RR_ERR_FORMAT, "%.100s: more bytes than the %" PRIu64 " that the hub said",
                   self->what, self->file->size);
  }
  for (size_t at = 0; at < size;) {
    ssize_t written = write(self->fd, (const char *)data + at, size - at);
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written < 0) {
      return rr_fail(err, RR_ERR_IO, "%.100s: cannot write it into the cache: %s", self->what,
                     strerror(errno));
    }
    at += (size_t)written;
  }
  hub_digest_update(&self->digest, data, size);
  self->have += size;
  hub_progress_add(self->session->progress, (int64_t)size);
  return RR_OK;
}

/* Hashes what an earlier try left in the file. */
static rr_status take_up(partial *self, rr_error *err) {
  unsigned char bytes[READ_BYTES];
  struct stat about;
  hub_digest_init(&self->digest, self->file->etag, self->file->size);
  if (fstat(self->fd, &about) != 0 || (uint64_t)about.st_size > self->file->size) {
    return forget(self, err);
  }
  ssize_t got;
  while ((got = read(self->fd, bytes, sizeof bytes)) > 0) {
    if (atomic_load(self->session->cancelled)) {
      return rr_fail(err, RR_ERR_IO, "%.100s: interrupted", self->what);
    }
    hub_digest_update(&self->digest, bytes, (size_t)got);
    self->have += (uint64_t)got;
    hub_progress_add(self->session->progress, got);
  }
  if (got < 0) {
    return forget(self, err);
  }
  if (self->have > 0) {
    log_text(LOG_LEVEL_INFO, "%s: going on at byte %" PRIu64 " of %" PRIu64, self->what, self->have,
             self->file->size);
  }
  return RR_OK;
}

static rr_status check_space(const partial *self, rr_error *err) {
  struct statvfs about;
  uint64_t wanted = self->file->size - self->have;
  if (fstatvfs(self->fd, &about) == 0 && about.f_frsize > 0 &&
      wanted / about.f_frsize > about.f_bavail) {
    return rr_fail(err, RR_ERR_IO,
                   "%.100s: %.1f MB to download, but the cache's disk has %.1f MB free", self->what,
                   (double)wanted / MEGABYTE,
                   (double)about.f_bavail * (double)about.f_frsize / MEGABYTE);
  }
  return RR_OK;
}

/* One try for the rest of the file. */
static hub_outcome get_rest(partial *self, const char *url, hub_reply *reply, rr_error *err) {
  const hub_call call = {.what = self->what,
                         .url = url,
                         .from = self->have,
                         .begin = on_begin,
                         .take = on_take,
                         .context = self};
  hub_outcome outcome = hub_client_try(self->session->client, &call, reply, err);
  if (outcome == HUB_AGAIN && reply->status == 416 && forget(self, err) != RR_OK) {
    return HUB_REFUSED;
  }
  if (outcome == HUB_DONE && self->have < self->file->size) {
    (void)rr_fail(err, RR_ERR_IO, "%.100s: the transfer ended at byte %" PRIu64 " of %" PRIu64,
                  self->what, self->have, self->file->size);
    return HUB_AGAIN;
  }
  return outcome;
}

/* Tries until all bytes are there, or nothing comes any more. */
static hub_outcome get_all(partial *self, const char *url, rr_error *err) {
  unsigned tried = 0;
  while (self->have < self->file->size || self->file->size == 0) {
    uint64_t before = self->have;
    hub_reply reply;
    hub_outcome outcome = get_rest(self, url, &reply, err);
    if (outcome != HUB_AGAIN) {
      return outcome;
    }
    tried = self->have >= before + PROGRESS_BYTES ? 1 : tried + 1;
    if (tried >= HUB_TRIES) {
      return HUB_AGAIN;
    }
    hub_progress_clear(self->session->progress);
    log_text(LOG_LEVEL_WARN, "%s; trying again", err->message);
    if (!hub_client_wait(self->session->client, tried, &reply)) {
      (void)rr_fail(err, RR_ERR_IO, "%.100s: interrupted", self->what);
      return HUB_REFUSED;
    }
  }
  return HUB_DONE;
}

/* Gets the rest of a file that was begun, and checks the hash of the whole. What was begun earlier
 * may be wrong, so that then there is a second attempt from the start. */
static hub_outcome complete(partial *self, const char *url, rr_error *err) {
  for (;;) {
    bool resumed = self->have > 0;
    char digits[HUB_ETAG_MAX];
    hub_outcome outcome = get_all(self, url, err);
    if (outcome != HUB_DONE) {
      return outcome;
    }
    hub_digest_finish(&self->digest, digits);
    if (strcmp(digits, self->file->etag) == 0) {
      return HUB_DONE;
    }
    if (forget(self, err) != RR_OK) {
      return HUB_REFUSED;
    }
    if (!resumed) {
      (void)rr_fail(err, RR_ERR_FORMAT,
                    "%.100s: wrong hash: %s %.16s..., where the hub said %.16s...", self->what,
                    self->digest.is_git ? "git" : "SHA-256", digits, self->file->etag);
      return HUB_REFUSED;
    }
    log_text(LOG_LEVEL_WARN, "%s: what an earlier download left is wrong; once more from the start",
             self->what);
  }
}

static rr_status store(partial *self, const char *url, const char *unfinished, const char *blob,
                       hub_outcome *ret_outcome, rr_error *err) {
  rr_status status = take_up(self, err);
  if (status == RR_OK) {
    status = check_space(self, err);
  }
  if (status != RR_OK) {
    return status;
  }
  *ret_outcome = complete(self, url, err);
  if (*ret_outcome != HUB_DONE) {
    if (self->have == 0) {
      (void)unlink(unfinished);
    }
    return err->status;
  }
  if (fsync(self->fd) != 0 || rename(unfinished, blob) != 0) {
    *ret_outcome = HUB_REFUSED;
    return rr_fail(err, RR_ERR_IO, "%.100s: cannot put it into the cache: %s", self->what,
                   strerror(errno));
  }
  return RR_OK;
}

/* With the blob's lock held. */
static rr_status make_blob(hub_session *session, const hub_file *file, const char *what,
                           const char *blob, hub_outcome *ret_outcome, rr_error *err) {
  char url[HUB_URL_MAX];
  char unfinished[HUB_PATH_MAX];
  uint64_t size;
  if (hub_cache_has(blob, &size) && size == file->size) {
    hub_progress_add(session->progress, (int64_t)size);
    return RR_OK;
  }
  rr_status status = file_url(session, file->name, url, err);
  if (status == RR_OK) {
    status = hub_cache_blob(&session->cache, file->etag, ".incomplete", unfinished, err);
  }
  if (status == RR_OK) {
    status = hub_cache_make_folders(unfinished, err);
  }
  if (status != RR_OK) {
    return status;
  }
  partial self = {.session = session, .file = file, .what = what};
  status = rr_file_open(unfinished, O_RDWR | O_CREAT, 0666, &self.fd, NULL, err);
  if (status != RR_OK) {
    return status;
  }
  status = store(&self, url, unfinished, blob, ret_outcome, err);
  (void)close(self.fd);
  return status;
}

rr_status hub_fetch(hub_session *session, const hub_file *file, hub_outcome *ret_outcome,
                    rr_error *err) {
  char what[WHAT_MAX];
  char blob[HUB_PATH_MAX];
  int lock;
  *ret_outcome = HUB_DONE;
  if (file->cached) {
    return RR_OK;
  }
  *ret_outcome = HUB_REFUSED;
  name_it(session, file->name, what);
  rr_status status = hub_cache_blob(&session->cache, file->etag, "", blob, err);
  if (status == RR_OK) {
    status = hub_cache_lock(&session->cache, file->etag, session->cancelled, &lock, err);
  }
  if (status != RR_OK) {
    return status;
  }
  status = make_blob(session, file, what, blob, ret_outcome, err);
  if (status == RR_OK) {
    status = hub_cache_link(&session->cache, session->commit, file->name, file->etag, err);
  }
  hub_cache_unlock(lock);
  if (status == RR_OK) {
    *ret_outcome = HUB_DONE;
  }
  return status;
}
