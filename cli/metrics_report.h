/* SPDX-License-Identifier: Apache-2.0 */
/* How `choir status` shows a service's metrics. */
#ifndef CHOIR_CLI_METRICS_REPORT_H
#define CHOIR_CLI_METRICS_REPORT_H

#include "common/json.h"
#include "common/status.h"
#include "proto/metrics.h"

/*
 * Sets request_success_total {"stop": n, …} and, for each histogram, its name: {"bounds": […],
 * "counts": […], "sum": seconds, "count": n, "p50": seconds, "p99": seconds}, the last two
 * estimated.
 */
void choir_metrics_to_json(const choir_request_metrics *metrics, choir_json *json);
/* One line; nothing where no request has had a token. */
choir_status choir_metrics_print(const choir_request_metrics *metrics) CHOIR_MUST_CHECK;

#endif
