/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/metrics_report.h"

#include "cli/print.h"

static choir_json *histogram_to_json(const choir_histogram *histogram)
{
    choir_json *json = choir_json_make_object();
    choir_json *bounds = choir_json_make_array(), *counts = choir_json_make_array();
    for (size_t i = 0; i < histogram->n_bounds; i++)
        choir_json_append(bounds, choir_json_make_real(histogram->bounds[i]));
    for (size_t i = 0; i <= histogram->n_bounds; i++)
        choir_json_append(counts, choir_json_make_integer((int64_t)histogram->counts[i]));
    choir_json_set(json, "bounds", bounds);
    choir_json_set(json, "counts", counts);
    choir_json_set_real(json, "sum", histogram->sum);
    choir_json_set_integer(json, "count", (int64_t)choir_histogram_total(histogram));
    choir_json_set_real(json, "p50", choir_histogram_quantile(histogram, 0.5));
    choir_json_set_real(json, "p99", choir_histogram_quantile(histogram, 0.99));
    return json;
}

void choir_metrics_to_json(const choir_request_metrics *metrics, choir_json *json)
{
    choir_json *ended = choir_json_make_object();
    for (int i = 0; i < CHOIR_END_COUNT; i++)
        choir_json_set_integer(ended, choir_end_reason_name((choir_end_reason)i),
                               (int64_t)metrics->ended[i]);
    choir_json_set(json, "request_success_total", ended);
    for (int i = 0; i < CHOIR_METRIC_COUNT; i++)
        choir_json_set(json, choir_metric_name((choir_metric)i),
                       histogram_to_json(&metrics->histograms[i]));
}

/* A quantile as people read it. */
static const char *time_at(const choir_request_metrics *metrics, choir_metric metric, double q,
                           char text[CHOIR_NUMBER_BYTES])
{
    const double seconds = choir_histogram_quantile(&metrics->histograms[metric], q);
    return choir_number_time(seconds < 1e9 ? (uint64_t)(seconds * 1e6) : 0, text);
}

choir_status choir_metrics_print(const choir_request_metrics *metrics)
{
    static const struct {
        choir_metric metric;
        const char *name;
    } parts[] = {
        {CHOIR_METRIC_TTFT, "first token"},
        {CHOIR_METRIC_ITL, "between tokens"},
        {CHOIR_METRIC_E2E, "whole answer"},
    };
    const char *separator = "";
    char half[CHOIR_NUMBER_BYTES], most[CHOIR_NUMBER_BYTES];
    if (choir_histogram_total(&metrics->histograms[CHOIR_METRIC_TTFT]) == 0)
        return CHOIR_OK;
    choir_status status = choir_print("latency   median (99 %%), about: ");
    for (size_t i = 0; status == CHOIR_OK && i < sizeof parts / sizeof parts[0]; i++) {
        if (choir_histogram_total(&metrics->histograms[parts[i].metric]) == 0)
            continue;
        status = choir_print("%s%s %s (%s)", separator, parts[i].name,
                             time_at(metrics, parts[i].metric, 0.5, half),
                             time_at(metrics, parts[i].metric, 0.99, most));
        separator = ", ";
    }
    return status == CHOIR_OK ? choir_print("\n") : status;
}
