/* Replies of the server behind the shared cache, read by hiredis' parser, with bounds.
 *
 * Why the parser and not hiredis' connection: redisAsyncContext looks names up in the thread that connects, keeps
 * whatever length of reply the other side announces, and has assertions about what the other side sends. The parser
 * has none of these where, as here, it builds no objects: it tells what it finds, and nothing is allocated but its
 * buffer.
 *
 * 1. A reply's values go where the caller says; what is no value of the right size leaves its place empty.
 * 2. An array longer than was asked for, a value or line of more than SHARED_ITEM_MAX bytes, and what is no reply at all are the end
 *    of the connection (SHARED_READ_BROKEN).
 * 3. The buffer takes at most what is fed at once and SHARED_ITEM_MAX. */
#ifndef RR_SERVER_REDIS_READER_H
#define RR_SERVER_REDIS_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/redis/keys.h"

enum { SHARED_ITEM_MAX = 4096, SHARED_TEXT_BYTES = 96 };

/* What the server has under one key. */
typedef struct shared_answer {
  uint8_t size; /* SHARED_VALUE_BYTES; 0: nothing, or something that is no value */
  bool strange; /* the latter */
  uint8_t bytes[SHARED_VALUE_BYTES];
} shared_answer;

typedef enum shared_reply_kind { SHARED_STATUS, SHARED_ERROR, SHARED_ARRAY, SHARED_OTHER } shared_reply_kind;

typedef struct shared_reply {
  shared_reply_kind kind;
  size_t n;                     /* of an array */
  char text[SHARED_TEXT_BYTES]; /* of a status or an error, cut */
} shared_reply;

typedef enum shared_read { SHARED_READ_REPLY, SHARED_READ_MORE, SHARED_READ_BROKEN } shared_read;

typedef struct shared_reader {
  struct redisReader *parser;
  shared_answer *answers; /* of the array to come; NULL: they are passed over */
  size_t n;               /* that it may have at most */
  shared_reply reply;     /* being read */
} shared_reader;

/* At a fixed address from now on. False when memory is out. */
bool shared_reader_init(shared_reader *self);
void shared_reader_finish(shared_reader *self); /* all zeros are allowed */

/* What came, once shared_reader_next has asked for more. False when memory is out. */
bool shared_reader_feed(shared_reader *self, const char *bytes, size_t size);

/* Where the values of the next reply go, or of what is left of the one that has begun; borrowed until then. */
void shared_reader_expect(shared_reader *self, shared_answer *answers, size_t n);

/* The next reply, if it is there. */
shared_read shared_reader_next(shared_reader *self, shared_reply *ret_reply);

#endif
