/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention of one rank: stores the keys and values of a step's rows, and lets the queries of its
 * heads look at them. Inside a parallel region the work is taken in *tasks*, one after the other by
 * whoever is free; what a task computes does not depend on who takes it:
 *
 *     many rows              (some rows of a sequence, KV head): all query heads of the group, all
 *                            positions; a loaded page serves all queries
 *     few rows, short        (row, query head)
 *     few rows, long         (row, KV head or query head, span of 1,024 positions); whoever ends
 *                            the last span of a head merges all of them, ascending
 */
#ifndef CHOIR_WORKER_ATTEND_H
#define CHOIR_WORKER_ATTEND_H

#include "common/status.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "model/partition.h"
#include "proto/step.h"
#include "worker/kv.h"
#include "worker/rows.h"
#include "worker/team.h"

/* Borrowed for the life of the choir_attend. */
typedef struct choir_attend_parts {
    const choir_hparams *hparams;
    const choir_slice *slice;
    choir_kv *kv;
    const choir_kernels *kernels;
    const float *cosines, *sines; /* [positions][n_rot / 2] */
    int n_threads;
    int max_rows; /* of a step */
} choir_attend_parts;

typedef struct choir_attend choir_attend;

choir_status choir_attend_create(const choir_attend_parts *parts,
                                 choir_attend **result) CHOIR_MUST_CHECK;
void choir_attend_destroy(choir_attend **attend);

/* Outside the region: takes the step's page changes over and deals its rows into tasks. */
void choir_attend_begin(choir_attend *attend, const choir_step *step);

/*
 * Rotates keys k [T][KV heads * S] of some rows and heads in place and stores them; stores values.
 * Every (row, head) by one thread, and all before choir_attend_run() of the layer, with a barrier
 * between.
 */
void choir_attend_store_keys(choir_attend *attend, int64_t layer, choir_range rows,
                             choir_range heads, float *k);
void choir_attend_store_values(choir_attend *attend, int64_t layer, choir_range rows,
                               choir_range heads, const float *v);

/*
 * All threads of the team: out->f32 [T][heads * S] of the queries q [T][heads * S] (not yet
 * rotated), and out->blocks where wanted. Between the calls of two layers there is a barrier.
 */
void choir_attend_run(choir_attend *attend, int64_t layer, const float *q, const choir_rows *out,
                      bool wants_blocks, const choir_team *team);

#endif
