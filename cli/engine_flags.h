/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an engine is started with: the flags that `choir serve`, the verbs with a private service
 * and `choir-worker` have in common.
 */
#ifndef CHOIR_CLI_ENGINE_FLAGS_H
#define CHOIR_CLI_ENGINE_FLAGS_H

#include "cli/flags.h"
#include "common/status.h"
#include "model/partition.h"

#include <stdbool.h>
#include <stdint.h>

/* Strings are borrowed from argv. 0 or NULL: the engine chooses, as --help says. */
typedef struct choir_engine_options {
    const char *model;
    int64_t n_ranks;               /* at least 1; a worker takes MPI's number instead */
    int64_t tp;                    /* shards of a stage */
    int64_t pp;                    /* stages */
    choir_flag_reals tensor_split; /* one weight a shard; none: equal */
    choir_flag_reals layer_split;  /* one weight a stage; none: equal */
    int64_t threads;               /* of a rank; 0: cores / ranks on the machine, at least 1 */
    const char *level;             /* ref, avx2, avx512 or neon; NULL: the CPU's best */
    const char *activations;       /* q8, mixed, q15 or f32 */
    const char *cache_type_k;      /* f16, f32 or q8_0 */
    const char *cache_type_v;
    int64_t max_model_len; /* positions of a sequence; 0: what the model was made for */
    int64_t max_num_seqs;
    int64_t kv_cache_memory_bytes; /* 0: as much as is needed and free */
    int64_t max_num_batched_tokens;
    int64_t max_step_ms; /* 0: 1.5 times what the decodes of a step cost */
    bool is_prefix_caching_on, is_prefix_caching_off; /* neither: on */
    bool is_verified; /* --verify: the whole file is hashed and its scales are checked at load */
} choir_engine_options;

choir_engine_options choir_engine_options_default(void);

/* The group of all these flags without -n, as a worker takes them; `options` lives as long. */
choir_flag_group choir_engine_flags(choir_engine_options *options);
/* The group of -n alone. */
choir_flag_group choir_rank_flags(choir_engine_options *options);

/* EUSAGE where no model is named. After parsing; the layout is checked with the model at hand. */
choir_status choir_engine_options_check(const choir_engine_options *options) CHOIR_MUST_CHECK;

/* What these options ask of the layout; borrows the splits. */
choir_layout_options choir_engine_options_layout(const choir_engine_options *options);

/*
 * The flags, without -n, that give a worker these options: what differs from the defaults, as a
 * NULL-terminated list; choir_engine_argv_destroy() releases it.
 */
choir_status choir_engine_options_to_argv(const choir_engine_options *options,
                                          char ***argv) CHOIR_MUST_CHECK;
void choir_engine_argv_destroy(char ***argv);

#endif
