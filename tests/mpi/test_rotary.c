/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rotary table against long double arithmetic (64 bits of mantissa on x86). Where that cannot
 * tell which double or float is nearest, because the value lies too near to the middle of two, both
 * are right; there are few such cases, and the test counts them.
 */
#include "worker/rotary.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int n_compared, n_unclear;

/* Whether `rounded` is nearest to `exact`, which may be off by `error`; half_ulp is of rounded. */
static void assert_nearest(long double exact, long double rounded, long double half_ulp,
                           long double error)
{
    const long double distance = fabsl(exact - rounded);
    n_compared++;
    n_unclear += fabsl(distance - half_ulp) <= error;
    assert_true(distance <= half_ulp + error);
}

static void frequencies_are_the_nearest_doubles(void **state)
{
    (void)state;
    const float bases[] = {100.0f, 10000.0f, 100000.0f, 500000.0f, 1e6f, 8e6f};
    const int64_t sizes[] = {2, 32, 64, 80, 96, 112, 128, 256};
    double frequencies[128];
    for (size_t b = 0; b < sizeof bases / sizeof bases[0]; b++)
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            const int64_t n_rot = sizes[s];
            choir_rotary_frequencies(frequencies, n_rot, bases[b], NULL);
            assert_true(frequencies[0] == 1.0);
            for (int64_t i = 0; i < n_rot / 2; i++) {
                const long double exact =
                    expl(-2.0L * (long double)i / (long double)n_rot * logl((long double)bases[b]));
                const long double half_ulp =
                    ((long double)nextafter(frequencies[i], 2.0) - frequencies[i]) / 2;
                assert_nearest(exact, frequencies[i], half_ulp, exact * 0x1p-59L);
            }
        }
    assert_in_range(n_compared, 2000, 10000);
    assert_in_range(n_unclear, 0, n_compared / 10);
}

static void factors_divide(void **state)
{
    (void)state;
    const float factors[] = {1.0f, 32.0f, 3.0f};
    double plain[3], divided[3];
    choir_rotary_frequencies(plain, 6, 10000.0f, NULL);
    choir_rotary_frequencies(divided, 6, 10000.0f, factors);
    for (int i = 0; i < 3; i++)
        assert_true(divided[i] == plain[i] / (double)factors[i]);
}

static void the_table_is_of_nearest_floats(void **state)
{
    (void)state;
    enum { N_ROT = 64, POSITIONS = 3000 };
    static float cosines[POSITIONS * N_ROT / 2], sines[POSITIONS * N_ROT / 2];
    double frequencies[N_ROT / 2];
    n_compared = n_unclear = 0;
    choir_rotary_frequencies(frequencies, N_ROT, 100000.0f, NULL);
    choir_rotary_table(cosines, sines, frequencies, N_ROT / 2, POSITIONS);
    for (int p = 0; p < POSITIONS; p++)
        for (int i = 0; i < N_ROT / 2; i++) {
            const double angle = (double)p * frequencies[i];
            const float values[] = {cosines[p * N_ROT / 2 + i], sines[p * N_ROT / 2 + i]};
            const long double exact[] = {cosl((long double)angle), sinl((long double)angle)};
            for (int k = 0; k < 2; k++) {
                const long double half_ulp =
                    ((long double)nextafterf(fabsf(values[k]), INFINITY) - fabsf(values[k])) / 2;
                assert_nearest(exact[k], values[k], half_ulp, fabsl(exact[k]) * 0x1p-60L);
            }
        }
    assert_in_range(n_unclear, 0, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frequencies_are_the_nearest_doubles),
        cmocka_unit_test(factors_divide),
        cmocka_unit_test(the_table_is_of_nearest_floats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
