/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work dealt in chunks: all is done once, whatever the threads' speeds, and that of a thread which
 * is held up by others.
 */
#include "common/clock.h"
#include "worker/deal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { MOST_THREADS = 9, MOST = 60 };

/* Counts in done[] what this thread gets of n things. */
static void count(const choir_team *team, int64_t n, int64_t chunk, atomic_int *done)
{
    for (choir_team owner = choir_deal_begin(team); choir_deal_next(team, &owner);) {
        const choir_range share = choir_team_share(&owner, n);
        for (choir_range taken; choir_deal_take(&owner, share, chunk, &taken);)
            for (int64_t i = taken.begin; i < taken.end; i++)
                atomic_fetch_add(&done[i], 1);
    }
}

/* Many loops one after the other, of changing lengths, with one thread that comes late to each. */
static void everything_is_done_once(void **state)
{
    enum { LOOPS = 600 };
    (void)state;
    for (int n_threads = 1; n_threads <= MOST_THREADS; n_threads++) {
        choir_threads *threads;
        atomic_int done[3][MOST] = {0};
        int n_wrong = 0;
        assert_int_equal(choir_threads_create(n_threads, &threads), CHOIR_OK);
#pragma omp parallel num_threads(n_threads) reduction(+ : n_wrong)
        {
            const choir_team team = choir_team_here(threads);
            for (int loop = 0; loop < LOOPS; loop++) {
                const int64_t n = loop * 7 % (MOST + 1), chunk = 1 + loop % 5;
                atomic_int *now = done[loop % 3], *next_but_one = done[(loop + 2) % 3];
                if (loop % 50 == 0 && team.thread == loop / 50 % n_threads)
                    choir_clock_sleep_us(500);
                count(&team, n, chunk, now);
                choir_barrier_wait(team.barrier);
                for (int64_t i = 0; team.thread == 0 && i < MOST; i++) {
                    n_wrong += atomic_load(&now[i]) != (i < n);
                    atomic_store(&next_but_one[i], 0);
                }
            }
        }
        assert_int_equal(n_wrong, 0);
        choir_threads_destroy(&threads);
    }
}

/* A thread that stops in the middle of its share finds the rest done by others. */
static void others_help_a_thread_that_is_held_up(void **state)
{
    enum { THREADS = 3, PATIENCE = 60000 };
    choir_threads *threads;
    atomic_int n_done = 0, n_own = 0;
    (void)state;
    assert_int_equal(choir_threads_create(THREADS, &threads), CHOIR_OK);
#pragma omp parallel num_threads(THREADS)
    {
        const choir_team team = choir_team_here(threads);
        for (int i = 0; i < PATIENCE && team.thread != 1 && atomic_load(&n_own) == 0; i++)
            choir_clock_sleep_us(1000);
        for (choir_team owner = choir_deal_begin(&team); choir_deal_next(&team, &owner);) {
            const choir_range share = choir_team_share(&owner, MOST);
            for (choir_range taken; choir_deal_take(&owner, share, 1, &taken);) {
                atomic_fetch_add(&n_done, 1);
                if (team.thread != 1)
                    continue;
                atomic_fetch_add(&n_own, 1);
                for (int i = 0; i < PATIENCE && atomic_load(&n_done) < MOST; i++)
                    choir_clock_sleep_us(1000);
            }
        }
    }
    assert_int_equal(atomic_load(&n_done), MOST);
    assert_int_equal(atomic_load(&n_own), 1);
    choir_threads_destroy(&threads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_done_once),
        cmocka_unit_test(others_help_a_thread_that_is_held_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
