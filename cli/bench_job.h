/* SPDX-License-Identifier: Apache-2.0 */
/* What the ranks do that `choir bench` has started: the tests one after the other, then an answer.
 */
#ifndef CHOIR_CLI_BENCH_JOB_H
#define CHOIR_CLI_BENCH_JOB_H

#include "cli/bench_tests.h"
#include "cli/engine_flags.h"
#include "common/status.h"
#include "proto/engine_link.h"
#include "worker/worker.h"

typedef struct choir_bench_job {
    choir_bench_word tests[CHOIR_BENCH_TESTS_MAX];
    int n_tests;
    int n_samples; /* of each test */
    bool has_breakdown;
} choir_bench_job;

/* Sets the limits of a worker that is to run these tests. */
void choir_bench_job_limit(const choir_bench_job *job, choir_worker_options *settings);
/* Collective. Runs all tests; the lead sends their rows (engine.proto, Bench). */
choir_status choir_bench_job_run(const choir_bench_job *job, choir_worker *worker,
                                 choir_engine_link *link,
                                 const choir_engine_options *engine) CHOIR_MUST_CHECK;

#endif
