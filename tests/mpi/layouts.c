/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks many engines in one MPI job: for each line of a list it splits the first n ranks off, makes
 * a worker with the line's settings there and prints the fingerprint of its first pass (of all
 * passes where the line says so).
 *
 *     mpirun -np 8 mpi_layouts LIST
 *
 * A line: MODEL N TP PP TENSOR_SPLIT LAYER_SPLIT THREADS LEVEL ACTIVATIONS CACHE_K CACHE_V PASSES
 * (splits as 5,3,1 or "-"; PASSES: first, all or long). Output: one line a run, its number and the
 * hash, or the words of an error or difference. The other ranks sleep meanwhile.
 */
#include "common/log.h"
#include "common/mem.h"
#include "worker/comm.h"
#include "worker/fingerprint.h"
#include "worker/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SPLIT = 64 };

typedef struct settings {
    char model[512], tensor_split[128], layer_split[128], level[16], activations[16], cache_k[16],
        cache_v[16], passes[16];
    int n, tp, pp, threads;
} settings;

static int parse_split(char *text, double *weights)
{
    int n = 0;
    if (strcmp(text, "-") == 0)
        return 0;
    for (char *save = NULL, *word = strtok_r(text, ",", &save); word && n < MAX_SPLIT;
         word = strtok_r(NULL, ",", &save))
        weights[n++] = atof(word);
    return n;
}

/*
 * A step that wants nothing comes back before the other stages have it; the engine must end well
 * all the same. 60 rows, so that MPI does not take them as an eager message.
 */
static choir_status run_unwanted_step(choir_worker *worker)
{
    enum { ROWS = 60 };
    static const int32_t ids[ROWS], page;
    const choir_step_sequence sequence = {.n_tokens = ROWS, .n_new_pages = 1, .first_wanted = ROWS};
    choir_step_builder *builder;
    const choir_row_result *rows;
    const void *message;
    size_t bytes;
    uint64_t id;
    int64_t n_rows;
    choir_status status = choir_step_builder_create(choir_worker_limits(worker), &builder);
    if (status != CHOIR_OK)
        return status;
    choir_step_builder_begin(builder, 1);
    status = choir_step_builder_add(builder, &sequence, ids, &page, NULL);
    choir_step_builder_finish(builder, 0, &message, &bytes);
    if (status == CHOIR_OK)
        status = choir_worker_step(worker, message, bytes);
    if (status == CHOIR_OK)
        status = choir_worker_collect(worker, &id, &rows, &n_rows);
    choir_step_builder_destroy(&builder);
    return status;
}

static choir_status run_engine(const choir_comm *comm, settings *s, choir_fingerprint *fingerprint)
{
    double tensor_split[MAX_SPLIT], layer_split[MAX_SPLIT];
    const bool is_long = strcmp(s->passes, "long") == 0;
    const choir_fingerprint_needs needs = choir_fingerprint_needs_of(is_long);
    choir_worker_options options = {
        .model_path = s->model,
        .layout = {.n_shards = s->tp, .n_stages = s->pp},
        .n_threads = s->threads,
        .max_model_len = needs.max_model_len,
        .max_num_seqs = needs.max_num_seqs,
        .max_num_batched_tokens = needs.max_num_batched_tokens,
    };
    choir_worker *worker = NULL;
    options.layout.n_tensor_split = parse_split(s->tensor_split, tensor_split);
    options.layout.n_layer_split = parse_split(s->layer_split, layer_split);
    if (options.layout.n_tensor_split > 0)
        options.layout.tensor_split = tensor_split;
    if (options.layout.n_layer_split > 0)
        options.layout.layer_split = layer_split;
    choir_status status = choir_level_parse(s->level, &options.level);
    if (status == CHOIR_OK)
        status = choir_activations_parse(s->activations, &options.activations);
    if (status == CHOIR_OK)
        status = choir_cache_type_parse(s->cache_k, &options.key_type);
    if (status == CHOIR_OK)
        status = choir_cache_type_parse(s->cache_v, &options.value_type);
    if (status == CHOIR_OK)
        status = choir_worker_create(comm, &options, &worker);
    if (status == CHOIR_OK && choir_comm_rank(comm) == 0) {
        status =
            choir_fingerprint_run(worker, is_long, strcmp(s->passes, "first") != 0, fingerprint);
        if (status == CHOIR_OK)
            status = run_unwanted_step(worker);
        const choir_status stopped = choir_worker_stop(worker);
        status = status == CHOIR_OK ? stopped : status;
    } else if (status == CHOIR_OK) {
        status = choir_worker_follow(worker);
    }
    choir_worker_destroy(&worker);
    return status;
}

static void print_result(int number, choir_status status, const choir_fingerprint *fingerprint)
{
    char hash[CHOIR_SHA256_HEX];
    choir_sha256_hex(fingerprint->sha256, hash);
    if (status != CHOIR_OK)
        printf("%d error: %s\n", number, choir_error());
    else if (fingerprint->difference[0])
        printf("%d difference: %s\n", number, fingerprint->difference);
    else
        printf("%d %s\n", number, hash);
    fflush(stdout);
}

/* Rank 0 tells the ranks that had no part in a run that it is over; they sleep until then. */
static void wait_for_all(const choir_comm *world, int n)
{
    char word = 0;
    if (choir_comm_rank(world) == 0)
        for (int rank = n; rank < choir_comm_size(world); rank++)
            choir_comm_send(world, &word, sizeof word, rank, CHOIR_COMM_STEP);
    else if (choir_comm_rank(world) >= n)
        choir_comm_receive_parked(world, &word, sizeof word, 0, CHOIR_COMM_STEP);
}

static choir_status run_line(const choir_comm *world, const char *line, int number)
{
    settings s;
    choir_comm *comm;
    choir_fingerprint fingerprint = {0};
    if (sscanf(line, "%511s %d %d %d %127s %127s %d %15s %15s %15s %15s %15s", s.model, &s.n, &s.tp,
               &s.pp, s.tensor_split, s.layer_split, &s.threads, s.level, s.activations, s.cache_k,
               s.cache_v, s.passes) != 12 ||
        s.n > choir_comm_size(world))
        return choir_fail(CHOIR_EUSAGE, "line %d is no run: %s", number, line);
    const int rank = choir_comm_rank(world);
    choir_status status = choir_comm_split(world, rank < s.n ? 0 : -1, rank, &comm);
    if (status == CHOIR_OK && comm) {
        const choir_status run = run_engine(comm, &s, &fingerprint);
        if (rank == 0)
            print_result(number, run, &fingerprint);
    }
    wait_for_all(world, s.n);
    choir_comm_destroy(&comm);
    return status;
}

int main(int argc, char **argv)
{
    choir_comm *world;
    char line[2048];
    int number = 0;
    choir_status status = choir_comm_start(&world);
    FILE *list = argc == 2 && status == CHOIR_OK ? fopen(argv[1], "re") : NULL;
    if (!list)
        return CHOIR_EUSAGE;
    while (status == CHOIR_OK && fgets(line, sizeof line, list))
        status = run_line(world, line, number++);
    if (status != CHOIR_OK)
        choir_log(CHOIR_LOG_ERROR, "%s", choir_error());
    fclose(list);
    choir_comm_destroy(&world);
    choir_comm_finish();
    return (int)status;
}
