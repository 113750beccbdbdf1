/* SPDX-License-Identifier: Apache-2.0 */
/* `choir plan`: the layout that an engine would use, from the model's header alone. */
#include "cli/engine_flags.h"
#include "cli/print.h"
#include "cli/verbs.h"
#include "common/mem.h"
#include "model/footprint.h"
#include "model/partition.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct plan_options {
    bool is_json;
    choir_engine_options engine;
} plan_options;

static const choir_flag flags[] = {
    {"--json", NULL, "one JSON object", CHOIR_FLAG_BOOL, offsetof(plan_options, is_json), 0, 0,
     NULL},
};

typedef struct rank_plan {
    const choir_engine_options *engine;
    choir_model *model;
    choir_layout *layout;
    choir_footprint *ranks; /* [n_ranks] */
    choir_footprint total;
    int64_t n_positions; /* for which keys and values are counted */
} rank_plan;

static choir_status make_plan(const choir_engine_options *engine, rank_plan *plan)
{
    const choir_layout_options layout = choir_engine_options_layout(engine);
    choir_footprint_options options = {.as_f32 = strcmp(engine->activations, "f32") == 0};
    choir_status status = choir_engine_options_check(engine);
    if (status == CHOIR_OK)
        status = choir_cache_type_parse(engine->cache_type_k, &options.key_type);
    if (status == CHOIR_OK)
        status = choir_cache_type_parse(engine->cache_type_v, &options.value_type);
    if (status == CHOIR_OK)
        status = choir_model_open_header(engine->model, &plan->model);
    if (status == CHOIR_OK)
        status = choir_layout_create(choir_model_hparams(plan->model), &layout, &plan->layout);
    if (status == CHOIR_OK)
        status = choir_alloc((size_t)layout.n_ranks, sizeof *plan->ranks, (void **)&plan->ranks);
    for (int r = 0; status == CHOIR_OK && r < layout.n_ranks; r++) {
        status = choir_footprint_of(plan->model, plan->layout, r, &options, &plan->ranks[r]);
        choir_footprint_add(&plan->total, &plan->ranks[r]);
    }
    if (status != CHOIR_OK)
        return status;
    plan->engine = engine;
    plan->n_positions = engine->max_model_len > 0
                            ? engine->max_model_len
                            : choir_model_hparams(plan->model)->context_length;
    return CHOIR_OK;
}

static uint64_t exchanged(const choir_footprint *rank)
{
    return rank->exchange_bytes + rank->handover_bytes + rank->result_bytes;
}

/* ---- for programs ---- */

/* [begin, end) */
static choir_json *range_to_json(choir_range range)
{
    choir_json *json = choir_json_make_array();
    choir_json_append(json, choir_json_make_integer(range.begin));
    choir_json_append(json, choir_json_make_integer(range.end));
    return json;
}

static void set_bytes(choir_json *json, const rank_plan *plan, const choir_footprint *footprint)
{
    choir_json_set_integer(json, "weights_bytes", (int64_t)footprint->weights_bytes);
    choir_json_set_integer(json, "file_bytes", (int64_t)footprint->file_bytes);
    choir_json_set_integer(json, "kv_bytes",
                           (int64_t)choir_footprint_kv(footprint, plan->n_positions));
    choir_json_set_integer(json, "kv_bytes_per_position", (int64_t)footprint->kv_position_bytes);
    choir_json_set_integer(json, "exchange_bytes_per_token", (int64_t)exchanged(footprint));
}

static choir_json *rank_to_json(const rank_plan *plan, int rank)
{
    const choir_slice *slice = &plan->layout->slices[rank];
    choir_json *json = choir_json_make_object();
    choir_json_set_integer(json, "rank", rank);
    choir_json_set_integer(json, "stage", slice->stage);
    choir_json_set_integer(json, "shard", slice->shard);
    choir_json_set(json, "layers", range_to_json(slice->layers));
    choir_json_set(json, "heads", range_to_json(slice->heads));
    choir_json_set(json, "kv_heads", range_to_json(slice->kv_heads));
    choir_json_set(json, "ff_columns", range_to_json(slice->ff_columns));
    choir_json_set(json, "vocab_rows", range_to_json(slice->vocab_rows));
    set_bytes(json, plan, &plan->ranks[rank]);
    return json;
}

static choir_status print_as_json(const rank_plan *plan)
{
    choir_json *json = choir_json_make_object(), *ranks = choir_json_make_array();
    choir_json *total = choir_json_make_object();
    for (int r = 0; r < plan->layout->n_ranks; r++)
        choir_json_append(ranks, rank_to_json(plan, r));
    set_bytes(total, plan, &plan->total);
    choir_json_set_integer(json, "n", plan->layout->n_ranks);
    choir_json_set_integer(json, "tp", plan->layout->n_shards);
    choir_json_set_integer(json, "pp", plan->layout->n_stages);
    choir_json_set_integer(json, "context", plan->n_positions);
    choir_json_set_text(json, "activations", plan->engine->activations);
    choir_json_set_text(json, "cache_type_k", plan->engine->cache_type_k);
    choir_json_set_text(json, "cache_type_v", plan->engine->cache_type_v);
    choir_json_set(json, "ranks", ranks);
    choir_json_set(json, "total", total);
    return choir_print_json(json);
}

/* ---- for people ---- */

/* "0-14", both included; "-" for none. */
static const char *range_text(choir_range range, char text[CHOIR_NUMBER_BYTES])
{
    if (choir_range_size(range) == 0)
        return "-";
    (void)snprintf(text, CHOIR_NUMBER_BYTES, "%" PRId64 "-%" PRId64, range.begin, range.end - 1);
    return text;
}

static choir_status print_row(const rank_plan *plan, int rank)
{
    const choir_slice *slice = &plan->layout->slices[rank];
    const choir_footprint *bytes = &plan->ranks[rank];
    char text[8][CHOIR_NUMBER_BYTES];
    return choir_print(
        "%4d %5d %5d %8s %8s %8s %12s %14s %10s %10s %10s\n", rank, slice->stage, slice->shard,
        range_text(slice->layers, text[0]), range_text(slice->heads, text[1]),
        range_text(slice->kv_heads, text[2]), range_text(slice->ff_columns, text[3]),
        range_text(slice->vocab_rows, text[4]), choir_number_bytes(bytes->weights_bytes, text[5]),
        choir_number_bytes(choir_footprint_kv(bytes, plan->n_positions), text[6]),
        choir_number_bytes(exchanged(bytes), text[7]));
}

static choir_status print_for_people(const rank_plan *plan)
{
    const choir_layout *layout = plan->layout;
    char text[3][CHOIR_NUMBER_BYTES];
    choir_status status =
        choir_print("%s\n%d ranks = %d stages x %d shards; activations %s, keys %s, values %s\n\n"
                    "%4s %5s %5s %8s %8s %8s %12s %14s %10s %10s %10s\n",
                    choir_model_path(plan->model), layout->n_ranks, layout->n_stages,
                    layout->n_shards, plan->engine->activations, plan->engine->cache_type_k,
                    plan->engine->cache_type_v, "rank", "stage", "shard", "layers", "heads",
                    "kv heads", "ff columns", "vocabulary", "weights", "kv", "exchanged");
    for (int r = 0; r < layout->n_ranks && status == CHOIR_OK; r++)
        status = print_row(plan, r);
    if (status != CHOIR_OK)
        return status;
    return choir_print(
        "%66s %10s %10s %10s\n\n"
        "weights: bytes that one decode step reads. kv: of one sequence of %" PRId64
        " positions.\nexchanged: bytes that arrive for one decoded token.\n",
        "total", choir_number_bytes(plan->total.weights_bytes, text[0]),
        choir_number_bytes(choir_footprint_kv(&plan->total, plan->n_positions), text[1]),
        choir_number_bytes(exchanged(&plan->total), text[2]), plan->n_positions);
}

choir_status choir_verb_plan(int argc, char **argv)
{
    plan_options options = {.engine = choir_engine_options_default()};
    const choir_flag_group groups[] = {
        {"Options", flags, sizeof flags / sizeof flags[0], &options},
        choir_rank_flags(&options.engine),
        choir_engine_flags(&options.engine),
    };
    const choir_command command = {
        "choir plan",
        "--model FILE [-n N] [FLAGS]",
        "Shows the layout that these flags give: which rank holds which layers, heads, columns and "
        "vocabulary rows, and what that costs in bytes. Reads the header of the file only.",
        "choir plan --model model.gguf -n 4\nchoir plan --model model.gguf -n 6 -tp 3 -pp 2 --json",
        groups,
        sizeof groups / sizeof groups[0],
    };
    rank_plan plan = {0};
    int n_rest;
    bool is_help_shown;
    choir_status status = choir_flags_parse(&command, argc, argv, &n_rest, &is_help_shown);
    if (status != CHOIR_OK || is_help_shown)
        return status;
    if (n_rest > 0)
        return choir_fail(CHOIR_EUSAGE, "%.40s: what is it? A model is named with --model FILE",
                          argv[0]);
    status = make_plan(&options.engine, &plan);
    if (status == CHOIR_OK)
        status = options.is_json ? print_as_json(&plan) : print_for_people(&plan);
    free(plan.ranks);
    choir_layout_destroy(&plan.layout);
    choir_model_destroy(&plan.model);
    return status;
}
