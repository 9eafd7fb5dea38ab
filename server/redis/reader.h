/* Replies of the server behind the shared cache, read by hiredis' parser, with bounds.
 *
 * Why the parser and not hiredis' connection: redisAsyncContext looks names up in the thread that
 * connects, keeps whatever length of reply the other side announces, and has assertions about what
 * the other side sends. The parser has none of these where, as here, it builds no objects: it tells
 * what it finds, and nothing is allocated but its buffer.
 *
 * 1. A reply's values go where the caller says; what is no value of the right size leaves its place
 *    empty.
 * 2. An array longer than was asked for, a value or line of more than REDIS_ITEM_MAX bytes, and
 *    what is no reply at all are the end of the connection (REDIS_READ_BROKEN).
 * 3. The buffer takes at most what is fed at once and REDIS_ITEM_MAX. */
#ifndef RR_SERVER_REDIS_READER_H
#define RR_SERVER_REDIS_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/redis/keys.h"

enum { REDIS_ITEM_MAX = 4096, REDIS_TEXT_BYTES = 96 };

/* What the server has under one key. */
typedef struct redis_answer {
  uint8_t size; /* REDIS_VALUE_BYTES; 0: nothing, or something that is no value */
  bool strange; /* the latter */
  uint8_t bytes[REDIS_VALUE_BYTES];
} redis_answer;

typedef enum redis_reply_kind {
  REDIS_STATUS,
  REDIS_ERROR,
  REDIS_ARRAY,
  REDIS_OTHER
} redis_reply_kind;

typedef struct redis_reply {
  redis_reply_kind kind;
  size_t n;                    /* of an array */
  char text[REDIS_TEXT_BYTES]; /* of a status or an error, cut */
} redis_reply;

typedef enum redis_read { REDIS_READ_REPLY, REDIS_READ_MORE, REDIS_READ_BROKEN } redis_read;

typedef struct redis_reader {
  struct redisReader *parser;
  redis_answer *answers; /* of the array to come; NULL: they are passed over */
  size_t n;              /* that it may have at most */
  redis_reply reply;     /* being read */
} redis_reader;

/* At a fixed address from now on. False when memory is out. */
bool redis_reader_init(redis_reader *self);
void redis_reader_finish(redis_reader *self); /* all zeros are allowed */

/* What came, once redis_reader_next has asked for more. False when memory is out. */
bool redis_reader_feed(redis_reader *self, const char *bytes, size_t size);

/* Where the values of the next reply go, or of what is left of the one that has begun; borrowed
 * until then. */
void redis_reader_expect(redis_reader *self, redis_answer *answers, size_t n);

/* The next reply, if it is there. */
redis_read redis_reader_next(redis_reader *self, redis_reply *ret_reply);

#endif
