/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a rank's time in steps goes, kept always: computing, waiting for other ranks, moving bytes.
 * The thread that talks to MPI marks the end of each activity; between steps without work in
 * between, the time counts for nothing.
 *
 *     rank 0   | compute | exchange | compute | exchange | compute | results | schedule |
 *     rank 1   | compute .......... |exchange | compute .|exchange | compute | wait ....|
 *                        ^ rank 0 waits here, inside of its exchange
 *
 * An exchange between shards is one call of MPI in which waiting and moving cannot be told apart,
 * and asking the others first would cost a message. So the shortest exchange of a step is taken as
 * what moving costs in all of them, and of the shards of a stage the one that has it shortest: what
 * any of them spent beyond is waiting for the last to come. Between stages, and for results, a rank
 * waits until the message is there and then receives it: there the two are measured.
 *
 * Looking at the clock before and after an exchange costs 0.06 us (CPU time on a virtual EPYC), or
 * 4 us in a step of 30 layers; so of short steps only every fourth is watched from inside, which
 * leaves one.
 *
 * Pure but for choir_telemetry_mark_now(): the time is an argument, in nanoseconds of
 * choir_clock_ns(). Not thread-safe.
 */
#ifndef CHOIR_WORKER_TELEMETRY_H
#define CHOIR_WORKER_TELEMETRY_H

#include "common/clock.h"
#include "proto/report.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum choir_activity {
    CHOIR_COMPUTING, /* all that is none of the others */
    CHOIR_WAITING,
    CHOIR_MOVING,
    CHOIR_EXCHANGING, /* between shards: waiting and moving */
    CHOIR_RESTING,    /* no step in flight: counts for nothing */
    CHOIR_ACTIVITIES,
} choir_activity;

enum { CHOIR_TELEMETRY_STEPS = 256 };

/* Sums over the steps that were watched: what a rank sends to the lead, as its bytes. Padding is
 * none. */
typedef struct choir_rank_figures {
    int64_t n_steps;
    int64_t spent_ns[CHOIR_ACTIVITIES];
    int64_t least_exchange_ns;        /* exchanges of a step x its shortest, over all steps */
    int64_t step_us_p50, step_us_p99; /* of the last CHOIR_TELEMETRY_STEPS steps */
    int64_t bandwidth;                /* bytes/s of weights in steps of few rows; 0: no such step */
    int64_t rss, memory_free;         /* of this moment */
    int64_t is_last;                  /* the rank leaves its loop */
} choir_rank_figures;

/* Zero it. */
typedef struct choir_telemetry {
    int64_t last_ns, step_begin_ns, told_ns;
    bool is_skipping;        /* until the end of the next step nothing is marked */
    int64_t step_compute_ns; /* of this step, as the next three */
    int64_t n_exchanges, exchange_ns, shortest_ns;
    int64_t read_bytes, read_ns;            /* of steps of few rows */
    choir_rank_figures sums;                /* since the last choir_telemetry_take() */
    uint64_t n_steps;                       /* of all time */
    int64_t step_us[CHOIR_TELEMETRY_STEPS]; /* a ring */
} choir_telemetry;

/* The time since the last mark was this activity. Not to be called while nothing is marked. */
void choir_telemetry_mark(choir_telemetry *telemetry, choir_activity activity, int64_t now_ns);
/* The same as of now; without a look at the clock in steps that are not watched from inside. */
static inline void choir_telemetry_mark_now(choir_telemetry *telemetry, choir_activity activity)
{
    if (!telemetry->is_skipping)
        choir_telemetry_mark(telemetry, activity, choir_clock_ns());
}

/* The exchange that was marked since the last call of this, in one part or several, is over. */
void choir_telemetry_end_exchange(choir_telemetry *telemetry);
/* A step is there; the time since the last one, where nothing was marked since, was `before`. */
void choir_telemetry_begin_step(choir_telemetry *telemetry, choir_activity before, int64_t now_ns);
/*
 * This rank's part of the step is done, having computed to the end. read_bytes: the weights, where
 * reading them is what computing waits for; 0: a step of many rows, or not with all of them.
 */
void choir_telemetry_end_step(choir_telemetry *telemetry, int64_t read_bytes, int64_t now_ns);

/*
 * Whether it is time to tell: a second after the last time, and enough to tell: 16 steps or 100 ms
 * of them. One step alone would say little, since it may be a prompt's first.
 */
bool choir_telemetry_is_due(const choir_telemetry *telemetry, int64_t now_ns);
/* Gives the sums, all fields but rss, memory_free and is_last, and begins new ones. */
void choir_telemetry_take(choir_telemetry *telemetry, int64_t now_ns, choir_rank_figures *figures);

/*
 * What the figures of all ranks mean: fills step times, shares, bandwidth and memory of reports
 * [n_ranks]; one whose rank has told of no step stays as it is. Ranks of a stage stand together,
 * n_shards of them. The three shares of a rank are in 0..1 and have the sum 1.
 */
void choir_telemetry_report(const choir_rank_figures *figures, int n_ranks, int n_shards,
                            choir_rank_report *reports);

#endif
