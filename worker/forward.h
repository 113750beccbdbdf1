/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The forward pass of one rank: its layers of a step, from rows of x to rows of x, and on the last
 * stage the logits of its vocabulary rows. Shapes: T rows of the step, D width, S head size.
 *
 * A layer, all of it in one parallel region (barriers between the passes):
 *   1  a = quantize(rms_norm(x))                                   by rows
 *   2  q, k, v = W a; rotate q, k; scale q; store k, v             by row groups, then by rows
 *   3  attention over the stored keys and values                   by (row, KV head)
 *   4  pieces = W_o quantize(attention); x += tree(pieces)         by row groups; exchange
 *   5  a = quantize(rms_norm(x)); gate, up = W a                   by rows, row groups
 *   6  pieces = W_d quantize(silu(gate) * up); x += tree(pieces)   by row groups; exchange
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
    int max_rows; /* of a step */
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

/*
 * Collective between the shards of the stage. Takes the step's page changes over and runs this
 * stage's layers on x [T][D], in place.
 */
void choir_forward_layers(choir_forward *forward, const choir_step *step, float *x);

/*
 * Local, last stage. logits [n][vocab_rows] of the given rows of x; n <= CHOIR_LOGITS_ROWS. Rows
 * are indices into x.
 */
enum { CHOIR_LOGITS_ROWS = 32 };
void choir_forward_logits(choir_forward *forward, const float *x, const int32_t *rows, int n,
                          float *logits);

#endif
