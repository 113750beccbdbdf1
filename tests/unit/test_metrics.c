/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics on their way from a front end to a client, and as `choir status --json` has them. */
#include "cli/metrics_report.h"
#include "proto/metrics_wire.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static choir_request_metrics make(void)
{
    choir_request_metrics metrics;
    choir_request_metrics_init(&metrics);
    for (int i = 0; i < CHOIR_METRIC_COUNT; i++)
        for (int k = 0; k < 40; k++)
            choir_histogram_observe(&metrics.histograms[i], ldexp(1 + i * 0.25, k / 2 - 10));
    for (int i = 0; i < CHOIR_END_COUNT; i++)
        metrics.ended[i] = (uint64_t)(1000 + i) << 32;
    return metrics;
}

static void check_equal(const choir_histogram *a, const choir_histogram *b)
{
    assert_int_equal(a->n_bounds, b->n_bounds);
    assert_memory_equal(a->bounds, b->bounds, a->n_bounds * sizeof a->bounds[0]);
    assert_memory_equal(a->counts, b->counts, (a->n_bounds + 1) * sizeof a->counts[0]);
    assert_true(a->sum == b->sum);
}

/* Through the bytes of a message. */
static void a_client_reads_what_was_counted(void **state)
{
    const choir_request_metrics metrics = make();
    choir_request_metrics read;
    choir_metrics_message parts;
    Choir__Client__ClusterStatus status = CHOIR__CLIENT__CLUSTER_STATUS__INIT;
    (void)state;
    choir_metrics_write(&metrics, &parts, &status);
    const size_t size = choir__client__cluster_status__get_packed_size(&status);
    uint8_t *bytes = malloc(size);
    assert_non_null(bytes);
    choir__client__cluster_status__pack(&status, bytes);
    Choir__Client__ClusterStatus *unpacked =
        choir__client__cluster_status__unpack(NULL, size, bytes);
    assert_non_null(unpacked);
    choir_metrics_read(unpacked, &read);
    choir__client__cluster_status__free_unpacked(unpacked, NULL);
    free(bytes);
    for (int i = 0; i < CHOIR_METRIC_COUNT; i++)
        check_equal(&read.histograms[i], &metrics.histograms[i]);
    assert_memory_equal(read.ended, metrics.ended, sizeof metrics.ended);
}

/* What a service of another version or a hostile one sends is left out. */
static void what_is_not_well_formed_is_left_out(void **state)
{
    const choir_request_metrics metrics = make();
    static double many[CHOIR_HISTOGRAM_BOUNDS_MAX + 10], descending[CHOIR_HISTOGRAM_BOUNDS_MAX];
    static uint64_t counts[CHOIR_HISTOGRAM_BOUNDS_MAX + 11];
    static char unknown[] = "unknown";
    choir_request_metrics read;
    choir_metrics_message parts;
    Choir__Client__ClusterStatus status = CHOIR__CLIENT__CLUSTER_STATUS__INIT;
    (void)state;
    choir_metrics_write(&metrics, &parts, &status);
    for (int i = 0; i < CHOIR_HISTOGRAM_BOUNDS_MAX + 10; i++)
        many[i] = i + 1;
    parts.histograms[CHOIR_METRIC_TTFT].n_counts--;
    parts.histograms[CHOIR_METRIC_ITL].bounds = descending;
    parts.histograms[CHOIR_METRIC_E2E].bounds = many;
    parts.histograms[CHOIR_METRIC_E2E].n_bounds = CHOIR_HISTOGRAM_BOUNDS_MAX + 10;
    parts.histograms[CHOIR_METRIC_E2E].counts = counts;
    parts.histograms[CHOIR_METRIC_E2E].n_counts = CHOIR_HISTOGRAM_BOUNDS_MAX + 11;
    parts.histograms[CHOIR_METRIC_QUEUE].sum = NAN;
    parts.ends[CHOIR_END_ERROR].finished_reason = unknown;
    choir_metrics_read(&status, &read);
    for (int i = 0; i < CHOIR_METRIC_COUNT; i++)
        assert_int_equal(choir_histogram_total(&read.histograms[i]), 0);
    assert_int_equal(read.ended[CHOIR_END_ERROR], 0);
    assert_int_equal(read.ended[CHOIR_END_ABORT], metrics.ended[CHOIR_END_ABORT]);
    parts.histograms[CHOIR_METRIC_QUEUE].name = unknown;
    choir_metrics_read(&status, &read); /* a service that has none of it */
    assert_int_equal(choir_histogram_total(&read.histograms[CHOIR_METRIC_QUEUE]), 0);
}

static void json_has_the_names_of_the_metrics(void **state)
{
    static const char *const names[] = {
        "time_to_first_token_seconds", "inter_token_latency_seconds", "e2e_request_latency_seconds",
        "request_queue_time_seconds"};
    static const size_t n_bounds[] = {22, 19, 21, 21};
    const choir_request_metrics metrics = make();
    choir_json *json = choir_json_make_object();
    (void)state;
    choir_metrics_to_json(&metrics, json);
    for (size_t i = 0; i < 4; i++) {
        const choir_json *histogram = choir_json_get(json, names[i]);
        const choir_json *bounds = choir_json_get(histogram, "bounds");
        assert_int_equal(choir_json_size(bounds), n_bounds[i]);
        assert_int_equal(choir_json_size(choir_json_get(histogram, "counts")), n_bounds[i] + 1);
        assert_int_equal(choir_json_integer(choir_json_get(histogram, "count"), 0), 40);
        assert_true(choir_json_real(choir_json_get(histogram, "p99"), 0) >
                    choir_json_real(choir_json_get(histogram, "p50"), 0));
    }
    const choir_json *ended = choir_json_get(json, "request_success_total");
    assert_int_equal(choir_json_size(ended), CHOIR_END_COUNT);
    assert_int_equal(choir_json_integer(choir_json_get(ended, "length"), 0), 1001LL << 32);
    choir_json_destroy(&json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_reads_what_was_counted),
        cmocka_unit_test(what_is_not_well_formed_is_left_out),
        cmocka_unit_test(json_has_the_names_of_the_metrics),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
