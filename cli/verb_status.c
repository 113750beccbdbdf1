/* SPDX-License-Identifier: Apache-2.0 */
/* `choir status`: what a running service says of itself. */
#include "cli/flags.h"
#include "cli/metrics_report.h"
#include "cli/print.h"
#include "cli/report.h"
#include "cli/verbs.h"
#include "client/client.h"

#include <stddef.h>

enum { CONNECT_TIMEOUT_MS = 5000 };

typedef struct status_options {
    const char *connection_file;
    bool is_json;
} status_options;

#define AT(member) offsetof(status_options, member)

static const choir_flag flags[] = {
    {"--connection-file", "F", "of the service (default: choir.json in your runtime folder)",
     CHOIR_FLAG_STRING, AT(connection_file), 0, 0, NULL},
    {"--json", NULL, "one JSON object", CHOIR_FLAG_BOOL, AT(is_json), 0, 0, NULL},
};

static choir_json *load_to_json(const choir_service_status *status)
{
    choir_json *json = choir_json_make_object();
    choir_json_set_integer(json, "num_running_reqs", status->num_running_reqs);
    choir_json_set_integer(json, "num_waiting_reqs", status->num_waiting_reqs);
    choir_json_set_real(json, "token_usage", (double)status->token_usage);
    choir_json_set_real(json, "gen_throughput", (double)status->gen_throughput);
    choir_json_set_real(json, "cache_hit_rate", (double)status->cache_hit_rate);
    return json;
}

static choir_json *counters_to_json(const choir_engine_counters *counters)
{
    const struct {
        const char *name;
        uint64_t value;
    } fields[] = {
        {"prompt_tokens_total", counters->prompt_tokens_total},
        {"generation_tokens_total", counters->generation_tokens_total},
        {"num_preemptions_total", counters->num_preemptions_total},
        {"prefix_cache_queries_total", counters->prefix_cache_queries_total},
        {"prefix_cache_hits_total", counters->prefix_cache_hits_total},
        {"rows_gathered_total", counters->rows_gathered_total},
        {"kv_pages", counters->kv_pages},
        {"kv_pages_used", counters->kv_pages_used},
        {"kv_pages_kept", counters->kv_pages_kept},
    };
    choir_json *json = choir_json_make_object();
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        choir_json_set_integer(json, fields[i].name, (int64_t)fields[i].value);
    return json;
}

static choir_status print_as_json(const choir_service_status *status)
{
    const choir_engine_report *engine = &status->engine;
    char identity[CHOIR_SHA256_HEX];
    choir_json *json = choir_json_make_object(), *ranks = choir_json_make_array();
    choir_sha256_hex(engine->model_identity, identity);
    for (size_t i = 0; i < engine->n_ranks; i++)
        choir_json_append(ranks, choir_report_rank_to_json(&engine->ranks[i]));
    choir_json_set_text(json, "state", status->state);
    choir_json_set_text(json, "model", status->model);
    choir_json_set_text(json, "model_identity", identity);
    choir_json_set_text(json, "version", status->version);
    choir_json_set_real(json, "uptime_s", (double)status->uptime_us / 1e6);
    choir_json_set(json, "load", load_to_json(status));
    choir_json_set(json, "counters", counters_to_json(&status->counters));
    choir_metrics_to_json(&status->metrics, json);
    choir_json_set_integer(json, "n_clients", status->n_clients);
    choir_json_set_integer(json, "n_bad_frames", (int64_t)status->n_bad_frames);
    choir_json_set_integer(json, "n_steps", (int64_t)status->n_steps);
    choir_json_set_integer(json, "step_us_p50", (int64_t)status->step_us_p50);
    choir_json_set_integer(json, "step_us_p99", (int64_t)status->step_us_p99);
    choir_json_set_integer(json, "tp", engine->n_shards);
    choir_json_set_integer(json, "pp", engine->n_stages);
    choir_json_set_integer(json, "max_model_len", engine->max_model_len);
    choir_json_set_integer(json, "max_num_seqs", engine->max_num_seqs);
    choir_json_set_text(json, "activations", engine->activations);
    choir_json_set_text(json, "cache_type_k", engine->cache_type_k);
    choir_json_set_text(json, "cache_type_v", engine->cache_type_v);
    choir_json_set_integer(json, "weights_bytes", (int64_t)engine->weights_bytes);
    choir_json_set_text(json, "launch", engine->launch);
    choir_json_set(json, "ranks", ranks);
    return choir_print_json(json);
}

static choir_status print_for_people(const choir_service_status *status)
{
    char times[3][CHOIR_NUMBER_BYTES];
    choir_status printed = choir_print(
        "%s  %s  up %s  Choir %s\n"
        "requests  %u running, %u waiting, of %u clients; %.1f %% of the KV pages in use\n"
        "speed     %.1f tokens/s; %llu steps",
        status->model, status->state, choir_number_time(status->uptime_us, times[0]),
        status->version, (unsigned)status->num_running_reqs, (unsigned)status->num_waiting_reqs,
        (unsigned)status->n_clients, (double)status->token_usage * 100,
        (double)status->gen_throughput, (unsigned long long)status->n_steps);
    if (printed == CHOIR_OK && status->n_steps > 0)
        printed = choir_print(", half of them within %s, 99 %% within %s",
                              choir_number_time(status->step_us_p50, times[1]),
                              choir_number_time(status->step_us_p99, times[2]));
    if (printed == CHOIR_OK)
        printed = choir_print("\n");
    if (printed == CHOIR_OK && status->counters.prefix_cache_queries_total > 0)
        printed = choir_print(
            "prefixes  %.1f %% of the prompts' tokens were there from earlier ones; %llu "
            "sequences put back\n",
            (double)status->cache_hit_rate * 100,
            (unsigned long long)status->counters.num_preemptions_total);
    if (printed == CHOIR_OK)
        printed = choir_metrics_print(&status->metrics);
    if (printed == CHOIR_OK && status->n_bad_frames > 0)
        printed = choir_print("dropped   %llu messages that were not of the protocol\n",
                              (unsigned long long)status->n_bad_frames);
    if (printed == CHOIR_OK && status->engine.n_ranks > 0)
        choir_report_print_ranks(stdout, &status->engine);
    if (printed == CHOIR_OK)
        choir_report_print_activity(stdout, &status->engine);
    return printed;
}

choir_status choir_verb_status(int argc, char **argv)
{
    status_options options = {0};
    const choir_flag_group group = {"Options", flags, sizeof flags / sizeof flags[0], &options};
    const choir_command command = {
        "choir status",
        "[FLAGS]",
        "Asks a running service for its load, its speed and its ranks.",
        "choir status --connection-file choir.json\nchoir status --json | jq .load",
        &group,
        1,
    };
    choir_client *client = NULL;
    choir_service_status service = {0};
    int n_rest;
    bool is_help_shown;
    choir_status status = choir_flags_parse(&command, argc, argv, &n_rest, &is_help_shown);
    if (status != CHOIR_OK || is_help_shown)
        return status;
    if (n_rest > 0)
        return choir_fail(CHOIR_EUSAGE, "unexpected argument %.40s; `choir status --help`",
                          argv[0]);
    status = choir_client_connect_file(options.connection_file, CONNECT_TIMEOUT_MS, &client);
    if (status == CHOIR_OK)
        status = choir_client_status(client, &service);
    if (status == CHOIR_OK)
        status = options.is_json ? print_as_json(&service) : print_for_people(&service);
    choir_service_status_destroy(&service);
    choir_client_destroy(&client);
    return status;
}
