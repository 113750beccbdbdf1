/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/engine_flags.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static choir_engine_options options;

/* Parses words[0..n) as a worker does. */
static choir_status parse(char **words, int n)
{
    char *argv[64] = {NULL};
    int n_rest;
    bool is_help_shown;
    options = choir_engine_options_default();
    const choir_flag_group group = choir_engine_flags(&options);
    const choir_command command = {"choir-worker", "", "", "", &group, 1};
    assert_true(n < 63);
    for (int i = 0; i < n; i++)
        argv[i + 1] = words[i];
    const choir_status status = choir_flags_parse(&command, n + 1, argv, &n_rest, &is_help_shown);
    assert_true(status != CHOIR_OK || n_rest == 0);
    return status;
}

static void expect_argv(const choir_engine_options *given, const char *const *expected, size_t n)
{
    char **argv;
    assert_int_equal(choir_engine_options_to_argv(given, &argv), CHOIR_OK);
    for (size_t i = 0; i < n; i++) {
        assert_non_null(argv[i]);
        assert_string_equal(argv[i], expected[i]);
    }
    assert_null(argv[n]);
    choir_engine_argv_destroy(&argv);
    assert_null(argv);
    choir_engine_argv_destroy(&argv);
}

static void test_defaults_need_no_flags(void **state)
{
    (void)state;
    const choir_engine_options given = choir_engine_options_default();
    expect_argv(&given, NULL, 0);
    assert_int_equal(given.n_ranks, 1);
    assert_string_equal(given.activations, "q8");
}

static void test_every_flag_comes_back(void **state)
{
    (void)state;
    char *words[] = {"--model",
                     "a b.gguf",
                     "-tp",
                     "3",
                     "-pp",
                     "2",
                     "--tensor-split",
                     "5,3,0.10000000000000001",
                     "--layer-split",
                     "2,1",
                     "--threads",
                     "4",
                     "--level",
                     "avx2",
                     "--activations",
                     "f32",
                     "--cache-type-k",
                     "q8_0",
                     "--cache-type-v",
                     "f32",
                     "--max-model-len",
                     "100",
                     "--max-num-seqs",
                     "7",
                     "--max-num-batched-tokens",
                     "64",
                     "--max-step-ms",
                     "50",
                     "--enable-prefix-caching",
                     "--kv-cache-memory",
                     "1000000",
                     "--verify"};
    const int n = (int)(sizeof words / sizeof words[0]);
    assert_int_equal(parse(words, n), CHOIR_OK);
    assert_int_equal(options.tp, 3);
    assert_int_equal(options.max_num_batched_tokens, 64);
    assert_true(options.is_verified);
    assert_int_equal(choir_engine_options_check(&options), CHOIR_OK);
    expect_argv(&options, (const char *const *)words, (size_t)n);
    /* No flag of the table is missing above but the one that excludes another. */
    const choir_flag_group group = choir_engine_flags(&options);
    assert_int_equal(2 * (group.n_flags - 1) - 2, n);
    char *both[] = {"-m", "f", "--enable-prefix-caching", "--no-enable-prefix-caching"};
    assert_int_equal(parse(both, 4), CHOIR_OK);
    assert_int_equal(choir_engine_options_check(&options), CHOIR_EUSAGE);
}

static void test_a_model_is_needed(void **state)
{
    (void)state;
    char *no_model[] = {"-tp", "2"};
    assert_int_equal(parse(no_model, 2), CHOIR_OK);
    assert_int_equal(choir_engine_options_check(&options), CHOIR_EUSAGE);
    char *model[] = {"-m", "a.gguf"};
    assert_int_equal(parse(model, 2), CHOIR_OK);
    assert_int_equal(choir_engine_options_check(&options), CHOIR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_need_no_flags),
        cmocka_unit_test(test_every_flag_comes_back),
        cmocka_unit_test(test_a_model_is_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
