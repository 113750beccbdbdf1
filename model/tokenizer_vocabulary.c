/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte-level vocabularies write a byte as one printable character: the 188 printable ones of
 * Latin-1 as themselves, the other 68, ascending, as U+0100 and up (GPT-2's encoder.py). Here every
 * piece is kept as the bytes it stands for, so encoding never leaves bytes.
 *
 * Control tokens are in `special` only. Neither the index nor the merges can name one, and so
 * no text can become one unless it was asked for.
 */
#include "model/tokenizer_vocabulary.h"

#include "common/mem.h"
#include "common/utf8.h"

#include <stdlib.h>
#include <string.h>

/* The byte that the character stands for; -1 if it is none of the 256. */
static int byte_of_character(uint32_t character)
{
    if ((character >= 0x21 && character <= 0x7e) || (character >= 0xa1 && character <= 0xac) ||
        (character >= 0xae && character <= 0xff))
        return (int)character;
    if (character >= 0x100 && character <= 0x120) /* 0x00..0x20 */
        return (int)(character - 0x100);
    if (character >= 0x121 && character <= 0x142) /* 0x7f..0xa0 */
        return (int)(character - 0x121 + 0x7f);
    return character == 0x143 ? 0xad : -1;
}

bool choir_vocabulary_decode(const char *text, size_t length, char *bytes, size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < length;) {
        const size_t width = choir_utf8_character(text + i, length - i);
        const unsigned char first = (unsigned char)text[i];
        uint32_t character = first;
        if (width == 2)
            character = (first & 0x1fu) << 6 | ((unsigned char)text[i + 1] & 0x3fu);
        const int byte = width == 1 || width == 2 ? byte_of_character(character) : -1;
        if (byte < 0)
            return false;
        bytes[(*n)++] = (char)byte;
        i += width;
    }
    return true;
}

int32_t choir_vocabulary_find(const choir_vocabulary *vocabulary, const char *bytes, size_t length)
{
    return choir_index_find(vocabulary->index, bytes, length);
}

/* Reads tokens and kinds, and the ids of the end marks, whose kind becomes CONTROL. */
static choir_status load_kinds(const choir_gguf *gguf, choir_vocabulary *vocabulary,
                               choir_gguf_array *tokens)
{
    choir_gguf_array kinds;
    choir_status status =
        choir_gguf_get_array(gguf, "tokenizer.ggml.tokens", CHOIR_GGUF_STRING, tokens);
    if (status == CHOIR_OK)
        status = choir_gguf_get_array(gguf, "tokenizer.ggml.token_type", CHOIR_GGUF_I32, &kinds);
    if (status != CHOIR_OK)
        return status;
    if (tokens->count == 0 || tokens->count >= INT32_MAX || kinds.count != tokens->count)
        return choir_fail(CHOIR_EFORMAT,
                          "tokenizer.ggml.tokens has %zu entries, tokenizer.ggml.token_type %zu",
                          tokens->count, kinds.count);
    vocabulary->size = (int32_t)tokens->count;
    status = choir_alloc(tokens->count, 1, (void **)&vocabulary->kinds);
    for (size_t i = 0; i < tokens->count && status == CHOIR_OK; i++) {
        const int32_t kind = choir_gguf_at_i32(&kinds, i);
        if (kind < CHOIR_TOKEN_NORMAL || kind > CHOIR_TOKEN_BYTE)
            status = choir_fail(CHOIR_EFORMAT, "tokenizer.ggml.token_type: token %zu has type %d",
                                i, (int)kind);
        else
            vocabulary->kinds[i] = (uint8_t)kind;
    }
    return status;
}

static choir_status load_mark(const choir_gguf *gguf, choir_vocabulary *vocabulary, const char *key,
                              int32_t *id)
{
    *id = -1;
    if (!choir_gguf_has(gguf, key))
        return CHOIR_OK;
    uint32_t value;
    choir_status status = choir_gguf_get_u32(gguf, key, &value);
    if (status != CHOIR_OK)
        return status;
    if (value >= (uint32_t)vocabulary->size)
        return choir_fail(CHOIR_EFORMAT, "%s is %u; the vocabulary has %d tokens", key, value,
                          (int)vocabulary->size);
    *id = (int32_t)value;
    vocabulary->kinds[value] = CHOIR_TOKEN_CONTROL;
    return CHOIR_OK;
}

/* The one byte of "<0xHH>"; false for other texts, such as "<0x-1>". */
static bool decode_byte(choir_gguf_string text, char *byte)
{
    static const char digits[] = "0123456789ABCDEF";
    if (text.length != 6 || memcmp(text.text, "<0x", 3) != 0 || text.text[5] != '>')
        return false;
    const char *high = memchr(digits, text.text[3], 16);
    const char *low = memchr(digits, text.text[4], 16);
    if (!high || !low)
        return false;
    *byte = (char)((high - digits) << 4 | (low - digits));
    return true;
}

/* Writes the bytes of a token; there is room for as many as its text has. */
static choir_status decode_piece(int32_t id, choir_token_kind kind, choir_gguf_string text,
                                 char *bytes, size_t *n)
{
    if (text.length == 0 || text.length > 2 * CHOIR_PIECE_MAX_BYTES)
        return choir_fail(CHOIR_EFORMAT, "tokenizer.ggml.tokens: token %d has %zu bytes; 1 to %d",
                          (int)id, text.length, CHOIR_PIECE_MAX_BYTES);
    bool good = true;
    *n = text.length;
    if (kind == CHOIR_TOKEN_NORMAL) {
        good = choir_vocabulary_decode(text.text, text.length, bytes, n);
    } else if (kind == CHOIR_TOKEN_BYTE) {
        good = decode_byte(text, bytes);
        *n = 1;
    } else {
        memcpy(bytes, text.text, text.length);
    }
    const int shown = text.length < 64 ? (int)text.length : 64;
    if (!good)
        return choir_fail(CHOIR_EFORMAT,
                          "tokenizer.ggml.tokens: token %d, \"%.*s\", is not the writing of bytes",
                          (int)id, shown, text.text);
    if (*n > CHOIR_PIECE_MAX_BYTES)
        return choir_fail(CHOIR_EFORMAT, "tokenizer.ggml.tokens: token %d has %zu bytes; 1 to %d",
                          (int)id, *n, CHOIR_PIECE_MAX_BYTES);
    return CHOIR_OK;
}

static choir_status load_pieces(const choir_gguf_array *tokens, choir_vocabulary *vocabulary)
{
    size_t total = 0;
    for (size_t i = 0; i < tokens->count; i++)
        if (!choir_size_add(total, choir_gguf_at_string(tokens, i).length, &total))
            return choir_fail(CHOIR_ENOMEM, "tokenizer.ggml.tokens is too large");
    choir_status status = choir_alloc(total, 1, (void **)&vocabulary->bytes);
    if (status == CHOIR_OK)
        status = choir_alloc(tokens->count + 1, sizeof *vocabulary->offsets,
                             (void **)&vocabulary->offsets);
    for (size_t i = 0; i < tokens->count && status == CHOIR_OK; i++) {
        size_t n = 0;
        status = decode_piece((int32_t)i, vocabulary->kinds[i], choir_gguf_at_string(tokens, i),
                              vocabulary->bytes + vocabulary->offsets[i], &n);
        vocabulary->offsets[i + 1] = vocabulary->offsets[i] + n;
    }
    return status;
}

/* Enters the tokens that text can become; of equal pieces the first of the first kind counts. */
static choir_status make_index(choir_vocabulary *vocabulary)
{
    static const choir_token_kind kinds[] = {CHOIR_TOKEN_NORMAL, CHOIR_TOKEN_BYTE,
                                             CHOIR_TOKEN_USER};
    choir_status status = choir_index_create((size_t)vocabulary->size, &vocabulary->index);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && status == CHOIR_OK; i++)
        for (int32_t id = 0; id < vocabulary->size; id++)
            if (vocabulary->kinds[id] == kinds[i])
                choir_index_insert(vocabulary->index, vocabulary->bytes + vocabulary->offsets[id],
                                   choir_vocabulary_length(vocabulary, id), id);
    return status;
}

/*
 * Bytes that ordinary text has, which no vocabulary may lack: all of UTF-8 but C0 controls, DEL and
 * the first bytes of planes 4 and up. The default model lacks 21 of those others.
 */
static bool is_needed(unsigned byte)
{
    return byte == '\t' || byte == '\n' || byte == '\r' || (byte >= 0x20 && byte <= 0x7e) ||
           (byte >= 0x80 && byte <= 0xbf) || (byte >= 0xc2 && byte <= 0xf0);
}

static choir_status find_bytes(choir_vocabulary *vocabulary)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        const char piece = (char)byte;
        vocabulary->byte_ids[byte] = choir_vocabulary_find(vocabulary, &piece, 1);
        if (vocabulary->byte_ids[byte] < 0 && is_needed(byte))
            return choir_fail(CHOIR_EFORMAT, "tokenizer.ggml.tokens: no token for byte 0x%02x",
                              byte);
    }
    return CHOIR_OK;
}

/* The order of the words: by their bytes, then by id. */
static int compare_words(const void *a, const void *b, void *context)
{
    const choir_vocabulary *vocabulary = context;
    const int32_t left = *(const int32_t *)a, right = *(const int32_t *)b;
    const size_t left_length = choir_vocabulary_length(vocabulary, left);
    const size_t right_length = choir_vocabulary_length(vocabulary, right);
    const int order = memcmp(vocabulary->bytes + vocabulary->offsets[left],
                             vocabulary->bytes + vocabulary->offsets[right],
                             left_length < right_length ? left_length : right_length);
    if (order != 0)
        return order;
    if (left_length != right_length)
        return left_length < right_length ? -1 : 1;
    return (left > right) - (left < right);
}

static choir_status collect_words(choir_vocabulary *vocabulary, bool with_control,
                                  choir_token_words *words)
{
    choir_status status =
        choir_alloc((size_t)vocabulary->size, sizeof *words->ids, (void **)&words->ids);
    for (int32_t id = 0; id < vocabulary->size && status == CHOIR_OK; id++)
        if (vocabulary->kinds[id] == CHOIR_TOKEN_USER ||
            (with_control && vocabulary->kinds[id] == CHOIR_TOKEN_CONTROL)) {
            words->ids[words->n_words++] = id;
            words->begins[(unsigned char)vocabulary->bytes[vocabulary->offsets[id]]] = true;
        }
    if (status == CHOIR_OK)
        qsort_r(words->ids, words->n_words, sizeof *words->ids, compare_words, vocabulary);
    return status;
}

choir_status choir_vocabulary_load(const choir_gguf *gguf, choir_vocabulary *vocabulary)
{
    choir_gguf_array tokens;
    choir_status status = load_kinds(gguf, vocabulary, &tokens);
    if (status == CHOIR_OK)
        status = load_mark(gguf, vocabulary, "tokenizer.ggml.bos_token_id", &vocabulary->bos);
    if (status == CHOIR_OK)
        status = load_mark(gguf, vocabulary, "tokenizer.ggml.eos_token_id", &vocabulary->eos);
    if (status == CHOIR_OK)
        status = load_mark(gguf, vocabulary, "tokenizer.ggml.eot_token_id", &vocabulary->eot);
    if (status == CHOIR_OK)
        status = load_pieces(&tokens, vocabulary);
    if (status == CHOIR_OK)
        status = make_index(vocabulary);
    if (status == CHOIR_OK)
        status = find_bytes(vocabulary);
    if (status == CHOIR_OK)
        status = collect_words(vocabulary, false, &vocabulary->user);
    if (status == CHOIR_OK)
        status = collect_words(vocabulary, true, &vocabulary->special);
    if (status != CHOIR_OK)
        choir_vocabulary_release(vocabulary);
    return status;
}

void choir_vocabulary_release(choir_vocabulary *vocabulary)
{
    free(vocabulary->bytes);
    free(vocabulary->offsets);
    free(vocabulary->kinds);
    choir_index_destroy(&vocabulary->index);
    free(vocabulary->user.ids);
    free(vocabulary->special.ids);
    *vocabulary = (choir_vocabulary){0};
}

/* The byte at `depth` of a word, or -1 behind its end: the order in which words are sorted. */
static int byte_at(const choir_vocabulary *vocabulary, int32_t id, size_t depth)
{
    return depth < choir_vocabulary_length(vocabulary, id)
               ? (unsigned char)vocabulary->bytes[vocabulary->offsets[id] + depth]
               : -1;
}

/* The first of ids[low..high) whose byte at `depth` is at least `byte`. */
static size_t lower_bound(const choir_vocabulary *vocabulary, const int32_t *ids, size_t low,
                          size_t high, size_t depth, int byte)
{
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (byte_at(vocabulary, ids[middle], depth) < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Narrows the range of words that share the text's first bytes, one byte at a time. */
int32_t choir_vocabulary_match(const choir_vocabulary *vocabulary, const choir_token_words *words,
                               const char *text, size_t length)
{
    int32_t found = -1;
    size_t low = 0, high = words->n_words;
    if (length == 0 || !words->begins[(unsigned char)text[0]])
        return -1;
    for (size_t depth = 0; depth < length; depth++) {
        const int byte = (unsigned char)text[depth];
        low = lower_bound(vocabulary, words->ids, low, high, depth, byte);
        high = lower_bound(vocabulary, words->ids, low, high, depth, byte + 1);
        if (low == high)
            break;
        /* The shortest of the range stands first. */
        if (choir_vocabulary_length(vocabulary, words->ids[low]) == depth + 1)
            found = words->ids[low];
    }
    return found;
}
