/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/tokenizers.h"

#include "common/utf8.h"
#include "model/detokenizer.h"
#include "tests/fixtures/vocabulary.h"

/* The fixture's vocabulary: control tokens 0..2, then byte b as token 3 + b. */
static choir_tokenizer *tokenizer;

static int open_fixture(void **state)
{
    (void)state;
    choir_gguf_writer writer;
    uint8_t *header;
    size_t length;
    choir_gguf *gguf;
    choir_gguf_writer_init(&writer);
    choir_vocabulary_set(&writer, CHOIR_VOCABULARY_LEAST);
    assert_int_equal(choir_gguf_writer_finish(&writer, &header, &length), CHOIR_OK);
    choir_gguf_writer_clear(&writer);
    assert_int_equal(choir_gguf_parse(header, length, "fixture", CHOIR_GGUF_WHOLE, &gguf),
                     CHOIR_OK);
    assert_int_equal(choir_tokenizer_create(gguf, &tokenizer), CHOIR_OK);
    choir_gguf_destroy(&gguf);
    free(header);
    return 0;
}

static int close_fixture(void **state)
{
    (void)state;
    choir_tokenizer_destroy(&tokenizer);
    return 0;
}

/* Feeds the bytes one token each; `expected` has the text of every call, and of flush, after '|'.
 */
static void check_stream(const char *bytes, size_t n_bytes, const char *expected)
{
    choir_detokenizer *stream;
    char joined[256];
    size_t n = 0;
    assert_int_equal(choir_detokenizer_create(tokenizer, 0, &stream), CHOIR_OK);
    for (size_t i = 0; i <= n_bytes; i++) {
        const char *text;
        size_t length;
        if (i < n_bytes)
            assert_int_equal(
                choir_detokenizer_add(stream, 3 + (unsigned char)bytes[i], &text, &length),
                CHOIR_OK);
        else
            assert_int_equal(choir_detokenizer_flush(stream, &text, &length), CHOIR_OK);
        assert_true(choir_utf8_is_valid(text, length));
        assert_int_equal(text[length], '\0');
        n += (size_t)snprintf(joined + n, sizeof joined - n, "|%s", text);
    }
    assert_string_equal(joined, expected);
    choir_detokenizer_destroy(&stream);
    choir_detokenizer_destroy(&stream);
}

#define FFFD "\xef\xbf\xbd"

static void characters_come_with_their_last_byte(void **state)
{
    (void)state;
    check_stream("", 0, "|");
    check_stream("ab", 2, "|a|b|");
    check_stream("\xc3\xa9x", 3, "||\xc3\xa9|x|");
    check_stream("\xf0\x9f\x99\x82!", 5, "||||\xf0\x9f\x99\x82|!|");
}

/* Unicode 15, 3.9, "U+FFFD Substitution of Maximal Subparts". */
static void broken_characters_become_one_replacement_each(void **state)
{
    (void)state;
    check_stream("\x80z", 2, "|" FFFD "|z|");
    check_stream("\xc3z", 2, "||" FFFD "z|");
    check_stream("\xf0\x9f\x99z", 4, "||||" FFFD "z|");
    check_stream("\xe2\x82\xc3\xa9", 4, "|||" FFFD "|\xc3\xa9|");
    check_stream("\xed\xa0\x80", 3, "||" FFFD FFFD "|" FFFD "|");
    check_stream("\xff\xc0\xaf", 3, "|" FFFD "|" FFFD "|" FFFD "|");
}

static void flush_gives_what_was_held_back(void **state)
{
    (void)state;
    check_stream("a\xc3", 2, "|a||" FFFD);
    check_stream("\xf0\x9f\x99", 3, "||||" FFFD);
}

/* As it is for a program that reads bytes, replaced for a wire whose strings end at a NUL. */
static void a_nul_byte_is_a_character_or_replaced(void **state)
{
    (void)state;
    static const int32_t ids[] = {3 + 'a', 3, 3 + 'b'};
    char *text;
    size_t length;
    assert_int_equal(choir_detokenize(tokenizer, ids, 3, 0, &text, &length), CHOIR_OK);
    assert_int_equal(length, 3);
    assert_memory_equal(text, "a\0b", 4);
    free(text);
    assert_int_equal(
        choir_detokenize(tokenizer, ids, 3, CHOIR_DETOKENIZE_REPLACE_NUL, &text, &length),
        CHOIR_OK);
    assert_int_equal(length, 5);
    assert_string_equal(text, "a" FFFD "b");
    free(text);
}

static void a_flushed_stream_is_as_new(void **state)
{
    (void)state;
    choir_detokenizer *stream;
    const char *text;
    size_t length;
    assert_int_equal(choir_detokenizer_create(tokenizer, 0, &stream), CHOIR_OK);
    assert_int_equal(choir_detokenizer_add(stream, 3 + 0xc3, &text, &length), CHOIR_OK);
    assert_int_equal(choir_detokenizer_flush(stream, &text, &length), CHOIR_OK);
    assert_string_equal(text, FFFD);
    assert_int_equal(choir_detokenizer_add(stream, 3 + 'x', &text, &length), CHOIR_OK);
    assert_string_equal(text, "x");
    assert_int_equal(choir_detokenizer_flush(stream, &text, &length), CHOIR_OK);
    assert_int_equal(length, 0);
    choir_detokenizer_destroy(&stream);
}

static void control_tokens_can_be_skipped(void **state)
{
    (void)state;
    static const int32_t ids[] = {1, 3 + 'h', 3 + 0xc3, 2, 3 + 0xa9, 2};
    char *text;
    size_t length;
    assert_int_equal(
        choir_detokenize(tokenizer, ids, 6, CHOIR_DETOKENIZE_SKIP_CONTROL, &text, &length),
        CHOIR_OK);
    assert_string_equal(text, "h\xc3\xa9");
    assert_int_equal(length, 3);
    free(text);
    assert_int_equal(choir_detokenize(tokenizer, ids, 6, 0, &text, &length), CHOIR_OK);
    assert_string_equal(text, "<|im_start|>h" FFFD "<|im_end|>" FFFD "<|im_end|>");
    free(text);
    assert_int_equal(choir_detokenize(tokenizer, ids, 0, 0, &text, &length), CHOIR_OK);
    assert_string_equal(text, "");
    free(text);
}

static void an_id_outside_changes_nothing(void **state)
{
    (void)state;
    static const int32_t outside[] = {-1, CHOIR_VOCABULARY_LEAST, INT32_MIN, INT32_MAX};
    choir_detokenizer *stream;
    const char *text;
    char *all;
    size_t length;
    assert_int_equal(choir_detokenizer_create(tokenizer, 0, &stream), CHOIR_OK);
    assert_int_equal(choir_detokenizer_add(stream, 3 + 0xc3, &text, &length), CHOIR_OK);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(choir_detokenizer_add(stream, outside[i], &text, &length), CHOIR_EINVALID);
        assert_int_equal(length, 0);
        assert_int_equal(choir_detokenize(tokenizer, &outside[i], 1, 0, &all, &length),
                         CHOIR_EINVALID);
        assert_null(all);
    }
    assert_int_equal(choir_detokenizer_add(stream, 3 + 0xa9, &text, &length), CHOIR_OK);
    assert_string_equal(text, "\xc3\xa9");
    choir_detokenizer_destroy(&stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_come_with_their_last_byte),
        cmocka_unit_test(broken_characters_become_one_replacement_each),
        cmocka_unit_test(flush_gives_what_was_held_back),
        cmocka_unit_test(a_nul_byte_is_a_character_or_replaced),
        cmocka_unit_test(a_flushed_stream_is_as_new),
        cmocka_unit_test(control_tokens_can_be_skipped),
        cmocka_unit_test(an_id_outside_changes_nothing),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
