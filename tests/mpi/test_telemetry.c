/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a rank's time in steps is kept and what is told of it, in a time that is made up here.
 */
#include "worker/telemetry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const int64_t us = 1000, ms = 1000000, second = 1000000000;

static void assert_near(double found, double wanted)
{
    assert_true(found > wanted - 1e-6 && found < wanted + 1e-6);
}

/*
 * A step that waits for `before` and has two exchanges, after 10 ms of computing each; 10 ms more
 * at its end. So long a step is always watched.
 */
static void play_step(choir_telemetry *t, int64_t *now, int64_t before, int64_t first, int64_t last,
                      int64_t read_bytes)
{
    const int64_t exchanges[] = {first, last};
    assert_false(t->is_skipping);
    choir_telemetry_begin_step(t, before > 0 ? CHOIR_WAITING : CHOIR_RESTING, *now += before);
    for (int i = 0; i < 2; i++) {
        choir_telemetry_mark(t, CHOIR_COMPUTING, *now += 10 * ms);
        choir_telemetry_mark(t, CHOIR_EXCHANGING, *now += exchanges[i]);
        choir_telemetry_end_exchange(t);
    }
    choir_telemetry_end_step(t, read_bytes, *now += 10 * ms);
}

/* A short one of nothing but computing; marked only where it is watched. */
static void play_short_step(choir_telemetry *t, int64_t *now, int64_t length)
{
    choir_telemetry_begin_step(t, CHOIR_WAITING, *now += 3 * us);
    if (!t->is_skipping)
        choir_telemetry_mark(t, CHOIR_COMPUTING, *now + length / 2);
    choir_telemetry_end_step(t, 0, *now += length);
}

/* Rest counts for nothing, however long; the first mark of all has nothing behind it. */
static void test_sums(void **state)
{
    (void)state;
    choir_telemetry t = {0};
    choir_rank_figures figures;
    int64_t now = 77 * second;
    play_step(&t, &now, 0, 5 * ms, 9 * ms, 0);
    now += 3600 * second;
    play_step(&t, &now, 0, 4 * ms, 40 * ms, 3000);
    play_step(&t, &now, 7 * ms, 6 * ms, 6 * ms, 0);
    choir_telemetry_take(&t, now, &figures);
    assert_int_equal(figures.n_steps, 3);
    assert_int_equal(figures.spent_ns[CHOIR_COMPUTING], 90 * ms);
    assert_int_equal(figures.spent_ns[CHOIR_WAITING], 7 * ms);
    assert_int_equal(figures.spent_ns[CHOIR_MOVING], 0);
    assert_int_equal(figures.spent_ns[CHOIR_EXCHANGING], 70 * ms);
    assert_int_equal(figures.least_exchange_ns, 2 * (5 + 4 + 6) * ms);
    assert_int_equal(figures.bandwidth, 100000); /* 3000 bytes in 30 ms */
    assert_int_equal(figures.step_us_p50, 44000);
    assert_int_equal(figures.step_us_p99, 74000);
    choir_telemetry_take(&t, now, &figures);
    assert_int_equal(figures.n_steps + figures.spent_ns[CHOIR_COMPUTING] + figures.bandwidth, 0);
    assert_int_equal(figures.step_us_p50, 44000); /* of the last steps, told before or not */
}

/* The long form of an exchange moves twice, with sums in between, and is one exchange. */
static void test_long_exchange(void **state)
{
    (void)state;
    choir_telemetry t = {0};
    choir_rank_figures figures;
    int64_t now = second;
    choir_telemetry_begin_step(&t, CHOIR_RESTING, now);
    for (int i = 1; i <= 2; i++) {
        choir_telemetry_mark(&t, CHOIR_EXCHANGING, now += i * 8 * us);
        choir_telemetry_mark(&t, CHOIR_COMPUTING, now += us);
        choir_telemetry_mark(&t, CHOIR_EXCHANGING, now += i * 4 * us);
        choir_telemetry_end_exchange(&t);
    }
    choir_telemetry_end_step(&t, 0, now);
    choir_telemetry_take(&t, now, &figures);
    assert_int_equal(figures.spent_ns[CHOIR_EXCHANGING], 36 * us);
    assert_int_equal(figures.least_exchange_ns, 24 * us);
    assert_int_equal(figures.spent_ns[CHOIR_COMPUTING], 2 * us);
}

/* Of short steps the first and then every fourth is in the sums, of their times all. */
static void test_short_steps(void **state)
{
    (void)state;
    choir_telemetry t = {0};
    choir_rank_figures figures;
    int64_t now = second;
    for (int i = 0; i < 9; i++)
        play_short_step(&t, &now, (i + 1) * 100 * us);
    choir_telemetry_take(&t, now, &figures);
    assert_int_equal(figures.n_steps, 3);
    assert_int_equal(figures.spent_ns[CHOIR_COMPUTING], (100 + 500 + 900) * us);
    assert_int_equal(figures.spent_ns[CHOIR_WAITING], (0 + 3 + 3) * us);
    assert_int_equal(figures.step_us_p50, 500);
    play_short_step(&t, &now, 10 * ms); /* not watched, but the next one is, since this is long */
    assert_false(t.is_skipping);
}

static void test_due(void **state)
{
    (void)state;
    choir_telemetry t = {0};
    choir_rank_figures figures;
    int64_t now = 5 * second;
    assert_false(choir_telemetry_is_due(&t, now));
    for (int i = 0; i < 61; i++) {
        assert_false(choir_telemetry_is_due(&t, now)); /* fewer than 16 that were watched */
        play_short_step(&t, &now, us);
    }
    assert_true(choir_telemetry_is_due(&t, now));
    choir_telemetry_take(&t, now, &figures);
    const int64_t told = now;
    t.is_skipping = false;
    play_step(&t, &now, 0, 40 * ms, 40 * ms, 0); /* a long one is enough by itself */
    assert_false(choir_telemetry_is_due(&t, told + second - 1));
    assert_true(choir_telemetry_is_due(&t, told + second));
    choir_telemetry_take(&t, now, &figures);
    assert_false(choir_telemetry_is_due(&t, now + 100 * second)); /* nothing new */
}

/* Times of the last 256 steps: older ones are forgotten. */
static void test_percentiles(void **state)
{
    (void)state;
    choir_telemetry t = {0};
    choir_rank_figures figures;
    int64_t now = second;
    for (int i = 0; i < 300; i++)
        play_short_step(&t, &now, i * us);
    choir_telemetry_take(&t, now, &figures);
    assert_int_equal(figures.step_us_p50, 44 + 128);
    assert_int_equal(figures.step_us_p99, 44 + 253);
}

/*
 * Two stages of two shards. Shard 0 of the first one waits in its exchanges for shard 1, which has
 * them short; the second stage waits for activations, whose time is known.
 */
static void test_shares(void **state)
{
    (void)state;
    choir_rank_figures figures[4] = {
        {.n_steps = 10, .least_exchange_ns = 200 * us, .step_us_p50 = 3, .rss = 5},
        {.n_steps = 5, .least_exchange_ns = 50 * us, .bandwidth = 9},
        {.n_steps = 10},
        {.n_steps = 0},
    };
    figures[0].spent_ns[CHOIR_COMPUTING] = 600 * us;
    figures[0].spent_ns[CHOIR_EXCHANGING] = 400 * us; /* 10 us a step are moving */
    figures[1].spent_ns[CHOIR_COMPUTING] = 450 * us;
    figures[1].spent_ns[CHOIR_EXCHANGING] = 50 * us;
    figures[2].spent_ns[CHOIR_COMPUTING] = 300 * us;
    figures[2].spent_ns[CHOIR_WAITING] = 600 * us;
    figures[2].spent_ns[CHOIR_MOVING] = 100 * us;
    figures[2].spent_ns[CHOIR_RESTING] = 100 * second;
    choir_rank_report reports[4] = {{.rss = 1}, {.rss = 1}, {.rss = 1}, {.rss = 1}};
    choir_telemetry_report(figures, 4, 2, reports);
    const double wanted[3][3] = {{0.6, 0.3, 0.1}, {0.9, 0, 0.1}, {0.3, 0.6, 0.1}};
    for (int r = 0; r < 3; r++) {
        assert_near((double)reports[r].compute_share, wanted[r][0]);
        assert_near((double)reports[r].wait_share, wanted[r][1]);
        assert_near((double)reports[r].exchange_share, wanted[r][2]);
    }
    assert_int_equal(reports[0].rss, 5);
    assert_int_equal(reports[0].step_us_p50, 3);
    assert_int_equal(reports[1].bandwidth, 9);
    assert_true(reports[3].compute_share == 0.0f && reports[3].rss == 1); /* told nothing yet */
}

/* Moving never takes longer than all of a rank's exchanges, whatever the others' figures. */
static void test_shares_stay_in_bounds(void **state)
{
    (void)state;
    choir_rank_figures figures[2] = {{.n_steps = 100, .least_exchange_ns = 100 * us},
                                     {.n_steps = 1, .least_exchange_ns = 900 * us}};
    figures[0].spent_ns[CHOIR_EXCHANGING] = 10 * us;
    figures[1].spent_ns[CHOIR_EXCHANGING] = 1000 * us;
    choir_rank_report reports[2] = {{0}, {0}};
    choir_telemetry_report(figures, 2, 2, reports);
    assert_near((double)reports[0].exchange_share, 1);
    assert_near((double)reports[0].wait_share, 0);
    assert_near((double)reports[1].exchange_share, 0.001);
    assert_near((double)reports[1].wait_share, 0.999);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_long_exchange),
        cmocka_unit_test(test_short_steps),
        cmocka_unit_test(test_due),
        cmocka_unit_test(test_percentiles),
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_shares_stay_in_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
