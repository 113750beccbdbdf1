/* SPDX-License-Identifier: Apache-2.0 */
#include "common/histogram.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const double bounds[] = {0.5, 1, 4};

static choir_histogram make(void)
{
    choir_histogram histogram;
    memset(&histogram, 0xff, sizeof histogram);
    assert_true(choir_histogram_init(&histogram, bounds, 3));
    return histogram;
}

/* A bound belongs to the bucket below it, as Prometheus' `le` has it. */
static void values_go_into_their_buckets(void **state)
{
    static const double values[] = {0, 0.25, 0.5, 0.75, 1, 4, 4.25, 100, -3};
    static const uint64_t counts[] = {4, 2, 1, 2};
    choir_histogram histogram = make();
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        choir_histogram_observe(&histogram, values[i]);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(histogram.counts[i], counts[i]);
    assert_int_equal(choir_histogram_total(&histogram), 9);
    assert_true(histogram.sum == 110.75); /* -3 counts as 0 */
}

static void quantiles_lie_evenly_in_a_bucket(void **state)
{
    choir_histogram histogram = make();
    (void)state;
    assert_true(choir_histogram_quantile(&histogram, 0.5) == 0); /* of nothing */
    histogram.counts[0] = 4;
    assert_true(choir_histogram_quantile(&histogram, 0.5) == 0.25);
    histogram.counts[2] = 4; /* with an empty bucket between */
    assert_true(choir_histogram_quantile(&histogram, 0.5) == 0.5);
    assert_true(choir_histogram_quantile(&histogram, 0.75) == 2.5);
    assert_true(choir_histogram_quantile(&histogram, 1) == 4);
    histogram.counts[3] = 92; /* above all bounds */
    assert_true(choir_histogram_quantile(&histogram, 0.99) == 4);
    assert_true(choir_histogram_quantile(&histogram, 0) == 0);
}

static void bounds_that_are_none_are_refused(void **state)
{
    static const double bad[][2] = {{1, 1}, {2, 1}, {0, 1}, {-1, 1}, {1, NAN}, {1, INFINITY}};
    double many[CHOIR_HISTOGRAM_BOUNDS_MAX + 1];
    choir_histogram histogram;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(choir_histogram_init(&histogram, bad[i], 2));
        assert_int_equal(histogram.n_bounds, 0);
    }
    for (int i = 0; i <= CHOIR_HISTOGRAM_BOUNDS_MAX; i++)
        many[i] = i + 1;
    assert_true(choir_histogram_init(&histogram, many, CHOIR_HISTOGRAM_BOUNDS_MAX));
    assert_false(choir_histogram_init(&histogram, many, CHOIR_HISTOGRAM_BOUNDS_MAX + 1));
    choir_histogram_observe(&histogram, 5); /* one bucket is left */
    assert_int_equal(histogram.counts[0], 1);
    assert_true(choir_histogram_quantile(&histogram, 0.5) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_go_into_their_buckets),
        cmocka_unit_test(quantiles_lie_evenly_in_a_bucket),
        cmocka_unit_test(bounds_that_are_none_are_refused),
    };
    return cmocka_run_group_tests_name("histogram", tests, NULL, NULL);
}
