/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `choir bench serve`: sends many requests to a service over the real protocol, as users would, and
 * tells how long they waited. Requests arrive by a Poisson process (--request-rate), or as fast as
 * --max-concurrency allows; all is drawn from --seed, so a run can be repeated.
 */
#include "cli/contact.h"
#include "cli/flags.h"
#include "cli/input.h"
#include "cli/inquiry.h"
#include "cli/load_record.h"
#include "cli/print.h"
#include "cli/verbs.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/philox.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
    choir_client *client;
    choir_load_record *records; /* [n] */
    choir_inquiry *inquiries;   /* [n] of a dataset, else NULL */
    int64_t *due_us;            /* [n] when each arrives, since the start */
    size_t n, n_capacity, n_sent, n_ended;
    int32_t *prompt; /* [prefix_len + input_len] */
    uint32_t vocabulary;
    int64_t start_us;
} load;

/* Words of a stream of random numbers: 0 the arrivals, 1 the prefix, 2 + i prompt i. */
static uint32_t draw(const load *l, uint64_t stream, uint32_t index)
{
    const uint64_t seed = (uint64_t)l->options->seed;
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {index / 4, (uint32_t)stream, (uint32_t)(stream >> 32), 0x6c6f6164};
    uint32_t words[4];
    choir_philox(key, counter, words);
    return words[index % 4];
}

static void draw_ids(const load *l, uint64_t stream, int32_t *ids, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int32_t)(((uint64_t)draw(l, stream, (uint32_t)i) * l->vocabulary) >> 32);
}

static void plan_arrivals(load *l)
{
    double at = 0;
    for (size_t i = 0; i < l->n; i++) {
        l->due_us[i] = (int64_t)(at * 1e6);
        if (l->options->request_rate > 0)
            at -= log(((double)draw(l, 0, (uint32_t)i) + 0.5) * 0x1p-32) / l->options->request_rate;
    }
}

static choir_status read_dataset(load *l)
{
    const choir_sampling_options usual = choir_sampling_options_default();
    choir_jsonl lines;
    choir_json *object = NULL;
    choir_status status = choir_jsonl_open(&lines, l->options->dataset);
    while (status == CHOIR_OK &&
           (l->options->n_prompts == 0 || (int64_t)l->n < l->options->n_prompts)) {
        status = choir_jsonl_next(&lines, &object);
        if (status != CHOIR_OK || object == NULL)
            break;
        status = choir_grow((void **)&l->inquiries, &l->n_capacity, l->n + 1, sizeof *l->inquiries);
        if (status == CHOIR_OK)
            status = choir_inquiry_create(&usual, &l->inquiries[l->n]);
        if (status == CHOIR_OK)
            status = choir_inquiry_add_json(&l->inquiries[l->n++], object);
        else
            choir_json_destroy(&object);
        if (status != CHOIR_OK)
            status = choir_jsonl_fail(&lines, status);
    }
    choir_jsonl_close(&lines);
    if (status == CHOIR_OK && l->n == 0)
        status = choir_fail(CHOIR_EINVALID, "%s: no requests in it", l->options->dataset);
    return status;
}

static choir_status prepare(load *l)
{
    const load_options *options = l->options;
    choir_status status = CHOIR_OK;
    if (options->dataset)
        status = read_dataset(l);
    else
        l->n = options->n_prompts > 0 ? (size_t)options->n_prompts : 100;
    if (status == CHOIR_OK)
        status = choir_alloc(l->n, sizeof *l->records, (void **)&l->records);
    if (status == CHOIR_OK)
        status = choir_alloc(l->n, sizeof *l->due_us, (void **)&l->due_us);
    if (status == CHOIR_OK)
        status = choir_alloc((size_t)(options->prefix_len + options->input_len), sizeof *l->prompt,
                             (void **)&l->prompt);
    if (status == CHOIR_OK)
        plan_arrivals(l);
    return status;
}

static choir_status meet_service(load *l)
{
    choir_model_info *models = NULL;
    size_t n_models = 0;
    choir_status status = choir_contact_open(&l->options->contact, &l->contact);
    if (status != CHOIR_OK)
        return status;
    l->client = choir_contact_client(l->contact);
    status = choir_client_list_models(l->client, &models, &n_models);
    if (status == CHOIR_OK)
        l->vocabulary = models[0].vocabulary;
    free(models);
    if (status == CHOIR_OK)
        draw_ids(l, 1, l->prompt, l->options->prefix_len);
    return status;
}

static choir_status send_next(load *l)
{
    const load_options *options = l->options;
    const size_t index = l->n_sent++;
    choir_generate_request request = {
        .token_ids = l->prompt,
        .n_token_ids = (size_t)(options->prefix_len + options->input_len),
        .sampling = {.has_temperature = true,
                     .ignore_eos = true,
                     .has_max_tokens = true,
                     .max_tokens = options->output_len},
    };
    char id[CHOIR_REQUEST_ID_SIZE], used[CHOIR_REQUEST_ID_SIZE];
    if (l->inquiries)
        request = l->inquiries[index].generate;
    else
        draw_ids(l, 2 + index, l->prompt + options->prefix_len, options->input_len);
    (void)snprintf(id, sizeof id, "%zu", index);
    request.request_id = id;
    request.return_token_ids = true;
    l->records[index].sent_us = choir_clock_us() - l->start_us;
    return choir_client_generate(l->client, &request, used);
}

static choir_status take_event(load *l, const choir_event *event)
{
    const size_t index = strtoul(event->request_id, NULL, 10);
    if (index >= l->n)
        return choir_fail(CHOIR_EINTERNAL, "an event of request %.64s", event->request_id);
    choir_load_record *record = &l->records[index];
    const int64_t now_us = choir_clock_us() - l->start_us;
    choir_status status = CHOIR_OK;
    if (event->kind == CHOIR_EVENT_CHUNK && event->n_token_ids > 0)
        status = choir_load_record_tokens(record, (int64_t)event->n_token_ids, now_us);
    if (!choir_event_is_last(event))
        return status;
    l->n_ended++;
    if (event->kind == CHOIR_EVENT_ERROR) {
        (void)snprintf(record->error, sizeof record->error, "%s", event->message);
        return status;
    }
    record->is_done = true;
    record->n_input = (int64_t)event->usage.prompt_tokens;
    record->n_cached = (int64_t)event->usage.cached_tokens;
    return status;
}

/* Whether the next request is to be sent now; else *wait_ms until something may change. */
static bool is_due(const load *l, int *wait_ms)
{
    *wait_ms = -1;
    if (l->n_sent == l->n)
        return false;
    if (l->options->max_concurrency > 0 &&
        (int64_t)(l->n_sent - l->n_ended) >= l->options->max_concurrency)
        return false;
    const int64_t left_us = l->due_us[l->n_sent] - (choir_clock_us() - l->start_us);
    *wait_ms = left_us > 0 ? (int)(left_us / 1000) + 1 : 0;
    return left_us <= 0;
}

static choir_status wait_event(load *l, int wait_ms)
{
    choir_event event;
    if (l->n_sent == l->n_ended) { /* nothing is open: only time passes */
        const struct timespec pause = {wait_ms / 1000, wait_ms % 1000 * 1000000L};
        (void)nanosleep(&pause, NULL);
        return CHOIR_OK;
    }
    choir_status status = wait_ms < 0 ? choir_contact_next_event(l->contact, 0, &event)
                                      : choir_client_next_event(l->client, wait_ms, &event);
    if (status == CHOIR_ETIMEOUT)
        return CHOIR_OK;
    if (status == CHOIR_OK)
        status = take_event(l, &event);
    return status;
}

static choir_status run(load *l)
{
    choir_status status = CHOIR_OK;
    int64_t shown_us = 0;
    l->start_us = choir_clock_us();
    while (status == CHOIR_OK && l->n_ended < l->n) {
        int wait_ms;
        while (status == CHOIR_OK && is_due(l, &wait_ms))
            status = send_next(l);
        if (status == CHOIR_OK)
            status = wait_event(l, wait_ms);
        const int64_t now_us = choir_clock_us();
        if (now_us - shown_us > 200000 && choir_contact_is_talkative(l->contact)) {
            choir_progress("%zu of %zu requests sent, %zu ended", l->n_sent, l->n, l->n_ended);
            shown_us = now_us;
        }
    }
    return status;
}

static choir_status write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    bool is_written = file && fputs(text, file) >= 0 && fputc('\n', file) != EOF;
    if (file && fclose(file) != 0)
        is_written = false;
    return is_written ? CHOIR_OK : choir_fail(CHOIR_EIO, "%s: cannot be written", path);
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
    choir_json_set_text(json, "model_id", choir_client_model(l->client));
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
    char *text = NULL;
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
        status = choir_json_dump(json, &text);
        choir_json_destroy(&json);
        if (status == CHOIR_OK)
            status = write_file(options->result_file, text);
        free(text);
        text = NULL;
    }
    if (status == CHOIR_OK && options->plot_file) {
        status =
            choir_load_plot(l->records, l->n, duration_us, choir_client_model(l->client), &text);
        if (status == CHOIR_OK)
            status = write_file(options->plot_file, text);
        free(text);
    }
    for (size_t i = 0; status == CHOIR_OK && i < l->n; i++)
        if (!l->records[i].is_done)
            return choir_fail(CHOIR_EENGINE, "%lld of %zu requests failed, the first with: %s",
                              (long long)figures.n_failed, l->n, l->records[i].error);
    return status;
}

static void release(load *l)
{
    for (size_t i = 0; i < l->n; i++) {
        if (l->records)
            free(l->records[i].itls_us);
        if (l->inquiries)
            choir_inquiry_destroy(&l->inquiries[i]);
    }
    free(l->records);
    free(l->inquiries);
    free(l->due_us);
    free(l->prompt);
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
        status = meet_service(&l);
    if (status == CHOIR_OK)
        status = run(&l);
    if (status == CHOIR_OK)
        status = report(&l, choir_clock_us() - l.start_us);
    status = choir_contact_close(&l.contact, status);
    release(&l);
    return status;
}
