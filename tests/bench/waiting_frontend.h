/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of a request that waits, in the front end. In a file of its own, since the front end's
 * choir_request is not the scheduler's.
 */
#ifndef CHOIR_TESTS_BENCH_WAITING_FRONTEND_H
#define CHOIR_TESTS_BENCH_WAITING_FRONTEND_H

#include "common/status.h"

/*
 * Bytes for each of n requests whose answers have not begun; each has n_stop stop strings of 16
 * bytes. The detokenizer's vocabulary has as many pieces as the default model's.
 */
choir_status choir_bench_waiting_frontend(int n, int n_stop, double *bytes) CHOIR_MUST_CHECK;

#endif
