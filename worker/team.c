/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/team.h"

#include <omp.h>

choir_team choir_team_here(void)
{
    return (choir_team){omp_get_thread_num(), omp_get_num_threads()};
}

choir_range choir_team_share(const choir_team *team, int64_t n)
{
    return (choir_range){n * team->thread / team->n_threads,
                         n * (team->thread + 1) / team->n_threads};
}
