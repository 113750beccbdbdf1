/* SPDX-License-Identifier: Apache-2.0 */
/* What a choir_worker consists of; for worker/worker.c and worker/worker_report.c alone. */
#ifndef CHOIR_WORKER_WORKER_PARTS_H
#define CHOIR_WORKER_WORKER_PARTS_H

#include "worker/kv.h"
#include "worker/limits.h"
#include "worker/results.h"
#include "worker/team.h"
#include "worker/telemetry_post.h"
#include "worker/weights.h"
#include "worker/worker.h"

/* A step that the lead has handed in: its own copy of the message, and the sends that read it. */
typedef struct pending_step {
    void *message;
    choir_step step;
    choir_comm_request *sends; /* [n_ranks] */
} pending_step;

struct choir_worker {
    const choir_comm *comm;
    choir_worker_options options;
    choir_model *model;
    choir_layout *layout;
    const choir_slice *slice;
    choir_comm *shards;
    const choir_kernels *kernels;
    choir_weights *weights;
    choir_kv *kv;
    float *cosines, *sines;
    choir_forward *forward;
    choir_step_limits limits;
    choir_threads *threads;
    choir_telemetry telemetry;
    choir_telemetry_post *post;

    float *x[CHOIR_ACTIVATION_BUFFERS]; /* [max rows][D] */
    choir_comm_request x_sends[CHOIR_ACTIVATION_BUFFERS];
    uint64_t n_computed;

    choir_wanted *wanted;              /* [max rows] */
    float *logits;                     /* [CHOIR_LOGITS_ROWS][vocab rows], last stage */
    float *states;                     /* [CHOIR_LOGITS_ROWS][D], last stage */
    uint32_t *record;                  /* this shard's record of a tile, last stage */
    choir_candidates_scratch *scratch; /* [n_threads], last stage */

    /* The lead's alone. */
    pending_step *pending; /* [n_stages], a ring */
    uint64_t n_begun, n_collected;
    uint32_t **records; /* [n_shards] of the last stage */
    choir_results results;
};

#endif
