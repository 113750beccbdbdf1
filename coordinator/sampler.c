/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filters need the tokens in descending order, but only as far as they keep them: a heap of ids is
 * made in O(n) and popped until the filter is satisfied. Popped ids gather behind the heap, so one
 * array holds both:
 *
 *     order  | heap: those not yet wanted | popped, the best at the very end |
 *
 * The heap is tried first with the ids whose logit is near the greatest, and made again with all of
 * them where those did not suffice.
 *
 * What is kept is drawn from by choir_sampling_draw().
 */
#include "coordinator/sampler.h"

#include "common/mem.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* How far below the greatest logit an id is still near: as likely as 1 : 3,000. */
static const float near_logits = 8;

struct choir_sampler {
    int64_t V;
    const choir_kernels *kernels;
    float *z;        /* [V] what the settings make of the logits */
    int32_t *order;  /* [V] ids, see above */
    int32_t *counts; /* [V] zero between calls */
    float *key;      /* [V] how far from typical; what is drawn from */
};

choir_status choir_sampling_check(const choir_sampling *sampling)
{
    const float t = sampling->temperature;
    if (t != 0 && !(t >= 0.01f && t <= 100))
        return choir_fail(CHOIR_EINVALID, "temperature is %g; give 0 or 0.01 to 100", (double)t);
    if (sampling->top_k < 0)
        return choir_fail(CHOIR_EINVALID, "top_k is %d; give 0 (off) or more", sampling->top_k);
    if (!(sampling->top_p > 0) || !isfinite(sampling->top_p))
        return choir_fail(CHOIR_EINVALID, "top_p is %g; give more than 0, 1 is off",
                          (double)sampling->top_p);
    if (!(sampling->min_p >= 0 && sampling->min_p <= 1))
        return choir_fail(CHOIR_EINVALID, "min_p is %g; give 0 (off) to 1",
                          (double)sampling->min_p);
    if (!(sampling->typical_p >= 0 && sampling->typical_p <= 1))
        return choir_fail(CHOIR_EINVALID, "typical_p is %g; give 0 (off) to 1",
                          (double)sampling->typical_p);
    if (!(sampling->repetition_penalty >= 0 && sampling->repetition_penalty <= 100))
        return choir_fail(CHOIR_EINVALID, "repetition_penalty is %g; give 0 (off) to 100",
                          (double)sampling->repetition_penalty);
    if (!(fabsf(sampling->frequency_penalty) <= 2))
        return choir_fail(CHOIR_EINVALID, "frequency_penalty is %g; give -2 to 2",
                          (double)sampling->frequency_penalty);
    if (!(fabsf(sampling->presence_penalty) <= 2))
        return choir_fail(CHOIR_EINVALID, "presence_penalty is %g; give -2 to 2",
                          (double)sampling->presence_penalty);
    return CHOIR_OK;
}

choir_status choir_sampler_create(int64_t V, const choir_kernels *kernels, choir_sampler **sampler)
{
    assert(V > 0 && V <= INT32_MAX);
    choir_sampler *made = NULL;
    *sampler = NULL;
    choir_status status = choir_alloc(1, sizeof *made, (void **)&made);
    if (status)
        return status;
    made->V = V;
    made->kernels = kernels;
    status = choir_alloc((size_t)V, sizeof *made->z, (void **)&made->z);
    if (!status)
        status = choir_alloc((size_t)V, sizeof *made->order, (void **)&made->order);
    if (!status)
        status = choir_alloc((size_t)V, sizeof *made->counts, (void **)&made->counts);
    if (!status)
        status = choir_alloc((size_t)V, sizeof *made->key, (void **)&made->key);
    if (status) {
        choir_sampler_destroy(&made);
        return status;
    }
    *sampler = made;
    return CHOIR_OK;
}

void choir_sampler_destroy(choir_sampler **sampler)
{
    if (!*sampler)
        return;
    free((*sampler)->z);
    free((*sampler)->order);
    free((*sampler)->counts);
    free((*sampler)->key);
    free(*sampler);
    *sampler = NULL;
}

/* Greater first, then the lower id; -0 equals +0. */
static bool is_before(const float *z, int32_t a, int32_t b)
{
    return z[a] > z[b] || (z[a] == z[b] && a < b);
}

static int32_t argmax(const float *z, int64_t V)
{
    int32_t best = 0;
    for (int32_t id = 1; id < V; id++)
        if (z[id] > z[best])
            best = id;
    return best;
}

/* Moves order[at] down to its place in the heap order[0..n). */
static void sift_down(const float *z, int32_t *order, int64_t n, int64_t at)
{
    const int32_t id = order[at];
    for (;;) {
        int64_t child = 2 * at + 1;
        if (child >= n)
            break;
        if (child + 1 < n && is_before(z, order[child + 1], order[child]))
            child++;
        if (!is_before(z, order[child], id))
            break;
        order[at] = order[child];
        at = child;
    }
    order[at] = id;
}

/* Pops the best of the heap order[0..n) to order[n - 1]. */
static int32_t pop(const float *z, int32_t *order, int64_t n)
{
    const int32_t best = order[0];
    order[0] = order[n - 1];
    sift_down(z, order, n - 1, 0);
    order[n - 1] = best;
    return best;
}

/* Fills order with the ids that min_p keeps; returns how many. */
static int64_t filter_min_p(choir_sampler *sampler, float min_p, float z_max)
{
    /* Far below log(min_p) there is no need to look; 3 also covers the coarse steps of subnormals.
     */
    const float hopeless = min_p > 0 ? choir_logf(min_p) - 3 : -INFINITY;
    int64_t n = 0;
    for (int32_t id = 0; id < sampler->V; id++) {
        const float distance = sampler->z[id] - z_max;
        if (!(min_p > 0) || (distance >= hopeless && choir_expf(distance) >= min_p))
            sampler->order[n++] = id;
    }
    return n;
}

/* Sum of exp(z - z_max) over the whole vocabulary, as in the log-sum-exp. */
static float whole_total(const choir_sampler *sampler)
{
    const int64_t chunk = choir_lse_chunk_size(sampler->V);
    float m = -INFINITY, l = 0;
    for (int64_t begin = 0; begin < sampler->V; begin += chunk) {
        const int64_t n = sampler->V - begin < chunk ? sampler->V - begin : chunk;
        float chunk_m, chunk_l;
        sampler->kernels->lse_chunk(sampler->z + begin, n, &chunk_m, &chunk_l);
        choir_lse_merge(&m, &l, chunk_m, chunk_l);
    }
    return l;
}

/* Brings the ids of order[0..n) whose logit is at least `bound` to the front; returns how many. */
static int64_t partition_near(const float *z, int32_t *order, int64_t n, float bound)
{
    int64_t n_near = 0;
    for (int64_t i = 0; i < n; i++) {
        const int32_t id = order[i];
        if (z[id] >= bound) {
            order[i] = order[n_near];
            order[n_near++] = id;
        }
    }
    return n_near;
}

static void make_heap(const float *z, int32_t *order, int64_t n)
{
    for (int64_t at = n / 2 - 1; at >= 0; at--)
        sift_down(z, order, n, at);
}

/*
 * How many of the `limit` best of the heap order[0..n), in descending order, it takes until their
 * running sum reaches `enough`; limit + 1 if it never does. n_popped of them are popped already.
 */
static int64_t shortest_prefix(const float *z, int32_t *order, int64_t n, int64_t limit,
                               int64_t n_popped, float z_max, float enough)
{
    float sum = 0;
    for (int64_t i = 0; i < limit; i++) {
        if (i >= n_popped)
            pop(z, order, n - i);
        sum += choir_expf(z[order[n - 1 - i]] - z_max);
        if (sum >= enough)
            return i + 1;
    }
    return limit + 1;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static bool has_top_k(const choir_sampler *sampler, const choir_sampling *sampling)
{
    return sampling->top_k > 0 && sampling->top_k < sampler->V;
}

/*
 * Those of the n ids in order that top_k and top_p keep, one of which is on: *n_kept of them from
 * the pointer on.
 */
static const int32_t *filter_sorted(choir_sampler *sampler, const choir_sampling *sampling,
                                    float z_max, int64_t n, int64_t *n_kept)
{
    const float *z = sampler->z;
    int32_t *order = sampler->order;
    int64_t heap = partition_near(z, order, n, z_max - near_logits);
    if (has_top_k(sampler, sampling) || sampling->min_p > 0) {
        const int64_t n_left = has_top_k(sampler, sampling) ? smaller(sampling->top_k, n) : n;
        if (heap < n_left)
            heap = n;
        make_heap(z, order, heap);
        float total = 0;
        for (int64_t i = 0; i < n_left; i++)
            total += choir_expf(z[pop(z, order, heap - i)] - z_max);
        *n_kept = n_left;
        if (sampling->top_p < 1)
            *n_kept = smaller(n_left, shortest_prefix(z, order, heap, n_left, n_left, z_max,
                                                      sampling->top_p * total));
    } else {
        const float enough = sampling->top_p * whole_total(sampler);
        make_heap(z, order, heap);
        *n_kept = shortest_prefix(z, order, heap, heap, 0, z_max, enough);
        if (*n_kept > heap) {
            heap = n;
            make_heap(z, order, heap);
            *n_kept = smaller(n, shortest_prefix(z, order, heap, n, 0, z_max, enough));
        }
    }
    return order + heap - *n_kept;
}

/* The argmax of z + noise over ids[0..n). */
static int32_t draw(choir_sampler *sampler, const choir_sampling *sampling, const int32_t *ids,
                    int64_t n, int64_t position)
{
    float best_sum;
    for (int64_t i = 0; i < n; i++)
        sampler->key[i] = sampler->z[ids[i]];
    return ids[choir_sampling_draw(sampling, position, sampler->key, ids, 0, n, &best_sum)];
}

/* ---- typical_p: rare, so everything is sorted ---- */

static int by_z(const void *a, const void *b, void *z)
{
    return is_before(z, *(const int32_t *)a, *(const int32_t *)b) ? -1 : 1;
}

static int by_key(const void *a, const void *b, void *key)
{
    const int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    const float *keys = key;
    return keys[i] < keys[j] || (keys[i] == keys[j] && i < j) ? -1 : 1;
}

/*
 * Keeps of ids[0..n), which descend, the most typical ones, and leaves them descending; returns how
 * many. What exp() rounded to 0 has no part in the entropy and is the least typical.
 */
static int64_t filter_typical(choir_sampler *sampler, float typical_p, float z_max, int64_t n)
{
    const float *z = sampler->z;
    int32_t *ids = sampler->order;
    float total = 0, entropy = 0, sum = 0;
    int64_t n_kept = 0;
    for (int64_t i = 0; i < n; i++)
        total += choir_expf(z[ids[i]] - z_max);
    for (int64_t i = 0; i < n; i++) {
        const float p = choir_expf(z[ids[i]] - z_max) / total;
        if (p > 0)
            entropy += p * choir_logf(p);
    }
    for (int64_t i = 0; i < n; i++)
        sampler->key[ids[i]] = fabsf(-choir_logf(choir_expf(z[ids[i]] - z_max) / total) - -entropy);
    qsort_r(ids, (size_t)n, sizeof *ids, by_key, sampler->key);
    while (n_kept < n && (n_kept == 0 || !(sum >= typical_p)))
        sum += choir_expf(z[ids[n_kept++]] - z_max) / total;
    qsort_r(ids, (size_t)n_kept, sizeof *ids, by_z, sampler->z);
    return n_kept;
}

/* top_k, typical_p and top_p of the n ids in order, by their definition. */
static int64_t filter_all(choir_sampler *sampler, const choir_sampling *sampling, float z_max,
                          int64_t n)
{
    const float *z = sampler->z;
    const int32_t *ids = sampler->order;
    float total = 0, sum = 0;
    int64_t n_kept = 0;
    qsort_r(sampler->order, (size_t)n, sizeof *sampler->order, by_z, sampler->z);
    if (has_top_k(sampler, sampling))
        n = smaller(n, sampling->top_k);
    n = filter_typical(sampler, sampling->typical_p, z_max, n);
    if (sampling->top_p >= 1)
        return n;
    /* What is left may not hold the greatest: its weights are still those before. */
    for (int64_t i = 0; i < n; i++)
        total += choir_expf(z[ids[i]] - z_max);
    while (n_kept < n && !(sum >= sampling->top_p * total))
        sum += choir_expf(z[ids[n_kept++]] - z_max);
    return n_kept;
}

static bool has_typical_p(const choir_sampling *sampling)
{
    return sampling->typical_p > 0 && sampling->typical_p < 1;
}

int32_t choir_sampler_pick(choir_sampler *sampler, const choir_sampling *sampling,
                           const choir_sampling_lists *lists, const float *logits, int64_t position)
{
    float *z = sampler->z;
    choir_sampling_apply(z, logits, 0, sampler->V, sampling, lists, sampler->counts);
    /* Of equal logits the first, also of those that only the division made equal. */
    const int32_t first = argmax(z, sampler->V);
    if (z[first] == -INFINITY)
        return -1;
    if (sampling->temperature == 0)
        return first;
    int64_t n = filter_min_p(sampler, sampling->min_p, z[first]);
    const int32_t *kept = sampler->order;
    if (has_typical_p(sampling)) {
        n = filter_all(sampler, sampling, z[first], n);
        return draw(sampler, sampling, kept, n, position);
    }
    if (has_top_k(sampler, sampling) || sampling->top_p < 1)
        kept = filter_sorted(sampler, sampling, z[first], n, &n);
    return draw(sampler, sampling, kept, n, position);
}

/* ---- from candidates ---- */

/* exp(z - z_max) of the candidates, which descend; made by blocks, since seldom all are wanted. */
typedef struct weights {
    const choir_kernels *kernels;
    const choir_row_result *row;
    int64_t begin, end; /* the candidates in block */
    float block[64];
} weights;

static float weight_at(weights *w, int64_t i)
{
    if (i < w->begin || i >= w->end) {
        const int64_t size = sizeof w->block / sizeof w->block[0];
        w->begin = i / size * size;
        w->end = smaller(w->begin + size, w->row->n_candidates);
        w->kernels->exp_from(w->block, w->row->candidate_z + w->begin, w->row->candidate_z[0],
                             w->end - w->begin);
    }
    return w->block[i - w->begin];
}

/* How many of the candidates min_p and top_k keep; CHOIR_PICK_UNPROVED where more may be kept. */
static int64_t keep_first(const choir_sampling *sampling, int64_t V, const choir_row_result *row,
                          weights *w)
{
    const bool has_k = sampling->top_k > 0 && sampling->top_k < V;
    int64_t n = 0;
    while (n < row->n_candidates && !(has_k && n == sampling->top_k)) {
        if (sampling->min_p > 0 && !(weight_at(w, n) >= sampling->min_p))
            return n;
        n++;
    }
    return row->has_all || (has_k && n == sampling->top_k) ? n : CHOIR_PICK_UNPROVED;
}

/* How many of them top_p keeps. */
static int64_t keep_top_p(const choir_sampling *sampling, int64_t V, const choir_row_result *row,
                          int64_t n, weights *w)
{
    const bool has_filter = sampling->min_p > 0 || (sampling->top_k > 0 && sampling->top_k < V);
    float total = has_filter ? 0 : row->total, sum = 0;
    for (int64_t i = 0; has_filter && i < n; i++)
        total += weight_at(w, i);
    const int64_t limit = has_filter ? n : row->n_candidates;
    for (int64_t i = 0; i < limit; i++) {
        sum += weight_at(w, i);
        if (sum >= sampling->top_p * total)
            return i + 1;
    }
    return has_filter || row->has_all ? limit : CHOIR_PICK_UNPROVED;
}

int32_t choir_sampler_pick_from(const choir_sampler *sampler, const choir_sampling *sampling,
                                const choir_row_result *row, int64_t position, float *logit)
{
    const int64_t V = sampler->V;
    weights w = {.kernels = sampler->kernels, .row = row};
    const bool has_k = sampling->top_k > 0 && sampling->top_k < V;
    int64_t n = row->n_candidates;
    float best_sum;
    if (n == 0) { /* nothing was filtered: the shards drew */
        *logit = row->drawn_logit;
        return row->drawn_id;
    }
    *logit = row->candidate_logits[0];
    if (row->candidate_z[0] == -INFINITY)
        return CHOIR_PICK_NONE;
    if (sampling->temperature == 0)
        return row->candidate_ids[0];
    if (sampling->min_p > 0 || has_k)
        n = keep_first(sampling, V, row, &w);
    if (n > 0 && sampling->top_p < 1)
        n = keep_top_p(sampling, V, row, n, &w);
    if (n < 0)
        return CHOIR_PICK_UNPROVED;
    const int64_t place = choir_sampling_draw(sampling, position, row->candidate_z,
                                              row->candidate_ids, 0, n, &best_sum);
    *logit = row->candidate_logits[place];
    return row->candidate_ids[place];
}
