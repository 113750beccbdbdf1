/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/latency_figures.h"

#include "cli/load_record.h"
#include "cli/print.h"
#include "common/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int percents[CHOIR_LATENCY_PERCENTILES] = {10, 25, 50, 75, 90, 99};

choir_status choir_latency_figures_make(const double *latencies, size_t n,
                                        choir_latency_figures *figures)
{
    double *sorted = NULL;
    *figures = (choir_latency_figures){0};
    const choir_status status = choir_alloc(n, sizeof *sorted, (void **)&sorted);
    if (status != CHOIR_OK)
        return status;
    memcpy(sorted, latencies, n * sizeof *sorted);
    choir_load_sort(sorted, n);
    for (size_t i = 0; i < n; i++)
        figures->average += sorted[i] / (double)n;
    for (size_t i = 0; i < CHOIR_LATENCY_PERCENTILES; i++)
        figures->percentiles[i] = choir_load_percentile(sorted, n, percents[i]);
    free(sorted);
    return CHOIR_OK;
}

choir_json *choir_latency_figures_to_json(const choir_latency_figures *figures,
                                          const double *latencies, size_t n)
{
    choir_json *json = choir_json_make_object(), *list = choir_json_make_array();
    choir_json *percentiles = choir_json_make_object();
    char key[8];
    for (size_t i = 0; i < n; i++)
        choir_json_append(list, choir_json_make_real(latencies[i]));
    for (size_t i = 0; i < CHOIR_LATENCY_PERCENTILES; i++) {
        (void)snprintf(key, sizeof key, "%d", percents[i]);
        choir_json_set_real(percentiles, key, figures->percentiles[i]);
    }
    choir_json_set_real(json, "avg_latency", figures->average);
    choir_json_set(json, "latencies", list);
    choir_json_set(json, "percentiles", percentiles);
    return json;
}

choir_status choir_latency_figures_print(const choir_latency_figures *figures)
{
    choir_status status = choir_print("avg latency: %.4f s\n", figures->average);
    for (size_t i = 0; status == CHOIR_OK && i < CHOIR_LATENCY_PERCENTILES; i++)
        status =
            choir_print("%d%% percentile latency: %.4f s\n", percents[i], figures->percentiles[i]);
    return status;
}
