/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filters need the tokens in descending order, but only as far as they keep them: a heap of ids is
 * made in O(V) and popped until the filter is satisfied. Popped ids gather behind the heap, so one
 * array holds both:
 *
 *     order  | heap: those not yet wanted | popped, the best at the very end |
 *
 * The draw is the argmax of z + g. No noise exceeds 16.636, so an id whose z + 16.64 is below the
 * best sum so far cannot win (rounding is monotone) and its noise is never computed.
 */
#include "coordinator/sampler.h"

#include "common/mem.h"
#include "common/philox.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

struct choir_sampler {
    int64_t V;
    const choir_kernels *kernels;
    float *z;       /* [V] logits / temperature */
    int32_t *order; /* [V] ids, see above */
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
    free(*sampler);
    *sampler = NULL;
}

/* The four words of Philox that belong to ids 4 * block to 4 * block + 3. */
static void noise_words(uint64_t seed, int64_t position, int choice, int64_t block,
                        uint32_t words[4])
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)position, (uint32_t)choice, (uint32_t)block, 0};
    choir_philox(key, counter, words);
}

static float gumbel_of(uint32_t word)
{
    const float u = ((float)(word >> 9) + 0.5f) * 0x1p-23f; /* exact, in (0, 1) */
    return -choir_logf(-choir_logf(u));
}

float choir_sampler_gumbel(uint64_t seed, int64_t position, int choice, int64_t id)
{
    uint32_t words[4];
    noise_words(seed, position, choice, id / 4, words);
    return gumbel_of(words[id % 4]);
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
    int64_t n = 0;
    for (int32_t id = 0; id < sampler->V; id++)
        if (!(min_p > 0) || choir_expf(sampler->z[id] - z_max) >= min_p)
            sampler->order[n++] = id;
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

/*
 * Cuts the n ids in order down to those that top_k and top_p keep. They stand at the end of
 * order[0..n); returns how many.
 */
static int64_t filter_sorted(choir_sampler *sampler, const choir_sampling *sampling, float z_max,
                             int64_t n)
{
    const float *z = sampler->z;
    int32_t *order = sampler->order;
    const bool has_top_k = sampling->top_k > 0 && sampling->top_k < sampler->V;
    const bool is_filtered = has_top_k || sampling->min_p > 0;
    int64_t n_left = has_top_k && sampling->top_k < n ? sampling->top_k : n;
    for (int64_t at = n / 2 - 1; at >= 0; at--)
        sift_down(z, order, n, at);

    int64_t n_popped = 0;
    if (is_filtered)
        while (n_popped < n_left)
            pop(z, order, n - n_popped++);
    if (sampling->top_p >= 1)
        return n_left;

    float total = 0;
    if (is_filtered)
        for (int64_t i = 0; i < n_left; i++)
            total += choir_expf(z[order[n - 1 - i]] - z_max);
    else
        total = whole_total(sampler);
    const float enough = sampling->top_p * total;
    float sum = 0;
    for (int64_t i = 0; i < n_left; i++) {
        if (!is_filtered)
            pop(z, order, n - i);
        sum += choir_expf(z[order[n - 1 - i]] - z_max);
        if (sum >= enough)
            return i + 1;
    }
    return n_left;
}

/* The argmax of z + noise over ids[0..n); `top` is the id of the greatest z and one of them. */
static int32_t draw(const choir_sampling *sampling, const float *z, const int32_t *ids, int64_t n,
                    int32_t top, int64_t position, int choice)
{
    int32_t best = top;
    float best_sum = z[top] + choir_sampler_gumbel(sampling->seed, position, choice, top);
    int64_t block = -1;
    uint32_t words[4] = {0};
    for (int64_t i = 0; i < n; i++) {
        const int32_t id = ids[i];
        if (z[id] + 16.64f < best_sum)
            continue;
        if (id / 4 != block) {
            block = id / 4;
            noise_words(sampling->seed, position, choice, block, words);
        }
        const float sum = z[id] + gumbel_of(words[id % 4]);
        if (sum > best_sum || (sum == best_sum && id < best)) {
            best = id;
            best_sum = sum;
        }
    }
    return best;
}

int32_t choir_sampler_pick(choir_sampler *sampler, const choir_sampling *sampling,
                           const float *logits, int64_t position, int choice)
{
    const int32_t top = argmax(logits, sampler->V);
    if (sampling->temperature == 0)
        return top;
    float *z = sampler->z;
    for (int64_t i = 0; i < sampler->V; i++)
        z[i] = logits[i] / sampling->temperature;
    /* Division may make unequal logits equal: the first of the greatest stands for them. */
    const int32_t first = argmax(z, sampler->V);
    int64_t n = filter_min_p(sampler, sampling->min_p, z[first]);
    const int32_t *kept = sampler->order;
    if (sampling->top_k > 0 || sampling->top_p < 1) {
        const int64_t n_kept = filter_sorted(sampler, sampling, z[first], n);
        kept += n - n_kept;
        n = n_kept;
    }
    return draw(sampling, z, kept, n, first, position, choice);
}
