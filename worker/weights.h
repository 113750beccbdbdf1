/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The slice of the weights that one rank owns, packed for the kernels. Only the bytes of the slice
 * are read from the file (rounded out to blocks and pages), in parallel, and each thread touches
 * first the row groups that it will multiply later. What has been packed is given back to the
 * system as a part of the mapped file, so that the weights are never in memory twice.
 */
#ifndef CHOIR_WORKER_WEIGHTS_H
#define CHOIR_WORKER_WEIGHTS_H

#include "common/status.h"
#include "kernels/activations.h"
#include "kernels/pack.h"
#include "model/model.h"
#include "model/partition.h"

/* One layer's matrices. A matrix of which the shard owns nothing has rows 0 or cols 0 and no data.
 */
typedef struct choir_layer_weights {
    choir_matrix q, k, v;        /* [heads * S][D], [kv_heads * S][D] twice */
    choir_matrix attn_output;    /* [D][heads * S] */
    choir_matrix gate, up, down; /* [ff_columns][D] twice, [D][ff_columns] */
    float *attn_norm, *ffn_norm; /* [D] */
} choir_layer_weights;

typedef struct choir_weights {
    int64_t n_layers;            /* of this stage */
    choir_layer_weights *layers; /* [n_layers] */
    choir_matrix output;         /* [vocab_rows][D]; rows 0 before the last stage */
    float *output_norm;          /* [D] on the last stage, else NULL */
    size_t bytes;                /* packed, all matrices */
    void *region;                /* where they lie */
    float *norms;                /* where all norm vectors lie */
} choir_weights;

/*
 * Local. Loads with `n_threads` threads. With activations in f32 quantized matrices become f32. The
 * model must stay open during the call only.
 */
choir_status choir_weights_load(const choir_model *model, const choir_slice *slice,
                                choir_activations activations, int n_threads,
                                choir_weights **result) CHOIR_MUST_CHECK;
/* How many of `bytes` stand in huge pages. */
uint64_t choir_weights_huge_bytes(const choir_weights *weights);
void choir_weights_destroy(choir_weights **weights);

#endif
