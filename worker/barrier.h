/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A barrier between the threads of a rank. A decode step passes hundreds of them, some microseconds
 * apart, so a thread first spins; where the machine has other work it then gives its core away, and
 * at last sleeps, since a core that spins for a thread which waits for that core is lost.
 */
#ifndef CHOIR_WORKER_BARRIER_H
#define CHOIR_WORKER_BARRIER_H

#include <stdatomic.h>

typedef struct choir_barrier {
    int n_threads;
    atomic_int n_arrived;
    atomic_int n_asleep;
    atomic_uint round; /* counts completed passes; the futex that sleepers wait on */
} choir_barrier;

void choir_barrier_init(choir_barrier *barrier, int n_threads);
/* Returns when all n_threads threads have called it; what they wrote before is seen by all. */
void choir_barrier_wait(choir_barrier *barrier);

#endif
