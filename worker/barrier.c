/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last thread to arrive begins a new round and wakes those who sleep. A thread that is about to
 * sleep first counts itself, then asks the kernel to sleep only if the round is still the old one;
 * the last thread changes the round first and reads the count afterwards. So either it sees the
 * sleeper, or the sleeper does not fall asleep (all these accesses are sequentially consistent).
 */
#include "worker/barrier.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
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
    atomic_init(&barrier->n_asleep, 0);
    atomic_init(&barrier->round, 0);
}

static void begin_round(choir_barrier *barrier, unsigned round)
{
    atomic_store(&barrier->n_arrived, 0);
    atomic_store(&barrier->round, round + 1);
    if (atomic_load(&barrier->n_asleep) > 0)
        syscall(SYS_futex, &barrier->round, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

void choir_barrier_wait(choir_barrier *barrier)
{
    if (barrier->n_threads == 1)
        return;
    const unsigned round = atomic_load(&barrier->round);
    if (atomic_fetch_add(&barrier->n_arrived, 1) + 1 == barrier->n_threads) {
        begin_round(barrier, round);
        return;
    }
    for (int i = 0; i < SPINS + YIELDS; i++) {
        if (atomic_load_explicit(&barrier->round, memory_order_acquire) != round)
            return;
        if (i >= SPINS)
            sched_yield();
    }
    atomic_fetch_add(&barrier->n_asleep, 1);
    while (atomic_load(&barrier->round) == round)
        syscall(SYS_futex, &barrier->round, FUTEX_WAIT_PRIVATE, round, NULL, NULL, 0);
    atomic_fetch_sub(&barrier->n_asleep, 1);
}
