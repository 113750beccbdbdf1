/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/telemetry.h"

#include <stdlib.h>
#include <string.h>

enum { ENOUGH_STEPS = 16, WATCHED_EVERY = 4 };
static const int64_t enough_ns = 100000000, pause_ns = 1000000000, long_ns = 10000000;

void choir_telemetry_mark(choir_telemetry *telemetry, choir_activity activity, int64_t now_ns)
{
    choir_telemetry *t = telemetry;
    const int64_t spent = t->last_ns > 0 ? now_ns - t->last_ns : 0;
    t->last_ns = now_ns;
    t->sums.spent_ns[activity] += spent;
    if (activity == CHOIR_COMPUTING)
        t->step_compute_ns += spent;
    if (activity == CHOIR_EXCHANGING)
        t->exchange_ns += spent;
}

void choir_telemetry_end_exchange(choir_telemetry *telemetry)
{
    choir_telemetry *t = telemetry;
    if (t->is_skipping)
        return;
    if (t->n_exchanges == 0 || t->exchange_ns < t->shortest_ns)
        t->shortest_ns = t->exchange_ns;
    t->n_exchanges++;
    t->exchange_ns = 0;
}

void choir_telemetry_begin_step(choir_telemetry *telemetry, choir_activity before, int64_t now_ns)
{
    if (!telemetry->is_skipping)
        choir_telemetry_mark(telemetry, before, now_ns);
    telemetry->step_begin_ns = now_ns;
    telemetry->step_compute_ns = 0;
}

static void end_watched_step(choir_telemetry *t, int64_t read_bytes, int64_t now_ns)
{
    choir_telemetry_mark(t, CHOIR_COMPUTING, now_ns);
    t->sums.n_steps++;
    t->sums.least_exchange_ns += t->n_exchanges * t->shortest_ns;
    t->n_exchanges = 0;
    if (read_bytes > 0) {
        t->read_bytes += read_bytes;
        t->read_ns += t->step_compute_ns;
    }
}

void choir_telemetry_end_step(choir_telemetry *telemetry, int64_t read_bytes, int64_t now_ns)
{
    choir_telemetry *t = telemetry;
    const int64_t step_ns = now_ns - t->step_begin_ns;
    if (!t->is_skipping)
        end_watched_step(t, read_bytes, now_ns);
    t->step_us[t->n_steps++ % CHOIR_TELEMETRY_STEPS] = step_ns / 1000;
    t->is_skipping = step_ns < long_ns && t->n_steps % WATCHED_EVERY != 0;
    t->last_ns = now_ns;
}

static int64_t active_ns(const choir_rank_figures *figures)
{
    return figures->spent_ns[CHOIR_COMPUTING] + figures->spent_ns[CHOIR_WAITING] +
           figures->spent_ns[CHOIR_MOVING] + figures->spent_ns[CHOIR_EXCHANGING];
}

bool choir_telemetry_is_due(const choir_telemetry *telemetry, int64_t now_ns)
{
    const choir_rank_figures *sums = &telemetry->sums;
    return now_ns - telemetry->told_ns >= pause_ns && sums->n_steps > 0 &&
           (sums->n_steps >= ENOUGH_STEPS || active_ns(sums) >= enough_ns);
}

static int by_size(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

void choir_telemetry_take(choir_telemetry *telemetry, int64_t now_ns, choir_rank_figures *figures)
{
    choir_telemetry *t = telemetry;
    int64_t sorted[CHOIR_TELEMETRY_STEPS];
    const size_t n =
        t->n_steps < CHOIR_TELEMETRY_STEPS ? (size_t)t->n_steps : CHOIR_TELEMETRY_STEPS;
    memcpy(sorted, t->step_us, sizeof sorted);
    qsort(sorted, n, sizeof sorted[0], by_size);
    *figures = t->sums;
    figures->step_us_p50 = n > 0 ? sorted[n / 2] : 0;
    figures->step_us_p99 = n > 0 ? sorted[n * 99 / 100] : 0;
    if (t->read_ns > 0)
        figures->bandwidth = (int64_t)((double)t->read_bytes * 1e9 / (double)t->read_ns);
    memset(&t->sums, 0, sizeof t->sums);
    t->read_bytes = t->read_ns = 0;
    t->told_ns = now_ns;
}

/* What moving the bytes of one step's exchanges takes: as long as the fastest of the shards. */
static double least_exchange_ns(const choir_rank_figures *figures, int n_shards)
{
    double least = 0;
    bool is_known = false;
    for (int s = 0; s < n_shards; s++) {
        if (figures[s].n_steps <= 0)
            continue;
        const double mine = (double)figures[s].least_exchange_ns / (double)figures[s].n_steps;
        least = is_known && least < mine ? least : mine;
        is_known = true;
    }
    return least;
}

static void report_shares(const choir_rank_figures *figures, double least,
                          choir_rank_report *report)
{
    const double all = (double)active_ns(figures);
    const double exchange = (double)figures->spent_ns[CHOIR_EXCHANGING];
    double moved = least * (double)figures->n_steps;
    if (moved > exchange)
        moved = exchange;
    const double compute = (double)figures->spent_ns[CHOIR_COMPUTING];
    const double wait = (double)figures->spent_ns[CHOIR_WAITING] + exchange - moved;
    report->compute_share = (float)(compute / all);
    report->wait_share = (float)(wait / all);
    report->exchange_share = (float)((moved + (double)figures->spent_ns[CHOIR_MOVING]) / all);
}

void choir_telemetry_report(const choir_rank_figures *figures, int n_ranks, int n_shards,
                            choir_rank_report *reports)
{
    for (int r = 0; r < n_ranks; r++) {
        const double least = least_exchange_ns(figures + r / n_shards * n_shards, n_shards);
        choir_rank_report *report = &reports[r];
        if (figures[r].n_steps <= 0 || active_ns(&figures[r]) <= 0)
            continue;
        report_shares(&figures[r], least, report);
        report->step_us_p50 = (uint64_t)figures[r].step_us_p50;
        report->step_us_p99 = (uint64_t)figures[r].step_us_p99;
        if (figures[r].bandwidth > 0)
            report->bandwidth = (uint64_t)figures[r].bandwidth;
        report->rss = (uint64_t)figures[r].rss;
        report->memory_free = (uint64_t)figures[r].memory_free;
    }
}
