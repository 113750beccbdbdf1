/* SPDX-License-Identifier: Apache-2.0 */
/* The threads of a rank inside a parallel region, and how they share work: by contiguous shares. */
#ifndef CHOIR_WORKER_TEAM_H
#define CHOIR_WORKER_TEAM_H

#include "common/status.h"
#include "model/partition.h"

typedef struct choir_team {
    int thread, n_threads;
} choir_team;

/* This thread's place in the parallel region that it runs in. */
choir_team choir_team_here(void);
/* This thread's part of n things: as even as can be, ascending by thread. */
choir_range choir_team_share(const choir_team *team, int64_t n);

/*
 * Whether n_threads threads round to nearest and keep subnormals, as docs/numerics.md demands: a
 * library built with fast-math may have switched that off. EUNSUPPORTED naming what is wrong.
 */
choir_status choir_team_check_rounding(int n_threads) CHOIR_MUST_CHECK;

#endif
