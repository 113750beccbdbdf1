/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every accepted request counts once in how it ended. Only requests that generate have latencies,
 * and of those the whole time counts where they ended with a Finish: an error that came early would
 * look fast. One that was cancelled does count: who gives up after a minute has waited for that
 * minute.
 */
#include "coordinator/frontend_metrics.h"

static void observe(choir_request_metrics *metrics, choir_metric metric, int64_t us)
{
    choir_histogram_observe(&metrics->histograms[metric], (double)us * 1e-6);
}

void choir_frontend_metrics_output(choir_request_metrics *metrics, choir_choice *choice,
                                   int64_t now_us)
{
    if (choice->request->kind != CHOIR_REQUEST_GENERATE)
        return;
    if (choice->output_us > 0)
        observe(metrics, CHOIR_METRIC_ITL, now_us - choice->output_us);
    choice->output_us = now_us;
}

void choir_frontend_metrics_timings(choir_request_metrics *metrics, const choir_choice *choice,
                                    const Choir__Engine__Timings *timings)
{
    if (choice->request->kind != CHOIR_REQUEST_GENERATE)
        return;
    if (timings->ttft_us > 0) /* else there was no token */
        observe(metrics, CHOIR_METRIC_TTFT, (int64_t)timings->ttft_us);
    observe(metrics, CHOIR_METRIC_QUEUE, (int64_t)timings->queue_us);
}

void choir_frontend_metrics_end(choir_request_metrics *metrics, choir_choice *choice,
                                choir_end_reason reason, int64_t now_us)
{
    if (choice->is_counted)
        return;
    choice->is_counted = true;
    metrics->ended[reason]++;
    if (choice->request->kind == CHOIR_REQUEST_GENERATE && reason != CHOIR_END_ERROR)
        observe(metrics, CHOIR_METRIC_E2E, now_us - choice->request->submitted_us);
}

void choir_frontend_metrics_fail(choir_request_metrics *metrics, choir_request *request,
                                 int64_t now_us)
{
    for (size_t i = 0; i < request->n_choices; i++)
        choir_frontend_metrics_end(metrics, &request->choices[i], CHOIR_END_ERROR, now_us);
}

choir_end_reason choir_frontend_end_reason(Choir__Client__FinishReason reason)
{
    switch (reason) {
    case CHOIR__CLIENT__FINISH_REASON__FINISH_REASON_LENGTH:
        return CHOIR_END_LENGTH;
    case CHOIR__CLIENT__FINISH_REASON__FINISH_REASON_ABORT:
        return CHOIR_END_ABORT;
    default:
        return CHOIR_END_STOP;
    }
}
