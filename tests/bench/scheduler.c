/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the scheduler costs: microseconds a step, and bytes for a request that waits, with those of
 * the front end. --help tells the rest.
 */
#include "cli/flags.h"
#include "cli/print.h"
#include "common/json.h"
#include "tests/bench/limits.h"
#include "tests/bench/steps.h"
#include "tests/bench/waiting.h"
#include "tests/bench/waiting_frontend.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct scheduler_options {
    int64_t n_steps, n_sequences, n_waiting, n_requests, evict_mib;
    bool is_quick, is_json;
} scheduler_options;

#define AT(member) offsetof(scheduler_options, member)

static const choir_flag flags[] = {
    {"--steps", "N", "that are timed (default: 10000)", CHOIR_FLAG_INTEGER, AT(n_steps), 1,
     10000000, NULL},
    {"--sequences", "N", "that decode (default: 64)", CHOIR_FLAG_INTEGER, AT(n_sequences), 1, 512,
     NULL},
    {"--waiting", "N", "requests of the long queue (default: 1000)", CHOIR_FLAG_INTEGER,
     AT(n_waiting), 0, 1000000, NULL},
    {"--requests", "N", "whose memory is measured (default: 4000)", CHOIR_FLAG_INTEGER,
     AT(n_requests), 1, 1000000, NULL},
    {"--evict-mib", "N",
     "so much memory is read before each timed part, as by ranks that multiply (default: 0)",
     CHOIR_FLAG_INTEGER, AT(evict_mib), 0, 4096, NULL},
    {"--quick", NULL, "few steps, to see that it runs: the figures mean nothing", CHOIR_FLAG_BOOL,
     AT(is_quick), 0, 0, NULL},
    {"--json", NULL, "one JSON object a line; the first is the machine's", CHOIR_FLAG_BOOL,
     AT(is_json), 0, 0, NULL},
};

/* The bars of docs/performance.md. */
static const double bar_us = 50, bar_bytes = 4096;

static choir_status print_machine(const scheduler_options *o)
{
    char cpu[128];
    choir_limits_cpu_name(cpu, sizeof cpu);
    if (o->is_json) {
        choir_json *json = choir_json_make_object();
        choir_json_set_text(json, "cpu", cpu);
        choir_json_set_integer(json, "evict_mib", o->evict_mib);
        return choir_print_json(json);
    }
    printf("%s\nus a step of %lld sequences; bar: mean <= %.0f\n", cpu, (long long)o->n_sequences,
           bar_us);
    printf("%-22s %8s %8s %8s %8s %8s %8s %8s %9s %8s %9s %8s\n", "", "mean", "median", "p99",
           "longest", "of: next", "submit", "decodes", "new pages", "reused", "prefilled",
           "put back");
    return CHOIR_OK;
}

static choir_status print_steps(const scheduler_options *o, const char *name,
                                const choir_bench_steps *r)
{
    if (!o->is_json) {
        printf("%-22s %8.1f %8.1f %8.1f %8.1f %8.1f %8.2f %8.1f %9lld %8lld %9lld %8lld  %s\n",
               name, r->mean_us, r->median_us, r->p99_us, r->longest_us, r->mean_next_us,
               r->mean_submit_us, r->mean_decodes, (long long)r->n_new_pages,
               (long long)r->n_cache_hits, (long long)r->n_prompt_tokens,
               (long long)r->n_preemptions, r->mean_us <= bar_us ? "pass" : "MISS");
        fflush(stdout);
        return CHOIR_OK;
    }
    choir_json *json = choir_json_make_object();
    choir_json_set_text(json, "steps", name);
    choir_json_set_integer(json, "sequences", o->n_sequences);
    choir_json_set_real(json, "mean_us", r->mean_us);
    choir_json_set_real(json, "median_us", r->median_us);
    choir_json_set_real(json, "p99_us", r->p99_us);
    choir_json_set_real(json, "longest_us", r->longest_us);
    choir_json_set_real(json, "mean_next_us", r->mean_next_us);
    choir_json_set_real(json, "mean_submit_us", r->mean_submit_us);
    choir_json_set_real(json, "mean_decodes", r->mean_decodes);
    choir_json_set_integer(json, "new_pages", r->n_new_pages);
    choir_json_set_integer(json, "requests_ended", r->n_ended);
    choir_json_set_integer(json, "tokens_reused", r->n_cache_hits);
    choir_json_set_integer(json, "tokens_prefilled", r->n_prompt_tokens);
    choir_json_set_integer(json, "put_back", r->n_preemptions);
    choir_json_set_real(json, "bar", bar_us);
    choir_json_set_boolean(json, "passed", r->mean_us <= bar_us);
    return choir_print_json(json);
}

static choir_status measure_steps(const scheduler_options *o)
{
    static const struct {
        const char *name;
        bool is_sampled, keeps_pages, has_queue;
    } cases[] = {
        {"greedy", false, false, false},
        {"top_p", true, false, false},
        {"greedy, cache, queue", false, true, true},
        {"top_p, cache, queue", true, true, true},
    };
    choir_status status = CHOIR_OK;
    for (size_t i = 0; status == CHOIR_OK && i < sizeof cases / sizeof *cases; i++) {
        const choir_bench_steps_options options = {
            .n_sequences = (int)o->n_sequences,
            .n_waiting = cases[i].has_queue ? (int)o->n_waiting : 0,
            .n_steps = o->n_steps,
            .n_warm = o->is_quick ? 100 : 3000,
            .is_sampled = cases[i].is_sampled,
            .keeps_pages = cases[i].keeps_pages,
            .evict_bytes = (size_t)o->evict_mib << 20,
        };
        choir_bench_steps result;
        status = choir_bench_steps_measure(&options, &result);
        if (status == CHOIR_OK)
            status = print_steps(o, cases[i].name, &result);
    }
    return status;
}

static choir_status print_memory(const scheduler_options *o, const char *name, double engine,
                                 double frontend)
{
    const bool has_passed = engine + frontend <= bar_bytes;
    if (!o->is_json) {
        printf("%-22s %9.0f %9.0f %9.0f  %s\n", name, engine, frontend, engine + frontend,
               has_passed ? "pass" : "MISS");
        return CHOIR_OK;
    }
    choir_json *json = choir_json_make_object();
    choir_json_set_text(json, "waiting", name);
    choir_json_set_integer(json, "requests", o->n_requests);
    choir_json_set_real(json, "scheduler_bytes", engine);
    choir_json_set_real(json, "frontend_bytes", frontend);
    choir_json_set_real(json, "bar", bar_bytes);
    choir_json_set_boolean(json, "passed", has_passed);
    return choir_print_json(json);
}

static choir_status measure_memory(const scheduler_options *o)
{
    choir_status status = CHOIR_OK;
    if (!o->is_json)
        printf("\nbytes of each of %lld requests that wait, beside its tokens; bar: both <= %.0f\n"
               "%-22s %9s %9s %9s\n",
               (long long)o->n_requests, bar_bytes, "", "scheduler", "front end", "both");
    for (int i = 0; status == CHOIR_OK && i < 2; i++) {
        double engine, frontend;
        status = choir_bench_waiting((int)o->n_requests, i == 1, &engine);
        if (status == CHOIR_OK)
            status = choir_bench_waiting_frontend((int)o->n_requests, 4 * i, &frontend);
        if (status == CHOIR_OK)
            status = print_memory(o, i ? "with rules and stops" : "plain", engine, frontend);
    }
    return status;
}

int main(int argc, char **argv)
{
    scheduler_options options = {
        .n_steps = 10000, .n_sequences = 64, .n_waiting = 1000, .n_requests = 4000};
    const choir_flag_group group = {"Flags", flags, sizeof flags / sizeof *flags, &options};
    const choir_command command = {
        "scheduler",
        "[FLAGS]",
        "Measures what the scheduler costs for each step, without ranks: choir_scheduler_next_step "
        "and choir_scheduler_complete, while requests of 100 tokens come and end and pages change "
        "hands; and the memory of a request that waits.",
        "scheduler\nscheduler --evict-mib 64 --steps 2000\n",
        &group,
        1};
    int n_rest = 0;
    bool is_help_shown = false;
    choir_status status = choir_flags_parse(&command, argc, argv, &n_rest, &is_help_shown);
    if (status == CHOIR_OK && n_rest > 0)
        status = choir_fail(CHOIR_EUSAGE, "%s: what is it? see --help", argv[0]);
    if (status == CHOIR_OK && options.is_quick)
        options.n_steps = 300;
    if (status == CHOIR_OK && !is_help_shown)
        status = print_machine(&options);
    if (status == CHOIR_OK && !is_help_shown)
        status = measure_steps(&options);
    if (status == CHOIR_OK && !is_help_shown)
        status = measure_memory(&options);
    if (status != CHOIR_OK)
        fprintf(stderr, "scheduler: %s\n", choir_error());
    return status;
}
