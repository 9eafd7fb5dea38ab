#include "server/confine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/confine_files.h"
#include "server/models/load.h"
#include "server/observe/log.h"
#include "server/redis/address.h"
#include "server/system/sandbox.h"
#include "server/system/user.h"

static const char default_user[] = "nobody";

/* As rr_error's, of confine_files_check. */
static rr_status check_files(void *context, rr_error *err) {
  return confine_files_check(context, err);
}

/* Root without --user: nobody, where all that was named stays usable by it. */
static bool choose_default(const options *o, user *ret_user) {
  rr_error error;
  if (user_find(default_user, ret_user, &error) == RR_OK &&
      user_try(ret_user, check_files, (void *)o, &error) == RR_OK) {
    ret_user->home[0] = '\0'; /* HOME stays: the files were looked for by it */
    return true;
  }
  log_text(LOG_LEVEL_WARN,
           "stays root, though without capabilities, since %s may not use what it needs: %s; "
           "see --user",
           default_user, error.message);
  return false;
}

/* *ret_switches: whether there is a user to become. */
static rr_status choose(const options *o, user *ret_user, bool *ret_switches, rr_error *err) {
  *ret_switches = false;
  if (o->user == NULL) {
    *ret_switches = geteuid() == 0 && choose_default(o, ret_user);
    return RR_OK;
  }
  rr_error reason = {.status = RR_OK, .message = ""};
  rr_status status = user_find(o->user, ret_user, &reason);
  if (status != RR_OK) {
    return rr_fail(err, status, "--user (RERANKD_USER): %.200s", reason.message);
  }
  if (geteuid() != 0 && (ret_user->uid != getuid() || ret_user->gid != getgid())) {
    return rr_fail(err, RR_ERR_INPUT, "--user (RERANKD_USER): only root can become %s",
                   ret_user->name);
  }
  *ret_switches = geteuid() == 0;
  return RR_OK;
}

static rr_status become(const options *o, const user *who, rr_error *err) {
  if (o->unix_socket != NULL && lchown(o->unix_socket, who->uid, who->gid) != 0) {
    return rr_fail(err, RR_ERR_IO, "cannot give %.150s to %s: %s", o->unix_socket, who->name,
                   strerror(errno));
  }
  rr_status status = user_become(who, err);
  if (status == RR_OK && who->home[0] != '\0' && setenv("HOME", who->home, 1) != 0) {
    return rr_fail(err, RR_ERR_MEMORY, "out of memory for the environment");
  }
  return status;
}

/* What for the shared cache, beside that? Its address is right: options_read has seen it. */
static void add_shared(const options *o, sandbox_needs *needs) {
  redis_address address;
  rr_error error;
  if (o->shared_cache != NULL &&
      redis_address_parse(o->shared_cache, NULL, &address, &error) == RR_OK) {
    needs->connects = true;
    needs->resolves = needs->resolves || redis_address_is_name(&address);
    explicit_bzero(&address, sizeof address);
  }
}

/* What until the model is there? */
static sandbox_needs needs_of(const confinement *self) {
  const options *o = self->options;
  bool by_name = !load_is_local(o);
  bool writes = by_name || o->pack_cache || o->documents != NULL;
  return (sandbox_needs){.fetches = by_name,
                         .connects = self->connects,
                         .resolves = self->connects,
                         .writes = writes,
                         .unlinks = o->unix_socket != NULL,
                         .narrows = writes};
}

/* No filter can be had: an error, or a warning, as --seccomp has it. */
static rr_status not_filtered(const options *chosen, rr_status status, const rr_error *reason,
                              rr_error *err) {
  if (chosen->seccomp == OPTION_ON) {
    return rr_fail(err, status, "--seccomp (SECCOMP): %.200s", reason->message);
  }
  log_text(LOG_LEVEL_WARN, "system calls are not filtered: %s", reason->message);
  return RR_OK;
}

rr_status confine_prepare(confinement *self, const options *chosen, rr_error *err) {
  const char *unsuited = sandbox_unsuited();
  *self = (confinement){.options = chosen};
  if (chosen->seccomp == OPTION_OFF || (chosen->seccomp == OPTION_AUTO && unsuited != NULL)) {
    log_text(LOG_LEVEL_INFO, "system calls are not filtered: %s",
             chosen->seccomp == OPTION_OFF ? "--seccomp off" : unsuited);
    return RR_OK;
  }
  rr_error reason;
  rr_status status = sandbox_refuse_rings(&reason);
  self->filters = status == RR_OK;
  return self->filters ? RR_OK : not_filtered(chosen, status, &reason, err);
}

static rr_status filter_calls(confinement *self, rr_error *err) {
  if (!self->filters) {
    return RR_OK;
  }
  sandbox_needs needs = needs_of(self);
  add_shared(self->options, &needs);
  rr_error reason;
  rr_status status = sandbox_enter(&needs, &reason);
  self->filtered = status == RR_OK;
  self->wide = self->filtered && needs.narrows;
  return self->filtered ? RR_OK : not_filtered(self->options, status, &reason, err);
}

rr_status confine_start(confinement *self, bool connects, rr_error *err) {
  const options *chosen = self->options;
  user who;
  bool switches;
  bool all;
  self->connects = connects;
  rr_status status = choose(chosen, &who, &switches, err);
  if (status == RR_OK && switches) {
    status = become(chosen, &who, err);
  }
  if (status == RR_OK) {
    status = user_drop_capabilities(&all, err);
  }
  if (status != RR_OK) {
    return status;
  }
  if (!all) {
    log_text(LOG_LEVEL_WARN,
             "a library's thread keeps its capabilities; become a user other than root");
  }
  user_guard_memory(chosen->core_dumps);
  status = filter_calls(self, err);
  if (status == RR_OK) {
    log_text(LOG_LEVEL_INFO, "runs as user %u of group %u without capabilities%s",
             (unsigned)getuid(), (unsigned)getgid(),
             self->filtered ? ", with filtered system calls" : "");
  }
  return status;
}

rr_status confine_loaded(confinement *self, rr_error *err) {
  if (!self->wide) {
    return RR_OK;
  }
  sandbox_needs needs = {.connects = self->connects,
                         .resolves = self->connects,
                         .unlinks = self->options->unix_socket != NULL,
                         .keeps = self->options->documents != NULL};
  add_shared(self->options, &needs);
  rr_error reason;
  rr_status status = sandbox_enter(&needs, &reason);
  self->wide = status != RR_OK;
  if (status != RR_OK && self->options->seccomp == OPTION_ON) {
    return rr_fail(err, status, "--seccomp (SECCOMP): %.200s", reason.message);
  }
  if (status != RR_OK) {
    log_text(LOG_LEVEL_WARN, "system calls stay allowed as for loading: %s", reason.message);
  }
  return RR_OK;
}
