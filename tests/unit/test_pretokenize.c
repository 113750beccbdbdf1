/* SPDX-License-Identifier: Apache-2.0 */
#include "model/pretokenize.h"

#include "common/mem.h"
#include "common/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 512 };

/* Pieces joined with '|'. */
typedef struct joined {
    char text[MAX_TEXT];
    size_t length;
} joined;

static choir_status join(void *context, const char *piece, size_t length)
{
    joined *all = context;
    assert_in_range(length, 1, sizeof all->text - all->length - 2);
    if (all->length > 0)
        all->text[all->length++] = '|';
    memcpy(all->text + all->length, piece, length);
    all->length += length;
    return CHOIR_OK;
}

static choir_pretokenizer *make(const char *name)
{
    choir_pretokenizer *made;
    assert_int_equal(choir_pretokenizer_create(name, strlen(name), &made), CHOIR_OK);
    return made;
}

/* Takes the cuts out of each text and expects the rule to make them again. */
static void check(const char *name, const char *const *texts, size_t n_texts)
{
    choir_pretokenizer *pretokenizer = make(name);
    for (size_t i = 0; i < n_texts; i++) {
        char text[MAX_TEXT];
        size_t length = 0;
        joined cut = {.length = 0};
        for (const char *c = texts[i]; *c; c++)
            if (*c != '|')
                text[length++] = *c;
        assert_int_equal(choir_pretokenize(pretokenizer, text, length, join, &cut), CHOIR_OK);
        assert_string_equal(cut.text, texts[i]);
    }
    choir_pretokenizer_destroy(&pretokenizer);
    choir_pretokenizer_destroy(&pretokenizer);
}

#define CHECK(name, ...)                                                                           \
    do {                                                                                           \
        static const char *const texts[] = {__VA_ARGS__};                                          \
        check(name, texts, sizeof texts / sizeof texts[0]);                                        \
    } while (0)

static void gpt2_keeps_numbers_together(void **state)
{
    (void)state;
    CHECK("gpt-2", "", "Hello| world|!", "a| 2024|.|5| | 66", "\xd9\xa3\xd9\xa4| x", "x|  \n \n",
          "\r\n\r\n | foo|(|bar|);|\n\n|\t|}");
}

static void smollm_cuts_every_digit_and_leaves_the_spaces_before_it_together(void **state)
{
    (void)state;
    CHECK("smollm", "", "Hello| world|!", "a|   |2|0|2|4|.|5|  |6|6", "\xd9\xa3|\xd9\xa4| x",
          "a|  | b", "x|  \n \n", "1|a|'s");
}

static void llama_takes_three_digits_and_line_ends_after_marks(void **state)
{
    (void)state;
    CHECK("llama-bpe", "", "Hello| world|!", "a|  | |202|4|.|5| | |66",
          "\r\n\r\n| | foo|(bar|);\n\n|\t|}", "x|  \n \n", "\tword|\t|\tword",
          "a|\xe3\x80\x80"
          "b");
}

static void contractions_are_pieces(void **state)
{
    (void)state;
    CHECK("gpt-2", "I|'m| you|'re| '|tis|'s", "you|'|RE");
    CHECK("llama-bpe", "I|'m| you|'RE|there|'Ll", " '|tis");
}

/* U+0085 is white space; U+180E is none since Unicode 6.3, whatever PCRE2's \s says. */
static void white_space_is_unicodes(void **state)
{
    (void)state;
    CHECK("gpt-2", "a|\xc2\x85|b", "a| \xe1\xa0\x8e|b", "a|\xc2\xa0\xe2\x80\x83|\xe3\x80\x80|b");
}

static void bytes_that_are_not_utf8_are_pieces_of_their_own(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt-2", "smollm", "llama-bpe"};
    static const char *const texts[] = {"a|\xff\xfe|b", " |\xe2\x82|c", "\xed\xa0\x80",
                                        "\xc3|\n|\xf4\x90\x80\x80|a|\xc3"};
    for (size_t i = 0; i < 3; i++)
        check(names[i], texts, sizeof texts / sizeof texts[0]);
}

static void a_nul_is_a_character(void **state)
{
    (void)state;
    choir_pretokenizer *pretokenizer = make("smollm");
    joined cut = {.length = 0};
    assert_int_equal(choir_pretokenize(pretokenizer, "a\0b", 3, join, &cut), CHOIR_OK);
    assert_int_equal(cut.length, 5);
    assert_memory_equal(cut.text, "a|\0|b", 5);
    choir_pretokenizer_destroy(&pretokenizer);
}

static void unknown_names_are_unsupported_and_named(void **state)
{
    (void)state;
    static const char *const names[] = {"", "default", "smoll", "smollm2", "gpt-2x"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        choir_pretokenizer *made;
        assert_int_equal(choir_pretokenizer_create(names[i], strlen(names[i]), &made),
                         CHOIR_EUNSUPPORTED);
        assert_null(made);
        assert_non_null(strstr(choir_error(), names[i]));
    }
}

static choir_status refuse(void *context, const char *piece, size_t length)
{
    (void)piece;
    (void)length;
    return ++*(int *)context == 2 ? CHOIR_ECANCELLED : CHOIR_OK;
}

static void a_failure_of_the_taker_ends_it(void **state)
{
    (void)state;
    choir_pretokenizer *pretokenizer = make("smollm");
    int n_calls = 0;
    assert_int_equal(choir_pretokenize(pretokenizer, "a b c \xff d", 9, refuse, &n_calls),
                     CHOIR_ECANCELLED);
    assert_int_equal(n_calls, 2);
    choir_pretokenizer_destroy(&pretokenizer);
}

typedef struct tally {
    size_t n_pieces, n_bytes;
} tally;

static choir_status count(void *context, const char *piece, size_t length)
{
    tally *sums = context;
    (void)piece;
    sums->n_pieces++;
    sums->n_bytes += length;
    return CHOIR_OK;
}

/*
 * 1 MiB made of one unit, and a letter behind. Were a rule quadratic, the match limit (two steps a
 * byte) or ctest's time limit would end this.
 */
static void t21_long_runs_are_cut_in_linear_time(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    static const char *const names[] = {"gpt-2", "smollm", "llama-bpe"};
    static const char *const units[] = {
        "a",    " ",   "\n",           "1",          ".",   "'", "\xf0\x9f\x99\x82", "\xcc\x81",
        "\r\n", " \n", "\xe3\x80\x80", "\xcc\x81\n", " a ", "1 "};
    char *text;
    assert_int_equal(choir_alloc(N + 1, 1, (void **)&text), CHOIR_OK);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        choir_pretokenizer *pretokenizer = make(names[i]);
        for (size_t j = 0; j < sizeof units / sizeof units[0]; j++) {
            const size_t unit = strlen(units[j]);
            const size_t length = N / unit * unit;
            tally sums = {0};
            for (size_t at = 0; at < length; at += unit)
                memcpy(text + at, units[j], unit);
            text[length] = 'x';
            assert_int_equal(choir_pretokenize(pretokenizer, text, length + 1, count, &sums),
                             CHOIR_OK);
            assert_int_equal(sums.n_bytes, length + 1);
            assert_in_range(sums.n_pieces, 1, length + 1);
        }
        choir_pretokenizer_destroy(&pretokenizer);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpt2_keeps_numbers_together),
        cmocka_unit_test(smollm_cuts_every_digit_and_leaves_the_spaces_before_it_together),
        cmocka_unit_test(llama_takes_three_digits_and_line_ends_after_marks),
        cmocka_unit_test(contractions_are_pieces),
        cmocka_unit_test(white_space_is_unicodes),
        cmocka_unit_test(bytes_that_are_not_utf8_are_pieces_of_their_own),
        cmocka_unit_test(a_nul_is_a_character),
        cmocka_unit_test(unknown_names_are_unsupported_and_named),
        cmocka_unit_test(a_failure_of_the_taker_ends_it),
        cmocka_unit_test(t21_long_runs_are_cut_in_linear_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
