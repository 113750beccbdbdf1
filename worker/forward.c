/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/forward.h"

#include "common/mem.h"
#include "worker/exchange.h"
#include "worker/team.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* The input of a linear layer in the forms that its matrices take: rows of f32 and of blocks. */
typedef struct activations {
    float *f32;   /* [T][cols] */
    void *blocks; /* panels of T x cols / 32, see kernels.h */
    bool is_q15;  /* they are choir_q15, else choir_q8 */
    int64_t cols;
} activations;

/* Where a row of the step stands. */
typedef struct row_place {
    int slot;
    int32_t position;
} row_place;

/* What one thread needs for attention: the states of a KV head's query heads, twice. */
typedef struct attention_scratch {
    choir_attention_state *running, *span; /* [heads of a group] */
    float *outputs;                        /* [2][heads of a group][S] */
} attention_scratch;

struct choir_forward {
    choir_forward_parts parts;
    const choir_hparams *h;
    int64_t group; /* query heads that share a KV head */
    float q_scale;
    choir_exchange *attention_exchange, *ff_exchange;
    activations normed;         /* [T][D] for gate and up */
    activations projected;      /* the same memory, for q, k, v and the vocabulary matrix */
    activations attended;       /* [T][heads * S] */
    activations activated;      /* [T][ff columns] */
    float *q, *k, *v;           /* [T][heads * S], [T][kv_heads * S] twice */
    float *up;                  /* [T][ff columns]; the gate is in activated.f32 */
    row_place *places;          /* [T] */
    attention_scratch *scratch; /* [n_threads] */
    choir_barrier barrier;      /* of the threads, inside a parallel region */
    choir_forward_trace trace;
    void *trace_context;
};

static choir_status allocate_activations(activations *a, size_t rows, int64_t cols, bool is_q15)
{
    a->cols = cols;
    a->is_q15 = is_q15;
    choir_status status =
        choir_alloc_aligned(rows * (size_t)cols, sizeof *a->f32, (void **)&a->f32);
    if (status == CHOIR_OK)
        status = choir_alloc_aligned(rows * (size_t)(cols / CHOIR_BLOCK_COLUMNS),
                                     choir_activations_block_bytes(is_q15), &a->blocks);
    return status;
}

static choir_status allocate_scratch(attention_scratch *scratch, size_t group, size_t head_size)
{
    choir_status status = choir_alloc(group, sizeof *scratch->running, (void **)&scratch->running);
    if (status == CHOIR_OK)
        status = choir_alloc(group, sizeof *scratch->span, (void **)&scratch->span);
    if (status == CHOIR_OK)
        status = choir_alloc_aligned(2 * group * head_size, sizeof *scratch->outputs,
                                     (void **)&scratch->outputs);
    for (size_t i = 0; status == CHOIR_OK && i < group; i++) {
        scratch->running[i].o = scratch->outputs + i * head_size;
        scratch->span[i].o = scratch->outputs + (group + i) * head_size;
    }
    return status;
}

static choir_status allocate_rows(choir_forward *f)
{
    const size_t rows = (size_t)f->parts.max_rows;
    const choir_slice *slice = f->parts.slice;
    const int64_t S = f->h->head_size;
    const size_t q_width = (size_t)(choir_range_size(slice->heads) * S);
    const size_t kv_width = (size_t)(choir_range_size(slice->kv_heads) * S);
    const size_t ff_width = (size_t)choir_range_size(slice->ff_columns);
    const struct {
        float **array;
        size_t width;
    } arrays[] = {{&f->q, q_width}, {&f->k, kv_width}, {&f->v, kv_width}, {&f->up, ff_width}};
    const bool is_q15 = choir_activations_is_q15(f->parts.activations, false);
    choir_status status = allocate_activations(
        &f->projected, rows, f->h->width, choir_activations_is_q15(f->parts.activations, true));
    f->normed = f->projected; /* whose blocks are no smaller */
    f->normed.is_q15 = is_q15;
    if (status == CHOIR_OK)
        status = allocate_activations(&f->attended, rows, (int64_t)q_width, is_q15);
    if (status == CHOIR_OK)
        status = allocate_activations(&f->activated, rows, (int64_t)ff_width, is_q15);
    for (size_t i = 0; status == CHOIR_OK && i < sizeof arrays / sizeof arrays[0]; i++)
        status =
            choir_alloc_aligned(rows * arrays[i].width, sizeof(float), (void **)arrays[i].array);
    if (status == CHOIR_OK)
        status = choir_alloc(rows, sizeof *f->places, (void **)&f->places);
    if (status == CHOIR_OK)
        status = choir_alloc((size_t)f->parts.n_threads, sizeof *f->scratch, (void **)&f->scratch);
    for (int t = 0; status == CHOIR_OK && t < f->parts.n_threads; t++)
        status = allocate_scratch(&f->scratch[t], (size_t)f->group, (size_t)S);
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
                                   f->parts.max_rows * f->h->width, result);
    free(leaves);
    return status;
}

choir_status choir_forward_create(const choir_forward_parts *parts, choir_forward **result)
{
    choir_forward *f = NULL;
    choir_status status = choir_alloc(1, sizeof *f, (void **)&f);
    if (status != CHOIR_OK)
        goto done;
    f->parts = *parts;
    f->h = choir_model_hparams(parts->model);
    f->group = f->h->n_heads / f->h->n_kv_heads;
    choir_barrier_init(&f->barrier, parts->n_threads);
    f->q_scale = 1.0f / sqrtf((float)f->h->head_size);
    status = allocate_rows(f);
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

static void free_activations(activations *a)
{
    free(a->f32);
    free(a->blocks);
}

void choir_forward_destroy(choir_forward **forward)
{
    choir_forward *f = *forward;
    if (!f)
        return;
    choir_exchange_destroy(&f->attention_exchange);
    choir_exchange_destroy(&f->ff_exchange);
    free_activations(&f->projected);
    free_activations(&f->attended);
    free_activations(&f->activated);
    free(f->q);
    free(f->k);
    free(f->v);
    free(f->up);
    free(f->places);
    for (int t = 0; f->scratch && t < f->parts.n_threads; t++) {
        free(f->scratch[t].running);
        free(f->scratch[t].span);
        free(f->scratch[t].outputs);
    }
    free(f->scratch);
    free(f);
    *forward = NULL;
}

void choir_forward_set_trace(choir_forward *forward, choir_forward_trace trace, void *context)
{
    forward->trace = trace;
    forward->trace_context = context;
}

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

/*
 * Fills the quantized form of some blocks of the T rows, counted row by row, where any of the
 * matrices that read them wants it.
 */
static void quantize_blocks(const choir_forward *f, const activations *a, choir_range blocks, int T,
                            bool is_wanted)
{
    const int64_t n_blocks = a->cols / CHOIR_BLOCK_COLUMNS;
    for (int64_t i = blocks.begin, end; is_wanted && i < blocks.end; i = end) {
        const int t = (int)(i / n_blocks);
        end = (t + 1) * n_blocks < blocks.end ? (t + 1) * n_blocks : blocks.end;
        const int64_t at = choir_panel_index(n_blocks, T, t, i % n_blocks);
        const int64_t stride = choir_panel_stride(n_blocks, T, t);
        const float *x = a->f32 + i * CHOIR_BLOCK_COLUMNS;
        const int64_t n = (end - i) * CHOIR_BLOCK_COLUMNS;
        if (a->is_q15)
            f->parts.kernels->quantize_q15((choir_q15 *)a->blocks + at, stride, x, n);
        else
            f->parts.kernels->quantize((choir_q8 *)a->blocks + at, stride, x, n);
    }
}

static void quantize_row(const choir_forward *f, const activations *a, int64_t row, int T,
                         bool is_wanted)
{
    const int64_t n_blocks = a->cols / CHOIR_BLOCK_COLUMNS;
    const choir_range blocks = {row * n_blocks, (row + 1) * n_blocks};
    quantize_blocks(f, a, blocks, T, is_wanted);
}

static bool takes_blocks(const choir_matrix *w)
{
    return w->rows > 0 && choir_type_info_of(w->type)->is_quantized;
}

/* y [T][y_stride] (+ the group's rows) = W a, for some groups of the matrix. */
static void multiply(const choir_forward *f, float *y, int64_t y_stride, const choir_matrix *w,
                     choir_range groups, const activations *a, int T, const choir_leaves *leaves)
{
    if (groups.begin >= groups.end)
        return;
    const choir_kernels *kernels = f->parts.kernels;
    const bool is_q15 = takes_blocks(w) && a->is_q15;
    const choir_linear_fn linear = is_q15 ? kernels->linear_q15[w->type] : kernels->linear[w->type];
    linear(y, y_stride, w, groups.begin, groups.end, takes_blocks(w) ? a->blocks : a->f32, T,
           leaves);
}

/* Several matrices over one whole input as one range of row groups, shared between the threads. */
typedef struct product {
    float *y;
    const choir_matrix *w;
} product;

static void multiply_all(const choir_forward *f, const product *products, int n_products,
                         const activations *a, int T, const choir_team *team)
{
    choir_leaves whole = {.n_blocks = a->cols / CHOIR_BLOCK_COLUMNS,
                          .leaf_blocks = a->cols / CHOIR_BLOCK_COLUMNS};
    choir_leaves_plan(&whole);
    int64_t n_groups = 0;
    for (int i = 0; i < n_products; i++)
        n_groups += choir_matrix_groups(products[i].w);
    const choir_range share = choir_team_share(team, n_groups);
    int64_t first = 0;
    for (int i = 0; i < n_products; i++) {
        const int64_t n = choir_matrix_groups(products[i].w);
        const choir_range groups = {share.begin > first ? share.begin - first : 0,
                                    share.end - first < n ? share.end - first : n};
        multiply(f, products[i].y, products[i].w->rows, products[i].w, groups, a, T, &whole);
        first += n;
    }
}

/* The pieces of a column-split matrix, then x += their tree over all shards. */
static void multiply_and_exchange(const choir_forward *f, choir_exchange *exchange,
                                  const choir_matrix *w, const activations *a, float *x, int T,
                                  const choir_team *team)
{
    const int64_t n = T * f->h->width;
    const int n_pieces = choir_exchange_pieces(exchange);
    for (int p = 0; p < n_pieces; p++)
        multiply(f, choir_exchange_piece(exchange, p, n), f->h->width, w,
                 choir_team_share(team, choir_matrix_groups(w)), a, T,
                 choir_exchange_leaves(exchange, p));
    choir_barrier_wait(team->barrier);
    choir_exchange_add(exchange, x, n, team);
}

static void norm_rows(const choir_forward *f, const activations *a, const float *x,
                      const float *weight, int T, bool wants_blocks, const choir_team *team)
{
    const int64_t D = f->h->width;
    const choir_range rows = choir_team_share(team, T);
    for (int64_t t = rows.begin; t < rows.end; t++) {
        f->parts.kernels->rms_norm(a->f32 + t * D, x + t * D, weight, D, f->h->rms_eps);
        quantize_row(f, a, t, T, wants_blocks);
    }
}

/* Rotates and scales the row's queries; rotates its keys and stores keys and values. */
static void place_row(const choir_forward *f, int64_t layer, int64_t t)
{
    const choir_kernels *kernels = f->parts.kernels;
    const choir_hparams *h = f->h;
    const choir_kv_shape *shape = choir_kv_shape_of(f->parts.kv);
    const int64_t S = h->head_size;
    const int64_t n_heads = choir_range_size(f->parts.slice->heads);
    const row_place place = f->places[t];
    const float *cosines = f->parts.cosines + place.position * (h->n_rot / 2);
    const float *sines = f->parts.sines + place.position * (h->n_rot / 2);
    float *q = f->q + t * n_heads * S;
    for (int64_t head = 0; head < n_heads; head++)
        kernels->rotary(q + head * S, cosines, sines, h->n_rot, h->rope_is_adjacent);
    for (int64_t i = 0; i < n_heads * S; i++)
        q[i] = q[i] * f->q_scale;
    const int64_t page = place.position / CHOIR_PAGE_POSITIONS;
    const int in_page = place.position % CHOIR_PAGE_POSITIONS;
    for (int64_t head = 0; head < shape->n_kv_heads; head++) {
        float *k = f->k + (t * shape->n_kv_heads + head) * S;
        const float *v = f->v + (t * shape->n_kv_heads + head) * S;
        kernels->rotary(k, cosines, sines, h->n_rot, h->rope_is_adjacent);
        choir_kv_store_key(choir_kv_keys(f->parts.kv, place.slot, page, layer, head),
                           shape->key_type, S, in_page, k);
        choir_kv_store_value(choir_kv_values(f->parts.kv, place.slot, page, layer, head),
                             shape->value_type, S, in_page, v);
    }
}

/* Attention of one row for the query heads of this shard that read one KV head (of this shard). */
static void attend(const choir_forward *f, int64_t layer, int64_t t, int64_t kv_head,
                   const attention_scratch *scratch)
{
    const choir_kernels *kernels = f->parts.kernels;
    const choir_slice *slice = f->parts.slice;
    const choir_kv *kv = f->parts.kv;
    const choir_kv_shape *shape = choir_kv_shape_of(kv);
    const int64_t S = f->h->head_size;
    const int64_t group_begin = (slice->kv_heads.begin + kv_head) * f->group;
    const int64_t begin = group_begin > slice->heads.begin ? group_begin : slice->heads.begin;
    const int64_t group_end = group_begin + f->group;
    const int n_heads =
        (int)((group_end < slice->heads.end ? group_end : slice->heads.end) - begin);
    const int64_t at = t * f->attended.cols + (begin - slice->heads.begin) * S;
    const row_place place = f->places[t];
    const int64_t n_visible = place.position + 1;
    const int64_t n_pages = choir_ceil_div(n_visible, CHOIR_PAGE_POSITIONS);

    for (int64_t first = 0; first < n_pages; first += CHOIR_SPAN_PAGES) {
        const void *keys[CHOIR_SPAN_PAGES], *values[CHOIR_SPAN_PAGES];
        const int64_t rest = n_visible - first * CHOIR_PAGE_POSITIONS;
        for (int64_t i = 0; i < CHOIR_SPAN_PAGES && first + i < n_pages; i++) {
            keys[i] = choir_kv_keys(kv, place.slot, first + i, layer, kv_head);
            values[i] = choir_kv_values(kv, place.slot, first + i, layer, kv_head);
        }
        choir_attention_state *states = first == 0 ? scratch->running : scratch->span;
        const int64_t span_positions = CHOIR_SPAN_PAGES * CHOIR_PAGE_POSITIONS;
        kernels->attention_span(states, f->q + at, n_heads, S, keys, values, shape->key_type,
                                shape->value_type, rest < span_positions ? rest : span_positions);
        for (int i = 0; first > 0 && i < n_heads; i++)
            kernels->attention_merge(&scratch->running[i], &scratch->span[i], S);
    }
    for (int i = 0; i < n_heads; i++)
        kernels->attention_finish(f->attended.f32 + at + i * S, &scratch->running[i], S);
}

static void attention_half(choir_forward *f, int64_t layer, float *x, int T, const choir_team *team)
{
    const choir_layer_weights *w = &f->parts.weights->layers[layer];
    const product projections[] = {{f->q, &w->q}, {f->k, &w->k}, {f->v, &w->v}};
    const int64_t n_kv_heads = choir_range_size(f->parts.slice->kv_heads);
    norm_rows(f, &f->projected, x, w->attn_norm, T,
              takes_blocks(&w->q) || takes_blocks(&w->k) || takes_blocks(&w->v), team);
    choir_barrier_wait(team->barrier);
    multiply_all(f, projections, 3, &f->projected, T, team);
    choir_barrier_wait(team->barrier);
    const choir_range rows = choir_team_share(team, T);
    for (int64_t t = rows.begin; t < rows.end; t++)
        place_row(f, layer, t);
    choir_barrier_wait(team->barrier);
    /* Interleaved: in a causal pass later rows see more, so contiguous shares would be uneven. */
    for (int64_t task = team->thread; task < T * n_kv_heads; task += team->n_threads)
        attend(f, layer, task / n_kv_heads, task % n_kv_heads, &f->scratch[team->thread]);
    choir_barrier_wait(team->barrier);
    for (int64_t t = rows.begin; t < rows.end; t++)
        quantize_row(f, &f->attended, t, T, takes_blocks(&w->attn_output));
    choir_barrier_wait(team->barrier);
    multiply_and_exchange(f, f->attention_exchange, &w->attn_output, &f->attended, x, T, team);
}

static void ff_half(choir_forward *f, int64_t layer, float *x, int T, const choir_team *team)
{
    const choir_layer_weights *w = &f->parts.weights->layers[layer];
    const product projections[] = {{f->activated.f32, &w->gate}, {f->up, &w->up}};
    const int64_t n = f->activated.cols;
    norm_rows(f, &f->normed, x, w->ffn_norm, T, takes_blocks(&w->gate) || takes_blocks(&w->up),
              team);
    choir_barrier_wait(team->barrier);
    multiply_all(f, projections, 2, &f->normed, T, team);
    choir_barrier_wait(team->barrier);
    /* Blocks of 32 rather than rows, so that a single row is shared too. */
    const choir_range blocks = choir_team_share(team, T * n / CHOIR_BLOCK_COLUMNS);
    const int64_t begin = blocks.begin * CHOIR_BLOCK_COLUMNS;
    const int64_t length = choir_range_size(blocks) * CHOIR_BLOCK_COLUMNS;
    if (length > 0)
        f->parts.kernels->swiglu(f->activated.f32 + begin, f->activated.f32 + begin, f->up + begin,
                                 length);
    quantize_blocks(f, &f->activated, blocks, T, takes_blocks(&w->down));
    choir_barrier_wait(team->barrier);
    multiply_and_exchange(f, f->ff_exchange, &w->down, &f->activated, x, T, team);
}

/* Page tables first, then where each row of the step stands. */
static void take_over(choir_forward *f, const choir_step *step)
{
    const int32_t *pages = step->new_pages;
    int32_t row = 0;
    for (int32_t s = 0; s < step->n_seqs; s++) {
        const choir_step_sequence *seq = &step->seqs[s];
        choir_kv_extend(f->parts.kv, seq->slot, seq->n_pages_before, pages, seq->n_new_pages);
        pages += seq->n_new_pages;
        for (int32_t i = 0; i < seq->n_tokens; i++)
            f->places[row++] = (row_place){seq->slot, seq->first_position + i};
    }
}

void choir_forward_layers(choir_forward *forward, const choir_step *step, float *x)
{
    choir_forward *f = forward;
    assert(step->n_rows <= f->parts.max_rows);
    take_over(f, step);
    if (f->trace && f->parts.slice->is_first_stage)
        f->trace(f->trace_context, -1, x, step->n_rows * f->h->width);
#pragma omp parallel num_threads(f->parts.n_threads)
    {
        const choir_team team = choir_team_here(&f->barrier);
        for (int64_t layer = 0; layer < f->parts.weights->n_layers; layer++) {
            attention_half(f, layer, x, step->n_rows, &team);
            ff_half(f, layer, x, step->n_rows, &team);
            if (f->trace) {
                if (team.thread == 0)
                    f->trace(f->trace_context, f->parts.slice->layers.begin + layer, x,
                             step->n_rows * f->h->width);
                choir_barrier_wait(team.barrier);
            }
        }
    }
}

void choir_forward_logits(choir_forward *forward, const float *x, const int32_t *rows, int n,
                          float *logits)
{
    choir_forward *f = forward;
    const choir_weights *weights = f->parts.weights;
    const product head = {logits, &weights->output};
    const int64_t D = f->h->width;
    assert(n <= CHOIR_LOGITS_ROWS);
#pragma omp parallel num_threads(f->parts.n_threads)
    {
        const choir_team team = choir_team_here(&f->barrier);
        const choir_range mine = choir_team_share(&team, n);
        for (int64_t i = mine.begin; i < mine.end; i++) {
            f->parts.kernels->rms_norm(f->projected.f32 + i * D, x + rows[i] * D,
                                       weights->output_norm, D, f->h->rms_eps);
            quantize_row(f, &f->projected, i, n, takes_blocks(&weights->output));
        }
        choir_barrier_wait(team.barrier);
        multiply_all(f, &head, 1, &f->projected, n, &team);
    }
}
