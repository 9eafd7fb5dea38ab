#include "server/redis/keys.h"

#include <math.h>
#include <string.h>

#include <nettle/memops.h>

enum { BODY_BYTES = 20, CHECK_BYTES = REDIS_VALUE_BYTES - BODY_BYTES, VERSION = 1 };

/* What a message is about comes first, so that no key is a check. */
enum { ABOUT_QUERY = 'q', ABOUT_TEXT = 't', ABOUT_VALUE = 'v' };

static void add_number(struct hmac_sha256_ctx *mac, uint64_t number) {
  uint8_t bytes[8];
  for (size_t i = 0; i < sizeof bytes; i++) {
    bytes[i] = (uint8_t)(number >> (8 * i));
  }
  hmac_sha256_update(mac, sizeof bytes, bytes);
}

static void add_text(struct hmac_sha256_ctx *mac, rr_text text) {
  add_number(mac, text.size);
  if (text.size > 0) {
    hmac_sha256_update(mac, text.size, (const uint8_t *)text.data);
  }
}

static void begin(struct hmac_sha256_ctx *mac, int about) {
  const uint8_t byte = (uint8_t)about;
  hmac_sha256_update(mac, 1, &byte);
}

void redis_keys_init(redis_keys *ret_keys, const char *secret, const redis_digest *model) {
  hmac_sha256_set_key(&ret_keys->mac, strlen(secret), (const uint8_t *)secret);
  ret_keys->model = *model;
}

/* Members: truncate, side, cut, max_length, max_text_tokens, alone, kept_only, kept,
 * ret_culprit, all but the last three in the key, as in
 * server/cache/score_cache.c. */
_Static_assert(sizeof(void *) != 8 || sizeof(rr_encode_options) == 40,
               "the key holds every option");

void redis_query_init(redis_query *ret_query, const redis_keys *keys, rr_text query,
                      const rr_encode_options *options) {
  struct hmac_sha256_ctx *mac = &ret_query->mac;
  *mac = keys->mac;
  begin(mac, ABOUT_QUERY);
  add_number(mac, VERSION);
  hmac_sha256_update(mac, sizeof keys->model.bytes, keys->model.bytes);
  add_number(mac, options->truncate);
  add_number(mac, options->side);
  add_number(mac, options->cut);
  add_number(mac, options->max_length);
  add_number(mac, options->max_text_tokens);
  add_number(mac, options->alone);
  add_text(mac, query);
  hmac_sha256_digest(mac, sizeof ret_query->digest.bytes, ret_query->digest.bytes);
}

redis_digest redis_query_key(redis_query *self, rr_text text) {
  redis_digest key;
  begin(&self->mac, ABOUT_TEXT);
  hmac_sha256_update(&self->mac, sizeof self->digest.bytes, self->digest.bytes);
  add_text(&self->mac, text);
  hmac_sha256_digest(&self->mac, sizeof key.bytes, key.bytes);
  return key;
}

static void put(uint8_t *bytes, uint32_t number) {
  for (size_t i = 0; i < 4; i++) {
    bytes[i] = (uint8_t)(number >> (8 * i));
  }
}

static uint32_t get(const uint8_t *bytes) {
  return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
         (uint32_t)bytes[3] << 24;
}

static uint32_t with_flag(uint32_t number, uint32_t flag) {
  return (number & 0x7fffffffu) | flag << 31;
}

static void check(const redis_keys *keys, const redis_digest *key, const uint8_t *body,
                  uint8_t ret_check[CHECK_BYTES]) {
  struct hmac_sha256_ctx mac = keys->mac;
  begin(&mac, ABOUT_VALUE);
  hmac_sha256_update(&mac, sizeof key->bytes, key->bytes);
  hmac_sha256_update(&mac, BODY_BYTES, body);
  hmac_sha256_digest(&mac, CHECK_BYTES, ret_check);
}

void redis_value_write(const redis_keys *keys, const redis_digest *key, const lfu_value *value,
                       uint8_t ret_bytes[REDIS_VALUE_BYTES]) {
  uint32_t raw;
  memcpy(&raw, &value->raw, sizeof raw);
  put(ret_bytes, VERSION);
  put(ret_bytes + 4, raw);
  put(ret_bytes + 8, value->text_tokens);
  put(ret_bytes + 12, with_flag(value->length, value->truncated));
  put(ret_bytes + 16, with_flag(value->query_length, value->query_truncated));
  check(keys, key, ret_bytes, ret_bytes + BODY_BYTES);
}

bool redis_value_read(const redis_keys *keys, const redis_digest *key, const uint8_t *bytes,
                      size_t size, lfu_value *ret_value) {
  uint8_t wanted[CHECK_BYTES];
  if (size != REDIS_VALUE_BYTES || get(bytes) != VERSION) {
    return false;
  }
  check(keys, key, bytes, wanted);
  if (!memeql_sec(wanted, bytes + BODY_BYTES, CHECK_BYTES)) {
    return false;
  }
  uint32_t raw = get(bytes + 4);
  uint32_t length = get(bytes + 12);
  uint32_t query_length = get(bytes + 16);
  lfu_value value = {.text_tokens = get(bytes + 8),
                     .length = length & 0x7fffffffu,
                     .truncated = (length >> 31) != 0,
                     .query_length = query_length & 0x7fffffffu,
                     .query_truncated = (query_length >> 31) != 0};
  memcpy(&value.raw, &raw, sizeof raw);
  if (!isfinite(value.raw)) { /* never written */
    return false;
  }
  *ret_value = value;
  return true;
}
