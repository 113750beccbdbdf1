/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `choir bench throughput`: how much an engine gets done when all requests are there at once. It is
 * started for this and has no other client; scheduler and engine link are part of what is measured.
 */
#include "cli/flags.h"
#include "cli/load_run.h"
#include "cli/print.h"
#include "cli/verbs.h"
#include "common/mem.h"

#include <stddef.h>

enum { OPEN_MAX = 256 };

typedef struct throughput_options {
    int64_t n_prompts, input_len, output_len, seed;
    const char *dataset, *result_file;
    bool is_json;
    choir_contact_options contact;
} throughput_options;

#define AT(member) offsetof(throughput_options, member)

static const choir_flag flags[] = {
    {"--num-prompts", "N", "requests in all (default 100, or all of the dataset)",
     CHOIR_FLAG_INTEGER, AT(n_prompts), 1, 10000000, NULL},
    {"--input-len", "N", "tokens of a prompt, drawn at random (default 128)", CHOIR_FLAG_INTEGER,
     AT(input_len), 1, 1 << 24, NULL},
    {"--output-len", "N", "tokens of an answer, ends of text ignored (default 128)",
     CHOIR_FLAG_INTEGER, AT(output_len), 1, 1 << 24, NULL},
    {"--dataset", "FILE", "requests from a file instead, as `choir generate --jsonl` takes them",
     CHOIR_FLAG_STRING, AT(dataset), 0, 0, NULL},
    {"--seed", "N", "of the prompts (default 0)", CHOIR_FLAG_INTEGER, AT(seed), 0, 9.2e18, NULL},
    {"--json", NULL, "the figures as one JSON object", CHOIR_FLAG_BOOL, AT(is_json), 0, 0, NULL},
    {"--save-result --output-json", "FILE", "write that object to a file", CHOIR_FLAG_STRING,
     AT(result_file), 0, 0, NULL},
    {"--log-file", "FILE", "add all that mpirun and the ranks print to this file",
     CHOIR_FLAG_STRING, AT(contact.log_file), 0, 0, NULL},
};

static choir_json *to_json(const choir_load_figures *figures)
{
    choir_json *json = choir_json_make_object();
    choir_json_set_real(json, "elapsed_time", figures->duration_s);
    choir_json_set_integer(json, "num_requests", figures->n_completed);
    choir_json_set_integer(json, "total_num_tokens", figures->n_input + figures->n_output);
    choir_json_set_real(json, "requests_per_second", figures->request_throughput);
    choir_json_set_real(json, "tokens_per_second", figures->total_token_throughput);
    choir_json_set_real(json, "output_tokens_per_second", figures->output_throughput);
    return json;
}

static choir_status print_for_people(const choir_load_figures *figures)
{
    return choir_print("throughput: %.2f requests/s, %.1f total tokens/s, %.1f output tokens/s\n"
                       "tokens: %lld in, %lld out, of %lld requests in %.2f s\n",
                       figures->request_throughput, figures->total_token_throughput,
                       figures->output_throughput, (long long)figures->n_input,
                       (long long)figures->n_output, (long long)figures->n_completed,
                       figures->duration_s);
}

static choir_status report(const throughput_options *options, const choir_load_plan *plan,
                           int64_t duration_us)
{
    const choir_load_goals none = {0};
    choir_load_figures figures;
    choir_status status = choir_load_records_check(plan->records, plan->n);
    if (status == CHOIR_OK)
        status = choir_load_figures_make(plan->records, plan->n, duration_us, &none, &figures);
    if (status == CHOIR_OK)
        status =
            options->is_json ? choir_print_json(to_json(&figures)) : print_for_people(&figures);
    if (status == CHOIR_OK && options->result_file)
        status = choir_save_json(options->result_file, to_json(&figures));
    return status;
}

static choir_status run(const throughput_options *options, const choir_load_plan *plan,
                        int64_t *duration_us)
{
    choir_contact *contact = NULL;
    choir_status status = choir_load_meet(&options->contact, plan->prompts, &contact);
    if (status == CHOIR_OK)
        status = choir_load_run(contact, plan, duration_us);
    return choir_contact_close(&contact, status);
}

static choir_status measure(const throughput_options *options)
{
    const choir_load_prompts_options wanted = {
        .dataset = options->dataset,
        .n_prompts = options->n_prompts,
        .prefix_len = 0,
        .input_len = options->input_len,
        .output_len = options->output_len,
        .seed = (uint64_t)options->seed,
    };
    choir_load_plan plan = {.title = ""};
    int64_t duration_us = 0;
    choir_status status = choir_engine_options_check(&options->contact.engine);
    if (status == CHOIR_OK && options->contact.engine.max_num_seqs > OPEN_MAX)
        status = choir_fail(CHOIR_EUSAGE,
                            "--max-num-seqs: at most %d here, since a service takes no more "
                            "open requests of one client",
                            OPEN_MAX);
    if (status == CHOIR_OK)
        status = choir_load_prompts_create(&wanted, &plan.prompts);
    if (status != CHOIR_OK)
        return status;
    plan.n = choir_load_prompts_count(plan.prompts);
    status = choir_alloc(plan.n, sizeof *plan.records, (void **)&plan.records);
    if (status == CHOIR_OK)
        status = run(options, &plan, &duration_us);
    if (status == CHOIR_OK)
        status = report(options, &plan, duration_us);
    choir_load_records_destroy(&plan.records, plan.n);
    choir_load_prompts_destroy(&plan.prompts);
    return status;
}

choir_status choir_verb_bench_throughput(int argc, char **argv)
{
    throughput_options options = {
        .input_len = 128, .output_len = 128, .contact = choir_contact_options_default()};
    const choir_flag_group groups[] = {
        {"Load", flags, sizeof flags / sizeof flags[0], &options},
        choir_rank_flags(&options.contact.engine),
        choir_engine_flags(&options.contact.engine),
    };
    const choir_command command = {
        "choir bench throughput",
        "--model FILE [FLAGS]",
        "Starts an engine, gives it all requests at once and measures what it gets done, under the "
        "names of `vllm bench throughput`.",
        "choir bench throughput --model model.gguf --num-prompts 64\n"
        "choir bench throughput --model model.gguf -n 2 --dataset requests.jsonl --json",
        groups,
        sizeof groups / sizeof groups[0],
    };
    int n_rest;
    bool is_help_shown;
    const choir_status status = choir_flags_parse(&command, argc, argv, &n_rest, &is_help_shown);
    if (status != CHOIR_OK || is_help_shown)
        return status;
    if (n_rest > 0)
        return choir_fail(CHOIR_EUSAGE,
                          "unexpected argument %.40s; `choir bench throughput --help`", argv[0]);
    return measure(&options);
}
