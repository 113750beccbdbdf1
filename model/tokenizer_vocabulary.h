/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tokens of a model file: for each id the bytes it stands for and its kind, and the ways back
 * from bytes to ids. Part of the tokenizer; others use model/tokenizer.h.
 */
#ifndef CHOIR_MODEL_TOKENIZER_VOCABULARY_H
#define CHOIR_MODEL_TOKENIZER_VOCABULARY_H

#include "common/index.h"
#include "model/gguf.h"

/* Values are those of `tokenizer.ggml.token_type`. */
typedef enum choir_token_kind {
    CHOIR_TOKEN_NORMAL = 1,  /* bytes, written with one printable character a byte */
    CHOIR_TOKEN_UNKNOWN = 2, /* never made from text, like UNUSED */
    CHOIR_TOKEN_CONTROL = 3, /* a mark of the template; its bytes are its name */
    CHOIR_TOKEN_USER = 4,    /* a word that is one token wherever it stands in a text */
    CHOIR_TOKEN_UNUSED = 5,
    CHOIR_TOKEN_BYTE = 6, /* written <0xHH> */
} choir_token_kind;

enum { CHOIR_PIECE_MAX_BYTES = 4096 };

/* Words that are looked for in a text before it is cut into pieces, in the order of their bytes. */
typedef struct choir_token_words {
    int32_t *ids;
    size_t n_words;
    bool begins[256]; /* whether one begins with that byte */
} choir_token_words;

typedef struct choir_vocabulary {
    int32_t size;
    char *bytes;               /* of all pieces, in the order of ids */
    size_t *offsets;           /* [size + 1] where the piece of an id begins in `bytes` */
    uint8_t *kinds;            /* [size] choir_token_kind */
    choir_index *index;        /* from the bytes of a token that text can become to its id */
    int32_t byte_ids[256];     /* the token of a single byte; -1 if there is none */
    int32_t bos, eos, eot;     /* -1 if there is none; always of kind CONTROL */
    choir_token_words user;    /* tokens of kind USER */
    choir_token_words special; /* those and the control tokens */
} choir_vocabulary;

/* EFORMAT, naming the token, for what T12 of the fault list says. *vocabulary must be zeroed. */
choir_status choir_vocabulary_load(const choir_gguf *gguf,
                                   choir_vocabulary *vocabulary) CHOIR_MUST_CHECK;
/* Accepts a zeroed or half loaded one; may be called twice. */
void choir_vocabulary_release(choir_vocabulary *vocabulary);

/*
 * The bytes that text[0..length), in the writing of NORMAL tokens, stands for: *n <= length of
 * them, into bytes. False if it is not that writing.
 */
bool choir_vocabulary_decode(const char *text, size_t length, char *bytes, size_t *n);
/* The token, no control token, whose bytes are bytes[0..length); -1 if there is none. */
int32_t choir_vocabulary_find(const choir_vocabulary *vocabulary, const char *bytes, size_t length);
/* The longest of `words` with which text[0..length) begins; -1 if there is none. */
int32_t choir_vocabulary_match(const choir_vocabulary *vocabulary, const choir_token_words *words,
                               const char *text, size_t length);

static inline size_t choir_vocabulary_length(const choir_vocabulary *vocabulary, int32_t id)
{
    return vocabulary->offsets[id + 1] - vocabulary->offsets[id];
}

#endif
