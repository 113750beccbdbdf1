/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A barrier for the threads of one rank. Waiting threads spin for a while, then let others run, and
 * at last sleep, since a core that spins for a thread which waits for that core is lost.
 */
#ifndef CHOIR_WORKER_BARRIER_H
#define CHOIR_WORKER_BARRIER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct choir_barrier {
    int n_threads;
    /* On cache lines of their own: one is written by all that arrive, one read by all that wait. */
    _Alignas(64) atomic_int n_arrived;
    atomic_bool is_gatherer_asleep;
    _Alignas(64) atomic_uint round; /* counts completed passes; the futex that sleepers wait on */
    atomic_int n_asleep;
} choir_barrier;

void choir_barrier_init(choir_barrier *barrier, int n_threads);
/* Returns when all n_threads threads have called it; what they wrote before is seen by all. */
void choir_barrier_wait(choir_barrier *barrier);
/*
 * A barrier with something in it that one thread does alone: that thread calls gather, which
 * returns when all others wait, works, and releases them. The others call choir_barrier_wait().
 */
void choir_barrier_gather(choir_barrier *barrier);
void choir_barrier_release(choir_barrier *barrier);
/* How often all threads have passed; to be read while none is waiting. */
uint32_t choir_barrier_passes(const choir_barrier *barrier);

#endif
