/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nobody waits in a circle: the lead's sends do not block (steps and activations stand in rings of
 * buffers), a stage blocks only for its predecessor's activations and for the lead to take its
 * results, and the lead never blocks on a step before it has collected the one that frees its
 * buffer.
 */
#include "worker/worker.h"

#include "common/clock.h"
#include "common/mem.h"
#include "worker/agreement.h"
#include "worker/limits.h"
#include "worker/rotary.h"
#include "worker/shares.h"
#include "worker/worker_parts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

bool choir_worker_is_lead(const choir_worker *worker)
{
    return worker->slice->rank == 0;
}

static choir_status open_model(choir_worker *w)
{
    choir_status status = choir_team_check(w->options.n_threads);
    if (status == CHOIR_OK)
        status = choir_model_open(w->options.model_path, &w->model);
    if (status == CHOIR_OK && w->options.is_verified)
        status = choir_model_verify(w->model);
    return status;
}

static choir_status make_layout(choir_worker *w)
{
    choir_layout_options options = w->options.layout;
    options.n_ranks = choir_comm_size(w->comm);
    choir_status status = choir_layout_create(choir_model_hparams(w->model), &options, &w->layout);
    if (status == CHOIR_OK)
        w->slice = &w->layout->slices[choir_comm_rank(w->comm)];
    if (status == CHOIR_OK)
        status = choir_kernels_get(w->options.level, &w->kernels);
    return status;
}

/* Collective. Rank 0 computes, so that no two C libraries can disagree about a cosine. */
static choir_status make_rotary(choir_worker *w)
{
    const choir_hparams *h = choir_model_hparams(w->model);
    const int64_t n_pairs = h->n_rot / 2;
    const size_t n = (size_t)(w->limits.max_model_len * n_pairs);
    double *frequencies = NULL;
    choir_status status = choir_alloc_aligned(n, sizeof *w->cosines, (void **)&w->cosines);
    if (status == CHOIR_OK)
        status = choir_alloc_aligned(n, sizeof *w->sines, (void **)&w->sines);
    if (status == CHOIR_OK)
        status = choir_alloc((size_t)n_pairs, sizeof *frequencies, (void **)&frequencies);
    status = choir_comm_agree(w->comm, status);
    if (status == CHOIR_OK) {
        if (choir_worker_is_lead(w)) {
            const choir_gguf_tensor *factors =
                choir_model_tensor(w->model, CHOIR_TENSOR_ROPE_FACTORS, 0);
            choir_rotary_frequencies(frequencies, h->n_rot, h->rope_base,
                                     factors ? (const float *)choir_model_data(w->model, factors)
                                             : NULL);
            choir_rotary_table(w->cosines, w->sines, frequencies, n_pairs, w->limits.max_model_len);
        }
        choir_comm_broadcast(w->comm, w->cosines, n * sizeof *w->cosines, 0);
        choir_comm_broadcast(w->comm, w->sines, n * sizeof *w->sines, 0);
    }
    free(frequencies);
    return status;
}

static choir_limits_parts limits_parts(const choir_worker *w)
{
    return (choir_limits_parts){w->comm, &w->options, choir_model_hparams(w->model), w->layout,
                                w->slice};
}

static choir_status set_limits(choir_worker *w)
{
    const choir_limits_parts parts = limits_parts(w);
    return choir_limits_set(&parts, &w->limits);
}

static choir_status create_forward(choir_worker *w)
{
    const choir_limits_parts limits = limits_parts(w);
    const choir_kv_shape shape = choir_limits_kv_shape(&limits, &w->limits);
    choir_status status = choir_kv_create(&shape, &w->kv);
    if (status != CHOIR_OK)
        return status;
    const choir_forward_parts parts = {
        .model = w->model,
        .layout = w->layout,
        .slice = w->slice,
        .weights = w->weights,
        .kv = w->kv,
        .kernels = w->kernels,
        .shards = w->shards,
        .cosines = w->cosines,
        .sines = w->sines,
        .activations = w->options.activations,
        .telemetry = &w->telemetry,
        .n_threads = w->options.n_threads,
        .max_rows = w->limits.max_num_batched_tokens,
    };
    return choir_forward_create(&parts, &w->forward);
}

static choir_status allocate_lead(choir_worker *w)
{
    const choir_slice *last = w->layout->slices + w->layout->n_ranks - w->layout->n_shards;
    const size_t n_stages = (size_t)w->layout->n_stages, n_shards = (size_t)w->layout->n_shards;
    choir_status status = choir_alloc(n_stages, sizeof *w->pending, (void **)&w->pending);
    for (size_t i = 0; status == CHOIR_OK && i < n_stages; i++) {
        status = choir_alloc_aligned(choir_step_bytes_max(&w->limits), 1, &w->pending[i].message);
        if (status == CHOIR_OK)
            status = choir_alloc((size_t)w->layout->n_ranks, sizeof(choir_comm_request),
                                 (void **)&w->pending[i].sends);
    }
    if (status == CHOIR_OK)
        status = choir_alloc(n_shards, sizeof *w->records, (void **)&w->records);
    for (size_t s = 0; status == CHOIR_OK && s < n_shards; s++)
        status = choir_alloc_aligned(
            choir_record_words_max(&last[s], choir_model_hparams(w->model)->width),
            sizeof(uint32_t), (void **)&w->records[s]);
    return status;
}

static choir_status allocate_scratch(choir_worker *w)
{
    const size_t n_threads = (size_t)w->options.n_threads;
    const size_t n = (size_t)choir_range_size(w->slice->vocab_rows);
    choir_status status = choir_alloc(n_threads, sizeof *w->scratch, (void **)&w->scratch);
    for (size_t i = 0; status == CHOIR_OK && i < n_threads; i++) {
        status = choir_alloc_aligned(n, sizeof(float), (void **)&w->scratch[i].z);
        if (status == CHOIR_OK)
            status = choir_alloc_aligned(n, sizeof(int32_t), (void **)&w->scratch[i].counts);
    }
    return status;
}

static choir_status allocate_buffers(choir_worker *w)
{
    const size_t rows = (size_t)w->limits.max_num_batched_tokens;
    const size_t width = (size_t)choir_model_hparams(w->model)->width;
    choir_status status = choir_alloc(rows, sizeof *w->wanted, (void **)&w->wanted);
    if (status == CHOIR_OK)
        status = choir_threads_create(w->options.n_threads, &w->threads);
    for (int i = 0; status == CHOIR_OK && i < CHOIR_ACTIVATION_BUFFERS; i++)
        status = choir_alloc_aligned(rows * width, sizeof(float), (void **)&w->x[i]);
    if (status == CHOIR_OK && w->slice->is_last_stage)
        status =
            choir_alloc_aligned(CHOIR_LOGITS_ROWS * (size_t)choir_range_size(w->slice->vocab_rows),
                                sizeof(float), (void **)&w->logits);
    if (status == CHOIR_OK && w->slice->is_last_stage)
        status = choir_alloc_aligned(CHOIR_LOGITS_ROWS * width, sizeof(float), (void **)&w->states);
    if (status == CHOIR_OK && w->slice->is_last_stage)
        status = choir_alloc_aligned(choir_record_words_max(w->slice, (int64_t)width),
                                     sizeof(uint32_t), (void **)&w->record);
    if (status == CHOIR_OK && w->slice->is_last_stage)
        status = allocate_scratch(w);
    if (status == CHOIR_OK)
        status = choir_telemetry_post_create(w->comm, &w->post);
    if (status == CHOIR_OK && choir_worker_is_lead(w))
        status = allocate_lead(w);
    return status;
}

choir_status choir_worker_create(const choir_comm *comm, const choir_worker_options *options,
                                 choir_worker **result)
{
    choir_worker *w = NULL;
    choir_status status = choir_comm_agree(comm, choir_alloc_aligned(1, sizeof *w, (void **)&w));
    if (status != CHOIR_OK)
        goto done;
    w->comm = comm;
    w->options = *options;
    status = choir_comm_agree(comm, open_model(w));
    if (status == CHOIR_OK)
        status = choir_agreement_check(comm, w->model, options); /* T15 */
    if (status == CHOIR_OK)
        status = choir_comm_agree(comm, make_layout(w));
    if (status != CHOIR_OK)
        goto done;
    status = choir_comm_agree(comm,
                              choir_comm_split(comm, w->slice->stage, w->slice->shard, &w->shards));
    if (status == CHOIR_OK)
        status = choir_comm_agree(comm, choir_weights_load(w->model, w->slice, options->activations,
                                                           options->n_threads, &w->weights));
    if (status == CHOIR_OK)
        status = choir_comm_agree(comm, set_limits(w));
    if (status == CHOIR_OK)
        status = make_rotary(w);
    if (status == CHOIR_OK)
        status = choir_comm_agree(comm, create_forward(w));
    if (status == CHOIR_OK)
        status = choir_comm_agree(comm, allocate_buffers(w));
done:
    if (status != CHOIR_OK)
        choir_worker_destroy(&w);
    *result = w;
    return status;
}

static void destroy_lead(choir_worker *w)
{
    for (int i = 0; w->pending && i < w->layout->n_stages; i++) {
        free(w->pending[i].message);
        free(w->pending[i].sends);
    }
    for (int s = 0; w->records && s < w->layout->n_shards; s++)
        free(w->records[s]);
    free(w->pending);
    free(w->records);
    choir_results_release(&w->results);
}

void choir_worker_destroy(choir_worker **worker)
{
    choir_worker *w = *worker;
    if (!w)
        return;
    destroy_lead(w);
    for (int i = 0; i < CHOIR_ACTIVATION_BUFFERS; i++) {
        assert(!w->x_sends[i].is_active);
        free(w->x[i]);
    }
    free(w->wanted);
    free(w->logits);
    free(w->states);
    free(w->record);
    for (int i = 0; w->scratch && i < w->options.n_threads; i++) {
        free(w->scratch[i].z);
        free(w->scratch[i].counts);
    }
    free(w->scratch);
    choir_forward_destroy(&w->forward);
    choir_kv_destroy(&w->kv);
    choir_threads_destroy(&w->threads);
    choir_telemetry_post_destroy(&w->post);
    free(w->cosines);
    free(w->sines);
    choir_weights_destroy(&w->weights);
    choir_comm_destroy(&w->shards);
    choir_layout_destroy(&w->layout);
    choir_model_destroy(&w->model);
    free(w);
    *worker = NULL;
}

const choir_model *choir_worker_model(const choir_worker *worker)
{
    return worker->model;
}

const choir_layout *choir_worker_layout(const choir_worker *worker)
{
    return worker->layout;
}

const choir_kernels *choir_worker_kernels(const choir_worker *worker)
{
    return worker->kernels;
}

int choir_worker_threads(const choir_worker *worker)
{
    return worker->options.n_threads;
}

const choir_step_limits *choir_worker_limits(const choir_worker *worker)
{
    return &worker->limits;
}

/* Rows of the tile that begins at wanted row `first`. */
static int tile_rows(int first, int n_wanted)
{
    return n_wanted - first < CHOIR_LOGITS_ROWS ? n_wanted - first : CHOIR_LOGITS_ROWS;
}

/* Whether this rank has logits to give: not of a step that wants no row, or only states. */
static bool has_logits(const choir_worker *w, const choir_step *step)
{
    for (int i = 0; w->slice->is_last_stage && i < step->n_wanted; i++)
        if (w->wanted[i].state_width == 0)
            return true;
    return false;
}

/*
 * The end of this rank's part of a step. A step of few rows waits for its weights to be read, all
 * of them unless the last stage had no row to give logits for.
 */
static void end_step(choir_worker *w, const choir_step *step)
{
    const bool reads_all =
        step->n_rows <= CHOIR_FEW_ROWS && (!w->slice->is_last_stage || has_logits(w, step));
    choir_telemetry_end_step(&w->telemetry, reads_all ? (int64_t)w->weights->bytes : 0,
                             choir_clock_ns());
    choir_telemetry_post_step(w->post, &w->telemetry);
}

/* Waits until the message is there, then takes it, so that the time of both is known. */
static void receive(choir_worker *w, void *bytes, size_t n, int from, choir_comm_tag tag)
{
    choir_telemetry_mark_now(&w->telemetry, CHOIR_COMPUTING);
    choir_comm_await(w->comm, from, tag);
    choir_telemetry_mark_now(&w->telemetry, CHOIR_WAITING);
    choir_comm_receive(w->comm, bytes, n, from, tag);
    choir_telemetry_mark_now(&w->telemetry, CHOIR_MOVING);
}

/* Called by all threads of the team: logits and record of one tile of wanted rows. */
static void compute_tile(choir_worker *w, const float *x, int first, int n_wanted,
                         const choir_team *team)
{
    const choir_wanted *wanted = w->wanted + first;
    const int n = tile_rows(first, n_wanted);
    int32_t rows[CHOIR_LOGITS_ROWS];
    const int n_logits = choir_wanted_rows(wanted, n, false, rows);
    if (n_logits > 0)
        choir_forward_logits(w->forward, x, rows, n_logits, w->logits, team);
    if (n_logits < n)
        choir_forward_states(w->forward, x, rows, choir_wanted_rows(wanted, n, true, rows),
                             w->states, team);
    choir_record_write(w->record, w->kernels, w->layout, w->slice, wanted, n, w->logits, w->states,
                       w->scratch, team);
}

/* The first tile was computed with the layers. */
static void compute_later_tile(choir_worker *w, const float *x, int first, int n_wanted)
{
    if (first == 0)
        return;
#pragma omp parallel num_threads(w->options.n_threads)
    {
        const choir_team team = choir_team_here(w->threads);
        compute_tile(w, x, first, n_wanted, &team);
    }
}

/* The last stage's end of a step. The lead, if it is here, keeps its own part for later. */
static void send_results(choir_worker *w, const float *x, int n_wanted)
{
    for (int first = 0; first < n_wanted; first += CHOIR_LOGITS_ROWS) {
        const size_t words =
            choir_record_words(w->slice, w->wanted + first, tile_rows(first, n_wanted));
        compute_later_tile(w, x, first, n_wanted);
        choir_telemetry_mark_now(&w->telemetry, CHOIR_COMPUTING);
        choir_comm_send(w->comm, w->record, words * sizeof *w->record, 0, CHOIR_COMM_RESULTS);
        choir_telemetry_mark_now(&w->telemetry, CHOIR_MOVING);
    }
}

/*
 * This rank's layers of a step, the x that they leave, and on the last stage the first tile of
 * wanted rows: all in one parallel region, since starting one takes as long as several barriers.
 */
static choir_status compute(choir_worker *w, const choir_step *step, const float **result)
{
    const int buffer = (int)(w->n_computed++ % CHOIR_ACTIVATION_BUFFERS);
    const int n_shards = w->layout->n_shards, rank = w->slice->rank;
    const size_t bytes =
        (size_t)step->n_rows * (size_t)choir_model_hparams(w->model)->width * sizeof(float);
    float *x = w->x[buffer];
    if (w->x_sends[buffer].is_active) {
        choir_telemetry_mark_now(&w->telemetry, CHOIR_COMPUTING);
        choir_comm_wait(&w->x_sends[buffer]);
        choir_telemetry_mark_now(&w->telemetry, CHOIR_WAITING);
    }
    if (w->slice->is_first_stage) {
        choir_status status = choir_forward_embed(w->forward, step, x);
        if (status != CHOIR_OK)
            return status;
    } else {
        receive(w, x, bytes, rank - n_shards, CHOIR_COMM_ACTIVATIONS);
    }
    choir_forward_begin(w->forward, step);
#pragma omp parallel num_threads(w->options.n_threads)
    {
        const choir_team team = choir_team_here(w->threads);
        choir_forward_layers(w->forward, x, &team);
        if (w->slice->is_last_stage && step->n_wanted > 0)
            compute_tile(w, x, 0, step->n_wanted, &team);
    }
    if (!w->slice->is_last_stage)
        choir_comm_send_begin(w->comm, x, bytes, rank + n_shards, CHOIR_COMM_ACTIVATIONS,
                              &w->x_sends[buffer]);
    *result = x;
    return CHOIR_OK;
}

/* The lead's sends of one step are over when the buffer is used again. */
static void broadcast_step(choir_worker *w, pending_step *pending, size_t bytes)
{
    for (int rank = 1; rank < w->layout->n_ranks; rank++)
        choir_comm_send_begin(w->comm, pending->message, bytes, rank, CHOIR_COMM_STEP,
                              &pending->sends[rank]);
}

static pending_step *pending_at(const choir_worker *w, uint64_t index)
{
    pending_step *pending = &w->pending[index % (uint64_t)w->layout->n_stages];
    for (int rank = 1; rank < w->layout->n_ranks; rank++)
        choir_comm_wait(&pending->sends[rank]);
    return pending;
}

/*
 * Until all that this rank has sent is on its way. MPI sends only inside its own calls, so a rank
 * that leaves MPI alone for a while, or frees its buffers, has to end its sends before.
 */
static void flush_sends(choir_worker *w)
{
    for (int i = 0; i < CHOIR_ACTIVATION_BUFFERS; i++)
        choir_comm_wait(&w->x_sends[i]);
    for (int i = 0; w->pending && i < w->layout->n_stages; i++)
        (void)pending_at(w, (uint64_t)i);
}

/* Merges a step's records, tile by tile; x is this rank's where it is on the last stage too. */
static void gather_results(choir_worker *w, int n_wanted, const float *x)
{
    const int first_rank = w->layout->n_ranks - w->layout->n_shards;
    for (int first = 0; first < n_wanted; first += CHOIR_LOGITS_ROWS) {
        const int n = tile_rows(first, n_wanted);
        const uint32_t *records[CHOIR_MAX_RANKS];
        if (w->slice->is_last_stage)
            compute_later_tile(w, x, first, n_wanted);
        for (int s = 0; s < w->layout->n_shards; s++) {
            const bool is_mine = first_rank + s == w->slice->rank;
            records[s] = is_mine ? w->record : w->records[s];
            if (is_mine)
                continue;
            const size_t words =
                choir_record_words(&w->layout->slices[first_rank + s], w->wanted + first, n);
            receive(w, w->records[s], words * sizeof(uint32_t), first_rank + s, CHOIR_COMM_RESULTS);
        }
        choir_results_merge(&w->results, w->layout, w->wanted, first, n, records);
    }
}

static choir_status prepare_results(choir_worker *w, const choir_step *step)
{
    choir_wanted_list(step, choir_model_hparams(w->model)->width, w->wanted);
    return choir_results_prepare(&w->results, w->layout, w->wanted, step->n_wanted);
}

choir_status choir_worker_step(choir_worker *worker, const void *message, size_t bytes)
{
    choir_worker *w = worker;
    assert(choir_worker_is_lead(w) && w->n_begun - w->n_collected < (uint64_t)w->layout->n_stages);
    assert(bytes <= choir_step_bytes_max(&w->limits));
    pending_step *pending = pending_at(w, w->n_begun);
    const float *x;
    memcpy(pending->message, message, bytes);
    choir_status status = choir_step_view(pending->message, bytes, &w->limits, &pending->step);
    if (status != CHOIR_OK)
        return status;
    choir_telemetry_begin_step(&w->telemetry,
                               pending->step.is_after_rest ? CHOIR_RESTING : CHOIR_COMPUTING,
                               choir_clock_ns());
    broadcast_step(w, pending, bytes);
    w->n_begun++;
    if (w->slice->is_last_stage)
        status = prepare_results(w, &pending->step);
    if (status == CHOIR_OK)
        status = compute(w, &pending->step, &x);
    if (status == CHOIR_OK && w->slice->is_last_stage)
        gather_results(w, pending->step.n_wanted, x);
    if (status == CHOIR_OK)
        end_step(w, &pending->step);
    return status;
}

choir_status choir_worker_collect(choir_worker *worker, uint64_t *step_id,
                                  const choir_row_result **rows, int64_t *n_rows)
{
    choir_worker *w = worker;
    assert(choir_worker_is_lead(w) && w->n_collected < w->n_begun);
    const choir_step *step = &pending_at(w, w->n_collected)->step;
    choir_status status = CHOIR_OK;
    if (!w->slice->is_last_stage) {
        status = prepare_results(w, step);
        if (status == CHOIR_OK)
            gather_results(w, step->n_wanted, NULL);
    }
    w->n_collected++;
    if (w->n_collected == w->n_begun)
        flush_sends(w);
    *step_id = step->id;
    *rows = w->results.rows;
    *n_rows = step->n_wanted;
    return status;
}

choir_status choir_worker_stop(choir_worker *worker)
{
    choir_step_builder *builder = NULL;
    const void *message;
    size_t bytes;
    assert(worker->n_begun == worker->n_collected);
    choir_status status = choir_step_builder_create(&worker->limits, &builder);
    if (status != CHOIR_OK)
        return status;
    choir_step_builder_begin(builder, 0);
    choir_step_builder_finish(builder, CHOIR_STEP_STOP, &message, &bytes);
    for (int rank = 1; rank < worker->layout->n_ranks; rank++)
        choir_comm_send(worker->comm, message, bytes, rank, CHOIR_COMM_STEP);
    choir_step_builder_destroy(&builder);
    choir_telemetry_post_end(worker->post);
    return CHOIR_OK;
}

choir_status choir_worker_follow(choir_worker *worker)
{
    choir_worker *w = worker;
    void *message = NULL;
    const size_t limit = choir_step_bytes_max(&w->limits);
    choir_status status = choir_alloc_aligned(limit, 1, &message);
    while (status == CHOIR_OK) {
        const size_t bytes = choir_comm_receive_parked(w->comm, message, limit, 0, CHOIR_COMM_STEP);
        choir_step step;
        const float *x;
        status = choir_step_view(message, bytes, &w->limits, &step);
        if (status != CHOIR_OK || step.is_stop)
            break;
        choir_telemetry_begin_step(
            &w->telemetry, step.is_after_rest ? CHOIR_RESTING : CHOIR_WAITING, choir_clock_ns());
        choir_wanted_list(&step, choir_model_hparams(w->model)->width, w->wanted);
        status = compute(w, &step, &x);
        if (status == CHOIR_OK && w->slice->is_last_stage)
            send_results(w, x, step.n_wanted);
        if (status == CHOIR_OK)
            end_step(w, &step);
    }
    flush_sends(w);
    if (status == CHOIR_OK)
        choir_telemetry_post_end(w->post);
    free(message);
    return status;
}
