/* SPDX-License-Identifier: Apache-2.0 */
/* The threads of a rank inside a parallel region, and how they share work: by contiguous shares. */
#ifndef CHOIR_WORKER_TEAM_H
#define CHOIR_WORKER_TEAM_H

#include "common/status.h"
#include "model/partition.h"
#include "worker/barrier.h"
#include "worker/phases.h"

struct choir_deal;

/* What the threads of a rank share. */
typedef struct choir_threads {
    choir_barrier barrier;
    int n;
    struct choir_deal *deals;  /* [n], see worker/deal.h */
    choir_phase_clock *clocks; /* [n]; NULL: not measured */
} choir_threads;

choir_status choir_threads_create(int n, choir_threads **result) CHOIR_MUST_CHECK;
void choir_threads_destroy(choir_threads **threads);
/* Outside a parallel region: what the next ones do counts from now, and nothing before. */
choir_status choir_threads_start_clocks(choir_threads *threads) CHOIR_MUST_CHECK;

/* One thread in a parallel region of all of them; the pointers are its rank's. */
typedef struct choir_team {
    int thread, n_threads;
    choir_barrier *barrier;   /* NULL where they do not wait for each other */
    struct choir_deal *deals; /* [n_threads]; NULL where nothing is dealt */
    choir_phase_clock *clock; /* of this thread; NULL: its time is not looked at */
} choir_team;

/* This thread's place in the region that it runs in. `threads` may be NULL: they only share work.
 */
choir_team choir_team_here(choir_threads *threads);
/* This thread's part of n things: as even as can be, ascending by thread. */
choir_range choir_team_share(const choir_team *team, int64_t n);
/* The barrier, and the clock: what was done since the last call of this or the other was `phase`.
 */
void choir_team_wait(const choir_team *team, choir_phase phase);

/*
 * Whether there will be n_threads threads in a parallel region, and all of them round to nearest
 * and keep subnormals, as docs/numerics.md demands: a library built with fast-math may have
 * switched that off. EUNSUPPORTED naming what is wrong.
 */
choir_status choir_team_check(int n_threads) CHOIR_MUST_CHECK;

#endif
