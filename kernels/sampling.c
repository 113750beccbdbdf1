/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/sampling.h"

#include "common/philox.h"
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

/* In counts: the id is of the history; the lower bits say how often in the answer. */
static const int32_t seen = 1 << 30;

static bool has_repetition(const choir_sampling *sampling)
{
    return sampling->repetition_penalty != 0 && sampling->repetition_penalty != 1;
}

bool choir_sampling_needs_history(const choir_sampling *sampling)
{
    return has_repetition(sampling) || sampling->frequency_penalty != 0 ||
           sampling->presence_penalty != 0;
}

static bool is_in(int64_t id, int64_t begin, int64_t n)
{
    return id >= begin && id < begin + n;
}

/* -inf for all that stand between the allowed ones, which ascend. */
static void allow(float *z, int64_t begin, int64_t n, const choir_sampling_lists *lists)
{
    int64_t next = 0;
    if (lists->n_allowed == 0)
        return;
    for (int32_t i = 0; i < lists->n_allowed; i++) {
        const int64_t at = lists->allowed[i] - begin;
        for (; next < n && next < at; next++)
            z[next] = -INFINITY;
        if (at >= next)
            next = at + 1;
    }
    for (; next < n; next++)
        z[next] = -INFINITY;
}

static float penalize(float z, int32_t count, const choir_sampling *sampling)
{
    const int32_t n_answer = count & ~seen;
    if (has_repetition(sampling))
        z = z > 0 ? z / sampling->repetition_penalty : z * sampling->repetition_penalty;
    if (n_answer > 0 && sampling->frequency_penalty != 0)
        z = z - (float)n_answer * sampling->frequency_penalty;
    if (n_answer > 0 && sampling->presence_penalty != 0)
        z = z - sampling->presence_penalty;
    return z;
}

static void apply_penalties(float *z, int64_t begin, int64_t n, const choir_sampling *sampling,
                            const choir_sampling_lists *lists, int32_t *counts)
{
    for (int32_t i = 0; i < lists->n_history; i++)
        if (is_in(lists->history[i], begin, n)) {
            int32_t *count = &counts[lists->history[i] - begin];
            *count = (*count | seen) + (i >= lists->n_prompt);
        }
    for (int32_t i = 0; i < lists->n_history; i++) {
        const int64_t at = lists->history[i] - begin;
        if (!is_in(lists->history[i], begin, n) || counts[at] == 0)
            continue; /* another rank's, or done already */
        z[at] = penalize(z[at], counts[at], sampling);
        counts[at] = 0;
    }
}

void choir_sampling_apply(float *z, const float *logits, int64_t begin, int64_t n,
                          const choir_sampling *sampling, const choir_sampling_lists *lists,
                          int32_t *counts)
{
    if (z != logits)
        memcpy(z, logits, (size_t)n * sizeof *z);
    for (int32_t i = 0; i < lists->n_bias; i++)
        if (is_in(lists->bias[i].token_id, begin, n))
            z[lists->bias[i].token_id - begin] += lists->bias[i].bias;
    allow(z, begin, n, lists);
    for (int32_t i = 0; i < lists->n_banned; i++)
        if (is_in(lists->banned[i], begin, n))
            z[lists->banned[i] - begin] = -INFINITY;
    if (choir_sampling_needs_history(sampling))
        apply_penalties(z, begin, n, sampling, lists, counts);
    for (int64_t i = 0; sampling->temperature != 0 && i < n; i++)
        z[i] /= sampling->temperature;
}

void choir_sampling_noise(const choir_sampling *sampling, int64_t position, int64_t block,
                          uint32_t words[4])
{
    const uint32_t key[2] = {(uint32_t)sampling->seed, (uint32_t)(sampling->seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)position, (uint32_t)sampling->choice, (uint32_t)block,
                                 0};
    choir_philox(key, counter, words);
}

float choir_sampling_gumbel(uint32_t word)
{
    const float u = ((float)(word >> 9) + 0.5f) * 0x1p-23f; /* exact, in (0, 1) */
    return -choir_logf(-choir_logf(u));
}

/*
 * Whether z + noise is surely below best_sum, without a logarithm. With u = 1 - v the noise is
 * -log(-log(1 - v)) < -log(v), so it stays below t = best_sum - z where v > exp(-t). For that
 * stands 2^e (1 + f), whose exponent and fraction make up x = -t log2(e): it is no less, since
 * 2^f <= 1 + f. The 0.02 covers all roundings while the sums are below 2^15.
 */
static bool cannot_win(float z, float best_sum, uint32_t word)
{
    const float v = ((float)(0x7fffff - (word >> 9)) + 0.5f) * 0x1p-23f; /* exact, as u is */
    const float x = (z - best_sum + 0.02f) * 1.4426951f;
    if (!(fabsf(best_sum) < 0x1p15f && x > -60 && x < 0))
        return false;
    const uint32_t bits = (uint32_t)((x + 127) * 0x1p23f);
    float bound;
    memcpy(&bound, &bits, sizeof bound);
    return v > bound;
}

/*
 * Two bounds leave out what cannot win, so that hardly any noise is computed and the result is the
 * same to the last bit: no noise exceeds 16.636; and cannot_win(). Whoever has the greatest z goes
 * first, so that both take hold at once.
 */
int64_t choir_sampling_draw(const choir_sampling *sampling, int64_t position, const float *z,
                            const int32_t *ids, int64_t first_id, int64_t n, float *best_sum)
{
    uint32_t words[4];
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (z[i] > z[best])
            best = i;
    int64_t best_id = ids ? ids[best] : first_id + best, block = best_id / 4;
    choir_sampling_noise(sampling, position, block, words);
    *best_sum = z[best] + choir_sampling_gumbel(words[best_id % 4]);
    for (int64_t i = 0; i < n; i++) {
        const int64_t id = ids ? ids[i] : first_id + i;
        if (z[i] + 16.64f < *best_sum)
            continue;
        if (id / 4 != block) {
            block = id / 4;
            choir_sampling_noise(sampling, position, block, words);
        }
        if (cannot_win(z[i], *best_sum, words[id % 4]))
            continue;
        const float sum = z[i] + choir_sampling_gumbel(words[id % 4]);
        if (sum > *best_sum || (sum == *best_sum && id < best_id)) {
            best = i;
            best_id = id;
            *best_sum = sum;
        }
    }
    return best;
}
