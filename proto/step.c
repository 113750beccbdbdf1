/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The builder keeps the four parts of a message apart, since their sizes are known only at the end,
 * and joins them in finish(). Both sides use the same check of a sequence.
 */
#include "proto/step.h"

#include "common/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const uint32_t step_magic = 0x50455453; /* "STEP" */

typedef struct step_header {
    uint32_t magic;
    uint32_t version;
    uint64_t id;
    uint32_t flags;
    int32_t n_seqs, n_rows, n_new_pages, n_targets;
    int32_t n_words; /* of settings */
} step_header;

_Static_assert(sizeof(step_header) == 40, "all fields of the header are on the wire");
_Static_assert(sizeof(choir_step_settings) == 60, "all fields of settings are on the wire");
_Static_assert(sizeof(choir_logit_bias) == 8, "a pair of words");
_Static_assert(sizeof(choir_step_sequence) == 32, "all fields of a sequence are on the wire");

struct choir_step_builder {
    choir_step_limits limits;
    step_header header;
    choir_step_sequence *seqs; /* [max_num_seqs] */
    int32_t *token_ids;        /* [max_num_batched_tokens] */
    int32_t *new_pages;        /* [choir_step_new_pages_max()] */
    int32_t *targets;          /* [max_num_batched_tokens] */
    int32_t *words;            /* [CHOIR_STEP_MAX_WORDS] */
    unsigned char *buffer;     /* [choir_step_bytes_max()] */
};

/* Pages that `positions` positions fill; cannot wrap. */
static int32_t pages_of(const choir_step_limits *limits, int64_t positions)
{
    return (int32_t)choir_ceil_div(positions, limits->page_positions);
}

int64_t choir_step_settings_words(const choir_step_settings *settings)
{
    return (int64_t)(sizeof *settings / sizeof(int32_t)) + 2 * (int64_t)settings->n_bias +
           settings->n_allowed + settings->n_banned + settings->n_history;
}

const choir_step_settings *choir_step_settings_next(const choir_step_settings *settings)
{
    return (const choir_step_settings *)((const int32_t *)settings +
                                         choir_step_settings_words(settings));
}

void choir_step_settings_read(const choir_step_settings *settings, choir_sampling *sampling,
                              choir_sampling_lists *lists)
{
    const choir_logit_bias *bias = (const choir_logit_bias *)(settings + 1);
    const int32_t *ids = (const int32_t *)(bias + settings->n_bias);
    *sampling = (choir_sampling){
        .temperature = settings->temperature,
        .top_p = 1,
        .repetition_penalty = settings->repetition_penalty,
        .frequency_penalty = settings->frequency_penalty,
        .presence_penalty = settings->presence_penalty,
        .seed = (uint64_t)settings->seed_high << 32 | settings->seed_low,
        .choice = settings->choice,
    };
    *lists = (choir_sampling_lists){
        .bias = bias,
        .n_bias = settings->n_bias,
        .allowed = ids,
        .n_allowed = settings->n_allowed,
        .banned = ids + settings->n_allowed,
        .n_banned = settings->n_banned,
        .history = ids + settings->n_allowed + settings->n_banned,
        .n_history = settings->n_history,
        .n_prompt = settings->n_prompt,
    };
}

choir_status choir_step_limits_check(const choir_step_limits *limits)
{
    const struct {
        const char *name;
        int32_t value, most;
    } fields[] = {
        {"max_num_seqs", limits->max_num_seqs, CHOIR_STEP_MAX_SEQS},
        {"max_num_batched_tokens", limits->max_num_batched_tokens, 1 << 20},
        {"max_model_len", limits->max_model_len, 1 << 30},
        {"n_pages", limits->n_pages, INT32_MAX},
        {"page_positions", limits->page_positions, 1 << 20},
        {"vocab_size", limits->vocab_size, INT32_MAX},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (fields[i].value < 1 || fields[i].value > fields[i].most)
            return choir_fail(CHOIR_EUSAGE, "%s is %d; give 1 to %d", fields[i].name,
                              fields[i].value, fields[i].most);
    return CHOIR_OK;
}

/* Bytes of a message; counts within checked limits cannot wrap. */
static size_t bytes_of(size_t n_seqs, size_t n_rows, size_t n_new_pages, size_t n_targets,
                       size_t n_words)
{
    return sizeof(step_header) + n_seqs * sizeof(choir_step_sequence) +
           (n_rows + n_new_pages + n_targets + n_words) * sizeof(int32_t);
}

int64_t choir_step_new_pages_max(const choir_step_limits *limits)
{
    return (int64_t)limits->max_num_batched_tokens - 1 + pages_of(limits, limits->max_model_len);
}

size_t choir_step_bytes_max(const choir_step_limits *limits)
{
    const size_t rows = (size_t)limits->max_num_batched_tokens;
    return bytes_of((size_t)limits->max_num_seqs, rows, (size_t)choir_step_new_pages_max(limits),
                    rows, CHOIR_STEP_MAX_WORDS);
}

static int32_t n_targets_of(const choir_step_sequence *sequence)
{
    const bool has_targets = sequence->flags & CHOIR_SEQUENCE_HAS_TARGETS;
    return has_targets ? sequence->n_tokens - sequence->first_wanted : 0;
}

/* One sequence by itself: every field in its range and the pages those that the positions need. */
static choir_status check_sequence(const choir_step_limits *limits,
                                   const choir_step_sequence *sequence)
{
    const uint32_t flags = CHOIR_SEQUENCE_FULL_ROW | CHOIR_SEQUENCE_HAS_TARGETS |
                           CHOIR_SEQUENCE_SAMPLED | CHOIR_SEQUENCE_STATE;
    const bool is_state = sequence->flags & CHOIR_SEQUENCE_STATE;
    const bool is_sampled = sequence->flags & CHOIR_SEQUENCE_SAMPLED;
    const int32_t first = sequence->first_position, n = sequence->n_tokens;
    if (sequence->slot < 0 || sequence->slot >= limits->max_num_seqs)
        return choir_fail(CHOIR_EINTERNAL, "step: slot %d of %d", sequence->slot,
                          limits->max_num_seqs);
    if (first < 0 || n < 1 || (int64_t)first + n > limits->max_model_len)
        return choir_fail(CHOIR_EINTERNAL, "step: slot %d: %d tokens at position %d of %d",
                          sequence->slot, n, first, limits->max_model_len);
    if (sequence->n_pages_before < 0 ||
        sequence->n_pages_before > pages_of(limits, (int64_t)first + 1) ||
        sequence->n_new_pages != pages_of(limits, (int64_t)first + n) - sequence->n_pages_before)
        return choir_fail(
            CHOIR_EINTERNAL, "step: slot %d: %d pages and %d new for %d tokens at position %d",
            sequence->slot, sequence->n_pages_before, sequence->n_new_pages, n, first);
    if (sequence->first_wanted < 0 || sequence->first_wanted > n || sequence->n_top < 0 ||
        sequence->n_top > CHOIR_STEP_MAX_TOP || sequence->flags & ~flags ||
        (is_sampled &&
         (sequence->flags != CHOIR_SEQUENCE_SAMPLED || sequence->first_wanted != n - 1)) ||
        (is_state && (sequence->flags != CHOIR_SEQUENCE_STATE || sequence->n_top)))
        return choir_fail(
            CHOIR_EINTERNAL, "step: slot %d: logits wanted from row %d of %d, top %d, flags %x",
            sequence->slot, sequence->first_wanted, n, sequence->n_top, sequence->flags);
    return CHOIR_OK;
}

static choir_status check_ids(const char *what, const int32_t *ids, int32_t n, int32_t limit)
{
    for (int32_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= limit)
            return choir_fail(CHOIR_EINTERNAL, "step: %s %d is %d, limit %d", what, i, ids[i],
                              limit);
    return CHOIR_OK;
}

/* The header alone: what it counts must fill the message exactly. */
static choir_status check_header(const step_header *header, size_t bytes,
                                 const choir_step_limits *limits)
{
    if (header->magic != step_magic || header->version != CHOIR_STEP_VERSION)
        return choir_fail(CHOIR_EINTERNAL, "step: magic %08x, version %u", header->magic,
                          header->version);
    if (header->flags & ~(uint32_t)(CHOIR_STEP_STOP | CHOIR_STEP_AFTER_REST))
        return choir_fail(CHOIR_EINTERNAL, "step: flags %x", header->flags);
    const int32_t rows = limits->max_num_batched_tokens;
    if (header->n_seqs < 0 || header->n_seqs > limits->max_num_seqs || header->n_rows < 0 ||
        header->n_rows > rows || header->n_new_pages < 0 ||
        header->n_new_pages > choir_step_new_pages_max(limits) || header->n_targets < 0 ||
        header->n_targets > rows || header->n_words < 0 || header->n_words > CHOIR_STEP_MAX_WORDS)
        return choir_fail(CHOIR_EINTERNAL,
                          "step: %d sequences, %d rows, %d pages, %d targets, %d words",
                          header->n_seqs, header->n_rows, header->n_new_pages, header->n_targets,
                          header->n_words);
    const size_t expected =
        bytes_of((size_t)header->n_seqs, (size_t)header->n_rows, (size_t)header->n_new_pages,
                 (size_t)header->n_targets, (size_t)header->n_words);
    if (bytes != expected)
        return choir_fail(CHOIR_EINTERNAL, "step: %zu bytes, its header tells of %zu", bytes,
                          expected);
    return CHOIR_OK;
}

/* All sequences: each by itself, no slot twice, and what they count is what there is. */
static choir_status check_sequences(const choir_step_limits *limits, choir_step *step)
{
    uint64_t seen[CHOIR_STEP_MAX_SEQS / 64] = {0};
    int64_t n_rows = 0, n_new_pages = 0, n_targets = 0, n_wanted = 0;
    for (int32_t i = 0; i < step->n_seqs; i++) {
        const choir_step_sequence *sequence = &step->seqs[i];
        const choir_status status = check_sequence(limits, sequence);
        if (status)
            return status;
        const uint64_t bit = (uint64_t)1 << (sequence->slot % 64);
        if (seen[sequence->slot / 64] & bit)
            return choir_fail(CHOIR_EINTERNAL, "step: slot %d stands twice", sequence->slot);
        seen[sequence->slot / 64] |= bit;
        n_rows += sequence->n_tokens;
        n_new_pages += sequence->n_new_pages;
        n_targets += n_targets_of(sequence);
        n_wanted += sequence->n_tokens - sequence->first_wanted;
    }
    if (n_rows != step->n_rows || n_new_pages != step->n_new_pages || n_targets != step->n_targets)
        return choir_fail(CHOIR_EINTERNAL,
                          "step: sequences of %lld rows, %lld pages and %lld targets, header says "
                          "%d, %d and %d",
                          (long long)n_rows, (long long)n_new_pages, (long long)n_targets,
                          step->n_rows, step->n_new_pages, step->n_targets);
    step->n_wanted = (int32_t)n_wanted;
    return CHOIR_OK;
}

/* One block of settings, of which `n_left` words are there. */
static choir_status check_settings(const choir_step_limits *limits,
                                   const choir_step_settings *settings, int64_t n_left)
{
    const int64_t n_fixed = (int64_t)(sizeof *settings / sizeof(int32_t));
    const int32_t counts[] = {settings->n_bias, settings->n_allowed, settings->n_banned,
                              settings->n_history, settings->n_prompt};
    choir_sampling sampling;
    choir_sampling_lists lists;
    if (n_left < n_fixed)
        return choir_fail(CHOIR_EINTERNAL, "step: %lld words of settings are left",
                          (long long)n_left);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (counts[i] < 0 || counts[i] > CHOIR_STEP_MAX_WORDS)
            return choir_fail(CHOIR_EINTERNAL, "step: settings with a list of %d", counts[i]);
    if (choir_step_settings_words(settings) > n_left || settings->n_prompt > settings->n_history ||
        settings->n_candidates < 0 || settings->n_candidates > CHOIR_STEP_MAX_CANDIDATES ||
        settings->wants_total < 0 || settings->wants_total > 1 || settings->position < 0 ||
        settings->choice < 0)
        return choir_fail(CHOIR_EINTERNAL, "step: settings of %lld words, %lld are left",
                          (long long)choir_step_settings_words(settings), (long long)n_left);
    choir_step_settings_read(settings, &sampling, &lists);
    for (int32_t i = 0; i < lists.n_bias; i++)
        if (lists.bias[i].token_id < 0 || lists.bias[i].token_id >= limits->vocab_size)
            return choir_fail(CHOIR_EINTERNAL, "step: bias %d for token %d", i,
                              lists.bias[i].token_id);
    choir_status status = check_ids("allowed", lists.allowed, lists.n_allowed, limits->vocab_size);
    if (!status)
        status = check_ids("banned", lists.banned, lists.n_banned, limits->vocab_size);
    if (!status)
        status = check_ids("history", lists.history, lists.n_history, limits->vocab_size);
    return status;
}

/* A block for each sampled sequence, and no words beyond. */
static choir_status check_all_settings(const choir_step_limits *limits, const choir_step *step,
                                       int32_t n_words)
{
    const choir_step_settings *at = step->settings;
    int64_t n_left = n_words;
    for (int32_t i = 0; i < step->n_seqs; i++) {
        if (!(step->seqs[i].flags & CHOIR_SEQUENCE_SAMPLED))
            continue;
        const choir_status status = check_settings(limits, at, n_left);
        if (status)
            return status;
        n_left -= choir_step_settings_words(at);
        at = choir_step_settings_next(at);
    }
    if (n_left)
        return choir_fail(CHOIR_EINTERNAL, "step: %lld words of settings too many",
                          (long long)n_left);
    return CHOIR_OK;
}

choir_status choir_step_view(const void *buffer, size_t bytes, const choir_step_limits *limits,
                             choir_step *step)
{
    assert((uintptr_t)buffer % _Alignof(step_header) == 0);
    *step = (choir_step){0};
    if (bytes < sizeof(step_header))
        return choir_fail(CHOIR_EINTERNAL, "step: %zu bytes", bytes);
    const step_header *header = buffer;
    choir_status status = check_header(header, bytes, limits);
    if (status)
        return status;
    choir_step view = {.id = header->id,
                       .is_stop = header->flags & CHOIR_STEP_STOP,
                       .is_after_rest = header->flags & CHOIR_STEP_AFTER_REST,
                       .n_seqs = header->n_seqs,
                       .n_rows = header->n_rows,
                       .n_new_pages = header->n_new_pages,
                       .n_targets = header->n_targets};
    view.seqs = (const choir_step_sequence *)(header + 1);
    view.token_ids = (const int32_t *)(view.seqs + view.n_seqs);
    view.new_pages = view.token_ids + view.n_rows;
    view.targets = view.new_pages + view.n_new_pages;
    view.settings = (const choir_step_settings *)(view.targets + view.n_targets);
    if (view.is_stop && view.n_seqs)
        return choir_fail(CHOIR_EINTERNAL, "step: %d sequences in a stop", view.n_seqs);
    status = check_sequences(limits, &view);
    if (!status)
        status = check_ids("token", view.token_ids, view.n_rows, limits->vocab_size);
    if (!status)
        status = check_ids("page", view.new_pages, view.n_new_pages, limits->n_pages);
    if (!status)
        status = check_ids("target", view.targets, view.n_targets, limits->vocab_size);
    if (!status)
        status = check_all_settings(limits, &view, header->n_words);
    if (!status)
        *step = view;
    return status;
}

choir_status choir_step_builder_create(const choir_step_limits *limits,
                                       choir_step_builder **builder)
{
    choir_step_builder *made = NULL;
    *builder = NULL;
    choir_status status = choir_step_limits_check(limits);
    if (status)
        return status;
    const size_t rows = (size_t)limits->max_num_batched_tokens;
    status = choir_alloc(1, sizeof *made, (void **)&made);
    if (status)
        return status;
    made->limits = *limits;
    status = choir_alloc((size_t)limits->max_num_seqs, sizeof *made->seqs, (void **)&made->seqs);
    if (!status)
        status = choir_alloc(rows, sizeof *made->token_ids, (void **)&made->token_ids);
    if (!status)
        status = choir_alloc((size_t)choir_step_new_pages_max(limits), sizeof *made->new_pages,
                             (void **)&made->new_pages);
    if (!status)
        status = choir_alloc(rows, sizeof *made->targets, (void **)&made->targets);
    if (!status)
        status = choir_alloc(CHOIR_STEP_MAX_WORDS, sizeof *made->words, (void **)&made->words);
    if (!status)
        status = choir_alloc_aligned(choir_step_bytes_max(limits), 1, (void **)&made->buffer);
    if (status) {
        choir_step_builder_destroy(&made);
        return status;
    }
    choir_step_builder_begin(made, 0);
    *builder = made;
    return CHOIR_OK;
}

void choir_step_builder_destroy(choir_step_builder **builder)
{
    choir_step_builder *old = *builder;
    if (!old)
        return;
    free(old->seqs);
    free(old->token_ids);
    free(old->new_pages);
    free(old->targets);
    free(old->words);
    free(old->buffer);
    free(old);
    *builder = NULL;
}

void choir_step_builder_begin(choir_step_builder *builder, uint64_t step_id)
{
    builder->header =
        (step_header){.magic = step_magic, .version = CHOIR_STEP_VERSION, .id = step_id};
}

int64_t choir_step_builder_page_room(const choir_step_builder *builder)
{
    return choir_step_new_pages_max(&builder->limits) - builder->header.n_new_pages;
}

/* Appends n ids to one of the arrays; memcpy's pointers may not be NULL even for none. */
static void append(int32_t *array, int32_t *count, const int32_t *ids, int32_t n)
{
    if (n)
        memcpy(array + *count, ids, (size_t)n * sizeof *ids);
    *count += n;
}

choir_status choir_step_builder_add(choir_step_builder *builder,
                                    const choir_step_sequence *sequence, const int32_t *token_ids,
                                    const int32_t *new_pages, const int32_t *targets)
{
    step_header *header = &builder->header;
    const choir_status status = check_sequence(&builder->limits, sequence);
    if (status)
        return status;
    if (header->n_seqs == builder->limits.max_num_seqs ||
        sequence->n_tokens > builder->limits.max_num_batched_tokens - header->n_rows ||
        sequence->n_new_pages > choir_step_builder_page_room(builder))
        return choir_fail(CHOIR_EINTERNAL, "step: no room for %d tokens of slot %d, %d new pages",
                          sequence->n_tokens, sequence->slot, sequence->n_new_pages);
    builder->seqs[header->n_seqs++] = *sequence;
    append(builder->token_ids, &header->n_rows, token_ids, sequence->n_tokens);
    append(builder->new_pages, &header->n_new_pages, new_pages, sequence->n_new_pages);
    append(builder->targets, &header->n_targets, targets, n_targets_of(sequence));
    return CHOIR_OK;
}

int64_t choir_step_builder_word_room(const choir_step_builder *builder)
{
    return CHOIR_STEP_MAX_WORDS - builder->header.n_words;
}

choir_status choir_step_builder_add_settings(choir_step_builder *builder,
                                             const choir_step_settings *settings,
                                             const choir_sampling_lists *lists)
{
    step_header *header = &builder->header;
    if (choir_step_settings_words(settings) > choir_step_builder_word_room(builder))
        return choir_fail(CHOIR_EINTERNAL, "step: no room for %lld words of settings",
                          (long long)choir_step_settings_words(settings));
    append(builder->words, &header->n_words, (const int32_t *)settings,
           (int32_t)(sizeof *settings / sizeof(int32_t)));
    append(builder->words, &header->n_words, (const int32_t *)lists->bias, 2 * settings->n_bias);
    append(builder->words, &header->n_words, lists->allowed, settings->n_allowed);
    append(builder->words, &header->n_words, lists->banned, settings->n_banned);
    append(builder->words, &header->n_words, lists->history, settings->n_history);
    return CHOIR_OK;
}

static unsigned char *put(unsigned char *at, const void *from, size_t bytes)
{
    memcpy(at, from, bytes);
    return at + bytes;
}

void choir_step_builder_finish(choir_step_builder *builder, uint32_t flags, const void **buffer,
                               size_t *bytes)
{
    step_header *header = &builder->header;
    header->flags = flags;
    unsigned char *at = put(builder->buffer, header, sizeof *header);
    at = put(at, builder->seqs, (size_t)header->n_seqs * sizeof *builder->seqs);
    at = put(at, builder->token_ids, (size_t)header->n_rows * sizeof(int32_t));
    at = put(at, builder->new_pages, (size_t)header->n_new_pages * sizeof(int32_t));
    at = put(at, builder->targets, (size_t)header->n_targets * sizeof(int32_t));
    at = put(at, builder->words, (size_t)header->n_words * sizeof(int32_t));
    *buffer = builder->buffer;
    *bytes = (size_t)(at - builder->buffer);
}
