/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/attend.h"

#include "common/mem.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* With fewer (row, KV head) pairs for each thread the heads or spans are dealt. */
    PAIRS_OF_A_THREAD = 4,
    /* Queries of a task, of rows that follow each other: their q and o stay in the first cache. */
    RUN_ROWS = 8,
    RUN_QUERIES = 32,
    SPAN_POSITIONS = CHOIR_SPAN_PAGES * CHOIR_PAGE_POSITIONS,
};

/* Where a row of the step stands, and the first of its tasks where spans are dealt. */
typedef struct row_place {
    int slot;
    int32_t position;
    int32_t first_task;
} row_place;

/* Rows of one sequence that follow each other. */
typedef struct row_run {
    int32_t first, n;
} row_run;

/* What one thread needs: rotated queries of a run, and their states, twice. */
typedef struct scratch {
    float *q;                              /* [run's rows][group][S] */
    int64_t *n_visible;                    /* [run's rows][group] */
    choir_attention_state *running, *span; /* [run's rows][group] */
    float *outputs;                        /* [2][run's rows][group][S] */
} scratch;

/* How the rows of a step are dealt. */
typedef struct dealing {
    int n_rows, n_runs, n_tasks;
    int64_t n_kv_heads, n_parts; /* of a row; a part is the whole group or one head of it */
    bool has_spans;              /* a task is one span of a row */
    bool has_rows;               /* a task is all KV heads of a run; else one of them */
} dealing;

struct choir_attend {
    choir_attend_parts parts;
    int64_t S, group, n_kv_heads;
    float q_scale;
    row_place *places;  /* [max_rows] */
    row_run *runs;      /* [max_rows] */
    int64_t max_run;    /* rows of one */
    scratch *scratches; /* [n_threads] */
    dealing dealing;
    _Alignas(64) atomic_int next_task[2]; /* of even and odd layers */
    /* Where spans are dealt: the states of all, and how many of a head's are done. */
    int64_t max_pairs, max_spans;
    choir_attention_state *states; /* [max_pairs][group][max_spans] */
    float *outputs;                /* the same, of S floats each */
    atomic_int *n_done;            /* [max_pairs][group] */
};

/* ---- life ---- */

static choir_status allocate_states(choir_attention_state **states, float **outputs, size_t n,
                                    size_t S)
{
    choir_status status = choir_alloc(n, sizeof **states, (void **)states);
    if (status == CHOIR_OK)
        status = choir_alloc_aligned(n * S, sizeof **outputs, (void **)outputs);
    for (size_t i = 0; status == CHOIR_OK && i < n; i++)
        (*states)[i].o = *outputs + i * S;
    return status;
}

static choir_status allocate_scratch(scratch *s, size_t n_queries, size_t S)
{
    choir_status status = choir_alloc_aligned(n_queries * S, sizeof *s->q, (void **)&s->q);
    if (status == CHOIR_OK)
        status = choir_alloc(n_queries, sizeof *s->n_visible, (void **)&s->n_visible);
    if (status == CHOIR_OK)
        status = allocate_states(&s->running, &s->outputs, 2 * n_queries, S);
    if (status == CHOIR_OK)
        s->span = s->running + n_queries;
    return status;
}

choir_status choir_attend_create(const choir_attend_parts *parts, choir_attend **result)
{
    choir_attend *a = NULL;
    choir_status status = choir_alloc_aligned(1, sizeof *a, (void **)&a);
    if (status != CHOIR_OK)
        goto done;
    const choir_hparams *h = parts->hparams;
    a->parts = *parts;
    a->S = h->head_size;
    a->group = h->n_heads / h->n_kv_heads;
    a->n_kv_heads = choir_range_size(parts->slice->kv_heads);
    a->q_scale = 1.0f / sqrtf((float)a->S);
    a->max_run = RUN_QUERIES / a->group < RUN_ROWS ? RUN_QUERIES / a->group : RUN_ROWS;
    a->max_run = a->max_run > 0 ? a->max_run : 1;
    a->max_pairs = PAIRS_OF_A_THREAD * parts->n_threads;
    a->max_spans = choir_ceil_div(choir_kv_shape_of(parts->kv)->pages_per_slot, CHOIR_SPAN_PAGES);
    const size_t n_heads = (size_t)(a->max_pairs * a->group), S = (size_t)a->S;
    status = choir_alloc((size_t)parts->max_rows, sizeof *a->places, (void **)&a->places);
    if (status == CHOIR_OK)
        status = choir_alloc((size_t)parts->max_rows, sizeof *a->runs, (void **)&a->runs);
    if (status == CHOIR_OK)
        status = allocate_states(&a->states, &a->outputs, n_heads * (size_t)a->max_spans, S);
    if (status == CHOIR_OK)
        status = choir_alloc_aligned(n_heads, sizeof *a->n_done, (void **)&a->n_done);
    if (status == CHOIR_OK)
        status =
            choir_alloc((size_t)parts->n_threads, sizeof *a->scratches, (void **)&a->scratches);
    for (int t = 0; status == CHOIR_OK && t < parts->n_threads; t++)
        status = allocate_scratch(&a->scratches[t], (size_t)(a->max_run * a->group), S);
done:
    if (status != CHOIR_OK)
        choir_attend_destroy(&a);
    *result = a;
    return status;
}

void choir_attend_destroy(choir_attend **attend)
{
    choir_attend *a = *attend;
    if (!a)
        return;
    for (int t = 0; a->scratches && t < a->parts.n_threads; t++) {
        free(a->scratches[t].q);
        free(a->scratches[t].n_visible);
        free(a->scratches[t].running);
        free(a->scratches[t].outputs);
    }
    free(a->scratches);
    free(a->places);
    free(a->runs);
    free(a->states);
    free(a->outputs);
    free((void *)a->n_done);
    free(a);
    *attend = NULL;
}

/* ---- dealing ---- */

static int64_t spans_of(const row_place *place)
{
    return choir_ceil_div(place->position + 1, SPAN_POSITIONS);
}

/* Runs as long as they may be while every thread has enough of them. */
static void make_runs(choir_attend *a, int n_rows)
{
    dealing *d = &a->dealing;
    int64_t longest = n_rows * a->n_kv_heads / a->max_pairs;
    longest = longest < 1 ? 1 : longest < a->max_run ? longest : a->max_run;
    for (int t = 0; t < n_rows; t++) {
        const bool is_next = t > 0 && a->places[t].slot == a->places[t - 1].slot;
        if (is_next && a->runs[d->n_runs - 1].n < longest)
            a->runs[d->n_runs - 1].n++;
        else
            a->runs[d->n_runs++] = (row_run){t, 1};
    }
}

static void deal(choir_attend *a, int n_rows)
{
    dealing *d = &a->dealing;
    const int64_t n_pairs = n_rows * a->n_kv_heads;
    int64_t n_spans = 0;
    *d = (dealing){.n_rows = n_rows, .n_kv_heads = a->n_kv_heads, .n_parts = 1};
    /* A task quantizes what it has written, so that must be whole blocks: else all heads. */
    d->has_rows = a->S % CHOIR_BLOCK_COLUMNS != 0;
    make_runs(a, n_rows);
    d->n_tasks = (int)(d->n_runs * (d->has_rows ? 1 : d->n_kv_heads));
    if (d->has_rows || n_pairs >= a->max_pairs)
        return;
    for (int t = 0; t < n_rows; t++)
        n_spans += spans_of(&a->places[t]);
    d->has_spans = true;
    d->n_parts = n_spans * d->n_kv_heads >= a->max_pairs ? 1 : a->group;
    d->n_tasks = 0;
    for (int t = 0; t < n_rows; t++) {
        a->places[t].first_task = d->n_tasks;
        d->n_tasks += (int)(spans_of(&a->places[t]) * d->n_kv_heads * d->n_parts);
    }
}

void choir_attend_begin(choir_attend *attend, const choir_step *step)
{
    const int32_t *pages = step->new_pages;
    int32_t row = 0;
    for (int32_t s = 0; s < step->n_seqs; s++) {
        const choir_step_sequence *seq = &step->seqs[s];
        choir_kv_extend(attend->parts.kv, seq->slot, seq->n_pages_before, pages, seq->n_new_pages);
        pages += seq->n_new_pages;
        for (int32_t i = 0; i < seq->n_tokens; i++)
            attend->places[row++] = (row_place){seq->slot, seq->first_position + i, 0};
    }
    deal(attend, step->n_rows);
    atomic_store(&attend->next_task[0], 0);
    atomic_store(&attend->next_task[1], 0);
}

/* ---- storing ---- */

static void rotate(const choir_attend *a, float *x, int32_t position)
{
    const choir_hparams *h = a->parts.hparams;
    const int64_t at = position * (h->n_rot / 2);
    a->parts.kernels->rotary(x, a->parts.cosines + at, a->parts.sines + at, h->n_rot,
                             h->rope_is_adjacent);
}

void choir_attend_store_keys(choir_attend *attend, int64_t layer, choir_range rows,
                             choir_range heads, float *k)
{
    const choir_kv_shape *shape = choir_kv_shape_of(attend->parts.kv);
    for (int64_t t = rows.begin; t < rows.end; t++) {
        const row_place place = attend->places[t];
        const int64_t page = place.position / CHOIR_PAGE_POSITIONS;
        for (int64_t head = heads.begin; head < heads.end; head++) {
            float *key = k + (t * attend->n_kv_heads + head) * attend->S;
            rotate(attend, key, place.position);
            choir_kv_store_key(choir_kv_keys(attend->parts.kv, place.slot, page, layer, head),
                               shape->key_type, attend->S, place.position % CHOIR_PAGE_POSITIONS,
                               key);
        }
    }
}

void choir_attend_store_values(choir_attend *attend, int64_t layer, choir_range rows,
                               choir_range heads, const float *v)
{
    const choir_kv_shape *shape = choir_kv_shape_of(attend->parts.kv);
    for (int64_t t = rows.begin; t < rows.end; t++) {
        const row_place place = attend->places[t];
        const int64_t page = place.position / CHOIR_PAGE_POSITIONS;
        for (int64_t head = heads.begin; head < heads.end; head++)
            choir_kv_store_value(choir_kv_values(attend->parts.kv, place.slot, page, layer, head),
                                 shape->value_type, attend->S,
                                 place.position % CHOIR_PAGE_POSITIONS,
                                 v + (t * attend->n_kv_heads + head) * attend->S);
    }
}

/* ---- looking ---- */

/* What all tasks of a layer have in common. */
typedef struct layer_pass {
    choir_attend *a;
    int64_t layer;
    const float *q;
    const choir_rows *out;
    bool wants_blocks;
} layer_pass;

/* Query heads of this shard that read a KV head (of this shard): [begin, end) of the shard's. */
static choir_range heads_of(const choir_attend *a, int64_t kv_head)
{
    const choir_slice *slice = a->parts.slice;
    const int64_t begin = (slice->kv_heads.begin + kv_head) * a->group;
    const int64_t end = begin + a->group;
    return (choir_range){(begin > slice->heads.begin ? begin : slice->heads.begin) -
                             slice->heads.begin,
                         (end < slice->heads.end ? end : slice->heads.end) - slice->heads.begin};
}

/* q [rows][heads][S] of a run; returns how many queries there are. */
static int rotate_queries(const layer_pass *p, row_run run, choir_range heads, float *q)
{
    const choir_attend *a = p->a;
    const int64_t n = choir_range_size(heads) * a->S;
    for (int32_t t = run.first; t < run.first + run.n; t++, q += n) {
        memcpy(q, p->q + t * p->out->cols + heads.begin * a->S, (size_t)n * sizeof *q);
        for (int64_t i = 0; i < n; i += a->S)
            rotate(a, q + i, a->places[t].position);
        for (int64_t i = 0; i < n; i++)
            q[i] *= a->q_scale;
    }
    return (int)(run.n * choir_range_size(heads));
}

/* One span of the positions that a run sees, for `n` queries, some of each row. */
static void look(const layer_pass *p, choir_attention_state *states, const scratch *s, int n,
                 row_run run, int64_t kv_head, int64_t span)
{
    const choir_attend *a = p->a;
    const choir_kv_shape *shape = choir_kv_shape_of(a->parts.kv);
    const int slot = a->places[run.first].slot;
    const int64_t first = span * CHOIR_SPAN_PAGES;
    const void *keys[CHOIR_SPAN_PAGES], *values[CHOIR_SPAN_PAGES];
    int64_t most = 0;
    for (int i = 0; i < n; i++) {
        const row_place *place = &a->places[run.first + i / (n / run.n)];
        const int64_t rest = place->position + 1 - span * SPAN_POSITIONS;
        most = rest < 0 ? 0 : rest < SPAN_POSITIONS ? rest : SPAN_POSITIONS;
        s->n_visible[i] = most;
    }
    for (int64_t i = 0; i * CHOIR_PAGE_POSITIONS < most; i++) { /* the last row sees most */
        keys[i] = choir_kv_keys(a->parts.kv, slot, first + i, p->layer, kv_head);
        values[i] = choir_kv_values(a->parts.kv, slot, first + i, p->layer, kv_head);
    }
    a->parts.kernels->attention_span(states, s->q, n, a->S, keys, values, shape->key_type,
                                     shape->value_type, s->n_visible);
}

/* A run's rows for one KV head, all positions. */
static void attend_run(const layer_pass *p, row_run run, int64_t kv_head, const scratch *s)
{
    const choir_attend *a = p->a;
    const choir_range heads = heads_of(a, kv_head);
    const int n = rotate_queries(p, run, heads, s->q), n_heads = (int)choir_range_size(heads);
    const int64_t n_spans = spans_of(&a->places[run.first + run.n - 1]);
    look(p, s->running, s, n, run, kv_head, 0);
    for (int64_t span = 1; span < n_spans; span++) {
        look(p, s->span, s, n, run, kv_head, span);
        for (int i = 0; i < n; i++)
            a->parts.kernels->attention_merge(&s->running[i], &s->span[i], a->S);
    }
    for (int i = 0; i < n; i++) {
        const int64_t t = run.first + i / n_heads, head = heads.begin + i % n_heads;
        a->parts.kernels->attention_finish(p->out->f32 + t * p->out->cols + head * a->S,
                                           &s->running[i], a->S);
    }
}

static void quantize_heads(const layer_pass *p, int64_t t, choir_range heads)
{
    const choir_range blocks = {heads.begin * p->a->S / CHOIR_BLOCK_COLUMNS,
                                heads.end * p->a->S / CHOIR_BLOCK_COLUMNS};
    if (p->wants_blocks)
        choir_rows_quantize(p->out, p->a->parts.kernels, p->a->dealing.n_rows, (int)t, blocks,
                            p->out->f32 + t * p->out->cols + heads.begin * p->a->S);
}

/* Merges the spans of one head, of which `states` has n, and writes its output. */
static void merge_head(const layer_pass *p, choir_attention_state *states, int64_t n, int64_t t,
                       int64_t head)
{
    const choir_attend *a = p->a;
    for (int64_t span = 1; span < n; span++)
        a->parts.kernels->attention_merge(&states[0], &states[span], a->S);
    a->parts.kernels->attention_finish(p->out->f32 + t * p->out->cols + head * a->S, &states[0],
                                       a->S);
    quantize_heads(p, t, (choir_range){head, head + 1});
}

/* One span of some heads of a group; the last one to be done merges them. */
static void attend_span(const layer_pass *p, int64_t t, int64_t kv_head, choir_range heads,
                        int64_t span, const scratch *s)
{
    choir_attend *a = p->a;
    const int64_t n_spans = spans_of(&a->places[t]);
    const int64_t place = (t * a->n_kv_heads + kv_head) * a->group;
    const int64_t first = heads.begin - heads_of(a, kv_head).begin; /* within the group */
    const int n_heads = (int)choir_range_size(heads);
    const row_run row = {(int32_t)t, 1};
    rotate_queries(p, row, heads, s->q);
    look(p, s->running, s, n_heads, row, kv_head, span);
    for (int i = 0; i < n_heads; i++) {
        choir_attention_state *states = a->states + (place + first + i) * a->max_spans;
        choir_attention_state *mine = &states[span];
        mine->m = s->running[i].m;
        mine->l = s->running[i].l;
        memcpy(mine->o, s->running[i].o, (size_t)a->S * sizeof *mine->o);
        if (atomic_fetch_add(&a->n_done[place + first + i], 1) + 1 == n_spans) {
            atomic_store(&a->n_done[place + first + i], 0);
            merge_head(p, states, n_spans, t, heads.begin + i);
        }
    }
}

/* Task of a dealing with spans: row, then KV head, then part, then span. */
static void run_span_task(const layer_pass *p, int task, const scratch *s)
{
    const choir_attend *a = p->a;
    const dealing *d = &a->dealing;
    int64_t t = d->n_rows - 1;
    while (a->places[t].first_task > task)
        t--;
    const int64_t n_spans = spans_of(&a->places[t]);
    const int64_t within = task - a->places[t].first_task;
    const int64_t span = within % n_spans, part = within / n_spans % d->n_parts;
    const int64_t kv_head = within / n_spans / d->n_parts;
    choir_range heads = heads_of(a, kv_head);
    if (d->n_parts > 1) { /* fewer than n_parts where another shard has the rest of the group */
        heads.begin += part;
        heads.end = heads.begin + 1 < heads.end ? heads.begin + 1 : heads.end;
    }
    if (heads.begin < heads.end)
        attend_span(p, t, kv_head, heads, span, s);
}

/* Task of a dealing with runs: from the last rows, which see most, to the first. */
static void run_rows_task(const layer_pass *p, int task, const scratch *s)
{
    const choir_attend *a = p->a;
    const int64_t n_kv_heads = a->n_kv_heads, n_tasks = a->dealing.has_rows ? 1 : n_kv_heads;
    const row_run run = a->runs[a->dealing.n_runs - 1 - task / n_tasks];
    const int64_t first = task % n_tasks, end = a->dealing.has_rows ? n_kv_heads : first + 1;
    choir_range heads = {0, p->out->cols / a->S};
    for (int64_t kv_head = first; kv_head < end; kv_head++)
        attend_run(p, run, kv_head, s);
    if (!a->dealing.has_rows)
        heads = heads_of(a, first);
    for (int32_t t = run.first; t < run.first + run.n; t++)
        quantize_heads(p, t, heads);
}

void choir_attend_run(choir_attend *attend, int64_t layer, const float *q, const choir_rows *out,
                      bool wants_blocks, const choir_team *team)
{
    const layer_pass p = {attend, layer, q, out, wants_blocks};
    const scratch *s = &attend->scratches[team->thread];
    atomic_int *next_task = &attend->next_task[layer % 2];
    /* Nobody is in the layer before any more, and nobody in the next one yet. */
    if (team->thread == 0)
        atomic_store(&attend->next_task[(layer + 1) % 2], 0);
    for (int task; (task = atomic_fetch_add(next_task, 1)) < attend->dealing.n_tasks;)
        if (attend->dealing.has_spans)
            run_span_task(&p, task, s);
        else
            run_rows_task(&p, task, s);
}
