/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/load_record.h"

#include "cli/print.h"
#include "common/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

choir_status choir_load_record_tokens(choir_load_record *record, int64_t n, int64_t now_us)
{
    choir_status status = CHOIR_OK;
    if (record->n_output > 0) {
        status = choir_grow((void **)&record->itls_us, &record->itls_capacity, record->n_itls + 1,
                            sizeof *record->itls_us);
        if (status == CHOIR_OK)
            record->itls_us[record->n_itls++] = now_us - record->last_us;
    } else {
        record->first_us = now_us;
    }
    record->n_output += n;
    record->last_us = now_us;
    return status;
}

choir_status choir_load_records_check(const choir_load_record *records, size_t n)
{
    const choir_load_record *first = NULL;
    size_t n_failed = 0;
    for (size_t i = 0; i < n; i++) {
        if (records[i].is_done)
            continue;
        first = first ? first : &records[i];
        n_failed++;
    }
    if (!first)
        return CHOIR_OK;
    return choir_fail(CHOIR_EENGINE, "%zu of %zu requests failed, the first with: %s", n_failed, n,
                      first->error);
}

void choir_load_records_destroy(choir_load_record **records, size_t n)
{
    for (size_t i = 0; *records && i < n; i++)
        free((*records)[i].itls_us);
    free(*records);
    *records = NULL;
}

choir_status choir_load_goals_parse(choir_load_goals *goals, const char *word)
{
    static const char *const names[] = {"ttft:", "tpot:", "e2el:"};
    double *const places[] = {&goals->ttft_ms, &goals->tpot_ms, &goals->e2el_ms};
    for (size_t i = 0; i < 3; i++) {
        const size_t length = strlen(names[i]);
        char *end;
        if (strncmp(word, names[i], length) != 0)
            continue;
        *places[i] = strtod(word + length, &end);
        if (*end == '\0' && *places[i] > 0 && isfinite(*places[i]))
            return CHOIR_OK;
    }
    return choir_fail(CHOIR_EUSAGE, "--goodput %.40s: give ttft:MS, tpot:MS or e2el:MS", word);
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void choir_load_sort(double *values, size_t n)
{
    qsort(values, n, sizeof *values, by_size);
}

double choir_load_percentile(const double *sorted, size_t n, double p)
{
    const double at = p / 100 * (double)(n - 1);
    const size_t low = (size_t)at;
    return low + 1 < n ? sorted[low] + (at - (double)low) * (sorted[low + 1] - sorted[low])
                       : sorted[n - 1];
}

static choir_load_summary summarize(double *values, size_t n)
{
    choir_load_summary summary = {0};
    double squares = 0;
    if (n == 0)
        return summary;
    for (size_t i = 0; i < n; i++)
        summary.mean += values[i] / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += (values[i] - summary.mean) * (values[i] - summary.mean);
    choir_load_sort(values, n);
    summary.std = sqrt(squares / (double)n);
    summary.median = choir_load_percentile(values, n, 50);
    summary.p99 = choir_load_percentile(values, n, 99);
    return summary;
}

static double ttft_ms(const choir_load_record *record)
{
    return (double)(record->first_us - record->sent_us) / 1e3;
}

static double e2el_ms(const choir_load_record *record)
{
    return (double)(record->last_us - record->sent_us) / 1e3;
}

static double tpot_ms(const choir_load_record *record)
{
    return record->n_output > 1
               ? (e2el_ms(record) - ttft_ms(record)) / (double)(record->n_output - 1)
               : 0;
}

static bool is_good(const choir_load_record *record, const choir_load_goals *goals)
{
    return (goals->ttft_ms == 0 || ttft_ms(record) <= goals->ttft_ms) &&
           (goals->tpot_ms == 0 || tpot_ms(record) <= goals->tpot_ms) &&
           (goals->e2el_ms == 0 || e2el_ms(record) <= goals->e2el_ms);
}

static bool counts(const choir_load_record *record)
{
    return record->is_done && record->n_output > 0;
}

choir_status choir_load_figures_make(const choir_load_record *records, size_t n,
                                     int64_t duration_us, const choir_load_goals *goals,
                                     choir_load_figures *figures)
{
    size_t n_values = n, n_good = 0, n_ttft = 0, n_tpot = 0, n_itl = 0;
    double *values = NULL;
    *figures = (choir_load_figures){.duration_s = (double)duration_us / 1e6};
    for (size_t i = 0; i < n; i++)
        n_values += records[i].n_itls;
    const choir_status status = choir_alloc(n_values, sizeof *values, (void **)&values);
    if (status != CHOIR_OK)
        return status;
    for (size_t i = 0; i < n; i++) {
        const choir_load_record *record = &records[i];
        if (!counts(record)) {
            figures->n_failed++;
            continue;
        }
        figures->n_completed++;
        figures->n_input += record->n_input;
        figures->n_output += record->n_output;
        figures->n_cached += record->n_cached;
        n_good += is_good(record, goals);
        values[n_ttft++] = ttft_ms(record);
    }
    figures->ttft = summarize(values, n_ttft);
    for (size_t i = 0; i < n; i++)
        if (counts(&records[i]) && records[i].n_output > 1)
            values[n_tpot++] = tpot_ms(&records[i]);
    figures->tpot = summarize(values, n_tpot);
    n_ttft = 0;
    for (size_t i = 0; i < n; i++)
        if (counts(&records[i]))
            values[n_ttft++] = e2el_ms(&records[i]);
    figures->e2el = summarize(values, n_ttft);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; counts(&records[i]) && k < records[i].n_itls; k++)
            values[n_itl++] = (double)records[i].itls_us[k] / 1e3;
    figures->itl = summarize(values, n_itl);
    free(values);
    if (duration_us > 0) {
        figures->request_throughput = (double)figures->n_completed / figures->duration_s;
        figures->request_goodput = (double)n_good / figures->duration_s;
        figures->output_throughput = (double)figures->n_output / figures->duration_s;
        figures->total_token_throughput =
            (double)(figures->n_input + figures->n_output) / figures->duration_s;
    }
    return CHOIR_OK;
}

static void summary_to_json(const choir_load_summary *summary, const char *name, choir_json *json)
{
    static const char *const kinds[] = {"mean", "median", "std", "p99"};
    const double values[] = {summary->mean, summary->median, summary->std, summary->p99};
    char key[32];
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(key, sizeof key, "%s_%s_ms", kinds[i], name);
        choir_json_set_real(json, key, values[i]);
    }
}

void choir_load_figures_to_json(const choir_load_figures *figures, choir_json *json)
{
    choir_json_set_real(json, "duration", figures->duration_s);
    choir_json_set_integer(json, "completed", figures->n_completed);
    choir_json_set_integer(json, "failed", figures->n_failed);
    choir_json_set_integer(json, "total_input_tokens", figures->n_input);
    choir_json_set_integer(json, "total_output_tokens", figures->n_output);
    choir_json_set_integer(json, "total_cached_tokens", figures->n_cached);
    choir_json_set_real(json, "request_throughput", figures->request_throughput);
    choir_json_set_real(json, "request_goodput", figures->request_goodput);
    choir_json_set_real(json, "output_throughput", figures->output_throughput);
    choir_json_set_real(json, "total_token_throughput", figures->total_token_throughput);
    summary_to_json(&figures->ttft, "ttft", json);
    summary_to_json(&figures->tpot, "tpot", json);
    summary_to_json(&figures->itl, "itl", json);
    summary_to_json(&figures->e2el, "e2el", json);
}

void choir_load_records_to_json(const choir_load_record *records, size_t n, choir_json *json)
{
    choir_json *inputs = choir_json_make_array(), *outputs = choir_json_make_array();
    choir_json *ttfts = choir_json_make_array(), *itls = choir_json_make_array();
    choir_json *errors = choir_json_make_array();
    for (size_t i = 0; i < n; i++) {
        choir_json *own = choir_json_make_array();
        choir_json_append(inputs, choir_json_make_integer(records[i].n_input));
        choir_json_append(outputs, choir_json_make_integer(records[i].n_output));
        choir_json_append(
            ttfts, choir_json_make_real(records[i].n_output > 0 ? ttft_ms(&records[i]) / 1e3 : 0));
        for (size_t k = 0; k < records[i].n_itls; k++)
            choir_json_append(own, choir_json_make_real((double)records[i].itls_us[k] / 1e6));
        choir_json_append(itls, own);
        choir_json_append(errors,
                          choir_json_make_string(records[i].error, strlen(records[i].error)));
    }
    choir_json_set(json, "input_lens", inputs);
    choir_json_set(json, "output_lens", outputs);
    choir_json_set(json, "ttfts", ttfts);
    choir_json_set(json, "itls", itls);
    choir_json_set(json, "errors", errors);
}

static choir_status print_summary(const char *title, const choir_load_summary *summary)
{
    return choir_print("%-30s %9.2f %9.2f %9.2f %9.2f\n", title, summary->mean, summary->median,
                       summary->p99, summary->std);
}

choir_status choir_load_figures_print(const choir_load_figures *figures)
{
    choir_status status = choir_print("requests: %lld completed, %lld failed, in %.2f s\n",
                                      (long long)figures->n_completed, (long long)figures->n_failed,
                                      figures->duration_s);
    if (status == CHOIR_OK)
        status = choir_print("tokens: %lld in (%lld of them cached), %lld out\n",
                             (long long)figures->n_input, (long long)figures->n_cached,
                             (long long)figures->n_output);
    if (status == CHOIR_OK)
        status = choir_print("throughput: %.2f requests/s (good: %.2f), %.1f tokens/s out, %.1f in "
                             "and out\n\n",
                             figures->request_throughput, figures->request_goodput,
                             figures->output_throughput, figures->total_token_throughput);
    if (status == CHOIR_OK)
        status =
            choir_print("%-30s %9s %9s %9s %9s\n", "milliseconds", "mean", "median", "p99", "std");
    if (status == CHOIR_OK)
        status = print_summary("time to first token", &figures->ttft);
    if (status == CHOIR_OK)
        status = print_summary("time per output token", &figures->tpot);
    if (status == CHOIR_OK)
        status = print_summary("inter-token latency", &figures->itl);
    if (status == CHOIR_OK)
        status = print_summary("end-to-end latency", &figures->e2el);
    return status;
}
