/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a step costs the scheduler, without ranks: the results of its rows are made up between the
 * timed parts. Requests end and others come all the time, so pages change hands.
 */
#ifndef CHOIR_TESTS_BENCH_STEPS_H
#define CHOIR_TESTS_BENCH_STEPS_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CHOIR_BENCH_PROMPT = 100, CHOIR_BENCH_VOCABULARY = 49152 };

typedef struct choir_bench_steps_options {
    int n_sequences;    /* that run */
    int n_waiting;      /* requests in the queue */
    int64_t n_steps;    /* timed, after n_warm others */
    int64_t n_warm;     /* enough of them fill the pool where keeps_pages */
    bool is_sampled;    /* by top_p, else greedy */
    bool keeps_pages;   /* the prefix cache; prompts have the first page in common with others */
    size_t evict_bytes; /* read between the timed parts, as ranks would push out caches */
} choir_bench_steps_options;

/* Microseconds of choir_scheduler_next_step() and choir_scheduler_complete() together. */
typedef struct choir_bench_steps {
    double mean_us, median_us, p99_us, longest_us;
    double mean_next_us;   /* next_step()'s part of the mean */
    double mean_submit_us; /* choir_scheduler_submit(), for comparison */
    double mean_decodes;   /* sequences of a step that decode */
    int64_t n_new_pages;   /* that the ranks were told of, in all */
    int64_t n_ended;       /* requests */
    int64_t n_cache_hits;  /* tokens */
    int64_t n_preemptions;
    int64_t n_prompt_tokens; /* computed, those of requests that were put back again */
} choir_bench_steps;

/* EINTERNAL where the scheduler stops or wants what is not made up here. */
choir_status choir_bench_steps_measure(const choir_bench_steps_options *options,
                                       choir_bench_steps *result) CHOIR_MUST_CHECK;

#endif
