/* SPDX-License-Identifier: Apache-2.0 */
/* What is allowed, up to the edges; what is not stands in test_frontend_fields.c. */
#include "coordinator/request_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const choir_request_limits limits = {.n_vocab = 100, .model = "m", .has_template = true};

static choir_error_kind check(Choir__Client__SamplingParams *params)
{
    Choir__Client__Generate generate = CHOIR__CLIENT__GENERATE__INIT;
    const char *param = "";
    generate.request_id = (char *)"r";
    generate.input_case = CHOIR__CLIENT__GENERATE__INPUT_TEXT;
    generate.text = (char *)"a";
    generate.sampling = params;
    return choir_request_check_generate(&generate, &limits, &param);
}

static void edges_are_inside(void **state)
{
    static const float temperatures[] = {0, -0.0f, 0.01f, 1, 100};
    static const int64_t top_ks[] = {0, 1, INT32_MAX};
    static const float top_ps[] = {1e-30f, 0.5f, 1}, min_ps[] = {0, 1};
    static const int64_t max_tokens[] = {1, INT32_MAX}, ns[] = {0, 128};
    (void)state;
    assert_int_equal(check(NULL), CHOIR_ERROR_NONE);
#define ALLOW_EACH(array, field, number)                                                           \
    for (size_t i = 0; i < sizeof array / sizeof array[0]; i++) {                                  \
        Choir__Client__SamplingParams params = CHOIR__CLIENT__SAMPLING_PARAMS__INIT;               \
        params.field##_presence_case = number;                                                     \
        params.field = array[i];                                                                   \
        assert_int_equal(check(&params), CHOIR_ERROR_NONE);                                        \
    }
    ALLOW_EACH(temperatures, temperature, 1)
    ALLOW_EACH(top_ks, top_k, 2)
    ALLOW_EACH(top_ps, top_p, 3)
    ALLOW_EACH(min_ps, min_p, 4)
    ALLOW_EACH(max_tokens, max_tokens, 10)
    for (size_t i = 0; i < 2; i++) {
        Choir__Client__SamplingParams params = CHOIR__CLIENT__SAMPLING_PARAMS__INIT;
        params.n = ns[i];
        assert_int_equal(check(&params), CHOIR_ERROR_NONE);
    }
}

static void absent_field_is_not_looked_at(void **state)
{
    Choir__Client__SamplingParams params = CHOIR__CLIENT__SAMPLING_PARAMS__INIT;
    Choir__Engine__Sampling sampling;
    (void)state;
    params.temperature = -1; /* without its presence case */
    params.top_k = -5;
    assert_int_equal(check(&params), CHOIR_ERROR_NONE);
    choir_request_sampling(&params, 42, &sampling);
    assert_true(sampling.temperature == 1 && sampling.top_k == 0 && sampling.seed == 42);
}

static void seed_zero_is_a_seed(void **state)
{
    Choir__Client__SamplingParams params = CHOIR__CLIENT__SAMPLING_PARAMS__INIT;
    Choir__Engine__Sampling sampling;
    (void)state;
    params.seed_presence_case = CHOIR__CLIENT__SAMPLING_PARAMS__SEED_PRESENCE_SEED;
    choir_request_sampling(&params, 42, &sampling);
    assert_true(sampling.seed == 0);
}

static void lengths(void **state)
{
    (void)state;
    assert_int_equal(choir_request_check_length(0, 1, 10), CHOIR_ERROR_INPUT_EMPTY);
    assert_int_equal(choir_request_check_length(9, 1, 10), CHOIR_ERROR_NONE);
    assert_int_equal(choir_request_check_length(10, 1, 10), CHOIR_ERROR_INPUT_TOKENS);
    assert_int_equal(choir_request_check_length(10, 0, 10), CHOIR_ERROR_NONE);
    assert_int_equal(choir_request_check_length(11, 0, 10), CHOIR_ERROR_INPUT_TOKENS);
    assert_int_equal(choir_request_check_length(SIZE_MAX, 1, 10), CHOIR_ERROR_INPUT_TOKENS);
    assert_int_equal(choir_request_check_length(1, 1, 0), CHOIR_ERROR_INPUT_TOKENS);
}

static void max_tokens_fits_the_room(void **state)
{
    Choir__Client__SamplingParams params = CHOIR__CLIENT__SAMPLING_PARAMS__INIT;
    (void)state;
    assert_int_equal(choir_request_max_tokens(NULL, 7), 7);
    assert_int_equal(choir_request_max_tokens(&params, 7), 7);
    params.max_tokens_presence_case =
        CHOIR__CLIENT__SAMPLING_PARAMS__MAX_TOKENS_PRESENCE_MAX_TOKENS;
    params.max_tokens = 3;
    assert_int_equal(choir_request_max_tokens(&params, 7), 3);
    params.max_tokens = INT32_MAX;
    assert_int_equal(choir_request_max_tokens(&params, 7), 7);
}

static void texts_that_cannot_fit(void **state)
{
    const choir_request_limits some = {.longest_piece = 10};
    const choir_request_limits huge = {.longest_piece = SIZE_MAX / 2};
    (void)state;
    assert_int_equal(choir_request_max_bytes(&some, 2048), 20480);
    assert_int_equal(choir_request_max_bytes(&huge, 2), SIZE_MAX - 1);
    assert_int_equal(choir_request_max_bytes(&huge, 3), SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edges_are_inside),         cmocka_unit_test(absent_field_is_not_looked_at),
        cmocka_unit_test(seed_zero_is_a_seed),      cmocka_unit_test(lengths),
        cmocka_unit_test(max_tokens_fits_the_room), cmocka_unit_test(texts_that_cannot_fit),
    };
    return cmocka_run_group_tests_name("request_check", tests, NULL, NULL);
}
