/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What comes back to the lead from a step: each shard of the last stage turns its logits of a
 * wanted row into a record of known length, and the lead merges the records of all shards.
 *
 * A record, in words of 4 bytes:
 *
 *     | finite | target logit | (m, l) of each chunk | (id, logit) best | candidates | whole row |
 *
 * best: min(n_top, rows of the shard) of them, descending. candidates: worker/candidates.h. whole
 * row: only with FULL_ROW. So a row costs some hundred bytes instead of 4 x vocabulary, unless its
 * sampler needs it all. Of a row whose state is wanted shard 0 writes | finite | state [D] |, the
 * others nothing.
 *
 * Rows travel in tiles of CHOIR_LOGITS_ROWS, one message a shard and tile. All of it is Local.
 */
#ifndef CHOIR_WORKER_RESULTS_H
#define CHOIR_WORKER_RESULTS_H

#include "common/status.h"
#include "kernels/kernels.h"
#include "model/partition.h"
#include "proto/step.h"
#include "worker/candidates.h"
#include "worker/team.h"

/* A row of a step whose logits or state are wanted. */
typedef struct choir_wanted {
    int32_t row;    /* of the step */
    int32_t target; /* a token id, or -1 */
    int32_t n_top;
    bool is_full;
    int32_t state_width;                 /* D: the state; 0: logits */
    const choir_step_settings *settings; /* NULL: not sampled by the shards */
} choir_wanted;

/* Fills wanted [step->n_wanted], in step order; width is D. */
void choir_wanted_list(const choir_step *step, int64_t width, choir_wanted *wanted);
/*
 * Rows of the step whose logits (is_state false) or states are wanted, of the n of a tile: rows
 * [CHOIR_LOGITS_ROWS]. Returns how many.
 */
int choir_wanted_rows(const choir_wanted *wanted, int n, bool is_state, int32_t *rows);

/* Words of the records of n rows from a shard that holds `slice`. */
size_t choir_record_words(const choir_slice *slice, const choir_wanted *wanted, int n);

/* Words of the largest record of a tile that a shard of the last stage writes. */
size_t choir_record_words_max(const choir_slice *slice, int64_t width);

/*
 * Called by all threads of a team, behind a barrier after the logits: writes the records of n rows.
 * logits [rows][vocab_rows] and states [rows][D] of those of choir_wanted_rows(). `record` has
 * choir_record_words() words; it is whole behind the next barrier. scratch [threads]; not looked at
 * where no row is sampled.
 */
void choir_record_write(uint32_t *record, const choir_kernels *kernels, const choir_layout *layout,
                        const choir_slice *slice, const choir_wanted *wanted, int n,
                        const float *logits, const float *states,
                        const choir_candidates_scratch *scratch, const choir_team *team);

/* The lead's memory for the merged results of one step. All zero at first. */
typedef struct choir_results {
    choir_row_result *rows; /* [n_wanted] */
    int32_t *top_ids;
    float *top_logits;
    float *logits;          /* rows with FULL_ROW, one after the other */
    int32_t *candidate_ids; /* of sampled rows, as the next two */
    float *candidate_z, *candidate_logits;
    float *states; /* of rows that want them, one after the other */
    size_t states_capacity;
    size_t candidate_ids_capacity, candidate_z_capacity, candidate_logits_capacity;
    size_t rows_capacity, top_ids_capacity, top_logits_capacity, logits_capacity;
} choir_results;

/* Makes room for all rows of a step and points the results into it. */
choir_status choir_results_prepare(choir_results *results, const choir_layout *layout,
                                   const choir_wanted *wanted, int n) CHOIR_MUST_CHECK;
/*
 * Merges the records of rows [first, first + n): records[s] is what shard s of the last stage
 * wrote for them.
 */
void choir_results_merge(choir_results *results, const choir_layout *layout,
                         const choir_wanted *wanted, int first, int n,
                         const uint32_t *const *records);
void choir_results_release(choir_results *results);

#endif
