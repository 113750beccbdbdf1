/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/token_rules.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { V = 100 };

static choir_token_rules *create(const choir_token_wishes *wishes, int64_t n_stop_ids)
{
    choir_token_rules *rules = NULL;
    if (choir_token_rules_create(wishes, V, n_stop_ids, &rules))
        fail_msg("%s", choir_error());
    return rules;
}

static void test_no_wishes_no_rules(void **state)
{
    static const int32_t tokens[] = {1, 2, 3};
    const choir_token_wishes none = {0};
    choir_sampling_lists lists;
    (void)state;
    choir_token_rules *rules = create(&none, 3);
    assert_null(rules);
    choir_token_rules_lists(rules, tokens, 3, 2, NULL, &lists);
    assert_int_equal(lists.n_bias + lists.n_allowed + lists.n_banned, 0);
    assert_ptr_equal(lists.history, tokens);
    assert_int_equal(lists.n_history, 3);
    assert_int_equal(lists.n_prompt, 2);
    choir_token_rules_destroy(&rules);
}

static void test_allowed_ones_ascend_each_once(void **state)
{
    static const int32_t given[] = {9, 3, 9, 0, 99, 3}, expected[] = {0, 3, 9, 99};
    const choir_token_wishes wishes = {.allowed = given, .n_allowed = 6};
    choir_sampling_lists lists;
    (void)state;
    choir_token_rules *rules = create(&wishes, 0);
    choir_token_rules_lists(rules, NULL, 0, 0, NULL, &lists);
    assert_int_equal(lists.n_allowed, 4);
    assert_memory_equal(lists.allowed, expected, sizeof expected);
    choir_token_rules_destroy(&rules);
    assert_null(rules);
}

static void test_no_end_before_min_tokens(void **state)
{
    static const int32_t tokens[] = {1, 2, 3, 4, 5}, stops[] = {7, 8};
    const choir_token_wishes wishes = {.min_tokens = 2};
    choir_sampling_lists lists;
    (void)state;
    choir_token_rules *rules = create(&wishes, 2);
    for (int64_t n = 2; n <= 5; n++) {
        choir_token_rules_lists(rules, tokens, n, 2, stops, &lists);
        assert_int_equal(lists.n_banned, n < 4 ? 2 : 0);
        if (lists.n_banned)
            assert_memory_equal(lists.banned, stops, sizeof stops);
    }
    choir_token_rules_destroy(&rules);
}

static void test_the_last_token_of_a_bad_word_is_banned(void **state)
{
    static const int32_t ids[] = {5, /**/ 6, 7, /**/ 6, 6, 8}, lengths[] = {1, 2, 3};
    static const int32_t tokens[] = {6, 6, /* the prompt */ 6, 6, 9};
    static const struct {
        int64_t n_tokens;
        int32_t n_banned, banned[3];
    } cases[] = {{2, 1, {5}}, {3, 2, {5, 7}}, {4, 3, {5, 7, 8}}, {5, 1, {5}}};
    const choir_token_wishes wishes = {.bad_ids = ids, .bad_lengths = lengths, .n_bad_words = 3};
    choir_sampling_lists lists;
    (void)state;
    choir_token_rules *rules = create(&wishes, 0);
    for (size_t i = 0; i < 4; i++) {
        choir_token_rules_lists(rules, tokens, cases[i].n_tokens, 2, NULL, &lists);
        assert_int_equal(lists.n_banned, cases[i].n_banned);
        assert_memory_equal(lists.banned, cases[i].banned,
                            (size_t)lists.n_banned * sizeof(int32_t));
    }
    choir_token_rules_destroy(&rules);
}

static void refuse(const choir_token_wishes *wishes, const char *field)
{
    choir_token_rules *rules = NULL;
    assert_int_equal(choir_token_rules_create(wishes, V, 0, &rules), CHOIR_EINVALID);
    assert_null(rules);
    if (!strstr(choir_error(), field))
        fail_msg("\"%s\" does not name %s", choir_error(), field);
}

static void test_what_is_out_of_range_is_refused(void **state)
{
    static const choir_logit_bias twice[] = {{1, 1}, {1, 2}}, large[] = {{1, 100.5f}};
    static const choir_logit_bias no_number[] = {{1, NAN}}, outside[] = {{V, 1}},
                                  negative[] = {{-1, 1}};
    static const choir_logit_bias *const biases[] = {twice, large, no_number, outside, negative};
    static const int32_t bad[] = {V, -1}, zero[] = {0}, huge[] = {INT32_MAX};
    (void)state;
    for (int i = 0; i < 5; i++)
        refuse(&(choir_token_wishes){.bias = biases[i], .n_bias = i ? 1 : 2}, "logit_bias");
    refuse(&(choir_token_wishes){.n_bias = CHOIR_MAX_LOGIT_BIAS + 1}, "logit_bias");
    for (int i = 0; i < 2; i++)
        refuse(&(choir_token_wishes){.allowed = bad + i, .n_allowed = 1}, "allowed_token_ids");
    refuse(&(choir_token_wishes){.n_allowed = CHOIR_MAX_ALLOWED + 1}, "allowed_token_ids");
    refuse(&(choir_token_wishes){.n_bad_words = CHOIR_MAX_BAD_WORDS + 1}, "bad_words");
    refuse(&(choir_token_wishes){.bad_ids = zero, .bad_lengths = zero, .n_bad_words = 1},
           "bad_words");
    refuse(&(choir_token_wishes){.bad_ids = zero, .bad_lengths = huge, .n_bad_words = 1},
           "bad_words");
    static const int32_t one[] = {1};
    refuse(&(choir_token_wishes){.bad_ids = bad, .bad_lengths = one, .n_bad_words = 1},
           "bad_words");
    refuse(&(choir_token_wishes){.min_tokens = -1}, "min_tokens");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_wishes_no_rules),
        cmocka_unit_test(test_allowed_ones_ascend_each_once),
        cmocka_unit_test(test_no_end_before_min_tokens),
        cmocka_unit_test(test_the_last_token_of_a_bad_word_is_banned),
        cmocka_unit_test(test_what_is_out_of_range_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
