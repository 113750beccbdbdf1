/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler's decisions, one by one; test_scheduler_histories.c has the long run. */
#include "tests/unit/fake_engine.h"

static const choir_step_limits limits = {.max_num_seqs = 4,
                                         .max_num_batched_tokens = 8,
                                         .max_model_len = 100,
                                         .n_pages = 64,
                                         .page_positions = 4,
                                         .vocab_size = FAKE_V};

static const int32_t ids[FAKE_LENGTH] = {5, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

static choir_request prompt(uint64_t id, int64_t n, int64_t max_tokens)
{
    return (choir_request){.id = id,
                           .token_ids = ids,
                           .n_token_ids = n,
                           .sampling = {.top_p = 1},
                           .max_tokens = max_tokens};
}

static void submit(fake_engine *engine, const choir_request *request)
{
    if (choir_scheduler_submit(engine->scheduler, request, engine->now_us))
        fail_msg("%s", choir_error());
}

static void refuse(fake_engine *engine, const choir_request *request, const char *word)
{
    assert_int_equal(choir_scheduler_submit(engine->scheduler, request, 0), CHOIR_EINVALID);
    if (!strstr(choir_error(), word))
        fail_msg("\"%s\" does not name %s", choir_error(), word);
}

static void test_wrong_requests_are_refused(void **state)
{
    static const int32_t too_large[] = {0, FAKE_V}, negative[] = {-1};
    fake_engine *engine = fake_create(&limits, 1, 0);
    (void)state;
    choir_request request = prompt(1, 0, 1);
    refuse(engine, &request, "token_ids");
    request = prompt(1, 100, 1); /* no room for an answer */
    refuse(engine, &request, "token_ids");
    request = prompt(1, INT64_MAX, 1);
    refuse(engine, &request, "token_ids");
    request = prompt(1, 2, 1);
    request.token_ids = too_large;
    refuse(engine, &request, "token_ids");
    request = prompt(1, 1, 1);
    request.token_ids = negative;
    refuse(engine, &request, "token_ids");
    for (int64_t max_tokens = -1; max_tokens <= 0; max_tokens++) {
        request = prompt(1, 1, max_tokens);
        refuse(engine, &request, "max_tokens");
    }
    request = prompt(1, 1, 1);
    request.n_top = 65;
    refuse(engine, &request, "n_top");
    request.n_top = -1;
    refuse(engine, &request, "n_top");
    request = prompt(1, 1, 1);
    request.stop_token_ids = negative;
    request.n_stop_token_ids = 1;
    refuse(engine, &request, "stop_token_ids");
    request.n_stop_token_ids = CHOIR_MAX_STOP_IDS + 1;
    refuse(engine, &request, "stop_token_ids");
    request = prompt(1, 1, 1);
    request.sampling.temperature = NAN;
    refuse(engine, &request, "temperature");
    request = prompt(1, 1, 1);
    submit(engine, &request);
    refuse(engine, &request, "id");
    fake_drain(engine);
    assert_int_equal(engine->records[1].n_ends, 1);
    fake_destroy(engine);

    choir_step_limits few = limits;
    few.n_pages = 3;
    engine = fake_create(&few, 1, 0);
    request = prompt(1, 4, 10); /* 13 positions, 4 pages */
    refuse(engine, &request, "max_tokens");
    request = prompt(1, 14, 1);
    request.is_score = true;
    refuse(engine, &request, "token_ids");
    request = prompt(1, 4, 9);
    submit(engine, &request);
    fake_drain(engine);
    fake_destroy(engine);
}

static void test_a_full_queue_says_so(void **state)
{
    fake_engine *engine = fake_create(&limits, 1, 2);
    (void)state;
    for (uint64_t id = 0; id < 3; id++) {
        const choir_request request = prompt(id, 1, 1);
        assert_int_equal(choir_scheduler_submit(engine->scheduler, &request, 0),
                         id < 2 ? CHOIR_OK : CHOIR_EUNAVAILABLE);
    }
    fake_drain(engine);
    assert_int_equal(engine->records[2].n_ends, 0);
    fake_destroy(engine);
}

static void test_a_long_prompt_does_not_hold_up_decodes(void **state)
{
    fake_engine *engine = fake_create(&limits, 1, 0);
    (void)state;
    const choir_request talker = prompt(1, 3, 50), reader = prompt(2, 60, 1);
    submit(engine, &talker);
    assert_true(fake_step(engine) && fake_complete(engine));
    submit(engine, &reader);
    for (int chunk = 0; chunk < 8; chunk++) {
        assert_true(fake_step(engine));
        assert_int_equal(engine->n_last, 2);
        assert_int_equal(engine->last[0].n_tokens, 1); /* the decode, first */
        assert_int_equal(engine->last[0].slot, 0);
        assert_int_equal(engine->last[1].first_position, chunk * 7);
        assert_int_equal(engine->last[1].n_tokens, 7);
        assert_int_equal(engine->last[1].first_wanted, 7); /* nothing wanted before the end */
        assert_true(fake_complete(engine));
        assert_int_equal(engine->records[1].n_tokens, chunk + 2);
    }
    assert_true(fake_step(engine));
    assert_int_equal(engine->last[1].n_tokens, 4);
    assert_int_equal(engine->last[1].first_wanted, 3);
    fake_drain(engine);
    assert_int_equal(engine->records[2].finish, CHOIR_FINISH_LENGTH);
    fake_destroy(engine);
}

static void test_decodes_take_turns(void **state)
{
    choir_step_limits narrow = limits;
    narrow.max_num_batched_tokens = 3;
    fake_engine *engine = fake_create(&narrow, 1, 0);
    (void)state;
    for (uint64_t id = 0; id < 4; id++) {
        const choir_request request = prompt(id, 1, 20);
        submit(engine, &request);
    }
    for (int i = 0; i < 16; i++) {
        assert_true(fake_step(engine) && fake_complete(engine));
        /* Three prompts; then two decodes and a row that is kept for the fourth prompt. */
        assert_true(i != 1 || engine->records[3].n_tokens == 1);
    }
    int least = 100, most = 0;
    for (int id = 0; id < 4; id++) {
        const int n = engine->records[id].n_tokens;
        least = n < least ? n : least;
        most = n > most ? n : most;
    }
    assert_int_equal(least, 11);
    assert_true(most <= 13);
    fake_drain(engine);
    fake_destroy(engine);
}

static void test_decodes_spread_over_a_pipeline(void **state)
{
    fake_engine *engine = fake_create(&limits, 2, 0);
    (void)state;
    for (uint64_t id = 0; id < 4; id++) {
        const choir_request request = prompt(id, 1, 5);
        submit(engine, &request);
    }
    assert_true(fake_step(engine));
    assert_int_equal(engine->n_last, 4);
    assert_false(fake_step(engine)); /* nothing to decode before the first results */
    assert_true(fake_complete(engine));
    uint64_t seen = 0;
    for (int i = 0; i < 2; i++) {
        assert_true(fake_step(engine));
        assert_int_equal(engine->n_last, 2);
        seen |= (uint64_t)1 << engine->last[0].slot | (uint64_t)1 << engine->last[1].slot;
    }
    assert_int_equal(seen, 15);
    assert_false(fake_step(engine)); /* two in flight */
    fake_drain(engine);
    fake_destroy(engine);
}

static void test_chunks_of_a_prompt_follow_each_other_in_flight(void **state)
{
    fake_engine *engine = fake_create(&limits, 3, 0);
    (void)state;
    const choir_request request = prompt(1, 30, 2);
    submit(engine, &request);
    for (int chunk = 0; chunk < 3; chunk++) {
        assert_true(fake_step(engine));
        assert_int_equal(engine->last[0].first_position, chunk * 8);
    }
    assert_false(fake_step(engine));
    fake_drain(engine);
    assert_int_equal(engine->records[1].n_tokens, 2);
    fake_destroy(engine);
}

static void test_admission_waits_for_pages_in_order(void **state)
{
    choir_step_limits few = limits;
    few.n_pages = 5;
    fake_engine *engine = fake_create(&few, 1, 0);
    choir_scheduler_load load;
    (void)state;
    const choir_request first = prompt(1, 8, 5), second = prompt(2, 9, 4), third = prompt(3, 1, 1);
    submit(engine, &first);  /* 2 pages, later 3 */
    submit(engine, &second); /* 3 pages */
    submit(engine, &third);  /* 1 page, which is not there */
    assert_true(fake_step(engine));
    assert_int_equal(engine->n_last, 1);
    choir_scheduler_get_load(engine->scheduler, &load);
    assert_int_equal(load.n_running, 2);
    assert_int_equal(load.n_waiting, 1);
    assert_int_equal(load.n_pages_used, 2); /* as far as they are in steps */
    fake_drain(engine);
    for (int id = 1; id <= 3; id++)
        assert_int_equal(engine->records[id].finish, CHOIR_FINISH_LENGTH);
    fake_destroy(engine);
}

static void test_what_the_step_asks_for(void **state)
{
    fake_engine *engine = fake_create(&limits, 1, 0);
    (void)state;
    choir_request request = prompt(0, 2, 1);
    submit(engine, &request); /* greedy: the best one, no row */
    request = prompt(1, 2, 1);
    request.sampling.temperature = 1;
    request.n_top = 3;
    submit(engine, &request);
    request = prompt(2, 3, 1);
    request.is_score = true;
    submit(engine, &request);
    assert_true(fake_step(engine));
    assert_int_equal(engine->n_last, 3);
    assert_int_equal(engine->last[0].n_top, 1);
    assert_int_equal(engine->last[0].flags, 0);
    assert_int_equal(engine->last[1].n_top, 3);
    assert_int_equal(engine->last[1].flags, CHOIR_SEQUENCE_SAMPLED);
    assert_int_equal(engine->last[2].n_top, 0);
    assert_int_equal(engine->last[2].n_tokens, 2);
    assert_int_equal(engine->last[2].first_wanted, 0);
    assert_int_equal(engine->last[2].flags, CHOIR_SEQUENCE_HAS_TARGETS);
    fake_drain(engine);
    fake_destroy(engine);
}

static void test_scores(void **state)
{
    fake_engine *engine = fake_create(&limits, 1, 0);
    (void)state;
    for (uint64_t id = 1; id <= 2; id++) {
        choir_request request = prompt(id, id == 1 ? 14 : 1, 0);
        request.is_score = true;
        request.n_top = 2;
        submit(engine, &request);
    }
    fake_drain(engine);
    const fake_record *record = &engine->records[1];
    assert_int_equal(record->finish, CHOIR_FINISH_SCORED);
    assert_int_equal(record->n_tokens, 14);
    for (int i = 0; i < 14; i++) {
        float logits[FAKE_V], lse;
        assert_int_equal(record->tokens[i].id, ids[i]);
        assert_int_equal(record->tokens[i].n_top, i ? 2 : 0);
        if (i == 0) {
            assert_true(isnan(record->tokens[0].logprob));
            continue;
        }
        assert_true(fake_row(ids, i, logits, &lse));
        assert_true(record->tokens[i].logprob == logits[ids[i]] - lse);
    }
    record = &engine->records[2];
    assert_int_equal(record->finish, CHOIR_FINISH_SCORED);
    assert_int_equal(record->n_tokens, 1);
    assert_true(isnan(record->tokens[0].logprob));
    fake_destroy(engine);
}

/* All of the prompt is told before the answer, which is the same as without. */
static void test_log_probabilities_of_the_prompt(void **state)
{
    fake_engine *engine = fake_create(&limits, 1, 0);
    (void)state;
    for (uint64_t id = 0; id < 4; id++) {
        choir_request request = prompt(id, id < 2 ? 14 : 1, 3);
        request.wants_prompt_logprobs = id % 2;
        request.n_prompt_top = 2;
        submit(engine, &request);
    }
    fake_drain(engine);
    for (int id = 1; id < 4; id += 2) {
        const fake_record *record = &engine->records[id], *without = &engine->records[id - 1];
        const int n_prompt = id == 1 ? 14 : 1;
        float logits[FAKE_V], lse;
        assert_int_equal(record->n_prompt, n_prompt);
        assert_int_equal(record->n_tokens, n_prompt + 3);
        assert_true(isnan(record->tokens[0].logprob));
        for (int i = 1; i < n_prompt; i++) {
            assert_true(fake_row(ids, i, logits, &lse));
            assert_true(record->tokens[i].logprob == logits[ids[i]] - lse);
            assert_int_equal(record->tokens[i].n_top, 2);
        }
        for (int i = 0; i < 3; i++)
            assert_int_equal(record->tokens[n_prompt + i].id, without->tokens[i].id);
    }
    fake_destroy(engine);
}

/* Without a cache, too, the choices of one request compute the pages of their prompt once. */
static void test_a_group_shares_its_prompt(void **state)
{
    choir_scheduler_load load;
    (void)state;
    for (uint64_t group = 0; group < 2; group++) {
        fake_engine *engine = fake_create(&limits, 1, 0);
        for (uint64_t id = 0; id < 3; id++) {
            choir_request request = prompt(id, 14, 2);
            request.group_id = group;
            submit(engine, &request);
        }
        fake_drain(engine);
        choir_scheduler_get_load(engine->scheduler, &load);
        const int n_shared = 14 / limits.page_positions * limits.page_positions;
        assert_true(n_shared > 0);
        assert_int_equal(engine->n_rows, 3 * (14 + 1) - (group ? 2 * n_shared : 0));
        assert_int_equal(load.n_pages_kept, 0);
        fake_destroy(engine);
    }
}

static void test_ends(void **state)
{
    fake_engine *engine = fake_create(&limits, 1, 0);
    (void)state;
    choir_request request = prompt(1, 3, 6);
    submit(engine, &request);
    request = prompt(2, 96, INT64_MAX); /* the context ends first */
    submit(engine, &request);
    fake_drain(engine);
    assert_int_equal(engine->records[1].finish, CHOIR_FINISH_LENGTH);
    assert_int_equal(engine->records[1].n_tokens, 6);
    assert_int_equal(engine->records[2].finish, CHOIR_FINISH_LENGTH);
    assert_int_equal(engine->records[2].n_tokens, 4);

    const int32_t stop = engine->records[1].tokens[3].id;
    int expected = 0;
    while (engine->records[1].tokens[expected].id != stop)
        expected++;
    request = prompt(3, 3, 6);
    request.stop_token_ids = &stop;
    request.n_stop_token_ids = 1;
    submit(engine, &request);
    fake_drain(engine);
    assert_int_equal(engine->records[3].finish, CHOIR_FINISH_STOP);
    assert_int_equal(engine->records[3].n_tokens, expected + 1);
    assert_int_equal(engine->records[3].tokens[expected].id, stop);
    fake_destroy(engine);
}

static void test_abort_frees_at_once(void **state)
{
    fake_engine *engine = fake_create(&limits, 2, 0);
    choir_scheduler_load load;
    (void)state;
    const choir_request request = prompt(1, 20, 5), later = prompt(2, 1, 1);
    submit(engine, &request);
    assert_true(fake_step(engine) && fake_step(engine));
    choir_scheduler_abort(engine->scheduler, 1, 5);
    choir_scheduler_abort(engine->scheduler, 1, 6);
    choir_scheduler_abort(engine->scheduler, 77, 6);
    assert_int_equal(engine->records[1].finish, CHOIR_FINISH_ABORT);
    assert_int_equal(engine->records[1].n_ends, 1);
    choir_scheduler_get_load(engine->scheduler, &load);
    assert_int_equal(load.n_pages_used, 0);
    assert_int_equal(load.n_running, 0);
    for (int flight = 2; flight > 0; flight--) {
        assert_true(fake_complete(engine));
        assert_false(fake_step(engine)); /* the rest of its prompt is not computed */
    }
    submit(engine, &later);
    choir_scheduler_abort(engine->scheduler, 2, 7); /* while waiting */
    assert_int_equal(engine->records[2].finish, CHOIR_FINISH_ABORT);
    assert_false(fake_step(engine));
    fake_destroy(engine);
}

static void test_a_bad_row_ends_its_request_only(void **state)
{
    fake_engine *engine = fake_create(&limits, 1, 0);
    (void)state;
    const choir_request one = prompt(1, 2, 4), other = prompt(2, 3, 4);
    submit(engine, &one);
    submit(engine, &other);
    assert_true(fake_step(engine));
    engine->flights[0].rows[0].is_finite = false;
    fake_drain(engine);
    assert_int_equal(engine->records[1].finish, CHOIR_FINISH_ERROR);
    assert_int_equal(engine->records[1].status, CHOIR_EENGINE);
    assert_int_equal(engine->records[1].n_tokens, 0);
    assert_int_equal(engine->records[2].finish, CHOIR_FINISH_LENGTH);
    assert_int_equal(engine->records[2].status, CHOIR_OK);
    assert_int_equal(engine->records[2].n_tokens, 4);
    fake_destroy(engine);
}

static void test_timings(void **state)
{
    fake_engine *engine = fake_create(&limits, 1, 0);
    (void)state;
    const choir_request request = prompt(1, 2, 2);
    engine->now_us = 1000;
    submit(engine, &request);
    engine->now_us = 1100;
    assert_true(fake_step(engine));
    engine->now_us = 1350;
    assert_true(fake_complete(engine) && fake_step(engine));
    engine->now_us = 1400;
    assert_true(fake_complete(engine));
    const choir_timings *timings = &engine->records[1].timings;
    assert_int_equal(timings->queue_us, 100);
    assert_int_equal(timings->prefill_us, 250);
    assert_int_equal(timings->decode_us, 50);
    assert_int_equal(timings->ttft_us, 350);
    fake_destroy(engine);
}

static void test_results_of_another_step_are_refused(void **state)
{
    fake_engine *engine = fake_create(&limits, 2, 0);
    (void)state;
    const choir_request request = prompt(1, 20, 2);
    assert_int_equal(choir_scheduler_complete(engine->scheduler, 1, NULL, 0, 0), CHOIR_EINTERNAL);
    submit(engine, &request);
    assert_true(fake_step(engine) && fake_step(engine));
    assert_int_equal(choir_scheduler_complete(engine->scheduler, 2, NULL, 0, 0), CHOIR_EINTERNAL);
    assert_int_equal(choir_scheduler_complete(engine->scheduler, 1, NULL, 1, 0), CHOIR_EINTERNAL);
    fake_drain(engine); /* nothing had changed */
    assert_int_equal(engine->records[1].n_tokens, 2);
    fake_destroy(engine);
}

static void test_counters(void **state)
{
    fake_engine *engine = fake_create(&limits, 1, 0);
    choir_scheduler_load load;
    (void)state;
    const choir_request one = prompt(1, 12, 3), other = prompt(2, 2, 5);
    submit(engine, &one);
    submit(engine, &other);
    fake_drain(engine);
    choir_scheduler_get_load(engine->scheduler, &load);
    assert_int_equal(load.n_prompt_tokens, 14);
    assert_int_equal(load.n_generated_tokens, 8);
    assert_int_equal(load.n_steps, 6);
    assert_int_equal(load.n_pages, 64);
    fake_destroy(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_requests_are_refused),
        cmocka_unit_test(test_a_full_queue_says_so),
        cmocka_unit_test(test_a_long_prompt_does_not_hold_up_decodes),
        cmocka_unit_test(test_decodes_take_turns),
        cmocka_unit_test(test_decodes_spread_over_a_pipeline),
        cmocka_unit_test(test_chunks_of_a_prompt_follow_each_other_in_flight),
        cmocka_unit_test(test_admission_waits_for_pages_in_order),
        cmocka_unit_test(test_what_the_step_asks_for),
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_log_probabilities_of_the_prompt),
        cmocka_unit_test(test_a_group_shares_its_prompt),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_abort_frees_at_once),
        cmocka_unit_test(test_a_bad_row_ends_its_request_only),
        cmocka_unit_test(test_timings),
        cmocka_unit_test(test_results_of_another_step_are_refused),
        cmocka_unit_test(test_counters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
