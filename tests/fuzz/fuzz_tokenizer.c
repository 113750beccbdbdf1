/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as what reaches a tokenizer. The first decide: "GGUF" is a file to make one from, "["
 * is messages in JSON, other bytes choose a pre-tokenizer and whether control words count for the
 * text that follows. Whatever goes in comes out again, and only templates make control tokens.
 */
#include "common/utf8.h"
#include "model/chat.h"
#include "model/detokenizer.h"
#include "tests/fixtures/vocabulary.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

static void require(bool claim)
{
    if (!claim)
        abort();
}

/* A tokenizer with a few merges and that pre-tokenizer. */
static choir_tokenizer *make(const char *pre)
{
    choir_gguf_writer writer;
    uint8_t *header;
    size_t length;
    choir_gguf *gguf;
    choir_tokenizer *made;
    choir_gguf_writer_init(&writer);
    choir_vocabulary_set(&writer, CHOIR_VOCABULARY_LEAST + 300);
    choir_gguf_writer_set_string(&writer, "tokenizer.ggml.pre", pre);
    require(choir_gguf_writer_finish(&writer, &header, &length) == CHOIR_OK);
    choir_gguf_writer_clear(&writer);
    require(choir_gguf_parse(header, length, "fuzz", CHOIR_GGUF_WHOLE, &gguf) == CHOIR_OK);
    require(choir_tokenizer_create(gguf, &made) == CHOIR_OK);
    choir_gguf_destroy(&gguf);
    free(header);
    return made;
}

static const choir_tokenizer *tokenizer_of(unsigned choice)
{
    static const char *const names[] = {"smollm", "gpt-2", "llama-bpe"};
    static choir_tokenizer *made[3];
    choice %= 3;
    if (!made[choice])
        made[choice] = make(names[choice]);
    return made[choice];
}

/* Encodes and decodes; `is_whole`: the vocabulary has all bytes, so nothing may be lost. */
static void go_round(const choir_tokenizer *tokenizer, const char *text, size_t length,
                     bool with_control, bool is_whole)
{
    int32_t *ids;
    size_t n_ids, at = 0, back_length;
    char *back;
    require(choir_tokenizer_encode(tokenizer, text, length, with_control, &ids, &n_ids) ==
            CHOIR_OK);
    require(n_ids <= length);
    for (size_t i = 0; i < n_ids; i++) {
        const char *piece;
        size_t piece_length;
        require(ids[i] >= 0 && ids[i] < choir_tokenizer_size(tokenizer));
        require(with_control || !choir_tokenizer_is_control(tokenizer, ids[i]));
        choir_tokenizer_piece(tokenizer, ids[i], &piece, &piece_length);
        require(piece_length > 0 && piece_length <= length - at);
        require(!is_whole || memcmp(piece, text + at, piece_length) == 0);
        at += piece_length;
    }
    require(!is_whole || at == length);
    require(choir_detokenize(tokenizer, ids, n_ids, 0, &back, &back_length) == CHOIR_OK);
    require(choir_utf8_is_valid(back, back_length));
    if (is_whole && choir_utf8_is_valid(text, length))
        require(back_length == length && memcmp(back, text, length) == 0);
    free(back);
    free(ids);
}

static void read_file(const uint8_t *bytes, size_t length)
{
    static const char text[] = "<|im_start|>user\nThe  quick 1234\tna\xc3\xafve \xff\x01<|im_end|>";
    choir_gguf *gguf;
    choir_tokenizer *tokenizer;
    choir_chat_template template;
    if (choir_gguf_parse(bytes, length, "fuzz", CHOIR_GGUF_HEADER_ONLY, &gguf) != CHOIR_OK)
        return;
    const choir_status recognised = choir_chat_recognise(gguf, &template);
    require((recognised == CHOIR_OK) == (template != CHOIR_CHAT_NONE));
    if (choir_tokenizer_create(gguf, &tokenizer) == CHOIR_OK) {
        go_round(tokenizer, text, sizeof text - 1, false, false);
        go_round(tokenizer, text, sizeof text - 1, true, false);
    } else {
        require(!tokenizer && choir_error()[0]);
    }
    choir_tokenizer_destroy(&tokenizer);
    choir_gguf_destroy(&gguf);
}

static void read_messages(const char *json, size_t length)
{
    choir_chat_messages list;
    int32_t *ids;
    size_t n_ids, n_controls = 0;
    const choir_status status = choir_chat_parse_messages(json, length, &list);
    require(status == CHOIR_OK || (status == CHOIR_EINVALID && !list.messages));
    if (status == CHOIR_OK) {
        const choir_tokenizer *tokenizer = tokenizer_of(0);
        require(choir_chat_encode(CHOIR_CHAT_CHATML, tokenizer, list.messages, list.n_messages,
                                  true, &ids, &n_ids) == CHOIR_OK);
        for (size_t i = 0; i < n_ids; i++)
            n_controls += choir_tokenizer_is_control(tokenizer, ids[i]);
        require(n_controls == 2 * list.n_messages + 1);
        free(ids);
    }
    choir_chat_messages_destroy(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    const char *text = (const char *)bytes;
    if (length >= 4 && memcmp(bytes, "GGUF", 4) == 0)
        read_file(bytes, length);
    else if (length > 0 && bytes[0] == '[')
        read_messages(text, length);
    else if (length > 0)
        go_round(tokenizer_of(bytes[0]), text + 1, length - 1, bytes[0] & 4, true);
    return 0;
}
