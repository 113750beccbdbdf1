/* SPDX-License-Identifier: Apache-2.0 */
/* exp, log, halves and the merge of log-sum-exp: against libm in double, and definitions. */
#include "tests/kernels/check.h"

/* The distance of a result from the exact value, in units of the float's last place there. */
static double ulps(float got, double exact)
{
    int exponent;
    frexp(exact, &exponent);
    exponent = exponent < -125 ? -125 : exponent; /* subnormal: the unit is 2^-149 */
    return fabs((double)got - exact) / ldexp(1, exponent - 24);
}

static float of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* docs/numerics.md: 0.894 ulp over all floats, here a 1,009th of them. */
static void check_exp_error(void **state)
{
    (void)state;
    double worst = 0;
    for (uint64_t bits = 0; bits < 1ull << 32; bits += 1009) {
        float x = of_bits((uint32_t)bits);
        if (!(x <= 0x1.62e42ep6f && x >= -0x1.9fe368p6f))
            continue;
        double error = ulps(choir_expf(x), exp((double)x));
        worst = error > worst ? error : worst;
    }
    printf("exp: %.4f ulp\n", worst);
    assert_true(worst > 0.8 && worst < 0.8945);
}

/* 0.868 ulp, found around 1: all of one octave around it is looked at more closely. */
static void check_log_error(void **state)
{
    (void)state;
    double worst = 0;
    for (uint32_t bits = 1; bits < 0x7f800000;) {
        double error = ulps(choir_logf(of_bits(bits)), log((double)of_bits(bits)));
        worst = error > worst ? error : worst;
        bits += bits > 0x3f000000 && bits < 0x40000000 ? 23 : 1009;
    }
    printf("log: %.4f ulp\n", worst);
    assert_true(worst > 0.8 && worst < 0.8685);
}

static void check_exp_edges(void **state)
{
    (void)state;
    assert_true(choir_expf(-INFINITY) == 0 && !signbit(choir_expf(-INFINITY)));
    assert_true(choir_expf(0.0f) == 1 && choir_expf(-0.0f) == 1);
    assert_true(choir_expf(NAN) != choir_expf(NAN));
    assert_true(choir_expf(INFINITY) == INFINITY);
    assert_true(isfinite(choir_expf(0x1.62e42ep6f)));
    assert_true(choir_expf(nextafterf(0x1.62e42ep6f, INFINITY)) == INFINITY);
    assert_true(choir_expf(-0x1.9fe368p6f) == 0x1p-149f);
    assert_true(choir_expf(nextafterf(-0x1.9fe368p6f, -INFINITY)) == 0);
}

static void check_log_edges(void **state)
{
    (void)state;
    assert_true(choir_logf(0.0f) == -INFINITY && choir_logf(-0.0f) == -INFINITY);
    assert_true(choir_logf(INFINITY) == INFINITY);
    assert_true(choir_logf(1.0f) == 0 && !signbit(choir_logf(1.0f)));
    assert_true(choir_logf(-1.0f) != choir_logf(-1.0f));
    assert_true(choir_logf(-INFINITY) != choir_logf(-INFINITY));
    assert_true(choir_logf(NAN) != choir_logf(NAN));
}

/* What a half's bits mean. */
static double half_value(uint32_t half)
{
    int exponent = (int)(half >> 10 & 31);
    double mantissa = half & 0x3ff;
    double magnitude = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
    return half & 0x8000 ? -magnitude : magnitude;
}

static void check_every_half(void **state)
{
    (void)state;
    for (uint32_t half = 0; half < 0x10000; half++) {
        float value = choir_half_to_float((uint16_t)half);
        if ((half & 0x7c00) == 0x7c00) {
            assert_true(half & 0x3ff ? value != value
                                     : value == (half & 0x8000 ? -INFINITY : INFINITY));
            assert_true(value != value || choir_float_to_half(value) == half);
            continue;
        }
        assert_true(value == (float)half_value(half) && !signbit(value) == !(half & 0x8000));
        assert_int_equal(choir_float_to_half(value), half);
    }
    assert_true((choir_float_to_half(NAN) & 0x7fff) > 0x7c00);
}

/* At and beside every point where rounding goes over to the next half. */
static void check_half_rounding(void **state)
{
    (void)state;
    for (uint32_t half = 0; half < 0x7c00; half++) {
        double next = half == 0x7bff ? 65536 : half_value(half + 1);
        float middle = (float)((half_value(half) + next) / 2); /* exact */
        for (uint32_t sign = 0; sign <= 0x8000; sign += 0x8000) {
            float direction = sign ? -1.0f : 1.0f;
            assert_int_equal(choir_float_to_half(direction * middle), sign | (half + (half & 1)));
            assert_int_equal(choir_float_to_half(direction * nextafterf(middle, 0)), sign | half);
            assert_int_equal(choir_float_to_half(direction * nextafterf(middle, INFINITY)),
                             sign | (half + 1));
        }
    }
    assert_int_equal(choir_float_to_half(INFINITY), 0x7c00);
    assert_int_equal(choir_float_to_half(-0x1.fffffep127f), 0xfc00);
}

static void check_lse(void **state)
{
    (void)state;
    assert_int_equal(choir_lse_chunk_size(1), 16);
    assert_int_equal(choir_lse_chunk_size(1024), 16);
    assert_int_equal(choir_lse_chunk_size(1025), 32);
    assert_int_equal(choir_lse_chunk_size(49152), 1024);
    assert_int_equal(choir_lse_chunk_size(128256), 2048);
    float m = -INFINITY, l = 0;
    choir_lse_merge(&m, &l, -INFINITY, 0);
    assert_true(m == -INFINITY && l == 0);
    choir_lse_merge(&m, &l, 2, 3);
    assert_true(m == 2 && l == 3);
    choir_lse_merge(&m, &l, -INFINITY, 0);
    assert_true(m == 2 && l == 3);
    choir_lse_merge(&m, &l, 5, 7);
    assert_true(m == 5 && l == fmaf(3, choir_expf(-3), 7));
    choir_lse_merge(&m, &l, 1, 11);
    assert_true(m == 5 && l == fmaf(fmaf(3, choir_expf(-3), 7), 1, 11 * choir_expf(-4)));
    choir_lse_merge(&m, &l, NAN, NAN);
    assert_true(l != l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_exp_edges),  cmocka_unit_test(check_log_edges),
        cmocka_unit_test(check_exp_error),  cmocka_unit_test(check_log_error),
        cmocka_unit_test(check_every_half), cmocka_unit_test(check_half_rounding),
        cmocka_unit_test(check_lse),
    };
    return cmocka_run_group_tests(tests, check_reached, NULL);
}
