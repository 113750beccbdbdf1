/* SPDX-License-Identifier: Apache-2.0 */
#include "common/clock.h"
#include "worker/team.h"

#include <fenv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

static void shares_cover_everything_once(void **state)
{
    (void)state;
    for (int n_threads = 1; n_threads <= 9; n_threads++)
        for (int64_t n = 0; n <= 40; n++) {
            int64_t next = 0;
            for (int thread = 0; thread < n_threads; thread++) {
                const choir_team team = {.thread = thread, .n_threads = n_threads};
                const choir_range share = choir_team_share(&team, n);
                assert_int_equal(share.begin, next);
                assert_in_range(share.end - share.begin, n / n_threads, n / n_threads + 1);
                next = share.end;
            }
            assert_int_equal(next, n);
        }
}

static void threads_that_round_otherwise_are_refused(void **state)
{
    (void)state;
    assert_int_equal(choir_team_check(2), CHOIR_OK);
    fesetround(FE_UPWARD);
    const choir_status upward = choir_team_check(2);
    fesetround(FE_TONEAREST);
    assert_int_equal(upward, CHOIR_EUNSUPPORTED);
#ifdef __SSE__
    const unsigned control = _mm_getcsr();
    for (unsigned flag = 0x40; flag <= 0x8000; flag *= 0x200) { /* DAZ is bit 6, FTZ bit 15 */
        _mm_setcsr(control | flag);
        const choir_status flushing = choir_team_check(2);
        _mm_setcsr(control);
        assert_int_equal(flushing, CHOIR_EUNSUPPORTED);
        assert_non_null(strstr(choir_error(), "1 flush subnormals"));
    }
#endif
    assert_int_equal(choir_team_check(2), CHOIR_OK);
}

/*
 * Each thread counts in a place of its own; behind each barrier it must see every place at the same
 * count. Long enough for threads to spin, yield and sleep in between.
 */
static void nobody_passes_a_barrier_alone(void **state)
{
    (void)state;
    enum { THREADS = 5, ROUNDS = 4000 };
    choir_threads *threads;
    static int counts[THREADS];
    int n_wrong = 0;
    assert_int_equal(choir_threads_create(THREADS, &threads), CHOIR_OK);
#pragma omp parallel num_threads(THREADS) reduction(+ : n_wrong)
    {
        const choir_team team = choir_team_here(threads);
        for (int round = 1; round <= ROUNDS; round++) {
            counts[team.thread] = round;
            if (round % 500 == 0 && team.thread == round / 500 % THREADS)
                choir_clock_sleep_us(2000);
            choir_barrier_wait(team.barrier);
            for (int i = 0; i < THREADS; i++)
                n_wrong += counts[i] != round;
            choir_barrier_wait(team.barrier);
        }
    }
    assert_int_equal(n_wrong, 0);
    choir_threads_destroy(&threads);
}

/*
 * What thread 0 does inside a barrier happens after all others have arrived and before any of them
 * goes on. Late threads on both sides, so that each has to sleep.
 */
static void one_works_while_the_others_wait(void **state)
{
    (void)state;
    enum { THREADS = 4, ROUNDS = 2000 };
    choir_threads *threads;
    static int counts[THREADS];
    static int sum;
    int n_wrong = 0;
    assert_int_equal(choir_threads_create(THREADS, &threads), CHOIR_OK);
#pragma omp parallel num_threads(THREADS) reduction(+ : n_wrong)
    {
        const choir_team team = choir_team_here(threads);
        for (int round = 1; round <= ROUNDS; round++) {
            if (round % 250 == 0 && team.thread == round / 250 % THREADS)
                choir_clock_sleep_us(2000);
            counts[team.thread] = round;
            if (team.thread == 0) {
                choir_barrier_gather(team.barrier);
                sum = 0;
                for (int i = 0; i < THREADS; i++)
                    sum += counts[i];
                choir_barrier_release(team.barrier);
            } else {
                choir_barrier_wait(team.barrier);
            }
            n_wrong += sum != THREADS * round;
            choir_barrier_wait(team.barrier);
        }
    }
    assert_int_equal(n_wrong, 0);
    assert_int_equal(choir_barrier_passes(&threads->barrier), 2 * ROUNDS);
    choir_threads_destroy(&threads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_cover_everything_once),
        cmocka_unit_test(nobody_passes_a_barrier_alone),
        cmocka_unit_test(one_works_while_the_others_wait),
        cmocka_unit_test(threads_that_round_otherwise_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
