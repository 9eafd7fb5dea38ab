#include "server/renewal.h"

#include "server/observe/log.h"

void renewal_init(renewal *self, uv_loop_t *loop, const options *chosen,
                  void (*renewed)(void *context, api_keys *keys), void *context) {
  *self = (renewal){.loop = loop, .context = context, .renewed = renewed};
  self->read.options = chosen;
  self->work.data = self;
}

rr_status renewal_load(const options *o, api_keys **ret_keys, rr_error *err) {
  return api_keys_load(o->api_keys.items, o->api_keys.n, o->api_key_file, ret_keys, err);
}

/* On a thread of the pool. */
static void read_keys(uv_work_t *work) {
  renewal *self = work->data;
  self->read.keys = NULL;
  self->read.error.status = renewal_load(self->read.options, &self->read.keys, &self->read.error);
}

static void begin(renewal *self);

static void on_read(uv_work_t *work, int status) {
  renewal *self = work->data;
  self->running = false;
  if (status != 0) {
    log_text(LOG_LEVEL_ERROR, "SIGHUP: the API keys stay as they are: %s", uv_strerror(status));
  } else if (self->read.error.status != RR_OK) {
    log_text(LOG_LEVEL_ERROR, "SIGHUP: the API keys stay as they are: %s",
             self->read.error.message);
  } else {
    log_text(LOG_LEVEL_INFO, "SIGHUP: %zu API keys", api_keys_count(self->read.keys));
    self->renewed(self->context, self->read.keys);
  }
  if (self->again) {
    begin(self);
  }
}

static void begin(renewal *self) {
  self->again = false;
  int status = uv_queue_work(self->loop, &self->work, read_keys, on_read);
  self->running = status == 0;
  if (status != 0) {
    log_text(LOG_LEVEL_ERROR, "SIGHUP: the API keys stay as they are: %s", uv_strerror(status));
  }
}

void renewal_ask(renewal *self) {
  if (self->running) {
    self->again = true;
  } else {
    begin(self);
  }
}

void renewal_stop(renewal *self) { self->again = false; }

bool renewal_is_running(const renewal *self) { return self->running; }
