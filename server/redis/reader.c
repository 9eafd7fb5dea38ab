#include "server/redis/reader.h"

#include <string.h>

#include <hiredis/hiredis.h>
#include <hiredis/read.h>

#if HIREDIS_MAJOR >= 1
typedef size_t element_count;
#else
typedef int element_count;
#endif

/* All that the parser is given for an object: it wants some pointer. */
static char object;

static redis_reader *reader_of(const redisReadTask *task) { return task->privdata; }

/* Its place, of an element of the reply itself; NULL for others. */
static redis_answer *place_of(const redisReadTask *task) {
  const redis_reader *self = reader_of(task);
  bool element = task->parent != NULL && task->parent->parent == NULL;
  size_t at = (size_t)task->idx;
  return element && self->answers != NULL && at < self->n ? &self->answers[at] : NULL;
}

static void copy_text(const char *text, size_t size, char *ret_text) {
  size_t told = size < REDIS_TEXT_BYTES - 1 ? size : REDIS_TEXT_BYTES - 1;
  for (size_t i = 0; i < told; i++) {
    ret_text[i] = '!';
    if (text[i] >= ' ' && text[i] <= '~') {
      ret_text[i] = text[i];
    }
  }
  ret_text[told] = '\0';
}

static void *on_string(const redisReadTask *task, char *text, size_t size) {
  redis_reader *self = reader_of(task);
  if (task->parent == NULL) {
    self->reply.kind = task->type == REDIS_REPLY_STATUS  ? REDIS_STATUS
                       : task->type == REDIS_REPLY_ERROR ? REDIS_ERROR
                                                         : REDIS_OTHER;
    copy_text(text, size, self->reply.text);
    return &object;
  }
  redis_answer *place = place_of(task);
  if (place == NULL) {
    return &object;
  }
  place->strange = task->type != REDIS_REPLY_STRING || size != REDIS_VALUE_BYTES;
  if (!place->strange) {
    memcpy(place->bytes, text, size);
    place->size = REDIS_VALUE_BYTES;
  }
  return &object;
}

static void *on_array(const redisReadTask *task, element_count elements) {
  redis_reader *self = reader_of(task);
  if (task->parent == NULL) {
    self->reply.kind = REDIS_ARRAY;
    self->reply.n = (size_t)elements;
  }
  return (size_t)elements <= self->n && task->parent == NULL ? &object
                                                             : NULL; /* the parser then gives up */
}

static void *on_integer(const redisReadTask *task, long long number) {
  (void)number;
  redis_answer *place = place_of(task);
  if (place != NULL) {
    place->strange = true;
  }
  return &object;
}

static void *on_nil(const redisReadTask *task) {
  (void)task;
  return &object;
}

static void on_free(void *freed) { (void)freed; }

static redisReplyObjectFunctions functions = {.createString = on_string,
                                              .createArray = on_array,
                                              .createInteger = on_integer,
                                              .createNil = on_nil,
                                              .freeObject = on_free};

bool redis_reader_init(redis_reader *self) {
  *self = (redis_reader){.parser = redisReaderCreateWithFunctions(&functions)};
  if (self->parser == NULL) {
    return false;
  }
  self->parser->privdata = self;
  self->parser->maxbuf = 0; /* it never gives its buffer up, which it could not do without memory */
  self->reply.kind = REDIS_OTHER;
  return true;
}

void redis_reader_finish(redis_reader *self) {
  if (self->parser != NULL) {
    redisReaderFree(self->parser);
  }
  self->parser = NULL;
}

bool redis_reader_feed(redis_reader *self, const char *bytes, size_t size) {
  return redisReaderFeed(self->parser, bytes, size) == REDIS_OK;
}

void redis_reader_expect(redis_reader *self, redis_answer *answers, size_t n) {
  self->answers = answers;
  self->n = n;
}

redis_read redis_reader_next(redis_reader *self, redis_reply *ret_reply) {
  void *found = NULL;
  if (redisReaderGetReply(self->parser, &found) != REDIS_OK) {
    return REDIS_READ_BROKEN;
  }
  if (found == NULL) {
    bool bounded = self->parser->len - self->parser->pos <= REDIS_ITEM_MAX;
    return bounded ? REDIS_READ_MORE : REDIS_READ_BROKEN;
  }
  *ret_reply = self->reply;
  self->reply = (redis_reply){.kind = REDIS_OTHER};
  return REDIS_READ_REPLY;
}
