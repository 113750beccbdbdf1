/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/forward.h"

#include "common/mem.h"
#include "worker/attend.h"
#include "worker/deal.h"
#include "worker/exchange.h"
#include "worker/rows.h"
#include "worker/shares.h"

#include <assert.h>
#include <stdlib.h>

/* What a thread works in alone. */
typedef struct own_room {
    choir_rows normed; /* [CHOIR_FEW_ROWS][D] of few rows */
    float *gate, *up;  /* [a panel's rows][columns of a chunk] */
} own_room;

struct choir_forward {
    choir_forward_parts parts;
    const choir_hparams *h;
    choir_attend *attend;
    choir_exchange *attention_exchange, *ff_exchange;
    choir_rows normed;    /* [T][D] of many rows */
    choir_rows attended;  /* [T][heads * S] */
    choir_rows activated; /* [T][ff columns] */
    float *q, *k, *v;     /* [T][heads * S], [T][kv_heads * S] twice */
    own_room *own;        /* [n_threads] */
    int n_rows;           /* T of the step that was begun */
    choir_forward_trace trace;
    void *trace_context;
};

/* ---- life ---- */

/* Normed rows serve all matrices: with the larger blocks where they take different ones. */
static choir_status allocate_normed(choir_forward *f, size_t rows, bool has_floats, choir_rows *a)
{
    return choir_rows_allocate(a, rows, f->h->width,
                               choir_activations_is_q15(f->parts.activations, true), has_floats);
}

/* The rooms of all threads; a chunk of any layer fits. */
static choir_status allocate_own(choir_forward *f)
{
    const choir_weights *weights = f->parts.weights;
    int64_t columns = 0;
    for (int64_t layer = 0; layer < weights->n_layers; layer++) {
        const int64_t n = choir_share_ff_columns(&weights->layers[layer].gate, f->parts.n_threads);
        columns = n > columns ? n : columns;
    }
    const size_t tile = (size_t)(CHOIR_PANEL_TOKENS * columns);
    choir_status status = choir_alloc((size_t)f->parts.n_threads, sizeof *f->own, (void **)&f->own);
    for (int t = 0; status == CHOIR_OK && t < f->parts.n_threads; t++) {
        own_room *own = &f->own[t];
        status = allocate_normed(f, CHOIR_FEW_ROWS, true, &own->normed);
        if (status == CHOIR_OK)
            status = choir_alloc_aligned(tile, sizeof(float), (void **)&own->gate);
        if (status == CHOIR_OK)
            status = choir_alloc_aligned(tile, sizeof(float), (void **)&own->up);
    }
    return status;
}

/* Whether some matrix takes the normed rows as floats, or the activated ones. */
static bool normed_are_floats(const choir_weights *weights)
{
    bool are_floats = choir_rows_are_floats_for(&weights->output);
    for (int64_t layer = 0; layer < weights->n_layers; layer++) {
        const choir_layer_weights *w = &weights->layers[layer];
        const choir_matrix *matrices[] = {&w->q, &w->k, &w->v, &w->gate, &w->up};
        for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++)
            are_floats = are_floats || choir_rows_are_floats_for(matrices[i]);
    }
    return are_floats;
}

static bool activated_are_floats(const choir_weights *weights)
{
    bool are_floats = false;
    for (int64_t layer = 0; layer < weights->n_layers; layer++)
        are_floats = are_floats || choir_rows_are_floats_for(&weights->layers[layer].down);
    return are_floats;
}

static choir_status allocate_rows(choir_forward *f)
{
    const size_t rows = (size_t)f->parts.max_rows;
    const choir_slice *slice = f->parts.slice;
    const int64_t S = f->h->head_size;
    const size_t q_width = (size_t)(choir_range_size(slice->heads) * S);
    const size_t kv_width = (size_t)(choir_range_size(slice->kv_heads) * S);
    const int64_t ff_width = choir_range_size(slice->ff_columns);
    const bool is_q15 = choir_activations_is_q15(f->parts.activations, false);
    const struct {
        float **array;
        size_t width;
    } arrays[] = {{&f->q, q_width}, {&f->k, kv_width}, {&f->v, kv_width}};
    choir_status status = allocate_normed(f, rows > CHOIR_LOGITS_ROWS ? rows : CHOIR_LOGITS_ROWS,
                                          normed_are_floats(f->parts.weights), &f->normed);
    if (status == CHOIR_OK)
        status = choir_rows_allocate(&f->attended, rows, (int64_t)q_width, is_q15, true);
    if (status == CHOIR_OK)
        status = choir_rows_allocate(&f->activated, rows, ff_width, is_q15,
                                     activated_are_floats(f->parts.weights));
    for (size_t i = 0; status == CHOIR_OK && i < sizeof arrays / sizeof arrays[0]; i++)
        status =
            choir_alloc_aligned(rows * arrays[i].width, sizeof(float), (void **)arrays[i].array);
    if (status == CHOIR_OK)
        status = allocate_own(f);
    return status;
}

/* The exchange of one kind of leaves; the leaves of every shard of this stage from the layout. */
static choir_status create_exchange(choir_forward *f, bool is_attention, choir_exchange **result)
{
    const choir_layout *layout = f->parts.layout;
    const choir_slice *stage =
        layout->slices + (size_t)f->parts.slice->stage * (size_t)layout->n_shards;
    choir_range *leaves = NULL;
    choir_status status = choir_alloc((size_t)layout->n_shards, sizeof *leaves, (void **)&leaves);
    if (status != CHOIR_OK)
        return status;
    for (int s = 0; s < layout->n_shards; s++)
        leaves[s] = is_attention ? stage[s].attention_leaves : stage[s].ff_leaves;
    const int64_t S = f->h->head_size;
    const int64_t n_leaves = is_attention ? layout->n_attention_leaves : layout->n_ff_leaves;
    const int64_t leaf_blocks =
        is_attention ? layout->heads_per_leaf * S / CHOIR_BLOCK_COLUMNS : layout->ff_leaf_blocks;
    const int64_t n_blocks =
        (is_attention ? f->h->n_heads * S : f->h->ff_width) / CHOIR_BLOCK_COLUMNS;
    status = choir_exchange_create(f->parts.shards, n_leaves, leaf_blocks, n_blocks, leaves,
                                   f->parts.max_rows * f->h->width, f->parts.telemetry, result);
    free(leaves);
    return status;
}

static choir_status create_attend(choir_forward *f)
{
    const choir_attend_parts parts = {
        .hparams = f->h,
        .slice = f->parts.slice,
        .kv = f->parts.kv,
        .kernels = f->parts.kernels,
        .cosines = f->parts.cosines,
        .sines = f->parts.sines,
        .n_threads = f->parts.n_threads,
        .max_rows = f->parts.max_rows,
    };
    return choir_attend_create(&parts, &f->attend);
}

choir_status choir_forward_create(const choir_forward_parts *parts, choir_forward **result)
{
    choir_forward *f = NULL;
    choir_status status = choir_alloc(1, sizeof *f, (void **)&f);
    if (status != CHOIR_OK)
        goto done;
    f->parts = *parts;
    f->h = choir_model_hparams(parts->model);
    status = allocate_rows(f);
    if (status == CHOIR_OK)
        status = create_attend(f);
    if (status == CHOIR_OK)
        status = create_exchange(f, true, &f->attention_exchange);
    if (status == CHOIR_OK)
        status = create_exchange(f, false, &f->ff_exchange);
done:
    if (status != CHOIR_OK)
        choir_forward_destroy(&f);
    *result = f;
    return status;
}

void choir_forward_destroy(choir_forward **forward)
{
    choir_forward *f = *forward;
    if (!f)
        return;
    choir_attend_destroy(&f->attend);
    choir_exchange_destroy(&f->attention_exchange);
    choir_exchange_destroy(&f->ff_exchange);
    choir_rows_release(&f->normed);
    for (int t = 0; f->own && t < f->parts.n_threads; t++) {
        choir_rows_release(&f->own[t].normed);
        free(f->own[t].gate);
        free(f->own[t].up);
    }
    free(f->own);
    choir_rows_release(&f->attended);
    choir_rows_release(&f->activated);
    free(f->q);
    free(f->k);
    free(f->v);
    free(f);
    *forward = NULL;
}

void choir_forward_set_trace(choir_forward *forward, choir_forward_trace trace, void *context)
{
    forward->trace = trace;
    forward->trace_context = context;
}

/* ---- the parts of a layer ---- */

choir_status choir_forward_embed(choir_forward *forward, const choir_step *step, float *x)
{
    const choir_forward_parts *parts = &forward->parts;
    const int64_t D = forward->h->width;
    const choir_gguf_tensor *tensor = choir_model_tensor(parts->model, CHOIR_TENSOR_EMBEDDING, 0);
    const uint8_t *rows = choir_model_data(parts->model, tensor);
    for (int32_t t = 0; t < step->n_rows; t++)
        parts->kernels->dequantize(x + t * D, rows + (size_t)step->token_ids[t] * tensor->row_bytes,
                                   tensor->type, D);
    /* Afterwards, so that a change while the rows were read is seen too. */
    return choir_model_check_unchanged(parts->model);
}

/* Rows to be normed, and for which matrices. */
typedef struct norm {
    const float *x;      /* [T][D], or with `rows` the rows of x that these name */
    const int32_t *rows; /* [T], or NULL */
    const float *weight;
    int T;
    bool is_projection; /* for q, k, v or the vocabulary matrix */
    bool wants_blocks;
} norm;

/*
 * The normed rows, all of them seen by this thread. Few rows each thread makes for itself; many are
 * shared.
 */
static choir_rows norm_rows(const choir_forward *f, const norm *n, const choir_team *team)
{
    const bool is_few = n->T <= CHOIR_FEW_ROWS;
    const int64_t D = f->h->width;
    const choir_rows *own = &f->own[team->thread].normed;
    choir_rows a = is_few ? *own : f->normed;
    a.is_q15 = choir_activations_is_q15(f->parts.activations, n->is_projection);
    const choir_range mine = is_few ? (choir_range){0, n->T} : choir_team_share(team, n->T);
    for (int64_t t = mine.begin; t < mine.end; t++) {
        float *row = a.f32 ? a.f32 + t * D : own->f32; /* in the cache if only blocks are wanted */
        f->parts.kernels->rms_norm(row, n->x + (n->rows ? n->rows[t] : t) * D, n->weight, D,
                                   f->h->rms_eps);
        if (n->wants_blocks)
            choir_rows_quantize(&a, f->parts.kernels, n->T, (int)t,
                                (choir_range){0, D / CHOIR_BLOCK_COLUMNS}, row);
    }
    if (is_few)
        choir_phase_end(team->clock, CHOIR_PHASE_NORM);
    else
        choir_team_wait(team, CHOIR_PHASE_NORM);
    return a;
}

/*
 * x += W a, of a column-split matrix; ends with a barrier. Without other shards rows are added by
 * whoever has multiplied them.
 */
static void multiply_and_add(const choir_forward *f, choir_exchange *exchange,
                             const choir_matrix *w, const choir_rows *a, float *x, int T,
                             choir_phase phase, const choir_team *team)
{
    const choir_kernels *kernels = f->parts.kernels;
    const int64_t D = f->h->width, n = T * D, chunk = choir_share_chunk(team, w, T);
    const bool is_exchanged = choir_exchange_is_needed(exchange);
    const float *y = choir_exchange_piece(exchange, 0, n);
    for (choir_team owner = choir_deal_begin(team); choir_deal_next(team, &owner);) {
        const choir_range share = choir_share_groups(&owner, w);
        for (choir_range groups; choir_deal_take(&owner, share, chunk, &groups);) {
            const int64_t begin = groups.begin * CHOIR_GROUP_ROWS;
            const int64_t end = groups.end * CHOIR_GROUP_ROWS;
            for (int p = 0; p < choir_exchange_pieces(exchange); p++)
                choir_rows_multiply(a, kernels, (choir_range){0, T},
                                    choir_exchange_piece(exchange, p, n), D, w, groups,
                                    choir_exchange_leaves(exchange, p));
            for (int t = 0; !is_exchanged && t < T; t++)
                kernels->add(x + t * D + begin, y + t * D + begin, (end < D ? end : D) - begin);
        }
    }
    if (is_exchanged && team->thread == 0) {
        choir_phase_end(team->clock, phase);
        choir_barrier_gather(team->barrier);
        choir_phase_end_wait(team->clock);
        choir_exchange_add(exchange, x, n);
        choir_barrier_release(team->barrier);
        choir_phase_end(team->clock, CHOIR_PHASE_EXCHANGE);
        return;
    }
    choir_team_wait(team, phase);
}

/* ---- layers ---- */

/* q, k, v = W a. Few rows of a head of k or v are also stored by whoever has multiplied them. */
static void multiply_qkv(const choir_forward *f, int64_t layer, const choir_rows *a,
                         const choir_team *team)
{
    const choir_layer_weights *w = &f->parts.weights->layers[layer];
    const choir_kernels *kernels = f->parts.kernels;
    const int T = f->n_rows;
    const int64_t S = f->h->head_size, chunk = choir_share_chunk(team, &w->q, T);
    const choir_range rows = {0, T};
    for (choir_team owner = choir_deal_begin(team); choir_deal_next(team, &owner);) {
        const choir_share_qkv share = choir_share_qkv_of(&owner, &w->q, &w->k, &w->v, S);
        for (choir_share_qkv taken; choir_share_qkv_take(&owner, &share, chunk, &taken);) {
            choir_rows_multiply(a, kernels, rows, f->q, w->q.rows, &w->q, taken.q, NULL);
            choir_rows_multiply(a, kernels, rows, f->k, w->k.rows, &w->k, taken.k, NULL);
            choir_rows_multiply(a, kernels, rows, f->v, w->v.rows, &w->v, taken.v, NULL);
            choir_phase_end(team->clock, CHOIR_PHASE_QKV);
            if (T > CHOIR_FEW_ROWS)
                continue;
            choir_attend_store_keys(f->attend, layer, rows, taken.k_heads, f->k);
            choir_attend_store_values(f->attend, layer, rows, taken.v_heads, f->v);
            choir_phase_end(team->clock, CHOIR_PHASE_STORE);
        }
    }
    choir_team_wait(team, CHOIR_PHASE_QKV);
}

static void attention_half(const choir_forward *f, int64_t layer, float *x, const choir_team *team)
{
    const choir_layer_weights *w = &f->parts.weights->layers[layer];
    const int T = f->n_rows;
    const norm n = {.x = x,
                    .weight = w->attn_norm,
                    .T = T,
                    .is_projection = true,
                    .wants_blocks = choir_rows_are_blocks_for(&w->q) ||
                                    choir_rows_are_blocks_for(&w->k) ||
                                    choir_rows_are_blocks_for(&w->v)};
    const choir_rows a = norm_rows(f, &n, team);
    multiply_qkv(f, layer, &a, team);
    if (T > CHOIR_FEW_ROWS) {
        const choir_range rows = choir_team_share(team, T);
        const choir_range heads = {0, choir_range_size(f->parts.slice->kv_heads)};
        choir_attend_store_keys(f->attend, layer, rows, heads, f->k);
        choir_attend_store_values(f->attend, layer, rows, heads, f->v);
        choir_team_wait(team, CHOIR_PHASE_STORE);
    }
    choir_attend_run(f->attend, layer, f->q, &f->attended,
                     choir_rows_are_blocks_for(&w->attn_output), team);
    choir_team_wait(team, CHOIR_PHASE_ATTENTION);
    multiply_and_add(f, f->attention_exchange, &w->attn_output, &f->attended, x, T,
                     CHOIR_PHASE_ATTN_OUTPUT, team);
}

/*
 * Some columns of silu(gate) * up with gate, up = W a, and quantized. A panel at a time, whose
 * gates and ups stay in the cache: whole rows of them are a power of two apart in most models, so
 * that lines of the same columns would push each other out.
 */
static void multiply_chunk(const choir_forward *f, const choir_layer_weights *w,
                           const choir_rows *a, choir_share_ff taken, const choir_team *team)
{
    const choir_kernels *kernels = f->parts.kernels;
    const choir_rows *h = &f->activated;
    const own_room *own = &f->own[team->thread];
    const bool wants_blocks = choir_rows_are_blocks_for(&w->down);
    const int64_t n = choir_range_size(taken.blocks) * CHOIR_BLOCK_COLUMNS;
    const choir_range all = {0, f->n_rows}, groups = {0, choir_range_size(taken.groups)};
    const choir_matrix gate = choir_matrix_part(&w->gate, taken.groups.begin, taken.groups.end);
    const choir_matrix up = choir_matrix_part(&w->up, taken.groups.begin, taken.groups.end);
    const int64_t panel = choir_panel_tokens(a->cols / CHOIR_BLOCK_COLUMNS);
    for (int64_t number = 0; number * panel < f->n_rows; number++) {
        const choir_range rows = choir_range_part(all, number, panel);
        choir_rows_multiply(a, kernels, rows, own->gate, n, &gate, groups, NULL);
        choir_rows_multiply(a, kernels, rows, own->up, n, &up, groups, NULL);
        choir_phase_end(team->clock, CHOIR_PHASE_GATE_UP);
        for (int64_t t = rows.begin; t < rows.end; t++) {
            const int64_t at = (t - rows.begin) * n;
            float *row = own->gate + at;
            if (!wants_blocks)
                row = h->f32 + t * h->cols + taken.blocks.begin * CHOIR_BLOCK_COLUMNS;
            kernels->swiglu(row, own->gate + at, own->up + at, n);
            if (wants_blocks)
                choir_rows_quantize(h, kernels, f->n_rows, (int)t, taken.blocks, row);
        }
        choir_phase_end(team->clock, CHOIR_PHASE_SWIGLU);
    }
}

/* All columns; ends with a barrier. */
static void multiply_gate_and_up(const choir_forward *f, const choir_layer_weights *w,
                                 const choir_rows *a, const choir_team *team)
{
    const int64_t chunk = choir_share_chunk(team, &w->gate, f->n_rows);
    for (choir_team owner = choir_deal_begin(team); choir_deal_next(team, &owner);) {
        const choir_share_ff share = choir_share_ff_of(&owner, &w->gate);
        for (choir_share_ff taken; choir_share_ff_take(&owner, &share, chunk, &taken);)
            multiply_chunk(f, w, a, taken, team);
    }
    choir_team_wait(team, CHOIR_PHASE_SWIGLU);
}

static void ff_half(const choir_forward *f, int64_t layer, float *x, const choir_team *team)
{
    const choir_layer_weights *w = &f->parts.weights->layers[layer];
    const norm n = {.x = x,
                    .weight = w->ffn_norm,
                    .T = f->n_rows,
                    .wants_blocks =
                        choir_rows_are_blocks_for(&w->gate) || choir_rows_are_blocks_for(&w->up)};
    const choir_rows a = norm_rows(f, &n, team);
    multiply_gate_and_up(f, w, &a, team);
    multiply_and_add(f, f->ff_exchange, &w->down, &f->activated, x, f->n_rows, CHOIR_PHASE_DOWN,
                     team);
}

void choir_forward_begin(choir_forward *forward, const choir_step *step)
{
    assert(step->n_rows <= forward->parts.max_rows);
    forward->n_rows = step->n_rows;
    choir_attend_begin(forward->attend, step);
}

/* Called by all threads; only the tests' traces pay for it. */
static void show(const choir_forward *f, int64_t layer, const float *x, const choir_team *team)
{
    if (!f->trace)
        return;
    if (team->thread == 0)
        f->trace(f->trace_context, layer, x, f->n_rows * f->h->width);
    choir_barrier_wait(team->barrier);
}

void choir_forward_layers(choir_forward *forward, float *x, const choir_team *team)
{
    const choir_forward *f = forward;
    const choir_slice *slice = f->parts.slice;
    if (slice->is_first_stage)
        show(f, -1, x, team);
    for (int64_t layer = 0; layer < f->parts.weights->n_layers; layer++) {
        attention_half(f, layer, x, team);
        ff_half(f, layer, x, team);
        show(f, slice->layers.begin + layer, x, team);
    }
}

void choir_forward_logits(choir_forward *forward, const float *x, const int32_t *rows, int n,
                          float *logits, const choir_team *team)
{
    const choir_forward *f = forward;
    const choir_weights *weights = f->parts.weights;
    const norm wanted = {.x = x,
                         .rows = rows,
                         .weight = weights->output_norm,
                         .T = n,
                         .is_projection = true,
                         .wants_blocks = choir_rows_are_blocks_for(&weights->output)};
    assert(n <= CHOIR_LOGITS_ROWS);
    const choir_rows a = norm_rows(f, &wanted, team);
    const int64_t chunk = choir_share_chunk(team, &weights->output, n);
    for (choir_team owner = choir_deal_begin(team); choir_deal_next(team, &owner);) {
        const choir_range share = choir_share_groups(&owner, &weights->output);
        for (choir_range groups; choir_deal_take(&owner, share, chunk, &groups);)
            choir_rows_multiply(&a, f->parts.kernels, (choir_range){0, n}, logits,
                                weights->output.rows, &weights->output, groups, NULL);
    }
    choir_team_wait(team, CHOIR_PHASE_LOGITS);
}

void choir_forward_states(choir_forward *forward, const float *x, const int32_t *rows, int n,
                          float *states, const choir_team *team)
{
    const int64_t D = forward->h->width;
    const choir_range mine = choir_team_share(team, n);
    for (int64_t i = mine.begin; i < mine.end; i++)
        forward->parts.kernels->rms_norm(states + i * D, x + rows[i] * D,
                                         forward->parts.weights->output_norm, D,
                                         forward->h->rms_eps);
    choir_team_wait(team, CHOIR_PHASE_NORM);
}
