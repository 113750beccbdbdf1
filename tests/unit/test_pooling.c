/* SPDX-License-Identifier: Apache-2.0 */
/* Embeddings from states: against sums in double precision, and the order of the roundings. */
#include "coordinator/pooling.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { N = 37, POSITIONS = 11 };

static float state_at(int position, int i)
{
    return sinf((float)(position * 31 + i)) * 3;
}

static void test_mean(void **state)
{
    float sum[N], row[N];
    (void)state;
    for (int p = 0; p < POSITIONS; p++) {
        for (int i = 0; i < N; i++)
            row[i] = state_at(p, i);
        choir_pooling_add(sum, row, N, p == 0);
    }
    choir_pooling_divide(sum, N, POSITIONS);
    for (int i = 0; i < N; i++) {
        double mean = 0;
        for (int p = 0; p < POSITIONS; p++)
            mean += (double)state_at(p, i) / POSITIONS;
        assert_true(fabs((double)sum[i] - mean) < 1e-6);
    }
}

static void test_length_one(void **state)
{
    float x[N], y[N];
    double length = 0;
    (void)state;
    for (int i = 0; i < N; i++)
        x[i] = y[i] = state_at(1, i);
    choir_pooling_normalize(y, N);
    for (int i = 0; i < N; i++)
        length += (double)y[i] * (double)y[i];
    assert_true(fabs(length - 1) < 1e-6);
    for (int i = 1; i < N; i++)
        assert_true(fabsf(y[i] * x[0] - y[0] * x[i]) < 1e-6f);
}

/* 2^24 beside ones in its lane: what is added after it is lost, what before it is not. */
static void test_the_order_of_the_sum(void **state)
{
    float x[33] = {[0] = 4096, [16] = 1, [32] = 1}, y[33] = {[0] = 1, [16] = 1, [32] = 4096};
    (void)state;
    choir_pooling_normalize(x, 33);
    choir_pooling_normalize(y, 33);
    assert_true(x[0] == 4096 * (1 / sqrtf(0x1p24f)));
    assert_true(y[32] == 4096 * (1 / sqrtf(0x1p24f + 2)));
}

static void test_zeros_stay(void **state)
{
    float x[3] = {0, -0.0f, 0};
    (void)state;
    choir_pooling_normalize(x, 3);
    assert_true(x[0] == 0 && x[1] == 0 && x[2] == 0 && signbit(x[1]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mean),
        cmocka_unit_test(test_length_one),
        cmocka_unit_test(test_the_order_of_the_sum),
        cmocka_unit_test(test_zeros_stay),
    };
    return cmocka_run_group_tests_name("pooling", tests, NULL, NULL);
}
