/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/tokenizers.h"

#include "model/detokenizer.h"

static choir_tokenizer *smollm, *gpt2, *llama3;

static int open_all(void **state)
{
    (void)state;
    open_cached_tokenizer(DEFAULT_MODEL, &smollm);
    open_cached_tokenizer("vocabs/ggml-vocab-gpt-2.gguf", &gpt2);
    open_cached_tokenizer("vocabs/ggml-vocab-llama-bpe.gguf", &llama3);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    choir_tokenizer_destroy(&smollm);
    choir_tokenizer_destroy(&gpt2);
    choir_tokenizer_destroy(&llama3);
    choir_tokenizer_destroy(&llama3);
    return 0;
}

static int32_t *encode(const choir_tokenizer *tokenizer, const char *text, size_t length,
                       bool with_control, size_t *n_ids)
{
    int32_t *ids;
    if (choir_tokenizer_encode(tokenizer, text, length, with_control, &ids, n_ids) != CHOIR_OK)
        fail_msg("%s", choir_error());
    assert_non_null(ids);
    return ids;
}

static void assert_round_trip(const choir_tokenizer *tokenizer, const int32_t *ids, size_t n_ids,
                              const char *text, size_t length)
{
    char *back;
    size_t back_length;
    assert_int_equal(choir_detokenize(tokenizer, ids, n_ids, 0, &back, &back_length), CHOIR_OK);
    assert_int_equal(back_length, length);
    assert_memory_equal(back, text, length);
    free(back);
}

static void check_golden(const choir_json *line)
{
    const char *text = choir_json_string(choir_json_get(line, "text"), NULL);
    assert_non_null(text);
    const size_t length = strlen(text);
    char *copy;
    assert_int_equal(choir_copy_string(text, length, &copy), CHOIR_OK);
    for (char *c = copy; (c = strchr(c, 1)); c++)
        *c = '\0';
    size_t n_ids;
    int32_t *ids = encode(smollm, copy, length, false, &n_ids);
    check_ids(text, ids, n_ids, choir_json_get(line, "ids"));
    assert_round_trip(smollm, ids, n_ids, copy, length);
    free(ids);
    ids = encode(smollm, copy, length, true, &n_ids);
    check_ids(text, ids, n_ids, choir_json_get(line, "ids_with_control"));
    assert_round_trip(smollm, ids, n_ids, copy, length);
    free(ids);
    free(copy);
}

static void golden_texts_give_the_golden_ids(void **state)
{
    (void)state;
    size_t length, at = 0;
    int n_lines = 0;
    const char *mapped = map_file(REFERENCE "tokenize.jsonl", &length);
    char *lines;
    assert_int_equal(choir_copy_string(mapped, length, &lines), CHOIR_OK);
    /* Our JSON takes no U+0000; U+0001, which no line has, stands for it. */
    assert_null(strstr(lines, "\\u0001"));
    for (char *zero = lines; (zero = strstr(zero, "\\u0000"));)
        zero[5] = '1';
    for (choir_json *line; next_json(lines, length, &at, &line); n_lines++) {
        check_golden(line);
        choir_json_destroy(&line);
    }
    assert_int_equal(n_lines, 212);
    free(lines);
}

/* llama.cpp's test vectors: texts with a mark between them, and a line of ids for each. */
static void check_vocab(const choir_tokenizer *tokenizer, const char *name)
{
    static const char mark[] = "\n__ggml_vocab_test__\n";
    char path[4096], file[128];
    size_t in_length, out_length, n_texts = 0;
    snprintf(file, sizeof file, "vocabs/%s.inp", name);
    cache_path(file, path);
    const char *in = map_file(path, &in_length), *in_end = in + in_length;
    snprintf(file, sizeof file, "vocabs/%s.out", name);
    cache_path(file, path);
    const char *out = map_file(path, &out_length), *out_end = out + out_length;
    const char *next;
    for (; (next = memmem(in, (size_t)(in_end - in), mark, strlen(mark)));
         in = next + strlen(mark), n_texts++) {
        const char *line_end = memchr(out, '\n', (size_t)(out_end - out));
        assert_non_null(line_end);
        size_t n_ids;
        int32_t *ids = encode(tokenizer, in, (size_t)(next - in), false, &n_ids);
        assert_round_trip(tokenizer, ids, n_ids, in, (size_t)(next - in));
        for (size_t i = 0; i < n_ids; i++) {
            char *number_end;
            assert_true(out < line_end);
            assert_int_equal(ids[i], strtol(out, &number_end, 10));
            out = number_end;
        }
        while (out < line_end && *out == ' ')
            out++;
        assert_ptr_equal(out, line_end);
        out = line_end + 1;
        free(ids);
    }
    assert_in_range(n_texts, 40, 100);
}

static void llama_cpp_vectors_give_the_same_ids(void **state)
{
    (void)state;
    check_vocab(gpt2, "ggml-vocab-gpt-2.gguf");
    check_vocab(llama3, "ggml-vocab-llama-bpe.gguf");
}

static void marks_of_the_default_model(void **state)
{
    (void)state;
    size_t n_ends;
    const int32_t *ends = choir_tokenizer_end_ids(smollm, &n_ends);
    assert_int_equal(n_ends, 2);
    assert_int_equal(ends[0], 0);
    assert_int_equal(ends[1], 2);
    assert_true(choir_tokenizer_is_end(smollm, 2));
    assert_false(choir_tokenizer_is_end(smollm, 1));
    assert_false(choir_tokenizer_adds_bos(smollm));
    assert_int_equal(choir_tokenizer_bos(smollm), 1);
    assert_int_equal(choir_tokenizer_size(smollm), 49152);
    assert_true(choir_tokenizer_is_control(smollm, 16));
    assert_false(choir_tokenizer_is_control(smollm, 17));
    assert_int_equal(choir_tokenizer_find_control(smollm, "<|im_end|>"), 2);
    assert_int_equal(choir_tokenizer_find_control(smollm, "<|im_end|"), -1);
    assert_int_equal(choir_tokenizer_find_control(smollm, "<|im_end|>x"), -1);
    assert_int_equal(choir_tokenizer_find_control(smollm, "the"), -1);
    assert_int_equal(choir_tokenizer_find_control(smollm, ""), -1);
}

static void marks_of_llama3_and_gpt2(void **state)
{
    (void)state;
    size_t n_ends;
    const int32_t *ends = choir_tokenizer_end_ids(llama3, &n_ends);
    assert_int_equal(n_ends, 2);
    assert_int_equal(ends[0], 128001);
    assert_int_equal(ends[1], 128009);
    assert_true(choir_tokenizer_adds_bos(llama3));
    assert_int_equal(choir_tokenizer_bos(llama3), 128000);
    ends = choir_tokenizer_end_ids(gpt2, &n_ends);
    assert_int_equal(n_ends, 1);
    assert_int_equal(ends[0], 50256);
    assert_false(choir_tokenizer_adds_bos(gpt2));
}

static void assert_no_control(const choir_tokenizer *tokenizer, const char *text, size_t length)
{
    size_t n_ids;
    int32_t *ids = encode(tokenizer, text, length, false, &n_ids);
    for (size_t i = 0; i < n_ids; i++)
        assert_false(choir_tokenizer_is_control(tokenizer, ids[i]));
    assert_round_trip(tokenizer, ids, n_ids, text, length);
    free(ids);
}

/* Every control word of every tokenizer, alone, in a row and inside of words. */
static void t22_control_words_in_user_text_stay_text(void **state)
{
    (void)state;
    const choir_tokenizer *const tokenizers[] = {smollm, gpt2, llama3};
    for (size_t i = 0; i < 3; i++) {
        int n_controls = 0;
        for (int32_t id = 0; id < choir_tokenizer_size(tokenizers[i]); id++) {
            const char *word;
            size_t length, n_ids;
            char text[256];
            if (!choir_tokenizer_is_control(tokenizers[i], id))
                continue;
            n_controls++;
            choir_tokenizer_piece(tokenizers[i], id, &word, &length);
            assert_no_control(tokenizers[i], word, length);
            const int n = snprintf(text, sizeof text, "a%.*s%.*s b\n%.*s", (int)length, word,
                                   (int)length, word, (int)length, word);
            assert_no_control(tokenizers[i], text, (size_t)n);
            /* The same text where it is a template's: the word three times. */
            int32_t *ids = encode(tokenizers[i], text, (size_t)n, true, &n_ids);
            int n_found = 0;
            for (size_t k = 0; k < n_ids; k++)
                n_found += ids[k] == id;
            assert_int_equal(n_found, 3);
            free(ids);
        }
        assert_int_equal(n_controls, i == 0 ? 17 : i == 1 ? 1 : 256);
    }
}

static void bytes_that_are_no_utf8_come_back_as_they_were(void **state)
{
    (void)state;
    static const char text[] = "a\xff\xfe b\xe2\x82"
                               "c\xc3";
    size_t n_ids, at = 0;
    int32_t *ids = encode(gpt2, text, sizeof text - 1, false, &n_ids);
    for (size_t i = 0; i < n_ids; i++) {
        const char *piece;
        size_t length;
        choir_tokenizer_piece(gpt2, ids[i], &piece, &length);
        assert_memory_equal(piece, text + at, length);
        at += length;
    }
    assert_int_equal(at, sizeof text - 1);
    free(ids);
}

/* Of the bytes that the default model has no token for, all others are kept. */
static void bytes_without_a_token_are_left_out(void **state)
{
    (void)state;
    static const char text[] = "one\x04two \x06\x13.";
    size_t n_ids;
    int32_t *ids = encode(smollm, text, sizeof text - 1, false, &n_ids);
    assert_round_trip(smollm, ids, n_ids, "onetwo .", 8);
    free(ids);
}

static void an_empty_text_has_no_ids(void **state)
{
    (void)state;
    size_t n_ids = 1;
    int32_t *ids = encode(smollm, NULL, 0, true, &n_ids);
    assert_int_equal(n_ids, 0);
    free(ids);
}

static void texts_over_the_cap_are_refused(void **state)
{
    (void)state;
    int32_t *ids;
    size_t n_ids;
    assert_int_equal(choir_tokenizer_encode(smollm, "a", (size_t)CHOIR_TOKENIZER_MAX_TEXT + 1,
                                            false, &ids, &n_ids),
                     CHOIR_EINVALID);
    assert_null(ids);
    assert_int_equal(n_ids, 0);
}

/*
 * The count of steps is in test_bpe.c and the match limit in test_pretokenize.c; here the whole
 * way, on real vocabularies.
 */
static void t21_4_mib_of_one_character(void **state)
{
    (void)state;
    enum { N = 4 << 20 };
    static const char *const units[] = {"a", " ", "\n", "1", "\xf0\x9f\x99\x82", "\xcc\x81"};
    char *text;
    assert_int_equal(choir_alloc(N, 1, (void **)&text), CHOIR_OK);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        const size_t unit = strlen(units[i]);
        for (size_t at = 0; at < N; at += unit)
            memcpy(text + at, units[i], unit);
        const choir_tokenizer *tokenizer = i % 2 == 0 ? smollm : llama3;
        size_t n_ids;
        int32_t *ids = encode(tokenizer, text, N, true, &n_ids);
        assert_round_trip(tokenizer, ids, n_ids, text, N);
        free(ids);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_texts_give_the_golden_ids),
        cmocka_unit_test(llama_cpp_vectors_give_the_same_ids),
        cmocka_unit_test(marks_of_the_default_model),
        cmocka_unit_test(marks_of_llama3_and_gpt2),
        cmocka_unit_test(t22_control_words_in_user_text_stay_text),
        cmocka_unit_test(bytes_that_are_no_utf8_come_back_as_they_were),
        cmocka_unit_test(bytes_without_a_token_are_left_out),
        cmocka_unit_test(an_empty_text_has_no_ids),
        cmocka_unit_test(texts_over_the_cap_are_refused),
        cmocka_unit_test(t21_4_mib_of_one_character),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
