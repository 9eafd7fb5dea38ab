#include "server/redis/identity.h"

#include <elf.h>
#include <link.h>
#include <string.h>

#include <nettle/sha2.h>

#include "server/base/version.h"

enum { PROBES = 5 };

static void add_number(struct sha256_ctx *hash, uint64_t number) {
  uint8_t bytes[8];
  for (size_t i = 0; i < sizeof bytes; i++) {
    bytes[i] = (uint8_t)(number >> (8 * i));
  }
  sha256_update(hash, sizeof bytes, bytes);
}

static void add_text(struct sha256_ctx *hash, const char *text) {
  add_number(hash, strlen(text));
  sha256_update(hash, strlen(text), (const uint8_t *)text);
}

static size_t padded(size_t size) { return (size + 3) & ~(size_t)3; }

/* The build id among the notes of one segment. */
static void add_notes(struct sha256_ctx *hash, const uint8_t *notes, size_t size) {
  size_t at = 0;
  while (at + sizeof(ElfW(Nhdr)) <= size) {
    ElfW(Nhdr) note;
    memcpy(&note, notes + at, sizeof note);
    size_t name = at + sizeof note;
    size_t text = name + padded(note.n_namesz);
    if (text + note.n_descsz > size) {
      return;
    }
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
        memcmp(notes + name, "GNU", 4) == 0) {
      add_number(hash, note.n_descsz);
      sha256_update(hash, note.n_descsz, notes + text);
    }
    at = text + padded(note.n_descsz);
  }
}

static bool computes(const char *path) {
  const char *slash = strrchr(path, '/');
  const char *name = slash == NULL ? path : slash + 1;
  return strncmp(name, "linux-vdso", 10) != 0 && strncmp(name, "libnss_", 7) != 0;
}

static int add_object(struct dl_phdr_info *object, size_t size, void *hash) {
  (void)size;
  for (size_t i = 0; computes(object->dlpi_name) && i < object->dlpi_phnum; i++) {
    const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
    if (segment->p_type == PT_NOTE) {
      /* The loader's own number: where it has put the object. */
      const uint8_t *notes = (const uint8_t *)(uintptr_t)(object->dlpi_addr + segment->p_vaddr);
      add_notes(hash, notes, segment->p_memsz);
    }
  }
  return 0;
}

static void add_model(struct sha256_ctx *hash, const rr_model_info *info) {
  add_text(hash, info->scoring_name);
  add_text(hash, info->dtype_name);
  add_text(hash, info->kernels);
  const uint64_t numbers[] = {
      info->kind,       info->pooling,   info->max_input_length,  info->hidden_size,
      info->layers,     info->heads,     info->intermediate_size, info->vocabulary_size,
      info->parameters, info->token_dim, info->split_layers};
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    add_number(hash, numbers[i]);
  }
}

/* A model that has no finite score for one of these is told apart by that. */
static rr_status add_probe(struct sha256_ctx *hash, const rr_scorer *scorer, rr_error *err) {
  static const char query[] = "how do rivers find their way to the sea";
  static const char *const words[PROBES] = {
      "", "sea", "Water runs downhill: brooks become streams, and streams become rivers.",
      "1,024 caf\xc3\xa9s in K\xc3\xb8"
      "benhavn, \xe6\xb2\xb3\xe6\xb5\x81, \xd0\xbc\xd0\xbe\xd1\x80\xd0\xb5; who counts them?",
      "A river follows the lowest ground until it reaches the sea, or a lake, or a desert that "
      "drinks it; the ground "
      "itself gives way, grain by grain, so that after ten thousand years the bed lies elsewhere, "
      "and old arms of the "
      "river stand as ponds in the meadows where cattle drink and herons wait for frogs in the "
      "early morning."};
  rr_text texts[PROBES];
  float scores[PROBES] = {0};
  for (size_t i = 0; i < PROBES; i++) {
    texts[i] = (rr_text){.data = words[i], .size = strlen(words[i])};
  }
  rr_workspace *workspace = NULL;
  rr_status status = rr_workspace_create(scorer, 1, &workspace, err);
  if (status == RR_OK) {
    const rr_encode_options options = {.truncate = true, .cut = RR_CUT_LONGEST};
    status = rr_scorer_rerank(workspace, (rr_text){.data = query, .size = sizeof query - 1}, texts,
                              PROBES, &options, true, scores, err);
    rr_workspace_destroy(workspace);
  }
  add_number(hash, status);
  for (size_t i = 0; status == RR_OK && i < PROBES; i++) {
    uint32_t bits;
    memcpy(&bits, &scores[i], sizeof bits);
    add_number(hash, bits);
  }
  return status == RR_ERR_NUMERIC ? RR_OK : status;
}

rr_status redis_identity(const rr_scorer *scorer, redis_digest *ret_identity, rr_error *err) {
  uint8_t fingerprint[RR_FINGERPRINT_BYTES];
  rr_status status = rr_scorer_fingerprint(scorer, fingerprint, err);
  if (status != RR_OK) {
    return status;
  }
  struct sha256_ctx hash;
  sha256_init(&hash);
  sha256_update(&hash, sizeof fingerprint, fingerprint);
  add_model(&hash, rr_scorer_info(scorer));
  add_text(&hash, RERANKD_VERSION);
  (void)dl_iterate_phdr(add_object, &hash);
  status = add_probe(&hash, scorer, err);
  if (status == RR_OK) {
    sha256_digest(&hash, sizeof ret_identity->bytes, ret_identity->bytes);
  }
  return status;
}
