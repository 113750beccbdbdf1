/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/results.h"

#include "common/mem.h"
#include "worker/forward.h"
#include "worker/team.h"
#include "worker/words.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void choir_wanted_list(const choir_step *step, int64_t width, choir_wanted *wanted)
{
    const choir_step_settings *settings = step->settings;
    int32_t row = 0, next = 0, target = 0;
    for (int32_t s = 0; s < step->n_seqs; s++) {
        const choir_step_sequence *seq = &step->seqs[s];
        const bool has_targets = seq->flags & CHOIR_SEQUENCE_HAS_TARGETS;
        for (int32_t i = seq->first_wanted; i < seq->n_tokens; i++)
            wanted[next++] = (choir_wanted){
                .row = row + i,
                .target = has_targets ? step->targets[target++] : -1,
                .n_top = seq->n_top,
                .is_full = seq->flags & CHOIR_SEQUENCE_FULL_ROW,
                .state_width = seq->flags & CHOIR_SEQUENCE_STATE ? (int32_t)width : 0,
            };
        if (seq->flags & CHOIR_SEQUENCE_SAMPLED) {
            wanted[next - 1].settings = settings;
            settings = choir_step_settings_next(settings);
        }
        row += seq->n_tokens;
    }
}

int choir_wanted_rows(const choir_wanted *wanted, int n, bool is_state, int32_t *rows)
{
    int n_rows = 0;
    for (int i = 0; i < n; i++)
        if ((wanted[i].state_width > 0) == is_state)
            rows[n_rows++] = wanted[i].row;
    return n_rows;
}

static int64_t shard_top(const choir_slice *slice, const choir_wanted *wanted)
{
    const int64_t n = choir_range_size(slice->vocab_rows);
    return wanted->n_top < n ? wanted->n_top : n;
}

static size_t row_words(const choir_slice *slice, const choir_wanted *wanted)
{
    if (wanted->state_width > 0)
        return slice->shard == 0 ? 1 + (size_t)wanted->state_width : 0;
    const int64_t words = 2 + 2 * choir_range_size(slice->vocab_chunks) +
                          2 * shard_top(slice, wanted) +
                          (wanted->is_full ? choir_range_size(slice->vocab_rows) : 0);
    return (size_t)words + (wanted->settings ? choir_candidates_words(slice, wanted->settings) : 0);
}

/* Where a row's candidates begin in its record. */
static size_t candidates_at(const choir_slice *slice, const choir_wanted *wanted)
{
    return (size_t)(2 + 2 * choir_range_size(slice->vocab_chunks) + 2 * shard_top(slice, wanted));
}

size_t choir_record_words(const choir_slice *slice, const choir_wanted *wanted, int n)
{
    size_t words = 0;
    for (int i = 0; i < n; i++)
        words += row_words(slice, &wanted[i]);
    return words;
}

size_t choir_record_words_max(const choir_slice *slice, int64_t width)
{
    static const choir_step_settings most = {.n_candidates = CHOIR_STEP_MAX_CANDIDATES,
                                             .wants_total = 1};
    const choir_wanted wanted = {.n_top = CHOIR_STEP_MAX_TOP, .is_full = true, .settings = &most};
    const choir_wanted state = {.state_width = (int32_t)width};
    const size_t n_logits = row_words(slice, &wanted), n_state = row_words(slice, &state);
    return CHOIR_LOGITS_ROWS * (n_logits > n_state ? n_logits : n_state);
}

/*
 * The best n of candidates given in ascending id, best first. Equal logits keep the earlier one in
 * front, so ties go to the lower id; -0 and +0 compare equal.
 */
typedef struct best {
    int32_t *ids;
    float *logits;
    int64_t n, limit;
} best;

static void best_add(best *b, int32_t id, float logit)
{
    if (b->n == b->limit && (b->n == 0 || !(logit > b->logits[b->n - 1])))
        return;
    int64_t place = b->n < b->limit ? b->n++ : b->n - 1;
    for (; place > 0 && logit > b->logits[place - 1]; place--) {
        b->ids[place] = b->ids[place - 1];
        b->logits[place] = b->logits[place - 1];
    }
    b->ids[place] = id;
    b->logits[place] = logit;
}

static bool all_finite(const float *z, int64_t n)
{
    bool is_finite = true;
    for (int64_t i = 0; i < n; i++)
        is_finite &= fabsf(z[i]) <= 0x1.fffffep127f;
    return is_finite;
}

/* A row's record, and its logits of this shard. */
typedef struct row_record {
    uint32_t *words;
    const float *z;
    int64_t n, n_chunks;
} row_record;

/* z: of the state of a row that wants it, n its width. */
static row_record record_at(uint32_t *record, const choir_layout *layout, const choir_slice *slice,
                            const choir_wanted *wanted, int64_t row, const float *logits,
                            const float *states)
{
    const bool is_state = wanted[row].state_width > 0;
    const int64_t n = is_state ? wanted[row].state_width : choir_range_size(slice->vocab_rows);
    int64_t place = 0; /* among its like */
    for (int64_t i = 0; i < row; i++)
        place += (wanted[i].state_width > 0) == is_state;
    return (row_record){record + choir_record_words(slice, wanted, (int)row),
                        (is_state ? states : logits) + place * n, n,
                        is_state ? 0 : choir_ceil_div(n, layout->vocab_chunk)};
}

static void write_state(const row_record *r, const choir_slice *slice)
{
    if (slice->shard != 0)
        return;
    r->words[0] = all_finite(r->z, r->n);
    memcpy(r->words + 1, r->z, (size_t)r->n * sizeof *r->z);
}

/* (m, l) of one chunk, and its part of a whole row. A chunk that is not finite says so by m = NaN.
 */
static void write_chunk(const row_record *r, const choir_kernels *kernels, int64_t chunk_size,
                        const choir_wanted *wanted, const choir_slice *slice, int64_t chunk)
{
    const int64_t first = chunk * chunk_size, rest = r->n - first;
    const int64_t n = rest < chunk_size ? rest : chunk_size;
    float m, l;
    kernels->lse_chunk(r->z + first, n, &m, &l);
    choir_word_put_float(r->words + 2 + 2 * chunk, all_finite(r->z + first, n) ? m : NAN);
    choir_word_put_float(r->words + 2 + 2 * chunk + 1, l);
    if (wanted->is_full)
        memcpy(r->words + row_words(slice, wanted) - r->n + first, r->z + first,
               (size_t)n * sizeof *r->z);
}

/* What needs all chunks of the row. The best entries: chunks whose maximum is no better than the
 * worst one found so far are passed over. */
static void write_summary(const row_record *r, int64_t chunk_size, const choir_wanted *wanted,
                          const choir_slice *slice)
{
    const int64_t base = slice->vocab_rows.begin;
    const bool owns = wanted->target >= base && wanted->target < slice->vocab_rows.end;
    int32_t ids[CHOIR_STEP_MAX_TOP];
    float logits[CHOIR_STEP_MAX_TOP];
    best b = {ids, logits, 0, shard_top(slice, wanted)};
    bool is_finite = true;
    for (int64_t chunk = 0; chunk < r->n_chunks; chunk++) {
        const float m = choir_word_get_float(r->words[2 + 2 * chunk]);
        const int64_t first = chunk * chunk_size, end = first + chunk_size;
        is_finite &= !isnan(m);
        if (b.limit == 0 || (b.n == b.limit && m <= logits[b.n - 1]))
            continue;
        for (int64_t i = first; i < (end < r->n ? end : r->n); i++)
            best_add(&b, (int32_t)(base + i), r->z[i]);
    }
    uint32_t *word = r->words;
    *word++ = is_finite;
    choir_word_put_float(word++, owns ? r->z[wanted->target - base] : 0.0f);
    word += 2 * r->n_chunks;
    for (int64_t i = 0; i < b.limit; i++) {
        *word++ = i < b.n ? (uint32_t)ids[i] : 0;
        choir_word_put_float(word++, i < b.n ? logits[i] : 0.0f);
    }
}

void choir_record_write(uint32_t *record, const choir_kernels *kernels, const choir_layout *layout,
                        const choir_slice *slice, const choir_wanted *wanted, int n,
                        const float *logits, const float *states,
                        const choir_candidates_scratch *scratch, const choir_team *team)
{
    const int64_t chunk_size = layout->vocab_chunk;
    const int64_t n_chunks = choir_ceil_div(choir_range_size(slice->vocab_rows), chunk_size);
    const choir_range chunks = choir_team_share(team, n * n_chunks);
    const choir_range rows = choir_team_share(team, n);
    for (int64_t i = chunks.begin; i < chunks.end; i++) {
        const row_record r = record_at(record, layout, slice, wanted, i / n_chunks, logits, states);
        if (r.n_chunks > 0)
            write_chunk(&r, kernels, chunk_size, &wanted[i / n_chunks], slice, i % n_chunks);
    }
    choir_team_wait(team, CHOIR_PHASE_RECORD);
    for (int64_t i = rows.begin; i < rows.end; i++) {
        const row_record r = record_at(record, layout, slice, wanted, i, logits, states);
        if (wanted[i].state_width > 0) {
            write_state(&r, slice);
            continue;
        }
        write_summary(&r, chunk_size, &wanted[i], slice);
        if (wanted[i].settings)
            choir_candidates_write(r.words + candidates_at(slice, &wanted[i]), kernels, layout,
                                   slice, wanted[i].settings, r.z, &scratch[team->thread]);
    }
    choir_phase_end(team->clock, CHOIR_PHASE_RECORD);
}

/* As many as all shards together may list for a row. */
static size_t candidates_most(const choir_layout *layout, const choir_wanted *wanted)
{
    return wanted->settings ? (size_t)wanted->settings->n_candidates * (size_t)layout->n_shards : 0;
}

choir_status choir_results_prepare(choir_results *results, const choir_layout *layout,
                                   const choir_wanted *wanted, int n)
{
    choir_results *r = results;
    const int64_t vocab_size = layout->vocab_size;
    size_t n_top = 0, n_full = 0, n_candidates = 0, n_states = 0;
    for (int i = 0; i < n; i++) {
        n_states += (size_t)wanted[i].state_width;
        n_top += (size_t)wanted[i].n_top;
        n_full += wanted[i].is_full;
        n_candidates += candidates_most(layout, &wanted[i]);
    }
    choir_status status =
        choir_grow((void **)&r->rows, &r->rows_capacity, (size_t)n, sizeof *r->rows);
    if (status == CHOIR_OK)
        status = choir_grow((void **)&r->top_ids, &r->top_ids_capacity, n_top, sizeof *r->top_ids);
    if (status == CHOIR_OK)
        status = choir_grow((void **)&r->top_logits, &r->top_logits_capacity, n_top,
                            sizeof *r->top_logits);
    if (status == CHOIR_OK)
        status = choir_grow((void **)&r->logits, &r->logits_capacity, n_full * (size_t)vocab_size,
                            sizeof *r->logits);
    if (status == CHOIR_OK)
        status = choir_grow((void **)&r->candidate_ids, &r->candidate_ids_capacity, n_candidates,
                            sizeof *r->candidate_ids);
    if (status == CHOIR_OK)
        status = choir_grow((void **)&r->candidate_z, &r->candidate_z_capacity, n_candidates,
                            sizeof *r->candidate_z);
    if (status == CHOIR_OK)
        status = choir_grow((void **)&r->candidate_logits, &r->candidate_logits_capacity,
                            n_candidates, sizeof *r->candidate_logits);
    if (status == CHOIR_OK)
        status = choir_grow((void **)&r->states, &r->states_capacity, n_states, sizeof *r->states);
    if (status != CHOIR_OK)
        return status;
    n_top = n_full = n_candidates = n_states = 0;
    for (int i = 0; i < n; i++) {
        r->rows[i] = (choir_row_result){
            .top_ids = r->top_ids + n_top,
            .top_logits = r->top_logits + n_top,
            .logits = wanted[i].is_full ? r->logits + n_full * (size_t)vocab_size : NULL,
            .candidate_ids = r->candidate_ids + n_candidates,
            .state = wanted[i].state_width > 0 ? r->states + n_states : NULL};
        n_states += (size_t)wanted[i].state_width;
        n_candidates += candidates_most(layout, &wanted[i]);
        n_top += (size_t)wanted[i].n_top;
        n_full += wanted[i].is_full;
    }
    return CHOIR_OK;
}

/* Shard 0 has it. */
static void merge_state(choir_results *results, int index, const choir_layout *layout,
                        const choir_wanted *wanted, const uint32_t **at)
{
    choir_row_result *row = &results->rows[index];
    const choir_slice *first = layout->slices + layout->n_ranks - layout->n_shards;
    row->is_finite = at[0][0] != 0;
    memcpy(results->states + (row->state - results->states), at[0] + 1,
           (size_t)wanted->state_width * sizeof *results->states);
    at[0] += row_words(first, wanted);
}

/* Shards are merged in ascending order, which is ascending in chunks and in ids. */
static void merge_row(choir_results *results, int index, const choir_layout *layout,
                      const choir_wanted *wanted, const uint32_t **at)
{
    choir_row_result *row = &results->rows[index];
    const choir_slice *shards = layout->slices + layout->n_ranks - layout->n_shards;
    best b = {results->top_ids + (row->top_ids - results->top_ids),
              results->top_logits + (row->top_logits - results->top_logits), 0, wanted->n_top};
    float *logits = row->logits ? results->logits + (row->logits - results->logits) : NULL;
    const uint32_t *candidates[CHOIR_MAX_RANKS];
    float m = -INFINITY, l = 0.0f;
    row->is_finite = true;
    for (int s = 0; s < layout->n_shards; s++) {
        const choir_slice *slice = &shards[s];
        const uint32_t *word = at[s];
        const bool owns =
            wanted->target >= slice->vocab_rows.begin && wanted->target < slice->vocab_rows.end;
        row->is_finite &= *word++ != 0;
        if (owns)
            row->target_logit = choir_word_get_float(*word);
        word++;
        for (int64_t c = slice->vocab_chunks.begin; c < slice->vocab_chunks.end; c++, word += 2)
            choir_lse_merge(&m, &l, choir_word_get_float(word[0]), choir_word_get_float(word[1]));
        const int64_t n_top = shard_top(slice, wanted);
        for (int64_t i = 0; i < n_top; i++, word += 2)
            best_add(&b, (int32_t)word[0], choir_word_get_float(word[1]));
        candidates[s] = word;
        if (wanted->settings)
            word += choir_candidates_words(slice, wanted->settings);
        if (logits)
            memcpy(logits + slice->vocab_rows.begin, word,
                   (size_t)choir_range_size(slice->vocab_rows) * sizeof *logits);
        at[s] += row_words(slice, wanted);
    }
    row->lse = m + choir_logf(l);
    row->n_top = (int)b.n;
    if (wanted->settings) {
        const size_t first = (size_t)(row->candidate_ids - results->candidate_ids);
        const choir_candidates_room room = {results->candidate_ids + first,
                                            results->candidate_z + first,
                                            results->candidate_logits + first};
        choir_candidates_merge(row, &room, layout, wanted->settings, candidates);
    }
}

void choir_results_merge(choir_results *results, const choir_layout *layout,
                         const choir_wanted *wanted, int first, int n,
                         const uint32_t *const *records)
{
    const uint32_t *at[CHOIR_MAX_RANKS];
    assert(layout->n_shards <= (int)(sizeof at / sizeof at[0]));
    memcpy(at, records, (size_t)layout->n_shards * sizeof at[0]);
    for (int i = 0; i < n; i++) {
        const choir_wanted *row = &wanted[first + i];
        if (row->state_width > 0)
            merge_state(results, first + i, layout, row, at);
        else
            merge_row(results, first + i, layout, row, at);
    }
}

void choir_results_release(choir_results *results)
{
    free(results->rows);
    free(results->top_ids);
    free(results->top_logits);
    free(results->logits);
    free(results->candidate_ids);
    free(results->candidate_z);
    free(results->candidate_logits);
    free(results->states);
    memset(results, 0, sizeof *results);
}
