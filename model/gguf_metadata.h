/* SPDX-License-Identifier: Apache-2.0 */
/* The keys and values of a GGUF file: the half of gguf.h that gguf_metadata.c implements. */
#ifndef CHOIR_MODEL_GGUF_METADATA_H
#define CHOIR_MODEL_GGUF_METADATA_H

#include "common/index.h"
#include "model/cursor.h"
#include "model/gguf.h"

enum { CHOIR_GGUF_MAX_KEYS = 65536, CHOIR_GGUF_MAX_KEY_BYTES = 65536 };

typedef struct choir_gguf_entry {
    choir_gguf_string key;
    choir_gguf_type type;
    choir_gguf_string string; /* STRING */
    choir_gguf_array array;   /* ARRAY; its offsets belong to the entry */
    const uint8_t *data;      /* of all other types */
} choir_gguf_entry;

typedef struct choir_gguf_metadata {
    const char *label;
    size_t n_entries;
    choir_gguf_entry *entries;
    choir_index *index; /* key → entry */
} choir_gguf_metadata;

/*
 * Reads and checks `n_keys` pairs; `metadata` starts zeroed and must be cleared in any case. The
 * cursor's bytes and label are borrowed.
 */
choir_status choir_gguf_metadata_read(choir_gguf_metadata *metadata, choir_cursor *cursor,
                                      uint64_t n_keys) CHOIR_MUST_CHECK;
void choir_gguf_metadata_clear(choir_gguf_metadata *metadata);

/* Whether a key or name can stand in a message: not empty, no control characters. */
bool choir_gguf_is_name(choir_gguf_string text);

/* In gguf.c. */
const choir_gguf_metadata *choir_gguf_metadata_of(const choir_gguf *gguf);

#endif
