/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/report.h"

#include "common/mem.h"

#include <stdlib.h>
#include <string.h>

choir_status choir_engine_report_copy(const choir_engine_report *report, choir_engine_report *copy)
{
    *copy = *report;
    const choir_status status =
        choir_alloc(report->n_ranks, sizeof *copy->ranks, (void **)&copy->ranks);
    if (status == CHOIR_OK && report->n_ranks > 0)
        memcpy(copy->ranks, report->ranks, report->n_ranks * sizeof *copy->ranks);
    if (status != CHOIR_OK)
        copy->n_ranks = 0;
    return status;
}

void choir_engine_report_destroy(choir_engine_report *report)
{
    free(report->ranks);
    *report = (choir_engine_report){0};
}
