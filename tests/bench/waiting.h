/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of a request that waits, in the scheduler. */
#ifndef CHOIR_TESTS_BENCH_WAITING_H
#define CHOIR_TESTS_BENCH_WAITING_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>

/* What the program has from malloc() now, in bytes. */
size_t choir_bench_allocated(void);

/*
 * Bytes for each of n requests of CHOIR_BENCH_PROMPT tokens in the queue, without the 4 bytes of
 * each token. has_wishes: with 8 biased tokens, 4 bad words and 4 stop tokens.
 */
choir_status choir_bench_waiting(int n, bool has_wishes, double *bytes) CHOIR_MUST_CHECK;

#endif
