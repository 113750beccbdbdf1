/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `choir bench latency` tells of a batch's latencies, under the names of `vllm bench latency`.
 * Pure but for the printing.
 */
#ifndef CHOIR_CLI_LATENCY_FIGURES_H
#define CHOIR_CLI_LATENCY_FIGURES_H

#include "common/json.h"
#include "common/status.h"

#include <stddef.h>

enum { CHOIR_LATENCY_PERCENTILES = 6 }; /* 10, 25, 50, 75, 90, 99 */

typedef struct choir_latency_figures {
    double average; /* seconds, as all */
    double percentiles[CHOIR_LATENCY_PERCENTILES];
} choir_latency_figures;

/* latencies [n], n > 0; only read. */
choir_status choir_latency_figures_make(const double *latencies, size_t n,
                                        choir_latency_figures *figures) CHOIR_MUST_CHECK;
/* avg_latency, latencies and percentiles {"10": …}, an object for choir_json_destroy(). */
choir_json *choir_latency_figures_to_json(const choir_latency_figures *figures,
                                          const double *latencies, size_t n);
choir_status choir_latency_figures_print(const choir_latency_figures *figures) CHOIR_MUST_CHECK;

#endif
