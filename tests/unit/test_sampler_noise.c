/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The noise of the sampling rule against the second implementation's bits, and its draws against
 * the softmax that they stand for.
 */
#include "coordinator/sampler.h"

#include "common/json.h"
#include "kernels/sampling.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const choir_kernels *kernels;
static const choir_sampling_lists no_lists;

static int get_kernels(void **state)
{
    (void)state;
    return choir_kernels_get(CHOIR_LEVEL_REF, &kernels);
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static choir_json *read_fixture(void)
{
    static char text[1 << 16];
    choir_json *json = NULL;
    FILE *file = fopen("tests/fixtures/reference/fingerprint.json", "r");
    assert_non_null(file);
    const size_t length = fread(text, 1, sizeof text, file);
    fclose(file);
    assert_int_equal(choir_json_parse(text, length, &json), CHOIR_OK);
    return json;
}

static float gumbel(uint64_t seed, int64_t position, int32_t choice, int64_t id)
{
    const choir_sampling s = {.seed = seed, .choice = choice};
    uint32_t words[4];
    choir_sampling_noise(&s, position, id / 4, words);
    return choir_sampling_gumbel(words[id % 4]);
}

static void test_noise_has_the_bits_of_the_reference(void **state)
{
    choir_json *json = read_fixture();
    const choir_json *cases = choir_json_get(json, "gumbel_seed42_position7_choice0");
    (void)state;
    assert_int_equal(choir_json_size(cases), 8);
    for (size_t i = 0; i < 8; i++) {
        const choir_json *expected = choir_json_at(cases, i);
        const int64_t id = choir_json_integer(choir_json_get(expected, "id"), -1);
        const char *g_bits = choir_json_string(choir_json_get(expected, "g_bits"), "");
        assert_int_equal(bits_of(gumbel(42, 7, 0, id)), strtoul(g_bits, NULL, 16));
    }
    choir_json_destroy(&json);
}

static void test_noise_depends_on_all_of_its_key(void **state)
{
    const float g = gumbel(42, 7, 0, 3);
    (void)state;
    assert_true(g != gumbel(43, 7, 0, 3));
    assert_true(g != gumbel(42 + ((uint64_t)1 << 32), 7, 0, 3));
    assert_true(g != gumbel(42, 8, 0, 3));
    assert_true(g != gumbel(42, 7, 1, 3));
    assert_true(g != gumbel(42, 7, 0, 2));
    assert_true(g != gumbel(42, 7, 0, 7));
}

static void test_noise_bounds(void **state)
{
    /* The outermost words, whose noise the sampler's cut at 16.64 relies on. */
    (void)state;
    const float least = -choir_logf(-choir_logf(0.5f * 0x1p-23f));
    const float most = -choir_logf(-choir_logf((8388607 + 0.5f) * 0x1p-23f));
    assert_true(least > -2.813f && least < -2.811f);
    assert_true(most > 16.635f && most < 16.637f);
}

static void test_the_rarest_noise_wins(void **state)
{
    /* Found by search: at this position id 1 draws more than 16. */
    const int64_t position = 7113731;
    const float g0 = gumbel(0, position, 0, 0);
    const float g1 = gumbel(0, position, 0, 1);
    const float logits[2] = {0, g0 - g1 + 0.5f};
    const choir_sampling s = {.temperature = 1, .top_p = 1};
    choir_sampler *sampler = NULL;
    (void)state;
    assert_true(g1 > 16);
    assert_int_equal(choir_sampler_create(2, kernels, &sampler), CHOIR_OK);
    assert_int_equal(choir_sampler_pick(sampler, &s, &no_lists, logits, position), 1);
    choir_sampler_destroy(&sampler);
}

/*
 * 20,000 draws against softmax(z): chi-square over 8 ids has 7 degrees of freedom and exceeds 24.3
 * once in 1,000; seeds are fixed, so this passes always or never.
 */
static void check_distribution(const choir_sampling *settings, const float *logits,
                               const double *shares)
{
    enum { DRAWS = 20000 };
    choir_sampler *sampler = NULL;
    choir_sampling s = *settings;
    int counts[8] = {0};
    double chi_square = 0;
    assert_int_equal(choir_sampler_create(8, kernels, &sampler), CHOIR_OK);
    for (int i = 0; i < DRAWS; i++) {
        s.seed = (uint64_t)i % 100;
        counts[choir_sampler_pick(sampler, &s, &no_lists, logits, i / 100)]++;
    }
    for (int id = 0; id < 8; id++) {
        if (shares[id] == 0) {
            assert_int_equal(counts[id], 0);
            continue;
        }
        const double expected = shares[id] * DRAWS;
        chi_square += (counts[id] - expected) * (counts[id] - expected) / expected;
    }
    assert_true(chi_square < 24.3);
    choir_sampler_destroy(&sampler);
}

/* Flat and steep rows, ids in a row and scattered: what is left out to save time never wins. */
static void test_draws_are_the_argmax_of_all(void **state)
{
    enum { N = 700, ROUNDS = 3000 };
    static float z[N];
    static int32_t ids[N];
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        const choir_sampling s = {.seed = (uint64_t)round * 7919, .choice = round % 3};
        const float scale = (const float[]){0, 0.5f, 3, 30, 3000}[round % 5];
        const bool is_scattered = round % 2;
        const int64_t n = 1 + round % N;
        float best = -INFINITY, sum;
        int64_t winner = -1;
        for (int64_t i = 0; i < n; i++) {
            ids[i] = (int32_t)(is_scattered ? i * 61 % 49152 : 5 + i);
            z[i] = scale * sinf((float)(round + i * i)) - 100 * (float)(round % 7);
            const float with_noise = z[i] + gumbel(s.seed, round, s.choice, ids[i]);
            if (with_noise > best || (with_noise == best && ids[i] < ids[winner])) {
                best = with_noise;
                winner = i;
            }
        }
        assert_int_equal(choir_sampling_draw(&s, round, z, is_scattered ? ids : NULL, 5, n, &sum),
                         winner);
        assert_int_equal(bits_of(sum), bits_of(best));
    }
}

static void test_draws_follow_the_softmax(void **state)
{
    static const float logits[8] = {1, -1, 0.5f, 2, 0, -2, 1.5f, -0.5f};
    (void)state;
    for (int cut = 0; cut < 3; cut++) { /* nothing filtered; top_k 3; T = 2 */
        choir_sampling s = {.temperature = cut == 2 ? 2 : 1, .top_p = 1, .top_k = cut == 1 ? 3 : 0};
        double shares[8], sum = 0;
        for (int id = 0; id < 8; id++) {
            shares[id] = exp((double)logits[id] / (double)s.temperature);
            if (cut == 1 && logits[id] < 1)
                shares[id] = 0;
            sum += shares[id];
        }
        for (int id = 0; id < 8; id++)
            shares[id] /= sum;
        check_distribution(&s, logits, shares);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_noise_has_the_bits_of_the_reference),
        cmocka_unit_test(test_noise_depends_on_all_of_its_key),
        cmocka_unit_test(test_noise_bounds),
        cmocka_unit_test(test_the_rarest_noise_wins),
        cmocka_unit_test(test_draws_are_the_argmax_of_all),
        cmocka_unit_test(test_draws_follow_the_softmax),
    };
    return cmocka_run_group_tests(tests, get_kernels, NULL);
}
