/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/load_prompts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { VOCABULARY = 300, PREFIX = 5, INPUT = 70 };

static const choir_load_prompts_options usual = {
    .n_prompts = 9, .prefix_len = PREFIX, .input_len = INPUT, .output_len = 4, .seed = 7};

static choir_load_prompts *make(const choir_load_prompts_options *options)
{
    choir_load_prompts *prompts;
    assert_int_equal(choir_load_prompts_create(options, &prompts), CHOIR_OK);
    assert_int_equal(choir_load_prompts_fit(prompts, VOCABULARY, 1 << 20), CHOIR_OK);
    return prompts;
}

/* All prompts begin with the same tokens and go on with different ones; a seed gives them again. */
static void test_random_prompts(void **state)
{
    int32_t seen[9][PREFIX + INPUT];
    choir_load_prompts *prompts = make(&usual), *again = make(&usual);
    (void)state;
    assert_int_equal(choir_load_prompts_count(prompts), 9);
    for (size_t i = 0; i < 9; i++) {
        const choir_generate_request request = choir_load_prompts_get(prompts, i);
        assert_int_equal(request.n_token_ids, PREFIX + INPUT);
        assert_int_equal(request.sampling.max_tokens, 4);
        assert_true(request.sampling.ignore_eos && request.sampling.has_max_tokens);
        memcpy(seen[i], request.token_ids, sizeof seen[i]);
        for (size_t k = 0; k < PREFIX + INPUT; k++)
            assert_in_range(seen[i][k], 0, VOCABULARY - 1);
        assert_memory_equal(seen[i], seen[0], PREFIX * sizeof seen[0][0]);
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(seen[i] + PREFIX, seen[k] + PREFIX, INPUT * sizeof seen[0][0]);
    }
    for (size_t i = 9; i-- > 0;)
        assert_memory_equal(choir_load_prompts_get(again, i).token_ids, seen[i], sizeof seen[i]);
    choir_load_prompts_destroy(&prompts);
    choir_load_prompts_destroy(&again);
    choir_load_prompts_destroy(&again);
}

static void test_seed_changes_all(void **state)
{
    choir_load_prompts_options options = usual;
    choir_load_prompts *prompts = make(&usual);
    (void)state;
    options.seed = usual.seed + (1ULL << 32);
    choir_load_prompts *other = make(&options);
    assert_memory_not_equal(choir_load_prompts_get(prompts, 0).token_ids,
                            choir_load_prompts_get(other, 0).token_ids, PREFIX * sizeof(int32_t));
    choir_load_prompts_destroy(&prompts);
    choir_load_prompts_destroy(&other);
}

static void test_default_count(void **state)
{
    choir_load_prompts_options options = usual;
    (void)state;
    options.n_prompts = 0;
    choir_load_prompts *prompts = make(&options);
    assert_int_equal(choir_load_prompts_count(prompts), 100);
    choir_load_prompts_destroy(&prompts);
}

/* An answer that would be cut makes no fair figure. */
static void test_too_long(void **state)
{
    choir_load_prompts *prompts = make(&usual);
    (void)state;
    assert_int_equal(choir_load_prompts_fit(prompts, VOCABULARY, PREFIX + INPUT + 4), CHOIR_OK);
    assert_int_equal(choir_load_prompts_fit(prompts, VOCABULARY, PREFIX + INPUT + 3), CHOIR_EUSAGE);
    assert_non_null(strstr(choir_error(), "prompts of 75 tokens with answers of 4"));
    choir_load_prompts_destroy(&prompts);
}

/* A file of these lines; its path is for unlink() and free(). */
static char *write_dataset(const char *lines)
{
    char *path = strdup("/tmp/choir-load-prompts-XXXXXX");
    const int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    assert_int_equal(write(descriptor, lines, strlen(lines)), strlen(lines));
    assert_int_equal(close(descriptor), 0);
    return path;
}

static void test_dataset(void **state)
{
    char *path = write_dataset("{\"prompt\": \"one\", \"max_tokens\": 3}\n\n"
                               "{\"token_ids\": [4, 5]}\n{\"prompt\": \"three\"}\n");
    choir_load_prompts_options options = {.dataset = path};
    choir_load_prompts *prompts = make(&options);
    (void)state;
    assert_int_equal(choir_load_prompts_count(prompts), 3);
    const choir_generate_request first = choir_load_prompts_get(prompts, 0);
    assert_memory_equal(first.text, "one", 3);
    assert_int_equal(first.sampling.max_tokens, 3);
    assert_true(first.return_token_ids);
    assert_int_equal(choir_load_prompts_get(prompts, 1).token_ids[1], 5);
    choir_load_prompts_destroy(&prompts);
    options.n_prompts = 2;
    prompts = make(&options);
    assert_int_equal(choir_load_prompts_count(prompts), 2);
    choir_load_prompts_destroy(&prompts);
    unlink(path);
    free(path);
}

static void test_bad_dataset(void **state)
{
    static const struct {
        const char *lines, *words;
        choir_status status;
    } cases[] = {
        {"\n", "no requests in it", CHOIR_EINVALID},
        {"{\"prompt\": \"one\"}\n{\"promt\": 1}\n", "2: ", CHOIR_EINVALID},
        {"{\"prompt\"\n", "1: ", CHOIR_EFORMAT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *path = write_dataset(cases[i].lines);
        const choir_load_prompts_options options = {.dataset = path};
        choir_load_prompts *prompts;
        assert_int_equal(choir_load_prompts_create(&options, &prompts), cases[i].status);
        assert_null(prompts);
        assert_non_null(strstr(choir_error(), cases[i].words));
        unlink(path);
        free(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_prompts), cmocka_unit_test(test_seed_changes_all),
        cmocka_unit_test(test_default_count),  cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_dataset),        cmocka_unit_test(test_bad_dataset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
