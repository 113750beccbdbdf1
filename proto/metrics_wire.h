/* SPDX-License-Identifier: Apache-2.0 */
/* The metrics of proto/metrics.h to and from a ClusterStatus. */
#ifndef CHOIR_PROTO_METRICS_WIRE_H
#define CHOIR_PROTO_METRICS_WIRE_H

#include "proto/client.pb-c.h"
#include "proto/metrics.h"

/* What a message points to while it is packed; must not move. */
typedef struct choir_metrics_message {
    Choir__Client__Histogram histograms[CHOIR_METRIC_COUNT];
    Choir__Client__Histogram *histogram_list[CHOIR_METRIC_COUNT];
    Choir__Client__EndCount ends[CHOIR_END_COUNT];
    Choir__Client__EndCount *end_list[CHOIR_END_COUNT];
} choir_metrics_message;

/* Borrows `metrics` and `parts` for the status. */
void choir_metrics_write(const choir_request_metrics *metrics, choir_metrics_message *parts,
                         Choir__Client__ClusterStatus *status);
/* What is unknown or not well-formed is left out; what is missing has no counts. */
void choir_metrics_read(const Choir__Client__ClusterStatus *status, choir_request_metrics *metrics);

#endif
