/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoding in three steps: the text is split at the words that are tokens of their own, what lies
 * between is cut into pieces (model/pretokenize.h), and each piece, as the tokens of its bytes, is
 * merged (model/bpe.h) at the end of the growing list of ids.
 */
#include "model/tokenizer.h"

#include "common/mem.h"
#include "model/bpe.h"
#include "model/pretokenize.h"
#include "model/tokenizer_vocabulary.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_END_IDS = 6 };

struct choir_tokenizer {
    choir_vocabulary vocabulary;
    choir_pretokenizer *pretokenizer;
    choir_bpe *bpe;
    bool adds_bos;
    int32_t end_ids[MAX_END_IDS];
    size_t n_end_ids;
};

static choir_status load_kind(const choir_gguf *gguf, choir_tokenizer *tokenizer)
{
    choir_gguf_string model, pre;
    choir_status status = choir_gguf_get_string(gguf, "tokenizer.ggml.model", &model);
    if (status != CHOIR_OK)
        return status;
    if (model.length != 4 || memcmp(model.text, "gpt2", 4) != 0)
        return choir_fail(
            CHOIR_EUNSUPPORTED,
            "tokenizer.ggml.model is \"%.*s\"; this version knows gpt2, byte-level BPE",
            model.length < 64 ? (int)model.length : 64, model.text);
    status = choir_gguf_get_string(gguf, "tokenizer.ggml.pre", &pre);
    if (status == CHOIR_OK)
        status = choir_pretokenizer_create(pre.text, pre.length, &tokenizer->pretokenizer);
    return status;
}

/* The ids of a merge written as "LEFT RIGHT"; false if one of the three is no token. */
static bool read_merge(const choir_vocabulary *vocabulary, choir_gguf_string text,
                       choir_bpe_merge *merge)
{
    char bytes[4 * CHOIR_PIECE_MAX_BYTES];
    size_t n_left, n_right;
    const char *space = memchr(text.text, ' ', text.length);
    const size_t left_length = space ? (size_t)(space - text.text) : 0;
    if (!space || text.length > sizeof bytes ||
        !choir_vocabulary_decode(text.text, left_length, bytes, &n_left) ||
        !choir_vocabulary_decode(space + 1, text.length - left_length - 1, bytes + n_left,
                                 &n_right))
        return false;
    merge->left = choir_vocabulary_find(vocabulary, bytes, n_left);
    merge->right = choir_vocabulary_find(vocabulary, bytes + n_left, n_right);
    merge->result = choir_vocabulary_find(vocabulary, bytes, n_left + n_right);
    return merge->left >= 0 && merge->right >= 0 && merge->result >= 0;
}

static choir_status load_merges(const choir_gguf *gguf, choir_tokenizer *tokenizer)
{
    choir_gguf_array texts;
    choir_bpe_merge *merges = NULL;
    choir_status status =
        choir_gguf_get_array(gguf, "tokenizer.ggml.merges", CHOIR_GGUF_STRING, &texts);
    if (status == CHOIR_OK)
        status = choir_alloc(texts.count, sizeof *merges, (void **)&merges);
    for (size_t i = 0; i < texts.count && status == CHOIR_OK; i++) {
        const choir_gguf_string text = choir_gguf_at_string(&texts, i);
        if (!read_merge(&tokenizer->vocabulary, text, &merges[i]))
            status = choir_fail(CHOIR_EFORMAT,
                                "tokenizer.ggml.merges: merge %zu, \"%.*s\", is not two tokens and "
                                "together a third",
                                i, text.length < 64 ? (int)text.length : 64, text.text);
    }
    if (status == CHOIR_OK)
        status = choir_bpe_create(&merges, texts.count, &tokenizer->bpe);
    free(merges);
    return status;
}

static choir_status load_adds_bos(const choir_gguf *gguf, choir_tokenizer *tokenizer)
{
    static const char key[] = "tokenizer.ggml.add_bos_token";
    tokenizer->adds_bos =
        choir_pretokenizer_adds_bos(tokenizer->pretokenizer) && tokenizer->vocabulary.bos >= 0;
    if (!choir_gguf_has(gguf, key))
        return CHOIR_OK;
    choir_status status = choir_gguf_get_bool(gguf, key, &tokenizer->adds_bos);
    if (status == CHOIR_OK && tokenizer->adds_bos && tokenizer->vocabulary.bos < 0)
        status = choir_fail(CHOIR_EFORMAT, "%s is true, but there is no bos_token_id", key);
    return status;
}

/* Enters an id, in order, once; -1 is none. */
static void add_end_id(choir_tokenizer *tokenizer, int32_t id)
{
    if (id < 0 || choir_tokenizer_is_end(tokenizer, id))
        return;
    size_t at = tokenizer->n_end_ids++;
    for (; at > 0 && tokenizer->end_ids[at - 1] > id; at--)
        tokenizer->end_ids[at] = tokenizer->end_ids[at - 1];
    tokenizer->end_ids[at] = id;
}

static void find_end_ids(choir_tokenizer *tokenizer)
{
    add_end_id(tokenizer, tokenizer->vocabulary.eos);
    add_end_id(tokenizer, tokenizer->vocabulary.eot);
    add_end_id(tokenizer, choir_tokenizer_find_control(tokenizer, "<|endoftext|>"));
    add_end_id(tokenizer, choir_tokenizer_find_control(tokenizer, "<|im_end|>"));
    add_end_id(tokenizer, choir_tokenizer_find_control(tokenizer, "<|eot_id|>"));
    add_end_id(tokenizer, choir_tokenizer_find_control(tokenizer, "<|end_of_text|>"));
}

choir_status choir_tokenizer_create(const choir_gguf *gguf, choir_tokenizer **result)
{
    choir_tokenizer *tokenizer = NULL;
    *result = NULL;
    choir_status status = choir_alloc(1, sizeof *tokenizer, (void **)&tokenizer);
    if (status != CHOIR_OK)
        return status;
    status = load_kind(gguf, tokenizer);
    if (status == CHOIR_OK)
        status = choir_vocabulary_load(gguf, &tokenizer->vocabulary);
    if (status == CHOIR_OK)
        status = load_merges(gguf, tokenizer);
    if (status == CHOIR_OK)
        status = load_adds_bos(gguf, tokenizer);
    if (status == CHOIR_OK)
        find_end_ids(tokenizer);
    else
        choir_tokenizer_destroy(&tokenizer);
    *result = tokenizer;
    return status;
}

void choir_tokenizer_destroy(choir_tokenizer **tokenizer)
{
    if (*tokenizer) {
        choir_vocabulary_release(&(*tokenizer)->vocabulary);
        choir_pretokenizer_destroy(&(*tokenizer)->pretokenizer);
        choir_bpe_destroy(&(*tokenizer)->bpe);
    }
    free(*tokenizer);
    *tokenizer = NULL;
}

/* One call of choir_tokenizer_encode(). */
typedef struct encoding {
    const choir_tokenizer *tokenizer;
    choir_bpe_scratch scratch;
    int32_t *ids;
    size_t n_ids, capacity;
} encoding;

/* A choir_piece_fn: appends the ids of one piece. */
static choir_status encode_piece(void *context, const char *piece, size_t length)
{
    encoding *encoded = context;
    const choir_tokenizer *tokenizer = encoded->tokenizer;
    choir_status status = choir_grow((void **)&encoded->ids, &encoded->capacity,
                                     encoded->n_ids + length, sizeof *encoded->ids);
    if (status != CHOIR_OK)
        return status;
    int32_t *ids = encoded->ids + encoded->n_ids;
    if (choir_pretokenizer_takes_whole(tokenizer->pretokenizer) &&
        (ids[0] = choir_vocabulary_find(&tokenizer->vocabulary, piece, length)) >= 0) {
        encoded->n_ids++;
        return CHOIR_OK;
    }
    size_t n = length;
    for (size_t i = 0; i < length; i++)
        ids[i] = tokenizer->vocabulary.byte_ids[(unsigned char)piece[i]];
    status = choir_bpe_apply(tokenizer->bpe, &encoded->scratch, ids, &n);
    if (status == CHOIR_OK)
        encoded->n_ids += n;
    return status;
}

static choir_status encode_text(encoding *encoded, const char *text, size_t length)
{
    return choir_pretokenize(encoded->tokenizer->pretokenizer, text, length, encode_piece, encoded);
}

/* Splits at `words`; of those that begin at one place the longest counts. */
static choir_status encode_split(encoding *encoded, const char *text, size_t length,
                                 const choir_token_words *words)
{
    const choir_vocabulary *vocabulary = &encoded->tokenizer->vocabulary;
    size_t start = 0, at = 0;
    while (at < length) {
        const int32_t id = choir_vocabulary_match(vocabulary, words, text + at, length - at);
        if (id < 0) {
            at++;
            continue;
        }
        choir_status status = encode_text(encoded, text + start, at - start);
        if (status == CHOIR_OK)
            status = choir_grow((void **)&encoded->ids, &encoded->capacity, encoded->n_ids + 1,
                                sizeof *encoded->ids);
        if (status != CHOIR_OK)
            return status;
        encoded->ids[encoded->n_ids++] = id;
        at += choir_vocabulary_length(vocabulary, id);
        start = at;
    }
    return start < length ? encode_text(encoded, text + start, length - start) : CHOIR_OK;
}

choir_status choir_tokenizer_encode(const choir_tokenizer *tokenizer, const char *text,
                                    size_t length, bool with_control, int32_t **ids, size_t *n_ids)
{
    encoding encoded = {.tokenizer = tokenizer};
    *ids = NULL;
    *n_ids = 0;
    if (length > CHOIR_TOKENIZER_MAX_TEXT)
        return choir_fail(CHOIR_EINVALID, "a text of %zu bytes; at most %d", length,
                          CHOIR_TOKENIZER_MAX_TEXT);
    const choir_vocabulary *vocabulary = &tokenizer->vocabulary;
    choir_status status =
        choir_grow((void **)&encoded.ids, &encoded.capacity, length / 4 + 1, sizeof *encoded.ids);
    if (status == CHOIR_OK)
        status = encode_split(&encoded, text, length,
                              with_control ? &vocabulary->special : &vocabulary->user);
    choir_bpe_scratch_release(&encoded.scratch);
    if (status != CHOIR_OK) {
        free(encoded.ids);
        return status;
    }
    *ids = encoded.ids;
    *n_ids = encoded.n_ids;
    return CHOIR_OK;
}

int32_t choir_tokenizer_size(const choir_tokenizer *tokenizer)
{
    return tokenizer->vocabulary.size;
}

void choir_tokenizer_piece(const choir_tokenizer *tokenizer, int32_t id, const char **bytes,
                           size_t *length)
{
    *bytes = tokenizer->vocabulary.bytes + tokenizer->vocabulary.offsets[id];
    *length = choir_vocabulary_length(&tokenizer->vocabulary, id);
}

bool choir_tokenizer_is_control(const choir_tokenizer *tokenizer, int32_t id)
{
    return tokenizer->vocabulary.kinds[id] == CHOIR_TOKEN_CONTROL;
}

int32_t choir_tokenizer_find_control(const choir_tokenizer *tokenizer, const char *word)
{
    const choir_vocabulary *vocabulary = &tokenizer->vocabulary;
    const size_t length = strlen(word);
    const int32_t id = choir_vocabulary_match(vocabulary, &vocabulary->special, word, length);
    return id >= 0 && choir_vocabulary_length(vocabulary, id) == length &&
                   choir_tokenizer_is_control(tokenizer, id)
               ? id
               : -1;
}

bool choir_tokenizer_adds_bos(const choir_tokenizer *tokenizer)
{
    return tokenizer->adds_bos;
}

int32_t choir_tokenizer_bos(const choir_tokenizer *tokenizer)
{
    return tokenizer->vocabulary.bos;
}

const int32_t *choir_tokenizer_end_ids(const choir_tokenizer *tokenizer, size_t *n_ids)
{
    *n_ids = tokenizer->n_end_ids;
    return tokenizer->end_ids;
}

bool choir_tokenizer_is_end(const choir_tokenizer *tokenizer, int32_t id)
{
    for (size_t i = 0; i < tokenizer->n_end_ids; i++)
        if (tokenizer->end_ids[i] == id)
            return true;
    return false;
}
