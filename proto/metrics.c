/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/metrics.h"

#include <assert.h>

static const double first_token_bounds[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
                                            0.25,  0.5,   0.75, 1,    2.5,  5,    7.5,  10,
                                            20,    40,    80,   160,  640,  2560};
static const double token_bounds[] = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
                                      0.75, 1,     2.5,  5,     7.5, 10,   20,  40,  80};
static const double request_bounds[] = {0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                        30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680};

#define BOUNDS(list) list, sizeof list / sizeof list[0]

static const struct {
    const char *name;
    const double *bounds;
    size_t n_bounds;
} metrics_of_vllm[CHOIR_METRIC_COUNT] = {
    [CHOIR_METRIC_TTFT] = {"time_to_first_token_seconds", BOUNDS(first_token_bounds)},
    [CHOIR_METRIC_ITL] = {"inter_token_latency_seconds", BOUNDS(token_bounds)},
    [CHOIR_METRIC_E2E] = {"e2e_request_latency_seconds", BOUNDS(request_bounds)},
    [CHOIR_METRIC_QUEUE] = {"request_queue_time_seconds", BOUNDS(request_bounds)},
};

void choir_request_metrics_init(choir_request_metrics *metrics)
{
    *metrics = (choir_request_metrics){0};
    for (int i = 0; i < CHOIR_METRIC_COUNT; i++) {
        const bool is_set = choir_histogram_init(&metrics->histograms[i], metrics_of_vllm[i].bounds,
                                                 metrics_of_vllm[i].n_bounds);
        assert(is_set);
        (void)is_set;
    }
}

const char *choir_metric_name(choir_metric metric)
{
    return metrics_of_vllm[metric].name;
}

const char *choir_end_reason_name(choir_end_reason reason)
{
    static const char *const names[CHOIR_END_COUNT] = {
        [CHOIR_END_STOP] = "stop",
        [CHOIR_END_LENGTH] = "length",
        [CHOIR_END_ABORT] = "abort",
        [CHOIR_END_ERROR] = "error",
    };
    return names[reason];
}
