/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One rank: its slice of the model and its part in every step. Rank 0 is the lead: it hands in the
 * steps and gets the results back; all others follow.
 *
 *     lead            choir_worker_step(message) -> ... -> choir_worker_collect(rows)
 *     all ranks       embed | receive x -> layers -> send x | logits, records -> lead
 *
 * With P stages the lead may hand in P steps before it collects the first, so that all stages have
 * work. Steps are collected in the order they were handed in.
 */
#ifndef CHOIR_WORKER_WORKER_H
#define CHOIR_WORKER_WORKER_H

#include "common/status.h"
#include "kernels/activations.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "model/partition.h"
#include "proto/report.h"
#include "proto/step.h"
#include "worker/comm.h"
#include "worker/forward.h"
#include "worker/phases.h"

typedef struct choir_worker_options {
    const char *model_path;
    choir_layout_options layout; /* n_ranks is the communicator's */
    int n_threads;               /* of this rank, >= 1 */
    choir_level level;           /* of this rank */
    choir_activations activations;
    choir_cache_type key_type, value_type;
    int64_t max_model_len;          /* 0: what the model was made for, less where memory is short */
    int64_t max_num_seqs;           /* > 0 */
    int64_t max_num_batched_tokens; /* > 0 */
    int64_t kv_cache_memory_bytes;  /* at most, of this rank; 0: as much as is needed and free */
    bool is_verified;               /* hash the whole file, check every block of the weights */
} choir_worker_options;

typedef struct choir_worker choir_worker;

/*
 * Collective. Opens and checks the model, makes the layout, loads this rank's slice. On failure
 * every rank gets the same status and words. EFORMAT where ranks see different files, EUSAGE where
 * they have different settings. `comm` is borrowed for the life of the worker.
 */
choir_status choir_worker_create(const choir_comm *comm, const choir_worker_options *options,
                                 choir_worker **result) CHOIR_MUST_CHECK;
/* Collective, when no step is in flight. Accepts NULL, nulls the pointer. */
void choir_worker_destroy(choir_worker **worker);

const choir_model *choir_worker_model(const choir_worker *worker);
const choir_layout *choir_worker_layout(const choir_worker *worker);
const choir_kernels *choir_worker_kernels(const choir_worker *worker);
int choir_worker_threads(const choir_worker *worker);
bool choir_worker_is_lead(const choir_worker *worker);
/* What steps may ask for; the same on all ranks. */
const choir_step_limits *choir_worker_limits(const choir_worker *worker);

/* Collective. Measures the memory and fills reports [ranks] on every rank. */
void choir_worker_describe(choir_worker *worker, choir_rank_report *reports);
/*
 * Lead only, local. Puts into reports [ranks] what the ranks have told last, about once a second
 * while there are steps: step times, shares, bandwidth, memory (worker/telemetry.h).
 */
void choir_worker_refresh(choir_worker *worker, choir_rank_report *reports);

/*
 * Lead only. Broadcasts a step (a message of choir_step_builder, copied) and computes this rank's
 * part. At most n_stages steps may be uncollected.
 */
choir_status choir_worker_step(choir_worker *worker, const void *message,
                               size_t bytes) CHOIR_MUST_CHECK;
/*
 * Lead only. Waits for the results of the oldest uncollected step: one row for each wanted row,
 * borrowed until the next call.
 */
choir_status choir_worker_collect(choir_worker *worker, uint64_t *step_id,
                                  const choir_row_result **rows, int64_t *n_rows) CHOIR_MUST_CHECK;
/* Lead only, with no step uncollected: the followers leave choir_worker_follow(). */
choir_status choir_worker_stop(choir_worker *worker) CHOIR_MUST_CHECK;

/* All but the lead: computes steps until the lead stops it. Sleeps while there are none. */
choir_status choir_worker_follow(choir_worker *worker) CHOIR_MUST_CHECK;

/*
 * Local. Barriers that this rank's threads have passed in steps so far; to be read between steps.
 */
uint32_t choir_worker_barriers(const choir_worker *worker);

/*
 * Local. From now on the threads' time is kept by operation; again: from zero. Costs some
 * microseconds a step.
 */
choir_status choir_worker_start_clocks(choir_worker *worker) CHOIR_MUST_CHECK;
/*
 * Collective, after all ranks have started them: *clocks [ranks][*n_threads], which the caller
 * frees; zero for threads that a rank has not.
 */
choir_status choir_worker_gather_clocks(const choir_worker *worker, int *n_threads,
                                        choir_phase_clock **clocks) CHOIR_MUST_CHECK;

/* See choir_forward_set_trace(). */
void choir_worker_set_trace(choir_worker *worker, choir_forward_trace trace, void *context);

#endif
