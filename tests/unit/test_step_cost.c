/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/step_cost.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static uint64_t random_state = 3;

static int random_below(int n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (int)((random_state >> 33) % (uint64_t)n);
}

static int64_t true_cost(choir_step_size size, double speed)
{
    return (int64_t)((8000 + 450.0 * (double)size.n_rows + 0.09 * (double)size.n_attended) / speed);
}

static choir_step_size random_size(void)
{
    choir_step_size size = {0};
    for (int i = random_below(20); i >= 0; i--)
        size = choir_step_size_add(size, choir_step_size_of(random_below(3000), 1));
    if (random_below(3) == 0)
        size = choir_step_size_add(size, choir_step_size_of(random_below(3000), random_below(500)));
    return size;
}

/* 10 % of noise, and every tenth step is held up for long. */
static void learn(choir_step_cost *cost, int n, double speed)
{
    for (int i = 0; i < n; i++) {
        const choir_step_size size = random_size();
        const double noise = 0.95 + 0.001 * random_below(100);
        const double held_up = random_below(10) ? 1 : 1 + random_below(20);
        choir_step_cost_learn(cost, size,
                              (int64_t)((double)true_cost(size, speed) * noise * held_up));
    }
}

static void check(const choir_step_cost *cost, double speed)
{
    for (int i = 0; i < 100; i++) {
        const choir_step_size size = random_size();
        const double ratio =
            (double)choir_step_cost_predict(cost, size) / (double)true_cost(size, speed);
        assert_true(ratio > 0.9 && ratio < 1.35); /* what was held up counts, up to twice */
    }
}

static void test_it_learns_and_forgets(void **state)
{
    choir_step_cost cost;
    (void)state;
    choir_step_cost_init(&cost);
    assert_int_equal(choir_step_cost_predict(&cost, choir_step_size_of(0, 100)), 0);
    learn(&cost, 500, 1);
    check(&cost, 1);
    learn(&cost, 3000, 2.5);
    check(&cost, 2.5);
    learn(&cost, 3000, 0.7);
    check(&cost, 0.7);
}

/* Only decodes of a few positions for long: what was learnt of prompts does not go mad. */
static void test_what_is_not_seen_stays_sane(void **state)
{
    choir_step_cost cost;
    (void)state;
    choir_step_cost_init(&cost);
    learn(&cost, 300, 1);
    for (int i = 0; i < 100000; i++) {
        const choir_step_size size = choir_step_size_of(500 + i % 100, 1);
        choir_step_cost_learn(&cost, size, true_cost(size, 1) + random_below(600) - 300);
    }
    const choir_step_size chunk = choir_step_size_of(0, 400);
    const double ratio =
        (double)choir_step_cost_predict(&cost, chunk) / (double)true_cost(chunk, 1);
    assert_true(ratio > 0.3 && ratio < 3);
    for (int i = 0; i < 3; i++)
        assert_true(isfinite(cost.weights[i]));
}

static void test_rows_that_fit(void **state)
{
    choir_step_cost cost;
    (void)state;
    choir_step_cost_init(&cost);
    learn(&cost, 500, 1);
    const choir_step_size before = choir_step_size_of(1000, 1);
    for (int64_t max_us = 0; max_us < 200000; max_us += 5000) {
        const int64_t n = choir_step_cost_rows(&cost, before, 700, 4, 256, max_us);
        assert_true(n >= 4 && n <= 256);
        choir_step_size all = choir_step_size_add(before, choir_step_size_of(700, n));
        if (n > 4)
            assert_true(choir_step_cost_predict(&cost, all) <= max_us);
        all = choir_step_size_add(before, choir_step_size_of(700, n + 1));
        if (n < 256)
            assert_true(choir_step_cost_predict(&cost, all) > max_us);
    }
    assert_int_equal(choir_step_cost_rows(&cost, before, 0, 8, 3, 0), 3); /* never beyond `most` */
    assert_int_equal(choir_step_cost_rows(&cost, before, 0, 0, 100, 0), 0);
}

static void test_sizes(void **state)
{
    const choir_step_size one = choir_step_size_of(5, 1), chunk = choir_step_size_of(10, 3);
    (void)state;
    assert_int_equal(one.n_attended, 6);
    assert_int_equal(chunk.n_attended, 11 + 12 + 13);
    assert_int_equal(choir_step_size_add(one, chunk).n_rows, 4);
    assert_int_equal(choir_step_size_add(one, chunk).n_attended, 42);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_learns_and_forgets),
        cmocka_unit_test(test_what_is_not_seen_stays_sane),
        cmocka_unit_test(test_rows_that_fit),
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
