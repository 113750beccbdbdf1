/* SPDX-License-Identifier: Apache-2.0 */
/* Figures of bench latency; expected values by numpy.percentile and mean of the same list. */
#include "cli/latency_figures.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static const double latencies[] = {3, 1, 4, 1.5, 9, 2.5, 6};
enum { N = sizeof latencies / sizeof latencies[0] };
static const char *const keys[] = {"10", "25", "50", "75", "90", "99"};

static void check_near(double value, double expected)
{
    if (!(fabs(value - expected) <= 1e-9 * fabs(expected)))
        fail_msg("%.15g, not %.15g", value, expected);
}

static void test_percentiles(void **state)
{
    static const double expected[] = {1.3, 2, 3, 5, 7.2, 8.82};
    choir_latency_figures figures;
    (void)state;
    assert_int_equal(choir_latency_figures_make(latencies, N, &figures), CHOIR_OK);
    check_near(figures.average, 27.0 / 7);
    for (int i = 0; i < CHOIR_LATENCY_PERCENTILES; i++)
        check_near(figures.percentiles[i], expected[i]);
}

static void test_one_iteration(void **state)
{
    choir_latency_figures figures;
    (void)state;
    assert_int_equal(choir_latency_figures_make(latencies, 1, &figures), CHOIR_OK);
    check_near(figures.average, 3);
    for (int i = 0; i < CHOIR_LATENCY_PERCENTILES; i++)
        check_near(figures.percentiles[i], 3);
}

/* The latencies stand in the order of the iterations. */
static void test_json(void **state)
{
    choir_latency_figures figures;
    (void)state;
    assert_int_equal(choir_latency_figures_make(latencies, N, &figures), CHOIR_OK);
    choir_json *json = choir_latency_figures_to_json(&figures, latencies, N);
    const choir_json *list = choir_json_get(json, "latencies");
    const choir_json *percentiles = choir_json_get(json, "percentiles");
    check_near(choir_json_real(choir_json_get(json, "avg_latency"), 0), 27.0 / 7);
    assert_int_equal(choir_json_size(list), N);
    for (size_t i = 0; i < N; i++)
        check_near(choir_json_real(choir_json_at(list, i), 0), latencies[i]);
    for (int i = 0; i < CHOIR_LATENCY_PERCENTILES; i++)
        check_near(choir_json_real(choir_json_get(percentiles, keys[i]), 0),
                   figures.percentiles[i]);
    choir_json_destroy(&json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_percentiles),
        cmocka_unit_test(test_one_iteration),
        cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
