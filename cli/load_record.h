/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a load test saw of each request, and the figures that follow from it, under the names of
 * `vllm bench serve`:
 *
 *     ttft   time to first token: from sending to the first chunk with a token
 *     tpot   time per output token after the first: (e2el - ttft) / (tokens - 1)
 *     itl    inter-token latency: between two chunks of a request
 *     e2el   end-to-end latency: from sending to the end
 *
 * Pure but for the printing.
 */
#ifndef CHOIR_CLI_LOAD_RECORD_H
#define CHOIR_CLI_LOAD_RECORD_H

#include "common/json.h"
#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct choir_load_record {
    int64_t sent_us, first_us, last_us; /* since the start; first_us 0: no token came */
    int64_t n_input, n_output, n_cached;
    int64_t *itls_us; /* [n_itls] */
    size_t n_itls, itls_capacity;
    bool is_done; /* with a finish; else it failed */
    char error[128];
} choir_load_record;

/* A token or several came at now_us. */
choir_status choir_load_record_tokens(choir_load_record *record, int64_t n,
                                      int64_t now_us) CHOIR_MUST_CHECK;

/* EENGINE with the words of the first request that failed, if one did. */
choir_status choir_load_records_check(const choir_load_record *records, size_t n) CHOIR_MUST_CHECK;
/* Releases all of them and nulls the pointer; accepts NULL. */
void choir_load_records_destroy(choir_load_record **records, size_t n);

/* Limits that a request has to keep for the goodput, in ms; 0: none. */
typedef struct choir_load_goals {
    double ttft_ms, tpot_ms, e2el_ms;
} choir_load_goals;

/* Reads "ttft:500". EUSAGE for another name or no number above 0. */
choir_status choir_load_goals_parse(choir_load_goals *goals, const char *word) CHOIR_MUST_CHECK;

void choir_load_sort(double *values, size_t n);
/* Percentile p, 0 to 100, of n > 0 sorted values: linear between the two nearest, as
 * numpy.percentile has it. */
double choir_load_percentile(const double *sorted, size_t n, double p);

typedef struct choir_load_summary {
    double mean, median, std, p99; /* ms */
} choir_load_summary;

typedef struct choir_load_figures {
    double duration_s;
    int64_t n_completed, n_failed, n_input, n_output, n_cached;
    double request_throughput, request_goodput, output_throughput, total_token_throughput;
    choir_load_summary ttft, tpot, itl, e2el;
} choir_load_figures;

choir_status choir_load_figures_make(const choir_load_record *records, size_t n,
                                     int64_t duration_us, const choir_load_goals *goals,
                                     choir_load_figures *figures) CHOIR_MUST_CHECK;
/* Sets vLLM's keys of an object. */
void choir_load_figures_to_json(const choir_load_figures *figures, choir_json *json);
/* The lists of single requests: input_lens, output_lens, ttfts, itls, errors. */
void choir_load_records_to_json(const choir_load_record *records, size_t n, choir_json *json);
choir_status choir_load_figures_print(const choir_load_figures *figures) CHOIR_MUST_CHECK;

/*
 * A picture of the run: tokens/s in each second above, the time to first token of each request by
 * when it was sent below. free(*svg).
 */
choir_status choir_load_plot(const choir_load_record *records, size_t n, int64_t duration_us,
                             const char *title, char **svg) CHOIR_MUST_CHECK;

#endif
