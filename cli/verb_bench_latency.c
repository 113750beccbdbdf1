/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `choir bench latency`: how long a batch of requests takes that begin and end together. An engine
 * is started for it and has no other client; scheduler and engine link are part of what is
 * measured. No prompt comes twice, so that no kept prefix shortens an iteration.
 */
#include "cli/flags.h"
#include "cli/latency_figures.h"
#include "cli/load_run.h"
#include "cli/print.h"
#include "cli/verbs.h"
#include "common/mem.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

enum { BATCH_MAX = 256 }; /* a service takes no more open requests of one client */

typedef struct latency_options {
    int64_t input_len, output_len, batch_size, n_warmup, n_iterations, seed;
    const char *result_file;
    bool is_json;
    choir_contact_options contact;
} latency_options;

#define AT(member) offsetof(latency_options, member)

static const choir_flag flags[] = {
    {"--input-len", "N", "tokens of a prompt, drawn at random (default 32)", CHOIR_FLAG_INTEGER,
     AT(input_len), 1, 1 << 24, NULL},
    {"--output-len", "N", "tokens of an answer, ends of text ignored (default 128)",
     CHOIR_FLAG_INTEGER, AT(output_len), 1, 1 << 24, NULL},
    {"--batch-size", "N", "requests that run together (default 8)", CHOIR_FLAG_INTEGER,
     AT(batch_size), 1, BATCH_MAX, NULL},
    {"--num-iters-warmup", "N", "batches before those that count (default 3)", CHOIR_FLAG_INTEGER,
     AT(n_warmup), 0, 100000, NULL},
    {"--num-iters", "N", "batches that count (default 10)", CHOIR_FLAG_INTEGER, AT(n_iterations), 1,
     100000, NULL},
    {"--seed", "N", "of the prompts (default 0)", CHOIR_FLAG_INTEGER, AT(seed), 0, 9.2e18, NULL},
    {"--json", NULL, "the figures as one JSON object", CHOIR_FLAG_BOOL, AT(is_json), 0, 0, NULL},
    {"--save-result --output-json", "FILE", "write that object to a file", CHOIR_FLAG_STRING,
     AT(result_file), 0, 0, NULL},
    {"--log-file", "FILE", "add all that mpirun and the ranks print to this file",
     CHOIR_FLAG_STRING, AT(contact.log_file), 0, 0, NULL},
};

/* Batch `index` of all, the ones before the first that counts included. */
static choir_status run_batch(const latency_options *options, choir_contact *contact,
                              choir_load_prompts *prompts, int64_t index, double *latency)
{
    const size_t n = (size_t)options->batch_size;
    const bool is_warmup = index < options->n_warmup;
    int64_t duration_us = 0;
    char title[64];
    (void)snprintf(title, sizeof title, "%s %lld of %lld: ", is_warmup ? "warm-up" : "iteration",
                   (long long)(is_warmup ? index + 1 : index - options->n_warmup + 1),
                   (long long)(is_warmup ? options->n_warmup : options->n_iterations));
    choir_load_plan plan = {.prompts = prompts,
                            .first = (size_t)index * n,
                            .n = n,
                            .records = NULL,
                            .due_us = NULL,
                            .max_concurrency = 0,
                            .title = title};
    choir_status status = choir_alloc(n, sizeof *plan.records, (void **)&plan.records);
    if (status == CHOIR_OK)
        status = choir_load_run(contact, &plan, &duration_us);
    if (status == CHOIR_OK)
        status = choir_load_records_check(plan.records, n);
    choir_load_records_destroy(&plan.records, n);
    *latency = (double)duration_us / 1e6;
    return status;
}

static choir_status run(const latency_options *options, double *latencies)
{
    const int64_t n_batches = options->n_warmup + options->n_iterations;
    const choir_load_prompts_options wanted = {
        .dataset = NULL,
        .n_prompts = n_batches * options->batch_size,
        .prefix_len = 0,
        .input_len = options->input_len,
        .output_len = options->output_len,
        .seed = (uint64_t)options->seed,
    };
    choir_load_prompts *prompts = NULL;
    choir_contact *contact = NULL;
    choir_status status = choir_load_prompts_create(&wanted, &prompts);
    if (status == CHOIR_OK)
        status = choir_load_meet(&options->contact, prompts, &contact);
    for (int64_t i = 0; status == CHOIR_OK && i < n_batches; i++) {
        double latency;
        status = run_batch(options, contact, prompts, i, &latency);
        if (i >= options->n_warmup)
            latencies[i - options->n_warmup] = latency;
    }
    status = choir_contact_close(&contact, status);
    choir_load_prompts_destroy(&prompts);
    return status;
}

static choir_status report(const latency_options *options, const double *latencies)
{
    const size_t n = (size_t)options->n_iterations;
    choir_latency_figures figures;
    choir_status status = choir_latency_figures_make(latencies, n, &figures);
    if (status == CHOIR_OK)
        status = options->is_json
                     ? choir_print_json(choir_latency_figures_to_json(&figures, latencies, n))
                     : choir_latency_figures_print(&figures);
    if (status == CHOIR_OK && options->result_file)
        status = choir_save_json(options->result_file,
                                 choir_latency_figures_to_json(&figures, latencies, n));
    return status;
}

/* The engine would run the rest of the batch afterwards. */
static choir_status check_batch(const latency_options *options)
{
    if (options->batch_size > options->contact.engine.max_num_seqs)
        return choir_fail(CHOIR_EUSAGE,
                          "--batch-size %lld: only %lld sequences run together; raise "
                          "--max-num-seqs",
                          (long long)options->batch_size,
                          (long long)options->contact.engine.max_num_seqs);
    return choir_engine_options_check(&options->contact.engine);
}

static choir_status measure(const latency_options *options)
{
    double *latencies = NULL;
    choir_status status = check_batch(options);
    if (status == CHOIR_OK)
        status = choir_alloc((size_t)options->n_iterations, sizeof *latencies, (void **)&latencies);
    if (status == CHOIR_OK)
        status = run(options, latencies);
    if (status == CHOIR_OK)
        status = report(options, latencies);
    free(latencies);
    return status;
}

choir_status choir_verb_bench_latency(int argc, char **argv)
{
    latency_options options = {.input_len = 32,
                               .output_len = 128,
                               .batch_size = 8,
                               .n_warmup = 3,
                               .n_iterations = 10,
                               .contact = choir_contact_options_default()};
    const choir_flag_group groups[] = {
        {"Batch", flags, sizeof flags / sizeof flags[0], &options},
        choir_rank_flags(&options.contact.engine),
        choir_engine_flags(&options.contact.engine),
    };
    const choir_command command = {
        "choir bench latency",
        "--model FILE [FLAGS]",
        "Starts an engine and measures how long a batch of random prompts takes that run together, "
        "under the names of `vllm bench latency`.",
        "choir bench latency --model model.gguf --batch-size 1\n"
        "choir bench latency --model model.gguf -n 2 --input-len 512 --output-len 64 --json",
        groups,
        sizeof groups / sizeof groups[0],
    };
    int n_rest;
    bool is_help_shown;
    const choir_status status = choir_flags_parse(&command, argc, argv, &n_rest, &is_help_shown);
    if (status != CHOIR_OK || is_help_shown)
        return status;
    if (n_rest > 0)
        return choir_fail(CHOIR_EUSAGE, "unexpected argument %.40s; `choir bench latency --help`",
                          argv[0]);
    return measure(&options);
}
