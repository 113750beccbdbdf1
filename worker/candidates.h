/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of a record that belongs to a sampled row: each shard applies the row's settings to its
 * logits and gives the best candidates, from which the lead's sampler chooses as if it had the row.
 * Words of 4 bytes:
 *
 *     | (id, z, logit) of each candidate, descending | (m, l) of z of each chunk | (id, sum, logit)
 * |
 *
 * candidates: min(n_candidates, rows of the shard). (m, l): with wants_total. The last: the one
 * that this shard would draw, where there are no candidates. 4 shards of the default model's
 * vocabulary send 3 KiB for top_p with 64 candidates instead of 192 KiB, and 48 bytes where nothing
 * is filtered.
 *
 * Local.
 */
#ifndef CHOIR_WORKER_CANDIDATES_H
#define CHOIR_WORKER_CANDIDATES_H

#include "kernels/kernels.h"
#include "model/partition.h"
#include "proto/step.h"

#include <stdint.h>

/* What a thread needs to write one: for as many logits as the shard has rows; counts are zero. */
typedef struct choir_candidates_scratch {
    float *z;
    int32_t *counts;
} choir_candidates_scratch;

size_t choir_candidates_words(const choir_slice *slice, const choir_step_settings *settings);
/* logits: of this shard's rows of the vocabulary. */
void choir_candidates_write(uint32_t *words, const choir_kernels *kernels,
                            const choir_layout *layout, const choir_slice *slice,
                            const choir_step_settings *settings, const float *logits,
                            const choir_candidates_scratch *scratch);

/* Where a merged list goes: room for CHOIR_STEP_MAX_CANDIDATES x shards. */
typedef struct choir_candidates_room {
    int32_t *ids;
    float *z, *logits;
} choir_candidates_room;

/*
 * Merges what all shards wrote for a row: words[s] is shard s's. The list ends where a shard might
 * have more between what it listed and what comes next.
 */
void choir_candidates_merge(choir_row_result *row, const choir_candidates_room *room,
                            const choir_layout *layout, const choir_step_settings *settings,
                            const uint32_t *const *words);

#endif
