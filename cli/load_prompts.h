/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The requests of a load test: prompts of random tokens that all differ, or the lines of a file.
 * Random ones follow from the seed and their index alone, so a run can be repeated.
 */
#ifndef CHOIR_CLI_LOAD_PROMPTS_H
#define CHOIR_CLI_LOAD_PROMPTS_H

#include "client/client.h"
#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct choir_load_prompts_options {
    const char *dataset; /* as `choir generate --jsonl` takes it, borrowed; NULL: random prompts */
    int64_t n_prompts;   /* 0: 100, or all of the dataset */
    int64_t prefix_len;  /* tokens that all random prompts begin with */
    int64_t input_len;   /* tokens of each behind that */
    int64_t output_len;  /* tokens of an answer, ends of text ignored */
    uint64_t seed;
} choir_load_prompts_options;

typedef struct choir_load_prompts choir_load_prompts;

/* Reads the dataset. EIO; EFORMAT, EUSAGE and EINVALID name its line, or say that it is empty. */
choir_status choir_load_prompts_create(const choir_load_prompts_options *options,
                                       choir_load_prompts **prompts) CHOIR_MUST_CHECK;
void choir_load_prompts_destroy(choir_load_prompts **prompts);

size_t choir_load_prompts_count(const choir_load_prompts *prompts);

/*
 * From now on random ids are below `vocabulary`. EUSAGE where prompt and answer are longer than
 * max_model_len positions, since the answer would be cut. Before the first choir_load_prompts_get.
 */
choir_status choir_load_prompts_fit(choir_load_prompts *prompts, uint32_t vocabulary,
                                    uint32_t max_model_len) CHOIR_MUST_CHECK;

/* Request `index` < count, without an id; it points into `prompts` until the next call. */
choir_generate_request choir_load_prompts_get(choir_load_prompts *prompts, size_t index);

/* Word `index` of one of the seed's streams of random bits: 0 is for the caller, others are ours.
 */
uint32_t choir_load_draw(uint64_t seed, uint64_t stream, uint32_t index);

#endif
