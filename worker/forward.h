/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The forward pass of one rank: its layers of a step, from rows of x to rows of x, and on the last
 * stage the logits of its vocabulary rows. Shapes: T rows of the step, D width, S head size.
 *
 * All of it runs in one parallel region that the caller opens. A layer, with its barriers (|); up
 * to 16 rows:
 *
 *   1  a = quantize(rms_norm(x)), by every thread for itself
 *      q, k, v = W a, by row groups; whoever has a head of k or v rotates and stores it       |
 *   2  attention, by heads and spans of positions, each quantized by whoever has made it      |
 *   3  pieces = W_o attention, by row groups; x += tree(pieces), after an exchange of shards  |
 *   4  a = quantize(rms_norm(x)), by every thread for itself
 *      quantize(silu(gate) * up) with gate, up = W a, by the same columns of both             |
 *   5  pieces = W_d of that, by row groups; x += tree(pieces), after an exchange of shards    |
 *
 * With more rows the norms, and the storing of keys and values, are shared by rows, with a barrier
 * behind each: 8 in all. An exchange is done by thread 0 inside the barrier. Rows of matrices are
 * dealt in chunks (worker/deal.h).
 */
#ifndef CHOIR_WORKER_FORWARD_H
#define CHOIR_WORKER_FORWARD_H

#include "common/status.h"
#include "kernels/activations.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "model/partition.h"
#include "proto/step.h"
#include "worker/comm.h"
#include "worker/kv.h"
#include "worker/team.h"
#include "worker/telemetry.h"
#include "worker/weights.h"

/* What a pass works with; everything is borrowed for the life of the choir_forward. */
typedef struct choir_forward_parts {
    const choir_model *model;
    const choir_layout *layout;
    const choir_slice *slice;
    const choir_weights *weights;
    choir_kv *kv;
    const choir_kernels *kernels;
    const choir_comm *shards;     /* the ranks of this stage */
    const float *cosines, *sines; /* [positions][n_rot / 2] */
    choir_activations activations;
    int n_threads;
    int max_rows;               /* of a step */
    choir_telemetry *telemetry; /* that its exchanges are marked in */
} choir_forward_parts;

typedef struct choir_forward choir_forward;

choir_status choir_forward_create(const choir_forward_parts *parts,
                                  choir_forward **result) CHOIR_MUST_CHECK;
void choir_forward_destroy(choir_forward **forward);

/* Local. The embedding rows of the step's tokens: x [T][D]. EFILECHANGED where the file changed. */
choir_status choir_forward_embed(choir_forward *forward, const choir_step *step,
                                 float *x) CHOIR_MUST_CHECK;

/*
 * Called by one thread of every rank with x [T][D] after layer `layer` (counted over the whole
 * model), and on the first stage with -1 before the first; for tests that look at a pass from
 * inside. NULL removes it.
 */
typedef void (*choir_forward_trace)(void *context, int64_t layer, const float *x, int64_t n);
void choir_forward_set_trace(choir_forward *forward, choir_forward_trace trace, void *context);

/* Local, before the parallel region of a step: takes its page changes over. */
void choir_forward_begin(choir_forward *forward, const choir_step *step);
/*
 * All n_threads threads of a team; collective between the shards of the stage. Runs this stage's
 * layers on x [T][D], in place, T being the rows of the step that was begun. Ends with a barrier.
 */
void choir_forward_layers(choir_forward *forward, float *x, const choir_team *team);

/*
 * All n_threads threads, on the last stage; local. logits [n][vocab_rows] of the given rows of x;
 * n <= CHOIR_LOGITS_ROWS. Rows are indices into x. Ends with a barrier.
 */
enum { CHOIR_LOGITS_ROWS = 32 };
void choir_forward_logits(choir_forward *forward, const float *x, const int32_t *rows, int n,
                          float *logits, const choir_team *team);
/* The same for what the vocabulary matrix would get: states [n][D]. */
void choir_forward_states(choir_forward *forward, const float *x, const int32_t *rows, int n,
                          float *states, const choir_team *team);

#endif
