/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/metrics_wire.h"

#include <math.h>
#include <string.h>

void choir_metrics_write(const choir_request_metrics *metrics, choir_metrics_message *parts,
                         Choir__Client__ClusterStatus *status)
{
    /* protobuf-c's pointers are not const, but packing only reads them. */
    for (int i = 0; i < CHOIR_METRIC_COUNT; i++) {
        const choir_histogram *from = &metrics->histograms[i];
        Choir__Client__Histogram *to = &parts->histograms[i];
        *to = (Choir__Client__Histogram)CHOIR__CLIENT__HISTOGRAM__INIT;
        to->name = (char *)choir_metric_name((choir_metric)i);
        to->bounds = (double *)from->bounds;
        to->n_bounds = from->n_bounds;
        to->counts = (uint64_t *)from->counts;
        to->n_counts = from->n_bounds + 1;
        to->sum = from->sum;
        parts->histogram_list[i] = to;
    }
    for (int i = 0; i < CHOIR_END_COUNT; i++) {
        parts->ends[i] = (Choir__Client__EndCount)CHOIR__CLIENT__END_COUNT__INIT;
        parts->ends[i].finished_reason = (char *)choir_end_reason_name((choir_end_reason)i);
        parts->ends[i].count = metrics->ended[i];
        parts->end_list[i] = &parts->ends[i];
    }
    status->histograms = parts->histogram_list;
    status->n_histograms = CHOIR_METRIC_COUNT;
    status->request_success_total = parts->end_list;
    status->n_request_success_total = CHOIR_END_COUNT;
}

static void read_histogram(const Choir__Client__Histogram *from, choir_histogram *to)
{
    if (from->n_counts != from->n_bounds + 1 || !isfinite(from->sum) ||
        !choir_histogram_init(to, from->bounds, from->n_bounds))
        return;
    for (size_t i = 0; i < from->n_counts; i++)
        to->counts[i] = from->counts[i];
    to->sum = from->sum;
}

void choir_metrics_read(const Choir__Client__ClusterStatus *status, choir_request_metrics *metrics)
{
    choir_request_metrics_init(metrics);
    for (size_t i = 0; i < status->n_histograms; i++)
        for (int k = 0; k < CHOIR_METRIC_COUNT; k++)
            if (strcmp(status->histograms[i]->name, choir_metric_name((choir_metric)k)) == 0)
                read_histogram(status->histograms[i], &metrics->histograms[k]);
    for (size_t i = 0; i < status->n_request_success_total; i++)
        for (int k = 0; k < CHOIR_END_COUNT; k++)
            if (strcmp(status->request_success_total[i]->finished_reason,
                       choir_end_reason_name((choir_end_reason)k)) == 0)
                metrics->ended[k] = status->request_success_total[i]->count;
}
