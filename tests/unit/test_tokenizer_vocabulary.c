/* SPDX-License-Identifier: Apache-2.0 */
/* Tokenizers that lie, each made from a good one by one change. */
#include "tests/unit/tokenizers.h"

#include "tests/fixtures/vocabulary.h"

enum { SIZE = 300, FIRST_BYTE = 3 }; /* byte b is token 3 + b; 259 and up are merged */

static const char tokens_key[] = "tokenizer.ggml.tokens";
static const char types_key[] = "tokenizer.ggml.token_type";
static const char merges_key[] = "tokenizer.ggml.merges";

/* A good tokenizer as it stands in a file, to be changed, and made. */
typedef struct fixture {
    choir_gguf_writer writer;
    uint8_t *header; /* of the good file */
    choir_gguf *good;
    choir_tokenizer *made;
} fixture;

static choir_gguf *parse(const uint8_t *header, size_t length)
{
    choir_gguf *gguf;
    return choir_gguf_parse(header, length, "fixture", CHOIR_GGUF_WHOLE, &gguf) == CHOIR_OK ? gguf
                                                                                            : NULL;
}

static int set_up(void **state)
{
    fixture *f;
    size_t length;
    assert_int_equal(choir_alloc(1, sizeof *f, (void **)&f), CHOIR_OK);
    choir_gguf_writer_init(&f->writer);
    choir_vocabulary_set(&f->writer, SIZE);
    assert_int_equal(choir_gguf_writer_finish(&f->writer, &f->header, &length), CHOIR_OK);
    f->good = parse(f->header, length);
    assert_non_null(f->good);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    choir_tokenizer_destroy(&f->made);
    choir_gguf_destroy(&f->good);
    choir_gguf_writer_clear(&f->writer);
    free(f->header);
    free(f);
    return 0;
}

/* Sets the good file's array of strings with element `index` changed. */
static void set_text(fixture *f, const char *key, size_t index, const char *text, size_t length)
{
    choir_gguf_array array;
    choir_bytes value = {0};
    assert_int_equal(choir_gguf_get_array(f->good, key, CHOIR_GGUF_STRING, &array), CHOIR_OK);
    assert_true(index < array.count);
    choir_bytes_begin_array(&f->writer, &value, CHOIR_GGUF_STRING, array.count);
    for (size_t i = 0; i < array.count; i++) {
        const choir_gguf_string old = choir_gguf_at_string(&array, i);
        choir_bytes_add_string(&f->writer, &value, i == index ? text : old.text,
                               i == index ? length : old.length);
    }
    choir_gguf_writer_set(&f->writer, key, CHOIR_GGUF_ARRAY, value.data, value.length);
    choir_bytes_clear(&value);
}

static void set_type(fixture *f, size_t index, int32_t type)
{
    choir_gguf_array array;
    choir_bytes value = {0};
    assert_int_equal(choir_gguf_get_array(f->good, types_key, CHOIR_GGUF_I32, &array), CHOIR_OK);
    choir_bytes_begin_array(&f->writer, &value, CHOIR_GGUF_I32, array.count);
    for (size_t i = 0; i < array.count; i++) {
        const int32_t old = choir_gguf_at_i32(&array, i);
        choir_bytes_add(&f->writer, &value, i == index ? &type : &old, sizeof old);
    }
    choir_gguf_writer_set(&f->writer, types_key, CHOIR_GGUF_ARRAY, value.data, value.length);
    choir_bytes_clear(&value);
}

/* Reads the changed file; its bytes are gone when this returns. */
static choir_status make(fixture *f)
{
    uint8_t *header;
    size_t length;
    choir_tokenizer_destroy(&f->made);
    assert_int_equal(choir_gguf_writer_finish(&f->writer, &header, &length), CHOIR_OK);
    choir_gguf *gguf = parse(header, length);
    choir_status status = CHOIR_EFORMAT;
    if (gguf)
        status = choir_tokenizer_create(gguf, &f->made);
    assert_true((status == CHOIR_OK) == (f->made != NULL));
    choir_gguf_destroy(&gguf);
    memset(header, 0xff, length);
    free(header);
    return status;
}

static void assert_refused(fixture *f, choir_status expected, const char *words)
{
    assert_int_equal(make(f), expected);
    if (!strstr(choir_error(), words))
        fail_msg("\"%s\" does not say \"%s\"", choir_error(), words);
}

static void check_encoding(const fixture *f, const char *text, const int32_t *expected, size_t n)
{
    int32_t *ids;
    size_t n_ids;
    assert_int_equal(choir_tokenizer_encode(f->made, text, strlen(text), false, &ids, &n_ids),
                     CHOIR_OK);
    assert_int_equal(n_ids, n);
    assert_memory_equal(ids, expected, n * sizeof *ids);
    free(ids);
}

static void the_good_one_is_good_and_keeps_nothing_of_the_file(void **state)
{
    fixture *f = *state;
    static const int32_t expected[] = {FIRST_BYTE + 'Q', FIRST_BYTE + '~'};
    assert_int_equal(make(f), CHOIR_OK);
    assert_int_equal(choir_tokenizer_size(f->made), SIZE);
    check_encoding(f, "Q~", expected, 2);
}

static void t12_an_empty_piece_is_refused(void **state)
{
    fixture *f = *state;
    set_text(f, tokens_key, 270, "", 0);
    assert_refused(f, CHOIR_EFORMAT, "token 270");
}

static void t12_a_long_piece_is_refused(void **state)
{
    fixture *f = *state;
    char *text;
    assert_int_equal(choir_alloc(1 << 20, 1, (void **)&text), CHOIR_OK);
    memset(text, 'a', 1 << 20);
    set_text(f, tokens_key, SIZE - 1, text, 1 << 20);
    assert_refused(f, CHOIR_EFORMAT, "1048576 bytes");
    set_text(f, tokens_key, 1, text, 4097);
    assert_refused(f, CHOIR_EFORMAT, "token 1 ");
    set_text(f, tokens_key, 1, text, 4096);
    assert_int_equal(make(f), CHOIR_OK);
    free(text);
}

static void t12_a_piece_that_is_not_written_in_bytes_is_refused(void **state)
{
    fixture *f = *state;
    static const char *const bad[] = {"a b", "\n", "\xc5\x84", "\xe2\x82\xac"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        set_text(f, tokens_key, 280, bad[i], strlen(bad[i]));
        assert_refused(f, CHOIR_EFORMAT, "token 280");
    }
}

static void t12_a_byte_token_must_be_written_as_one(void **state)
{
    fixture *f = *state;
    static const char *const bad[] = {"<0x-1>", "<0x100>", "<0x1>", "<0xG0>", "<0x0a>",
                                      "<1x41>", "<0x41]",  "A",     "<0x 1>"};
    set_type(f, 0, 6);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        set_text(f, tokens_key, 0, bad[i], strlen(bad[i]));
        assert_refused(f, CHOIR_EFORMAT, "token 0");
    }
    set_text(f, tokens_key, 0, "<0x41>", 6);
    assert_int_equal(make(f), CHOIR_OK);
}

static void t12_a_merge_outside_the_vocabulary_is_refused(void **state)
{
    fixture *f = *state;
    static const char *const bad[] = {
        "", " ", "t", "t ", " t", "t  h", "t q", "<|im_end|> t", "t <|im_end|>", "th e x", "zz z",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        set_text(f, merges_key, 5, bad[i], strlen(bad[i]));
        assert_refused(f, CHOIR_EFORMAT, "merge 5");
    }
}

static void t12_marks_outside_the_vocabulary_are_refused(void **state)
{
    fixture *f = *state;
    static const char *const keys[] = {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
                                       "tokenizer.ggml.eot_token_id"};
    static const uint32_t bad[] = {SIZE, 0x7fffffff, 0x80000000, 0xffffffff};
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < 4; k++) {
            choir_gguf_writer_set_u32(&f->writer, keys[i], bad[k]);
            assert_refused(f, CHOIR_EFORMAT, keys[i]);
        }
        choir_gguf_writer_set_string(&f->writer, keys[i], "2");
        assert_refused(f, CHOIR_EFORMAT, keys[i]);
        choir_gguf_writer_set_u32(&f->writer, keys[i], SIZE - 1);
        assert_int_equal(make(f), CHOIR_EFORMAT); /* a merge makes the last token */
        choir_gguf_writer_set_u32(&f->writer, keys[i], 2);
        assert_int_equal(make(f), CHOIR_OK);
    }
}

/* The tokens of the bytes that text needs; C0 controls and others may be missing. */
static void t12_missing_bytes_are_refused(void **state)
{
    fixture *f = *state;
    static const unsigned char needed[] = {'\t', '\n', ' ', 'A', '~', 0x80, 0xbf, 0xc2, 0xf0};
    static const unsigned char spare[] = {0x00, 0x04, 0x1f, 0x7f, 0xc0, 0xf1, 0xff};
    choir_bytes no_merges = {0};
    choir_bytes_begin_array(&f->writer, &no_merges, CHOIR_GGUF_STRING, 0);
    choir_gguf_writer_set(&f->writer, merges_key, CHOIR_GGUF_ARRAY, no_merges.data,
                          no_merges.length);
    choir_bytes_clear(&no_merges);
    for (size_t i = 0; i < sizeof needed; i++) {
        char words[32];
        snprintf(words, sizeof words, "byte 0x%02x", needed[i]);
        set_text(f, tokens_key, FIRST_BYTE + (size_t)needed[i], "!!", 2);
        assert_refused(f, CHOIR_EFORMAT, words);
    }
    for (size_t i = 0; i < sizeof spare; i++) {
        set_text(f, tokens_key, FIRST_BYTE + (size_t)spare[i], "!!", 2);
        assert_int_equal(make(f), CHOIR_OK);
    }
}

static void t12_types_that_do_not_fit_are_refused(void **state)
{
    fixture *f = *state;
    static const int32_t bad[] = {0, 7, -1, INT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        set_type(f, 299, bad[i]);
        assert_refused(f, CHOIR_EFORMAT, "token 299");
    }
    choir_bytes short_types = {0};
    const int32_t type = 1;
    choir_bytes_begin_array(&f->writer, &short_types, CHOIR_GGUF_I32, 1);
    choir_bytes_add(&f->writer, &short_types, &type, sizeof type);
    choir_gguf_writer_set(&f->writer, types_key, CHOIR_GGUF_ARRAY, short_types.data,
                          short_types.length);
    choir_bytes_clear(&short_types);
    assert_refused(f, CHOIR_EFORMAT, "300 entries");
}

static void t12_missing_keys_and_wrong_types_are_refused(void **state)
{
    fixture *f = *state;
    static const char *const keys[] = {"tokenizer.ggml.model", "tokenizer.ggml.pre", tokens_key,
                                       types_key, merges_key};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        choir_gguf_writer_clear(&f->writer);
        choir_gguf_writer_init(&f->writer);
        choir_vocabulary_set(&f->writer, SIZE);
        choir_gguf_writer_remove(&f->writer, keys[i]);
        assert_refused(f, CHOIR_EFORMAT, keys[i]);
        choir_gguf_writer_set_u32(&f->writer, keys[i], 1);
        assert_refused(f, CHOIR_EFORMAT, keys[i]);
    }
}

static void an_empty_vocabulary_is_refused(void **state)
{
    fixture *f = *state;
    choir_bytes none = {0};
    choir_bytes_begin_array(&f->writer, &none, CHOIR_GGUF_STRING, 0);
    choir_gguf_writer_set(&f->writer, tokens_key, CHOIR_GGUF_ARRAY, none.data, none.length);
    choir_bytes_clear(&none);
    choir_bytes_begin_array(&f->writer, &none, CHOIR_GGUF_I32, 0);
    choir_gguf_writer_set(&f->writer, types_key, CHOIR_GGUF_ARRAY, none.data, none.length);
    choir_bytes_clear(&none);
    assert_refused(f, CHOIR_EFORMAT, "0 entries");
}

static void other_tokenizers_are_unsupported_and_named(void **state)
{
    fixture *f = *state;
    choir_gguf_writer_set_string(&f->writer, "tokenizer.ggml.model", "llama");
    assert_refused(f, CHOIR_EUNSUPPORTED, "\"llama\"");
    choir_gguf_writer_set_string(&f->writer, "tokenizer.ggml.model", "gpt2");
    choir_gguf_writer_set_string(&f->writer, "tokenizer.ggml.pre", "qwen2");
    assert_refused(f, CHOIR_EUNSUPPORTED, "\"qwen2\"");
}

static void bos_is_added_where_the_file_says_so(void **state)
{
    fixture *f = *state;
    static const char key[] = "tokenizer.ggml.add_bos_token";
    choir_gguf_writer_set_bool(&f->writer, key, true);
    assert_int_equal(make(f), CHOIR_OK);
    assert_true(choir_tokenizer_adds_bos(f->made));
    choir_gguf_writer_set_string(&f->writer, "tokenizer.ggml.pre", "llama-bpe");
    choir_gguf_writer_set_bool(&f->writer, key, false);
    assert_int_equal(make(f), CHOIR_OK);
    assert_false(choir_tokenizer_adds_bos(f->made));
    choir_gguf_writer_remove(&f->writer, key);
    assert_int_equal(make(f), CHOIR_OK);
    assert_true(choir_tokenizer_adds_bos(f->made));
    choir_gguf_writer_remove(&f->writer, "tokenizer.ggml.bos_token_id");
    assert_int_equal(make(f), CHOIR_OK);
    assert_false(choir_tokenizer_adds_bos(f->made));
    choir_gguf_writer_set_bool(&f->writer, key, true);
    assert_refused(f, CHOIR_EFORMAT, key);
}

/* Words of users are found in any text, the longest first; they are no control tokens. */
static void user_words_are_one_token_wherever_they_stand(void **state)
{
    fixture *f = *state;
    static const int32_t expected[] = {FIRST_BYTE + '<', 0, FIRST_BYTE + '>', 1};
    set_type(f, 0, 4);
    set_text(f, tokens_key, 0, "<Q", 2);
    assert_int_equal(make(f), CHOIR_OK);
    assert_false(choir_tokenizer_is_control(f->made, 0));
    check_encoding(f, "<<Q>", expected, 3);
    check_encoding(f, "<Q", expected + 1, 1);
    check_encoding(f, "<", expected, 1);
}

static void the_longest_word_counts(void **state)
{
    fixture *f = *state;
    int32_t *ids;
    size_t n_ids;
    set_text(f, tokens_key, 1, "<|im_end|>>", 11);
    assert_int_equal(make(f), CHOIR_OK);
    assert_int_equal(
        choir_tokenizer_encode(f->made, "<|im_end|>>><|im_end|>", 22, true, &ids, &n_ids),
        CHOIR_OK);
    assert_int_equal(n_ids, 3);
    assert_int_equal(ids[0], 1);
    assert_int_equal(ids[1], FIRST_BYTE + '>');
    assert_int_equal(ids[2], 2);
    free(ids);
}

/* A file may call its eos a normal token; text still never becomes it. */
static void t22_end_marks_are_control_whatever_their_type(void **state)
{
    fixture *f = *state;
    static const int32_t expected[] = {FIRST_BYTE + '#', FIRST_BYTE + '#'};
    choir_gguf_writer_set_string(&f->writer, "tokenizer.ggml.pre", "llama-bpe");
    set_text(f, tokens_key, 0, "##", 2);
    set_type(f, 0, 1);
    assert_int_equal(make(f), CHOIR_OK);
    check_encoding(f, "##", (const int32_t[]){0}, 1); /* a whole piece that is a token */
    choir_gguf_writer_set_u32(&f->writer, "tokenizer.ggml.eos_token_id", 0);
    assert_int_equal(make(f), CHOIR_OK);
    assert_true(choir_tokenizer_is_control(f->made, 0));
    assert_true(choir_tokenizer_is_end(f->made, 0));
    check_encoding(f, "##", expected, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_good_one_is_good_and_keeps_nothing_of_the_file),
        TEST(t12_an_empty_piece_is_refused),
        TEST(t12_a_long_piece_is_refused),
        TEST(t12_a_piece_that_is_not_written_in_bytes_is_refused),
        TEST(t12_a_byte_token_must_be_written_as_one),
        TEST(t12_a_merge_outside_the_vocabulary_is_refused),
        TEST(t12_marks_outside_the_vocabulary_are_refused),
        TEST(t12_missing_bytes_are_refused),
        TEST(t12_types_that_do_not_fit_are_refused),
        TEST(t12_missing_keys_and_wrong_types_are_refused),
        TEST(an_empty_vocabulary_is_refused),
        TEST(other_tokenizers_are_unsupported_and_named),
        TEST(bos_is_added_where_the_file_says_so),
        TEST(user_words_are_one_token_wherever_they_stand),
        TEST(the_longest_word_counts),
        TEST(t22_end_marks_are_control_whatever_their_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
