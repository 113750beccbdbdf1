/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The step: the one message that the lead broadcasts, all that a rank needs to run the next forward
 * pass. Flat and versioned, one contiguous buffer in the machine's byte order (all ranks are one
 * build):
 *
 *     | header | sequences [n_seqs] | token ids [n_rows] | new pages | targets | settings |
 *
 * Rows stand in the order of the sequences, a sequence's rows in ascending position. A slot is the
 * place of a running sequence on every rank; its page table maps position / page_positions to a
 * page of the pool. Before the pass the table is cut to n_pages_before pages (0: a new sequence has
 * the slot) and the new ones are appended. Pages in front of the first position may be new as well:
 * their keys and values are those of an earlier sequence with the same tokens.
 */
#ifndef CHOIR_PROTO_STEP_H
#define CHOIR_PROTO_STEP_H

#include "common/sampling.h"
#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CHOIR_STEP_VERSION = 4,
    CHOIR_STEP_MAX_SEQS = 4096, /* the largest max_num_seqs */
    CHOIR_STEP_MAX_TOP = 64,    /* the largest n_top */
    CHOIR_STEP_MAX_CANDIDATES = 256,
    CHOIR_STEP_MAX_WORDS = 1 << 16, /* of all settings of a step */
};

/* What both sides know from the start; every field > 0. */
typedef struct choir_step_limits {
    int32_t max_num_seqs;           /* slots 0..max_num_seqs-1; <= CHOIR_STEP_MAX_SEQS */
    int32_t max_num_batched_tokens; /* rows of a step */
    int32_t max_model_len;          /* positions of a sequence */
    int32_t n_pages;                /* pages of the pool */
    int32_t page_positions;         /* CHOIR_PAGE_POSITIONS */
    int32_t vocab_size;
} choir_step_limits;

/* EUSAGE, naming the limit that is out of range. */
choir_status choir_step_limits_check(const choir_step_limits *limits) CHOIR_MUST_CHECK;
/*
 * New pages of one step: all that one sequence may have, so that one that begins with pages of
 * others always fits, and one for each row beside its own.
 */
int64_t choir_step_new_pages_max(const choir_step_limits *limits);
/* The largest message; what each rank allocates once. */
size_t choir_step_bytes_max(const choir_step_limits *limits);

enum choir_step_flags {
    CHOIR_STEP_STOP = 1,       /* no rows: ranks leave their loop */
    CHOIR_STEP_AFTER_REST = 2, /* there was nothing to compute before: nobody waited for it */
};

enum choir_sequence_flags {
    CHOIR_SEQUENCE_FULL_ROW = 1,    /* the whole row of logits is wanted on the lead */
    CHOIR_SEQUENCE_HAS_TARGETS = 2, /* one target id for each wanted row */
    CHOIR_SEQUENCE_SAMPLED = 4,     /* shards begin to choose the token of the one wanted row */
    CHOIR_SEQUENCE_STATE = 8,       /* of wanted rows the state, normed, instead of logits */
};

/*
 * How a sampled row becomes a token (common/sampling.h), as far as a shard can do it: it gives the
 * best candidates of what the settings make of its logits, or, where nothing is filtered, the one
 * that its part of the vocabulary would draw. Words of 4 bytes; behind them stand, in this order,
 * n_bias pairs of id and float, n_allowed, n_banned and n_history ids.
 */
typedef struct choir_step_settings {
    float temperature, repetition_penalty, frequency_penalty, presence_penalty;
    uint32_t seed_low, seed_high;
    int32_t choice, position; /* of the token to be chosen */
    int32_t n_candidates;     /* 1..CHOIR_STEP_MAX_CANDIDATES; 0: the drawn one */
    int32_t wants_total;      /* 1: also the sum of exp(z - z_max) of all, for top_p */
    int32_t n_bias, n_allowed, n_banned, n_history, n_prompt;
} choir_step_settings;

/* Words of a block with all that stands behind it. */
int64_t choir_step_settings_words(const choir_step_settings *settings);
/* Its fields and lists; these point into the message. */
void choir_step_settings_read(const choir_step_settings *settings, choir_sampling *sampling,
                              choir_sampling_lists *lists);

typedef struct choir_step_sequence {
    int32_t slot;
    int32_t first_position;
    int32_t n_tokens;       /* > 0 */
    int32_t n_pages_before; /* pages in the table already, none beyond the first position's */
    int32_t n_new_pages;    /* with them positions up to first_position + n_tokens have theirs */
    int32_t first_wanted;   /* rows [first_wanted, n_tokens) want logits; n_tokens: none */
    int32_t n_top;          /* best alternatives of each wanted row, 0..CHOIR_STEP_MAX_TOP */
    uint32_t flags;         /* choir_sequence_flags */
} choir_step_sequence;

/* A checked message. Pointers reach into its buffer and live as long as it does. */
typedef struct choir_step {
    uint64_t id;
    bool is_stop, is_after_rest;
    int32_t n_seqs, n_rows, n_new_pages, n_targets;
    int32_t n_wanted;                /* rows that want logits */
    const choir_step_sequence *seqs; /* [n_seqs], each slot at most once */
    const int32_t *token_ids;        /* [n_rows] */
    const int32_t *new_pages;        /* [n_new_pages], sequence by sequence */
    const int32_t *targets; /* [n_targets], by wanted row of the sequences that have them */
    const choir_step_settings *settings; /* of the first sampled sequence, the next one's behind */
} choir_step;

/* The block behind this one. */
const choir_step_settings *choir_step_settings_next(const choir_step_settings *settings);

/*
 * Checks all of a message of exactly `bytes` bytes, 8-byte aligned, against the limits. EINTERNAL
 * with words: the lead is ours, so a message that fails is our bug.
 */
choir_status choir_step_view(const void *buffer, size_t bytes, const choir_step_limits *limits,
                             choir_step *step) CHOIR_MUST_CHECK;

/* Builds messages, one after the other, in memory allocated once. */
typedef struct choir_step_builder choir_step_builder;

choir_status choir_step_builder_create(const choir_step_limits *limits,
                                       choir_step_builder **builder) CHOIR_MUST_CHECK;
void choir_step_builder_destroy(choir_step_builder **builder);
/* Begins a message. */
void choir_step_builder_begin(choir_step_builder *builder, uint64_t step_id);
/* How many more new pages there is room for. */
int64_t choir_step_builder_page_room(const choir_step_builder *builder);
/* How many more words of settings there is room for. */
int64_t choir_step_builder_word_room(const choir_step_builder *builder);
/*
 * Adds the settings of the next sequence to be added, which is sampled; their counts are those of
 * the lists, which are copied. EINTERNAL where there is no room.
 */
choir_status choir_step_builder_add_settings(choir_step_builder *builder,
                                             const choir_step_settings *settings,
                                             const choir_sampling_lists *lists) CHOIR_MUST_CHECK;
/*
 * Adds a sequence: token_ids [n_tokens], new_pages [n_new_pages], targets [n_tokens - first_wanted]
 * where flags say so, all copied. EINTERNAL where the limits leave no room.
 */
choir_status choir_step_builder_add(choir_step_builder *builder,
                                    const choir_step_sequence *sequence, const int32_t *token_ids,
                                    const int32_t *new_pages,
                                    const int32_t *targets) CHOIR_MUST_CHECK;
/* Ends the message; flags are choir_step_flags. *buffer is the builder's, until its next begin. */
void choir_step_builder_finish(choir_step_builder *builder, uint32_t flags, const void **buffer,
                               size_t *bytes);

/*
 * What comes back for one wanted row, merged from all vocabulary shards. Pointers live until
 * choir_scheduler_complete() returns. logprob = logit - lse, one rounded subtraction.
 */
typedef struct choir_row_result {
    bool is_finite;     /* all of the row; the rest means nothing where false */
    const float *state; /* [width] what the vocabulary matrix would get, where STATE; else NULL */
    float lse;          /* log-sum-exp */
    float target_logit; /* of the row's target, where the sequence has them */
    int n_top;          /* min(the sequence's n_top, V) */
    const int32_t *top_ids;  /* descending logits, ties to the lower id, -0 ties with +0 */
    const float *top_logits; /* [n_top] */
    const float *logits;     /* [V] where FULL_ROW, else NULL */
    /* Of a SAMPLED row: candidates descend as in numerics.md, and nothing that is not listed stands
     * between them. */
    int n_candidates;
    const int32_t *candidate_ids;
    const float *candidate_z;      /* what the settings made of the logits */
    const float *candidate_logits; /* before them */
    bool has_all;                  /* the whole vocabulary is listed */
    float total;                   /* sum of exp(z - z_max) over the vocabulary, if wanted */
    int32_t drawn_id;              /* without candidates: the token; -1: all z are -inf */
    float drawn_logit;
} choir_row_result;

#endif
