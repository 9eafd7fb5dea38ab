#include "server/models/load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/cache/document_place.h"
#include "server/models/warmup.h"
#include "server/observe/log.h"
#include "server/redis/identity.h"

enum { NS_PER_MS = 1000000 };

static const char no_documents[] =
    "--documents: the model is a cross-encoder, of whose documents nothing can be kept";

void load_init(model_load *load, const options *chosen) {
  *load = (model_load){.options = chosen};
  hub_progress_init(&load->progress, !chosen->json_output && isatty(STDERR_FILENO) == 1);
}

bool load_is_local(const options *chosen) {
  struct stat about;
  const char *model_id = chosen->model_id;
  return stat(model_id, &about) == 0 ||
         ((model_id[0] == '/' || model_id[0] == '.') && errno == EACCES);
}

rr_status load_hub_settings(const options *o, hub_settings *ret_settings, rr_error *err) {
  const hub_choices choices = {.repo = o->model_id,
                               .revision = o->revision,
                               .token = o->hf_token,
                               .endpoint = o->hf_endpoint,
                               .home = o->hf_home,
                               .cache = o->huggingface_hub_cache,
                               .offline = o->hf_hub_offline};
  return hub_settings_read(&choices, getenv, ret_settings, err);
}

static rr_load_options load_how(const options *o) {
  return (rr_load_options){.dtype = o->dtype, .scoring = o->scoring, .pack_cache = o->pack_cache};
}

/* Whether the model can be served as asked, before its weights are there. */
static rr_status look_at(void *context, const char *directory, bool with_tokenizer, rr_error *err) {
  const options *o = ((const model_load *)context)->options;
  const rr_load_options how = load_how(o);
  bool keeps = false;
  rr_status status = rr_scorer_check(directory, &how, with_tokenizer, &keeps, err);
  return status != RR_OK || keeps || o->documents == NULL
             ? status
             : rr_fail(err, RR_ERR_UNSUPPORTED, "%s", no_documents);
}

/* The directory of a model that is named as on the hub. */
static rr_status get_by_name(model_load *load, hub_model *ret_model, rr_error *err) {
  const options *o = load->options;
  hub_settings settings;
  rr_status status = load_hub_settings(o, &settings, err);
  if (status == RR_OK) {
    const hub_look look = {.at = look_at, .context = load};
    status = hub_get(&settings, &look, &load->progress, &load->cancelled, ret_model, err);
  }
  if (status == RR_OK) {
    log_text(LOG_LEVEL_INFO, "%s is commit %s, in %s", o->model_id, ret_model->commit,
             ret_model->directory);
  }
  return status;
}

static rr_status find_directory(model_load *load, hub_model *ret_model, rr_error *err) {
  const char *model_id = load->options->model_id;
  if (!load_is_local(load->options)) {
    return get_by_name(load, ret_model, err);
  }
  int length = snprintf(ret_model->directory, sizeof ret_model->directory, "%s", model_id);
  if (length < 0 || (size_t)length >= sizeof ret_model->directory) {
    return rr_fail(err, RR_ERR_INPUT, "%.100s...: path too long", model_id);
  }
  ret_model->commit[0] = '\0';
  return RR_OK;
}

static rr_status create_documents(model_load *load, rr_error *err) {
  const options *o = load->options;
  if (!rr_scorer_info(load->scorer)->keeps_texts) {
    return o->documents == NULL ? RR_OK : rr_fail(err, RR_ERR_UNSUPPORTED, "%s", no_documents);
  }
  const document_cache_config config = {
      .bytes = o->document_cache_bytes, .file = o->documents, .file_bytes = o->documents_bytes};
  rr_status status = document_cache_create(&config, load->scorer, &load->documents, err);
  if (status == RR_OK && o->documents != NULL) {
    document_stats stats;
    document_cache_read_stats(load->documents, &stats);
    log_text(LOG_LEVEL_INFO,
             "%s has %" PRIu64 " documents%s; %" PRIu64 " were damaged and are gone", o->documents,
             stats.file.entries, stats.file.emptied ? ", since it was of another size" : "",
             stats.file.discarded);
  }
  return status;
}

static rr_status create_caches(model_load *load, rr_error *err) {
  const options *o = load->options;
  rr_status status = RR_OK;
  if (o->cache_bytes > 0) {
    status = score_cache_create(o->cache_bytes, o->model_id, load->commit,
                                rr_scorer_info(load->scorer), &load->cache, err);
  }
  if (status == RR_OK && o->shared_cache != NULL) {
    redis_digest identity;
    status = redis_identity(load->scorer, &identity, err);
    if (status == RR_OK) {
      redis_keys_init(&load->shared, o->shared_cache_secret == NULL ? "" : o->shared_cache_secret,
                      &identity);
    }
  }
  if (status == RR_OK && o->document_cache_bytes > 0) {
    status = create_documents(load, err);
  }
  return status;
}

void load_run(model_load *load) {
  const options *o = load->options;
  rr_error *err = &load->error;
  hub_model model;
  rr_status status = o->documents == NULL
                         ? RR_OK
                         : document_place_check(o->documents, err); /* before a download */
  if (status == RR_OK) {
    status = find_directory(load, &model, err);
  }
  if (status == RR_OK) {
    const rr_load_options how = load_how(o);
    memcpy(load->commit, model.commit, sizeof load->commit);
    status = rr_scorer_load(model.directory, &how, &load->scorer, err);
  }
  if (status == RR_OK) {
    const workers_config config = {.threads = o->threads,
                                   .max_batch_tokens = o->max_batch_tokens,
                                   .max_jobs = o->max_concurrent_requests,
                                   .limits = {.max_wait = (uint64_t)o->max_queue_ms * NS_PER_MS,
                                              .max_tokens = o->max_queue_tokens}};
    status = workers_create(load->scorer, &config, &load->workers, err);
  }
  if (status == RR_OK) {
    status = create_caches(load, err);
  }
  if (status == RR_OK) {
    status = warmup_run(load->scorer, load->workers, err);
  }
  err->status = status;
}

void load_cancel(model_load *load) { atomic_store(&load->cancelled, true); }

void load_describe(const model_load *load, char ret_text[LOAD_TEXT_MAX]) {
  char progress[HUB_PROGRESS_TEXT_MAX];
  hub_progress_text(&load->progress, progress);
  (void)snprintf(ret_text, LOAD_TEXT_MAX, "the model is still loading%s%s",
                 progress[0] == '\0' ? "" : ": ", progress);
}
