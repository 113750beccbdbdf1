/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `choir bench serve`: sends many requests to a service over the real protocol, as users would, and
 * tells how long they waited. Requests arrive by a Poisson process (--request-rate), or as fast as
 * --max-concurrency allows; all is drawn from --seed, so a run can be repeated.
 */
#include "cli/contact.h"
#include "cli/flags.h"
#include "cli/load_prompts.h"
#include "cli/load_record.h"
#include "cli/load_run.h"
#include "cli/print.h"
#include "cli/verbs.h"
#include "common/mem.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

typedef struct load_options {
    int64_t n_prompts, max_concurrency, input_len, output_len, prefix_len, seed;
    double request_rate;
    const char *dataset, *result_file, *plot_file;
    choir_flag_strings goodput;
    bool is_json;
    choir_contact_options contact;
} load_options;

#define AT(member) offsetof(load_options, member)

static const choir_flag flags[] = {
    {"--num-prompts", "N", "requests in all (default 100, or all of the dataset)",
     CHOIR_FLAG_INTEGER, AT(n_prompts), 1, 10000000, NULL},
    {"--request-rate", "R", "so many arrive in a second on average (default: all at once)",
     CHOIR_FLAG_REAL, AT(request_rate), 1e-6, 1e6, NULL},
    {"--max-concurrency", "N", "at most so many are open at a time (default: no limit)",
     CHOIR_FLAG_INTEGER, AT(max_concurrency), 1, 1000000, NULL},
    {"--random-input-len", "N", "tokens of a prompt, drawn at random (default 128)",
     CHOIR_FLAG_INTEGER, AT(input_len), 1, 1 << 24, NULL},
    {"--random-output-len", "N", "tokens of an answer, ends of text ignored (default 128)",
     CHOIR_FLAG_INTEGER, AT(output_len), 1, 1 << 24, NULL},
    {"--random-prefix-len", "N", "tokens before it that all prompts have in common (default 0)",
     CHOIR_FLAG_INTEGER, AT(prefix_len), 1, 1 << 24, NULL},
    {"--dataset", "FILE", "requests from a file instead, as `choir generate --jsonl` takes them",
     CHOIR_FLAG_STRING, AT(dataset), 0, 0, NULL},
    {"--seed", "N", "of prompts and arrivals (default 0)", CHOIR_FLAG_INTEGER, AT(seed), 0, 9.2e18,
     NULL},
    {"--goodput", "NAME:MS", "counts as good what keeps ttft, tpot or e2el; may be repeated",
     CHOIR_FLAG_STRINGS, AT(goodput), 0, 0, NULL},
    {"--save-result", "FILE", "write the figures and all requests' times as JSON",
     CHOIR_FLAG_STRING, AT(result_file), 0, 0, NULL},
    {"--plot", "FILE.svg", "draw throughput and latency over time", CHOIR_FLAG_STRING,
     AT(plot_file), 0, 0, NULL},
    {"--json", NULL, "the figures as one JSON object", CHOIR_FLAG_BOOL, AT(is_json), 0, 0, NULL},
};

typedef struct load {
    const load_options *options;
    choir_contact *contact;
    choir_load_prompts *prompts;
    choir_load_record *records; /* [n] */
    int64_t *due_us;            /* [n] when each arrives, since the start */
    size_t n;
} load;

static void plan_arrivals(load *l)
{
    const uint64_t seed = (uint64_t)l->options->seed;
    double at = 0;
    for (size_t i = 0; i < l->n; i++) {
        const double draw = (double)choir_load_draw(seed, 0, (uint32_t)i);
        l->due_us[i] = (int64_t)(at * 1e6);
        if (l->options->request_rate > 0)
            at -= log((draw + 0.5) * 0x1p-32) / l->options->request_rate;
    }
}

static choir_status prepare(load *l)
{
    const load_options *options = l->options;
    const choir_load_prompts_options wanted = {
        .dataset = options->dataset,
        .n_prompts = options->n_prompts,
        .prefix_len = options->prefix_len,
        .input_len = options->input_len,
        .output_len = options->output_len,
        .seed = (uint64_t)options->seed,
    };
    choir_status status = choir_load_prompts_create(&wanted, &l->prompts);
    if (status != CHOIR_OK)
        return status;
    l->n = choir_load_prompts_count(l->prompts);
    status = choir_alloc(l->n, sizeof *l->records, (void **)&l->records);
    if (status == CHOIR_OK)
        status = choir_alloc(l->n, sizeof *l->due_us, (void **)&l->due_us);
    if (status == CHOIR_OK)
        plan_arrivals(l);
    return status;
}

static choir_status run(load *l, int64_t *duration_us)
{
    const choir_load_plan plan = {.prompts = l->prompts,
                                  .first = 0,
                                  .n = l->n,
                                  .records = l->records,
                                  .due_us = l->due_us,
                                  .max_concurrency = l->options->max_concurrency,
                                  .title = ""};
    const choir_status status = choir_load_meet(&l->options->contact, l->prompts, &l->contact);
    return status == CHOIR_OK ? choir_load_run(l->contact, &plan, duration_us) : status;
}

static const char *model_of(const load *l)
{
    return choir_client_model(choir_contact_client(l->contact));
}

static choir_json *describe(const load *l, const choir_load_figures *figures)
{
    const load_options *options = l->options;
    choir_json *json = choir_json_make_object();
    char date[32];
    const time_t now = time(NULL);
    struct tm parts;
    (void)strftime(date, sizeof date, "%Y%m%d-%H%M%S", localtime_r(&now, &parts));
    choir_json_set_text(json, "date", date);
    choir_json_set_text(json, "endpoint_type", "choir");
    choir_json_set_text(json, "model_id", model_of(l));
    choir_json_set_integer(json, "num_prompts", (int64_t)l->n);
    if (options->request_rate > 0)
        choir_json_set_real(json, "request_rate", options->request_rate);
    else
        choir_json_set_text(json, "request_rate", "inf");
    choir_json_set(json, "max_concurrency",
                   options->max_concurrency > 0 ? choir_json_make_integer(options->max_concurrency)
                                                : choir_json_make_null());
    choir_load_figures_to_json(figures, json);
    return json;
}

static choir_status report(const load *l, int64_t duration_us)
{
    const load_options *options = l->options;
    choir_load_goals goals = {0};
    choir_load_figures figures;
    char *picture = NULL;
    choir_status status = CHOIR_OK;
    for (size_t i = 0; i < options->goodput.n_items && status == CHOIR_OK; i++)
        status = choir_load_goals_parse(&goals, options->goodput.items[i]);
    if (status == CHOIR_OK)
        status = choir_load_figures_make(l->records, l->n, duration_us, &goals, &figures);
    if (status == CHOIR_OK)
        status = options->is_json ? choir_print_json(describe(l, &figures))
                                  : choir_load_figures_print(&figures);
    if (status == CHOIR_OK && options->result_file) {
        choir_json *json = describe(l, &figures);
        choir_load_records_to_json(l->records, l->n, json);
        status = choir_save_json(options->result_file, json);
    }
    if (status == CHOIR_OK && options->plot_file)
        status = choir_load_plot(l->records, l->n, duration_us, model_of(l), &picture);
    if (picture)
        status = choir_save_text(options->plot_file, picture);
    free(picture);
    return status == CHOIR_OK ? choir_load_records_check(l->records, l->n) : status;
}

static void release(load *l)
{
    choir_load_prompts_destroy(&l->prompts);
    choir_load_records_destroy(&l->records, l->n);
    free(l->due_us);
}

choir_status choir_verb_bench_serve(int argc, char **argv)
{
    load_options options = {
        .input_len = 128, .output_len = 128, .contact = choir_contact_options_default()};
    choir_flag_group groups[1 + CHOIR_CONTACT_GROUPS] = {
        {"Load", flags, sizeof flags / sizeof flags[0], &options}};
    choir_contact_flags(&options.contact, &groups[1]);
    const choir_command command = {
        "choir bench serve",
        "[FLAGS]",
        "Sends requests to a service as many users would, and tells throughput and latencies under "
        "the names of `vllm bench serve`. Without --model it asks the running service.",
        "choir bench serve --num-prompts 200 --request-rate 4 --plot load.svg\n"
        "choir bench serve --model model.gguf -n 2 --max-concurrency 32 --save-result load.json",
        groups,
        sizeof groups / sizeof groups[0],
    };
    int n_rest;
    bool is_help_shown;
    int64_t duration_us;
    load l = {.options = &options};
    choir_status status = choir_flags_parse(&command, argc, argv, &n_rest, &is_help_shown);
    if (status != CHOIR_OK || is_help_shown)
        return status;
    if (n_rest > 0)
        return choir_fail(CHOIR_EUSAGE, "unexpected argument %.40s", argv[0]);
    choir_load_goals goals;
    for (size_t i = 0; i < options.goodput.n_items && status == CHOIR_OK; i++)
        status = choir_load_goals_parse(&goals, options.goodput.items[i]);
    if (status == CHOIR_OK)
        status = prepare(&l);
    if (status == CHOIR_OK)
        status = run(&l, &duration_us);
    if (status == CHOIR_OK)
        status = report(&l, duration_us);
    status = choir_contact_close(&l.contact, status);
    release(&l);
    return status;
}
