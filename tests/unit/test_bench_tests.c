/* SPDX-License-Identifier: Apache-2.0 */
/* The words of a benchmark's tests: what is written reads back, and nothing else is read. */
#include "cli/bench_tests.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void writes_and_reads(void **state)
{
    static const struct {
        const char *text;
        choir_bench_word word;
    } cases[] = {
        {"pp512", {true, 512, 1, 0}},
        {"tg128", {false, 128, 1, 0}},
        {"pp64@1024", {true, 64, 1, 1024}},
        {"tg128x8", {false, 128, 8, 0}},
        {"tg16777216x4096@16777216", {false, 16777216, 4096, 16777216}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        choir_bench_word words[CHOIR_BENCH_TESTS_MAX];
        char text[CHOIR_BENCH_WORD_BYTES];
        int n = 0;
        choir_bench_word_write(&cases[i].word, text);
        assert_string_equal(text, cases[i].text);
        assert_int_equal(choir_bench_words_parse(text, words, &n), CHOIR_OK);
        assert_int_equal(n, 1);
        assert_int_equal(words[0].is_prefill, cases[i].word.is_prefill);
        assert_int_equal(words[0].n_tokens, cases[i].word.n_tokens);
        assert_int_equal(words[0].batch, cases[i].word.batch);
        assert_int_equal(words[0].depth, cases[i].word.depth);
    }
}

static void reads_lists(void **state)
{
    choir_bench_word words[CHOIR_BENCH_TESTS_MAX];
    char text[8 * (CHOIR_BENCH_TESTS_MAX + 1)] = "";
    int n = 0;
    (void)state;
    assert_int_equal(choir_bench_words_parse("pp1,tg2x3,tg4@5", words, &n), CHOIR_OK);
    assert_int_equal(n, 3);
    assert_int_equal(words[2].depth, 5);
    for (int i = 0; i < CHOIR_BENCH_TESTS_MAX; i++)
        strcat(text, i == 0 ? "pp1" : ",pp1");
    assert_int_equal(choir_bench_words_parse(text, words, &n), CHOIR_OK);
    assert_int_equal(n, CHOIR_BENCH_TESTS_MAX);
    strcat(text, ",pp1");
    assert_int_equal(choir_bench_words_parse(text, words, &n), CHOIR_EUSAGE);
}

static void refuses(void **state)
{
    static const char *const bad[] = {
        "",           "pp",
        "512",        "pp0",
        "pp-1",       "pp 1",
        "pp1,",       "pp1,,tg1",
        "tg1x",       "tg1x0",
        "tg1x4097",   "tg1@",
        "tg1@-1",     "pp1x2",
        "tg1@1x2",    "tg1y",
        "xx1",        "pp1e3",
        "pp16777217", "tg1@99999999999999999999",
        "pp+1",       "pp00000000000000000000000000000000000000000000000000000000000000001",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        choir_bench_word words[CHOIR_BENCH_TESTS_MAX];
        int n = 0;
        if (choir_bench_words_parse(bad[i], words, &n) != CHOIR_EUSAGE)
            fail_msg("taken: %s", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_and_reads),
        cmocka_unit_test(reads_lists),
        cmocka_unit_test(refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
