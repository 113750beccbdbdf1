/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a service counts of its requests, under the names and with the buckets that vLLM has: kept
 * by the front end since the service's start, also over restarts of the engine, and read by clients
 * (client.proto, ClusterStatus).
 */
#ifndef CHOIR_PROTO_METRICS_H
#define CHOIR_PROTO_METRICS_H

#include "common/histogram.h"

#include <stdint.h>

/* Histograms of seconds, of the answers of Generate requests. */
typedef enum choir_metric {
    CHOIR_METRIC_TTFT,  /* from a request's arrival at the scheduler to its first token */
    CHOIR_METRIC_ITL,   /* between two outputs of an answer, as the front end gets them */
    CHOIR_METRIC_E2E,   /* from a request's arrival at the front end to its end */
    CHOIR_METRIC_QUEUE, /* until it got its place in the batch */
    CHOIR_METRIC_COUNT,
} choir_metric;

/* How the answers of requests that were accepted ended: a request for three counts three times. */
typedef enum choir_end_reason {
    CHOIR_END_STOP, /* a Score that is complete, too */
    CHOIR_END_LENGTH,
    CHOIR_END_ABORT, /* cancelled, or its client is gone */
    CHOIR_END_ERROR,
    CHOIR_END_COUNT,
} choir_end_reason;

typedef struct choir_request_metrics {
    choir_histogram histograms[CHOIR_METRIC_COUNT];
    uint64_t ended[CHOIR_END_COUNT];
} choir_request_metrics;

/* All buckets, no counts. */
void choir_request_metrics_init(choir_request_metrics *metrics);

const char *choir_metric_name(choir_metric metric);         /* "time_to_first_token_seconds", … */
const char *choir_end_reason_name(choir_end_reason reason); /* "stop", "length", "abort", "error" */

#endif
