/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The option --activations: in which format the inputs of linear layers meet block-quantized
 * weights (docs/numerics.md, "Linear layers"). Float weights take f32 whatever it says.
 */
#ifndef CHOIR_KERNELS_ACTIVATIONS_H
#define CHOIR_KERNELS_ACTIVATIONS_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum choir_activations {
    CHOIR_ACTIVATIONS_Q8,
    CHOIR_ACTIVATIONS_MIXED, /* q15 for q, k, v and the vocabulary matrix, q8 elsewhere */
    CHOIR_ACTIVATIONS_Q15,
    CHOIR_ACTIVATIONS_F32, /* weights are unpacked to f32 at load; for tests */
} choir_activations;

const char *choir_activations_name(choir_activations activations);
/* EUSAGE for an unknown name. */
choir_status choir_activations_parse(const char *name,
                                     choir_activations *activations) CHOIR_MUST_CHECK;

/*
 * Whether blocks are choir_q15, else choir_q8. is_projection: the input of q, k, v or of the
 * vocabulary matrix.
 */
bool choir_activations_is_q15(choir_activations activations, bool is_projection);
/* Bytes of one block. */
size_t choir_activations_block_bytes(bool is_q15);

#endif
