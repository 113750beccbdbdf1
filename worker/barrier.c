/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last thread to arrive begins a new round and wakes those who sleep. A thread that is about to
 * sleep first counts itself, then asks the kernel to sleep only if the round is still the old one;
 * the last thread changes the round first and reads the count afterwards. So either it sees the
 * sleeper, or the sleeper does not fall asleep (all these accesses are sequentially consistent).
 * The gathering thread does not count itself as arrived, so that no other thread is the last; it
 * sleeps on the number of arrivals, after saying so, and the arrival that makes it complete looks.
 */
#include "worker/barrier.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    SPINS = 20000, /* some ten microseconds: longer than most waits on an idle machine */
    YIELDS = 50,
};

void choir_barrier_init(choir_barrier *barrier, int n_threads)
{
    barrier->n_threads = n_threads;
    atomic_init(&barrier->n_arrived, 0);
    atomic_init(&barrier->is_gatherer_asleep, false);
    atomic_init(&barrier->n_asleep, 0);
    atomic_init(&barrier->round, 0);
}

static void sleep_while(void *word, unsigned value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wake_all(void *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

void choir_barrier_release(choir_barrier *barrier)
{
    atomic_store(&barrier->n_arrived, 0);
    atomic_fetch_add(&barrier->round, 1);
    if (atomic_load(&barrier->n_asleep) > 0)
        wake_all(&barrier->round);
}

void choir_barrier_wait(choir_barrier *barrier)
{
    const unsigned round = atomic_load(&barrier->round);
    const int n_arrived = atomic_fetch_add(&barrier->n_arrived, 1) + 1;
    if (n_arrived == barrier->n_threads) {
        choir_barrier_release(barrier);
        return;
    }
    if (n_arrived == barrier->n_threads - 1 && atomic_load(&barrier->is_gatherer_asleep))
        wake_all(&barrier->n_arrived);
    for (int i = 0; i < SPINS + YIELDS; i++) {
        if (atomic_load_explicit(&barrier->round, memory_order_acquire) != round)
            return;
        if (i >= SPINS)
            sched_yield();
    }
    atomic_fetch_add(&barrier->n_asleep, 1);
    while (atomic_load(&barrier->round) == round)
        sleep_while(&barrier->round, round);
    atomic_fetch_sub(&barrier->n_asleep, 1);
}

void choir_barrier_gather(choir_barrier *barrier)
{
    const int n_others = barrier->n_threads - 1;
    for (int i = 0; i < SPINS + YIELDS; i++) {
        if (atomic_load_explicit(&barrier->n_arrived, memory_order_acquire) == n_others)
            return;
        if (i >= SPINS)
            sched_yield();
    }
    atomic_store(&barrier->is_gatherer_asleep, true);
    for (int n; (n = atomic_load(&barrier->n_arrived)) != n_others;)
        sleep_while(&barrier->n_arrived, (unsigned)n);
    atomic_store(&barrier->is_gatherer_asleep, false);
}

uint32_t choir_barrier_passes(const choir_barrier *barrier)
{
    return atomic_load(&barrier->round);
}
