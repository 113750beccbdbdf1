/* SPDX-License-Identifier: Apache-2.0 */
/* When an answer of the front end counts in which metric. Used by the request thread alone. */
#ifndef CHOIR_COORDINATOR_FRONTEND_METRICS_H
#define CHOIR_COORDINATOR_FRONTEND_METRICS_H

#include "coordinator/frontend_table.h"

/* An output with tokens of the answer came. */
void choir_frontend_metrics_output(choir_request_metrics *metrics, choir_choice *choice,
                                   int64_t now_us);
/* The engine's finish, which says how long it waited. */
void choir_frontend_metrics_timings(choir_request_metrics *metrics, const choir_choice *choice,
                                    const Choir__Engine__Timings *timings);
/* It ended; only the first call for a choice counts. */
void choir_frontend_metrics_end(choir_request_metrics *metrics, choir_choice *choice,
                                choir_end_reason reason, int64_t now_us);
/* An error ends what of a request has not ended. */
void choir_frontend_metrics_fail(choir_request_metrics *metrics, choir_request *request,
                                 int64_t now_us);
/* The end that a Finish tells. */
choir_end_reason choir_frontend_end_reason(Choir__Client__FinishReason reason);

#endif
