/* SPDX-License-Identifier: Apache-2.0 */
/* Messages built and read back, and what happens to one when any field of it is another. */
#include "proto/step.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const choir_step_limits limits = {.max_num_seqs = 5,
                                         .max_num_batched_tokens = 200,
                                         .max_model_len = 300,
                                         .n_pages = 17,
                                         .page_positions = 64,
                                         .vocab_size = 1000};

/* A message of a prompt's chunk of 130, a decode, a score of 3, and its two ends. */
typedef struct example {
    choir_step_builder *builder;
    const void *buffer;
    size_t bytes;
    int32_t ids[130];
} example;

static const choir_step_sequence prompt = {
    .slot = 3, .first_position = 0, .n_tokens = 130, .n_new_pages = 3, .first_wanted = 130};
static const choir_step_sequence decode = {.slot = 0,
                                           .first_position = 64,
                                           .n_tokens = 1,
                                           .n_pages_before = 1,
                                           .n_new_pages = 1,
                                           .first_wanted = 0,
                                           .n_top = 5,
                                           .flags = CHOIR_SEQUENCE_FULL_ROW};
static const choir_step_sequence score = {.slot = 4,
                                          .first_position = 126,
                                          .n_tokens = 3,
                                          .n_pages_before = 2,
                                          .n_new_pages = 1,
                                          .first_wanted = 1,
                                          .n_top = 64,
                                          .flags = CHOIR_SEQUENCE_HAS_TARGETS};

static void build(example *made)
{
    static const int32_t prompt_pages[] = {16, 0, 7}, decode_pages[] = {3}, score_pages[] = {9};
    static const int32_t decode_ids[] = {999}, score_ids[] = {5, 6, 7}, targets[] = {7, 998};
    for (int i = 0; i < 130; i++)
        made->ids[i] = i * 7;
    assert_int_equal(choir_step_builder_create(&limits, &made->builder), CHOIR_OK);
    choir_step_builder_begin(made->builder, 77);
    assert_int_equal(choir_step_builder_add(made->builder, &prompt, made->ids, prompt_pages, NULL),
                     CHOIR_OK);
    assert_int_equal(choir_step_builder_add(made->builder, &decode, decode_ids, decode_pages, NULL),
                     CHOIR_OK);
    assert_int_equal(choir_step_builder_add(made->builder, &score, score_ids, score_pages, targets),
                     CHOIR_OK);
    choir_step_builder_finish(made->builder, 0, &made->buffer, &made->bytes);
}

static void test_what_is_built_is_read(void **state)
{
    example made;
    choir_step step;
    (void)state;
    build(&made);
    assert_true(made.bytes <= choir_step_bytes_max(&limits));
    assert_int_equal(choir_step_view(made.buffer, made.bytes, &limits, &step), CHOIR_OK);
    assert_int_equal(step.id, 77);
    assert_false(step.is_stop);
    assert_int_equal(step.n_seqs, 3);
    assert_int_equal(step.n_rows, 134);
    assert_int_equal(step.n_new_pages, 5);
    assert_int_equal(step.n_targets, 2);
    assert_int_equal(step.n_wanted, 3);
    assert_memory_equal(&step.seqs[0], &prompt, sizeof prompt);
    assert_memory_equal(&step.seqs[1], &decode, sizeof decode);
    assert_memory_equal(&step.seqs[2], &score, sizeof score);
    assert_memory_equal(step.token_ids, made.ids, sizeof made.ids);
    static const int32_t tail[] = {999, 5, 6, 7}, pages[] = {16, 0, 7, 3, 9}, targets[] = {7, 998};
    assert_memory_equal(step.token_ids + 130, tail, sizeof tail);
    assert_memory_equal(step.new_pages, pages, sizeof pages);
    assert_memory_equal(step.targets, targets, sizeof targets);

    choir_step_builder_begin(made.builder, 78);
    choir_step_builder_finish(made.builder, CHOIR_STEP_STOP, &made.buffer, &made.bytes);
    assert_int_equal(choir_step_view(made.buffer, made.bytes, &limits, &step), CHOIR_OK);
    assert_true(step.is_stop);
    assert_int_equal(step.n_rows, 0);
    choir_step_builder_destroy(&made.builder);
    choir_step_builder_destroy(&made.builder);
}

/* Sets one 32-bit word of a copy of the example and says what the check makes of it. */
static choir_status view_with(const example *made, size_t word, int32_t value, size_t bytes)
{
    choir_step step;
    int32_t *copy = malloc(made->bytes);
    assert_non_null(copy);
    memcpy(copy, made->buffer, made->bytes);
    copy[word] = value;
    const choir_status status = choir_step_view(copy, bytes, &limits, &step);
    if (status)
        assert_null(step.seqs);
    free(copy);
    return status;
}

enum { HEADER = 10, SEQUENCE = 8 }; /* words */

static void test_every_wrong_field_is_refused(void **state)
{
    const size_t ids = HEADER + 3 * SEQUENCE, pages = ids + 134, targets = pages + 5;
    const size_t last = HEADER + 2 * SEQUENCE;
    const struct {
        size_t word;
        int32_t value;
    } cases[] = {
        {0, 1}, /* magic */
        {1, CHOIR_STEP_VERSION + 1},
        {4, CHOIR_STEP_STOP}, /* a stop with sequences */
        {4, 4},               /* unknown flag */
        {5, 2},
        {5, 4},
        {5, -1},
        {5, 6},
        {6, 133},
        {6, 135},
        {6, -1},
        {6, INT32_MAX},
        {7, 4},
        {7, INT32_MIN},
        {8, 3},
        {8, INT32_MAX},
        {9, 1},        /* words that are not there */
        {last + 0, 3}, /* slot of another */
        {last + 0, 5},
        {last + 0, -1},
        {last + 1, -1}, /* first position */
        {last + 1, 298},
        {last + 1, INT32_MAX},
        {last + 2, 0}, /* tokens */
        {last + 2, 4},
        {last + 2, INT32_MAX},
        {last + 3, 1}, /* pages */
        {last + 4, 0},
        {last + 4, 2},
        {last + 5, -1}, /* first wanted */
        {last + 5, 4},
        {last + 5, 0}, /* one target too few */
        {last + 6, -1},
        {last + 6, 65},
        {last + 7, 4},
        {last + 7, 2 | CHOIR_SEQUENCE_STATE}, /* a state with targets */
        {last + 7, 16},
        {last + 7, 0}, /* targets that nobody asked for */
        {ids, -1},
        {ids + 133, 1000},
        {pages, 17},
        {pages + 4, -1},
        {targets, -1},
        {targets + 1, 1000},
    };
    example made;
    (void)state;
    build(&made);
    assert_int_equal(made.bytes, (targets + 2) * 4);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (view_with(&made, cases[i].word, cases[i].value, made.bytes) != CHOIR_EINTERNAL)
            fail_msg("word %zu = %d was taken", cases[i].word, cases[i].value);
    for (size_t bytes = 0; bytes < made.bytes; bytes++)
        assert_int_equal(view_with(&made, 2, 0, bytes), CHOIR_EINTERNAL);
    assert_int_equal(view_with(&made, 2, 0, made.bytes), CHOIR_OK);
    assert_int_equal(view_with(&made, 4, CHOIR_STEP_AFTER_REST, made.bytes), CHOIR_OK);
    choir_step_builder_destroy(&made.builder);
}

/* What a rank relies on, checked without the help of the code under test. */
static void check_promises(const choir_step *step)
{
    int64_t rows = 0, pages = 0;
    for (int32_t i = 0; i < step->n_seqs; i++) {
        const choir_step_sequence *sequence = &step->seqs[i];
        assert_in_range(sequence->slot, 0, 4);
        assert_true(sequence->first_position >= 0 && sequence->n_tokens > 0);
        assert_true(sequence->first_position + sequence->n_tokens <= 300);
        rows += sequence->n_tokens;
        pages += sequence->n_new_pages;
        assert_true((sequence->n_pages_before + sequence->n_new_pages) * 64 >=
                    sequence->first_position + sequence->n_tokens);
    }
    assert_int_equal(rows, step->n_rows);
    assert_int_equal(pages, step->n_new_pages);
    for (int32_t i = 0; i < step->n_rows; i++)
        assert_in_range(step->token_ids[i], 0, 999);
    for (int32_t i = 0; i < step->n_new_pages; i++)
        assert_in_range(step->new_pages[i], 0, 16);
}

static void test_random_damage_is_refused_or_harmless(void **state)
{
    example made;
    uint64_t random = 42;
    int n_taken = 0;
    (void)state;
    build(&made);
    int32_t *copy = malloc(made.bytes);
    assert_non_null(copy);
    for (int i = 0; i < 20000; i++) {
        choir_step step;
        memcpy(copy, made.buffer, made.bytes);
        for (int k = 0; k <= i % 3; k++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            const size_t word = (size_t)(random >> 40) % 34;
            copy[word] = (int32_t)(random >> 16) >> (random >> 59);
        }
        if (!choir_step_view(copy, made.bytes, &limits, &step)) {
            check_promises(&step);
            n_taken++;
        }
    }
    assert_true(n_taken > 100 && n_taken < 19000); /* the step id may be anything */
    free(copy);
    choir_step_builder_destroy(&made.builder);
}

static void test_builder_keeps_the_limits(void **state)
{
    const int32_t ids[200] = {0}, pages[5] = {0};
    choir_step_builder *builder = NULL;
    const void *buffer;
    size_t bytes;
    choir_step step;
    (void)state;
    assert_int_equal(choir_step_builder_create(&limits, &builder), CHOIR_OK);
    choir_step_builder_begin(builder, 1);
    choir_step_sequence sequence = {
        .slot = 0, .n_tokens = 200, .n_new_pages = 4, .first_wanted = 200};
    assert_int_equal(choir_step_builder_add(builder, &sequence, ids, pages, NULL), CHOIR_OK);
    sequence = (choir_step_sequence){.slot = 1, .n_tokens = 1, .n_new_pages = 1};
    assert_int_equal(choir_step_builder_add(builder, &sequence, ids, pages, NULL),
                     CHOIR_EINTERNAL); /* the 201st row */
    choir_step_builder_finish(builder, 0, &buffer, &bytes);
    assert_int_equal(choir_step_view(buffer, bytes, &limits, &step), CHOIR_OK);
    assert_int_equal(step.n_seqs, 1);

    choir_step_builder_begin(builder, 2);
    for (int32_t slot = 0; slot < 5; slot++) {
        sequence.slot = slot;
        assert_int_equal(choir_step_builder_add(builder, &sequence, ids, pages, NULL), CHOIR_OK);
    }
    assert_int_equal(choir_step_builder_add(builder, &sequence, ids, pages, NULL),
                     CHOIR_EINTERNAL); /* the sixth sequence */
    /* Position 300 of 300, which the last page would still hold. */
    const choir_step_sequence beyond = {
        .first_position = 299, .n_tokens = 2, .n_pages_before = 5, .first_wanted = 2};
    choir_step_builder_begin(builder, 3);
    assert_int_equal(choir_step_builder_add(builder, &beyond, ids, NULL, NULL), CHOIR_EINTERNAL);
    sequence.n_new_pages = 0;
    assert_int_equal(choir_step_builder_add(builder, &sequence, ids, pages, NULL),
                     CHOIR_EINTERNAL); /* a page short */
    choir_step_builder_destroy(&builder);
}

static void test_largest_message_fits(void **state)
{
    /* Decodes that all need a target and, at a page's begin, a page; one has its first step, behind
     * pages of others. */
    choir_step_limits small = limits;
    static const int32_t zero[300], history[CHOIR_STEP_MAX_WORDS];
    choir_step_builder *builder = NULL;
    const void *buffer;
    size_t bytes;
    (void)state;
    small.max_num_batched_tokens = 5;
    small.page_positions = 1;
    assert_int_equal(choir_step_builder_create(&small, &builder), CHOIR_OK);
    choir_step_builder_begin(builder, 1);
    for (int32_t slot = 0; slot < 5; slot++) {
        const int32_t first = slot == 4 ? small.max_model_len - 1 : 0;
        const choir_step_sequence sequence = {.slot = slot,
                                              .first_position = first,
                                              .n_tokens = 1,
                                              .n_new_pages = first + 1,
                                              .flags = CHOIR_SEQUENCE_HAS_TARGETS};
        assert_int_equal(choir_step_builder_page_room(builder), 4 - slot + small.max_model_len);
        assert_int_equal(choir_step_builder_add(builder, &sequence, zero, zero, zero), CHOIR_OK);
    }
    assert_int_equal(choir_step_builder_page_room(builder), 0);
    const choir_sampling_lists lists = {.history = history};
    const choir_step_settings settings = {
        .n_history = CHOIR_STEP_MAX_WORDS - (int32_t)(sizeof settings / sizeof(int32_t))};
    const choir_step_settings larger = {.n_history = settings.n_history + 1};
    assert_int_equal(choir_step_builder_add_settings(builder, &larger, &lists), CHOIR_EINTERNAL);
    assert_int_equal(choir_step_builder_add_settings(builder, &settings, &lists), CHOIR_OK);
    assert_int_equal(choir_step_builder_word_room(builder), 0);
    choir_step_builder_finish(builder, 0, &buffer, &bytes);
    assert_int_equal(bytes, choir_step_bytes_max(&small));
    choir_step_builder_destroy(&builder);
}

/* Two sampled sequences whose settings have lists of every kind, and none. */
static void test_settings_come_through(void **state)
{
    static const choir_logit_bias bias[] = {{5, 1.5f}, {999, -2}};
    static const int32_t allowed[] = {1, 2, 3}, banned[] = {7}, history[] = {4, 5, 6, 7};
    static const int32_t ids[] = {9}, pages[] = {0};
    const choir_sampling_lists lists = {bias, 2, allowed, 3, banned, 1, history, 4, 3};
    const choir_sampling_lists no_lists = {0};
    const choir_step_settings full = {.temperature = 0.5f,
                                      .repetition_penalty = 1.1f,
                                      .frequency_penalty = 0.2f,
                                      .presence_penalty = 0.3f,
                                      .seed_low = 0xffffffff,
                                      .seed_high = 0x12345678,
                                      .choice = 3,
                                      .position = 17,
                                      .n_candidates = 256,
                                      .wants_total = 1,
                                      .n_bias = 2,
                                      .n_allowed = 3,
                                      .n_banned = 1,
                                      .n_history = 4,
                                      .n_prompt = 3};
    const choir_step_settings empty = {.temperature = 1, .position = 1};
    const size_t first = HEADER + 2 * SEQUENCE + 2 + 2; /* ids, pages */
    const struct {
        size_t word;
        int32_t value;
    } wrong[] = {{8, -1},    {8, 257},   {9, 2},   {7, -1},    {6, -1},        {10, -1}, {10, 3},
                 {11, -1},   {12, 2},    {13, -1}, {14, 5},    {14, -1},       {15, -1}, {15, 1000},
                 {17, 1000}, {19, 1000}, {22, -1}, {26, 1000}, {13, INT32_MAX}};
    example made = {0};
    choir_step step;
    choir_sampling sampling;
    choir_sampling_lists read;
    (void)state;
    assert_int_equal(choir_step_builder_create(&limits, &made.builder), CHOIR_OK);
    choir_step_builder_begin(made.builder, 1);
    for (int32_t slot = 0; slot < 2; slot++) {
        choir_step_sequence sequence = {
            .slot = slot, .n_tokens = 1, .n_new_pages = 1, .flags = CHOIR_SEQUENCE_SAMPLED};
        assert_int_equal(choir_step_builder_add_settings(made.builder, slot ? &empty : &full,
                                                         slot ? &no_lists : &lists),
                         CHOIR_OK);
        assert_int_equal(choir_step_builder_add(made.builder, &sequence, ids, pages, NULL),
                         CHOIR_OK);
    }
    choir_step_builder_finish(made.builder, 0, &made.buffer, &made.bytes);
    assert_int_equal(choir_step_view(made.buffer, made.bytes, &limits, &step), CHOIR_OK);
    choir_step_settings_read(step.settings, &sampling, &read);
    assert_true(sampling.seed == 0x12345678ffffffff && sampling.temperature == 0.5f &&
                sampling.repetition_penalty == 1.1f && sampling.frequency_penalty == 0.2f &&
                sampling.presence_penalty == 0.3f && sampling.choice == 3);
    assert_memory_equal(read.bias, bias, sizeof bias);
    assert_memory_equal(read.allowed, allowed, sizeof allowed);
    assert_memory_equal(read.banned, banned, sizeof banned);
    assert_memory_equal(read.history, history, sizeof history);
    assert_int_equal(read.n_prompt, 3);
    assert_int_equal(choir_step_settings_next(step.settings)->position, 1);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (view_with(&made, first + wrong[i].word, wrong[i].value, made.bytes) != CHOIR_EINTERNAL)
            fail_msg("word %zu = %d was taken", wrong[i].word, wrong[i].value);
    /* One sampled sequence fewer than settings; a sampled one that wants nothing, or targets. */
    assert_int_equal(view_with(&made, HEADER + 7, 0, made.bytes), CHOIR_EINTERNAL);
    assert_int_equal(view_with(&made, HEADER + 5, 1, made.bytes), CHOIR_EINTERNAL);
    assert_int_equal(
        view_with(&made, HEADER + 7, CHOIR_SEQUENCE_SAMPLED | CHOIR_SEQUENCE_FULL_ROW, made.bytes),
        CHOIR_EINTERNAL);
    assert_int_equal(view_with(&made, 9, 0, made.bytes), CHOIR_EINTERNAL); /* no words */
    choir_step_builder_destroy(&made.builder);
}

static void test_limits_are_checked(void **state)
{
    (void)state;
    assert_int_equal(choir_step_limits_check(&limits), CHOIR_OK);
    for (size_t field = 0; field < sizeof limits / sizeof(int32_t); field++) {
        choir_step_limits wrong = limits;
        choir_step_builder *builder;
        for (int32_t value = -1; value <= 0; value++) {
            memcpy((char *)&wrong + field * sizeof value, &value, sizeof value);
            assert_int_equal(choir_step_builder_create(&wrong, &builder), CHOIR_EUSAGE);
            assert_null(builder);
        }
    }
    choir_step_limits wrong = limits;
    wrong.max_num_seqs = CHOIR_STEP_MAX_SEQS + 1;
    assert_int_equal(choir_step_limits_check(&wrong), CHOIR_EUSAGE);
    assert_non_null(strstr(choir_error(), "max_num_seqs"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_built_is_read),
        cmocka_unit_test(test_every_wrong_field_is_refused),
        cmocka_unit_test(test_random_damage_is_refused_or_harmless),
        cmocka_unit_test(test_builder_keeps_the_limits),
        cmocka_unit_test(test_largest_message_fits),
        cmocka_unit_test(test_settings_come_through),
        cmocka_unit_test(test_limits_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
