/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/team.h"

#include "common/mem.h"
#include "worker/deal.h"

#include <fenv.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

choir_status choir_threads_create(int n, choir_threads **result)
{
    choir_threads *threads = NULL;
    choir_status status = choir_alloc_aligned(1, sizeof *threads, (void **)&threads);
    if (status == CHOIR_OK) {
        threads->n = n;
        choir_barrier_init(&threads->barrier, n);
        status = choir_alloc_aligned((size_t)n, sizeof *threads->deals, (void **)&threads->deals);
    }
    if (status != CHOIR_OK)
        choir_threads_destroy(&threads);
    *result = threads;
    return status;
}

void choir_threads_destroy(choir_threads **threads)
{
    if (!*threads)
        return;
    free((*threads)->deals);
    free((*threads)->clocks);
    free(*threads);
    *threads = NULL;
}

choir_status choir_threads_start_clocks(choir_threads *threads)
{
    choir_status status = CHOIR_OK;
    if (!threads->clocks)
        status = choir_alloc_aligned((size_t)threads->n, sizeof *threads->clocks,
                                     (void **)&threads->clocks);
    for (int t = 0; status == CHOIR_OK && t < threads->n; t++)
        choir_phase_restart(&threads->clocks[t]);
    return status;
}

choir_team choir_team_here(choir_threads *threads)
{
    choir_team team = {.thread = omp_get_thread_num(), .n_threads = omp_get_num_threads()};
    if (threads) {
        team.barrier = &threads->barrier;
        team.deals = threads->deals;
        team.clock = threads->clocks ? &threads->clocks[team.thread] : NULL;
        choir_phase_end(team.clock, CHOIR_PHASE_OUTSIDE);
    }
    return team;
}

choir_range choir_team_share(const choir_team *team, int64_t n)
{
    return (choir_range){n * team->thread / team->n_threads,
                         n * (team->thread + 1) / team->n_threads};
}

void choir_team_wait(const choir_team *team, choir_phase phase)
{
    choir_phase_end(team->clock, phase);
    choir_barrier_wait(team->barrier);
    choir_phase_end_wait(team->clock);
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/*
 * Volatile, so that the processor multiplies and not the compiler; a function of its own, since gcc
 * 12 forgets that inside a parallel region. By the bits: where subnormals count as zero, they do so
 * in comparisons too.
 */
__attribute__((noinline)) static bool flushes_subnormals(void)
{
    volatile float least = 0x1p-149f, normal = 0x1p-126f, two = 2.0f, half = 0.5f;
    const float doubled = least * two, halved = normal * half;
    return bits_of(doubled) != 2 || bits_of(halved) != 0x400000;
}

choir_status choir_team_check(int n_threads)
{
    int n_there = 0, n_rounding = 0, n_flushing = 0;
    omp_set_dynamic(0);
#pragma omp parallel num_threads(n_threads) reduction(+ : n_there, n_rounding, n_flushing)
    {
        n_there++;
        n_rounding += fegetround() != FE_TONEAREST;
        n_flushing += flushes_subnormals();
    }
    if (n_there != n_threads)
        return choir_fail(CHOIR_EUNSUPPORTED,
                          "OpenMP gives %d threads instead of %d: look at OMP_THREAD_LIMIT",
                          n_there, n_threads);
    if (n_rounding + n_flushing == 0)
        return CHOIR_OK;
    return choir_fail(CHOIR_EUNSUPPORTED,
                      "of %d threads %d do not round to nearest and %d flush subnormals to zero: "
                      "a library in this process was built with fast-math",
                      n_threads, n_rounding, n_flushing);
}
