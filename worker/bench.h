/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Speed of an engine from inside: the lead makes the steps itself, so that nothing but the ranks'
 * work and what they exchange is measured.
 */
#ifndef CHOIR_WORKER_BENCH_H
#define CHOIR_WORKER_BENCH_H

#include "common/status.h"
#include "worker/worker.h"

typedef struct choir_bench_test {
    bool is_prefill;  /* one sequence in steps as large as they may be; else decode: of each
                         sequence one token a step */
    int64_t n_tokens; /* of each sequence, >= 1 */
    int64_t batch;    /* sequences, >= 1; 1 in a prefill */
    int64_t depth;    /* positions that stand before the first token, filled unmeasured */
} choir_bench_test;

/* What the worker must have been created with, at least. */
typedef struct choir_bench_needs {
    int64_t max_model_len, max_num_seqs, max_num_batched_tokens;
} choir_bench_needs;
choir_bench_needs choir_bench_needs_of(const choir_bench_test *tests, int n_tests);

/* Where the time of a test's samples went. */
typedef struct choir_bench_clocks {
    choir_phase_clock *clocks; /* [ranks][n_threads]; free() releases them */
    int n_threads;             /* the most that a rank has */
    uint64_t n_steps;          /* on the lead */
} choir_bench_clocks;

/*
 * Collective. Runs one test n_samples times after an unmeasured run and, on the lead, writes the
 * microseconds of each to samples_us [n_samples]. EUNSUPPORTED where the worker's limits are too
 * small. Clocks are gathered where `clocks` is not NULL.
 */
choir_status choir_bench_run(choir_worker *worker, const choir_bench_test *test, int n_samples,
                             int64_t *samples_us, choir_bench_clocks *clocks) CHOIR_MUST_CHECK;

#endif
