/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order is descending in z, then ascending in id, here and in the sampler; shards ascend in ids. So
 * when the last listed candidate of a shard is taken, and the shard has more, the merge must end:
 * what comes next in that shard is not known, and nothing before was missed.
 */
#include "worker/candidates.h"

#include "common/mem.h"
#include "kernels/sampling.h"
#include "worker/words.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

static int64_t n_listed(const choir_slice *slice, const choir_step_settings *settings)
{
    const int64_t n = choir_range_size(slice->vocab_rows);
    return settings->n_candidates < n ? settings->n_candidates : n;
}

size_t choir_candidates_words(const choir_slice *slice, const choir_step_settings *settings)
{
    const int64_t n_chunks = choir_range_size(slice->vocab_chunks);
    return (size_t)(3 * n_listed(slice, settings) + (settings->wants_total ? 2 * n_chunks : 0) +
                    (settings->n_candidates == 0 ? 3 : 0));
}

/* Places of the best `limit` of z [n], best first; equal ones keep their order. Returns how many.
 */
static int64_t find_best(const float *z, int64_t n, int64_t limit, int32_t *places)
{
    int64_t found = 0;
    for (int64_t i = 0; i < n; i++) {
        if (found == limit && !(z[i] > z[places[found - 1]]))
            continue;
        int64_t at = found < limit ? found++ : found - 1;
        for (; at > 0 && z[i] > z[places[at - 1]]; at--)
            places[at] = places[at - 1];
        places[at] = (int32_t)i;
    }
    return found;
}

static void put_one(uint32_t *word, int64_t id, float z, float logit)
{
    word[0] = (uint32_t)id;
    choir_word_put_float(word + 1, z);
    choir_word_put_float(word + 2, logit);
}

void choir_candidates_write(uint32_t *words, const choir_kernels *kernels,
                            const choir_layout *layout, const choir_slice *slice,
                            const choir_step_settings *settings, const float *logits,
                            const choir_candidates_scratch *scratch)
{
    const int64_t base = slice->vocab_rows.begin, n = choir_range_size(slice->vocab_rows);
    const float *z = scratch->z;
    choir_sampling sampling;
    choir_sampling_lists lists;
    choir_step_settings_read(settings, &sampling, &lists);
    choir_sampling_apply(scratch->z, logits, base, n, &sampling, &lists, scratch->counts);
    if (settings->n_candidates > 0) {
        int32_t places[CHOIR_STEP_MAX_CANDIDATES];
        const int64_t n_best = find_best(z, n, n_listed(slice, settings), places);
        for (int64_t i = 0; i < n_best; i++, words += 3)
            put_one(words, base + places[i], z[places[i]], logits[places[i]]);
    } else if (n > 0) {
        float sum;
        const int64_t best =
            choir_sampling_draw(&sampling, settings->position, z, NULL, base, n, &sum);
        put_one(words, base + best, sum, logits[best]);
    } else {
        put_one(words, 0, -INFINITY, 0);
    }
    if (!settings->wants_total)
        return;
    for (int64_t first = 0; first < n; first += layout->vocab_chunk, words += 2) {
        const int64_t rest = n - first;
        float m, l;
        kernels->lse_chunk(z + first, rest < layout->vocab_chunk ? rest : layout->vocab_chunk, &m,
                           &l);
        choir_word_put_float(words, m);
        choir_word_put_float(words + 1, l);
    }
}

static void merge_drawn(choir_row_result *row, int n_shards, const uint32_t *const *words)
{
    float best_sum = -INFINITY;
    row->drawn_id = -1;
    for (int s = 0; s < n_shards; s++)
        if (choir_word_get_float(words[s][1]) >
            best_sum) { /* shards ascend: the lower id keeps a tie */
            best_sum = choir_word_get_float(words[s][1]);
            row->drawn_id = (int32_t)words[s][0];
            row->drawn_logit = choir_word_get_float(words[s][2]);
        }
}

/* The shard whose next candidate comes first; -1: none has one. */
static int next_shard(int n_shards, const uint32_t *const *words, const int64_t *taken,
                      const int64_t *listed)
{
    int best = -1;
    float best_z = 0;
    for (int s = 0; s < n_shards; s++) {
        if (taken[s] == listed[s])
            continue;
        const float z = choir_word_get_float(words[s][3 * taken[s] + 1]);
        if (best < 0 || z > best_z) {
            best = s;
            best_z = z;
        }
    }
    return best;
}

static void merge_lists(choir_row_result *row, const choir_candidates_room *room,
                        const choir_slice *shards, int n_shards,
                        const choir_step_settings *settings, const uint32_t *const *words)
{
    int64_t taken[CHOIR_MAX_RANKS], listed[CHOIR_MAX_RANKS];
    row->has_all = true;
    for (int s = 0; s < n_shards; s++) {
        taken[s] = 0;
        listed[s] = n_listed(&shards[s], settings);
    }
    for (;;) {
        const int s = next_shard(n_shards, words, taken, listed);
        if (s < 0)
            break;
        const uint32_t *word = words[s] + 3 * taken[s]++;
        room->ids[row->n_candidates] = (int32_t)word[0];
        room->z[row->n_candidates] = choir_word_get_float(word[1]);
        room->logits[row->n_candidates++] = choir_word_get_float(word[2]);
        if (taken[s] == listed[s] && listed[s] < choir_range_size(shards[s].vocab_rows)) {
            row->has_all = false;
            break;
        }
    }
}

void choir_candidates_merge(choir_row_result *row, const choir_candidates_room *room,
                            const choir_layout *layout, const choir_step_settings *settings,
                            const uint32_t *const *words)
{
    const choir_slice *shards = layout->slices + layout->n_ranks - layout->n_shards;
    float m = -INFINITY, l = 0;
    row->n_candidates = 0;
    row->candidate_ids = room->ids;
    row->candidate_z = room->z;
    row->candidate_logits = room->logits;
    if (settings->n_candidates == 0)
        merge_drawn(row, layout->n_shards, words);
    else
        merge_lists(row, room, shards, layout->n_shards, settings, words);
    for (int s = 0; settings->wants_total && s < layout->n_shards; s++) {
        const uint32_t *word = words[s] + 3 * n_listed(&shards[s], settings);
        for (int64_t c = choir_range_size(shards[s].vocab_chunks); c > 0; c--, word += 2)
            choir_lse_merge(&m, &l, choir_word_get_float(word[0]), choir_word_get_float(word[1]));
    }
    row->total = l;
}
