/* SPDX-License-Identifier: Apache-2.0 */
/* Who gets slots, pages and rows: sharing, putting back, priorities, fairness, time. */
#include "tests/unit/fake_engine.h"

static const choir_step_limits limits = {.max_num_seqs = 4,
                                         .max_num_batched_tokens = 32,
                                         .max_model_len = 120,
                                         .n_pages = 64,
                                         .page_positions = 4,
                                         .vocab_size = FAKE_V};

static int32_t ids[FAKE_LENGTH];

static fake_engine *create(const choir_step_limits *own, bool keeps_pages)
{
    for (int i = 0; i < FAKE_LENGTH; i++)
        ids[i] = (i * 11 + 5) % FAKE_V;
    return fake_create_with(
        (choir_scheduler_options){.limits = *own, .n_stages = 1, .keeps_pages = keeps_pages});
}

static choir_request prompt(uint64_t id, uint64_t user_id, int64_t n, int64_t max_tokens)
{
    return (choir_request){.id = id,
                           .user_id = user_id,
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

static bool turn(fake_engine *engine)
{
    engine->now_us += 10;
    const bool has_step = fake_step(engine);
    return fake_complete(engine) || has_step;
}

static choir_scheduler_load load_of(const fake_engine *engine)
{
    choir_scheduler_load load;
    choir_scheduler_get_load(engine->scheduler, &load);
    return load;
}

/* The answer of a request alone. */
static fake_record alone(const choir_request *request)
{
    fake_engine *engine = create(&limits, false);
    submit(engine, request);
    fake_drain(engine);
    const fake_record record = engine->records[request->id];
    fake_destroy(engine);
    return record;
}

static void check_alone(const fake_engine *engine, const choir_request *request)
{
    const fake_record expected = alone(request), *record = &engine->records[request->id];
    assert_int_equal(record->finish, expected.finish);
    assert_int_equal(record->n_tokens, expected.n_tokens);
    for (int i = 0; i < expected.n_tokens; i++)
        assert_int_equal(record->tokens[i].id, expected.tokens[i].id);
}

/* ---- sharing ---- */

static void test_a_prefix_is_computed_once(void **state)
{
    fake_engine *engine = create(&limits, true);
    (void)state;
    for (uint64_t id = 0; id < 4; id++) { /* 80 tokens: 3 steps; all arrive together */
        const choir_request request = prompt(id, 1, 81, 2);
        submit(engine, &request);
    }
    fake_drain(engine);
    /* The first one's prompt, of each other one the last position, and one decode each. */
    assert_int_equal(engine->n_rows, 81 + 3 * 1 + 4);
    for (int id = 0; id < 4; id++)
        assert_int_equal(engine->records[id].n_cached, id ? 80 : 0);
    assert_int_equal(load_of(engine).n_cache_hits, 3 * 80);
    for (uint64_t id = 0; id < 4; id++) {
        const choir_request request = prompt(id, 1, 81, 2);
        check_alone(engine, &request);
    }
    fake_destroy(engine);
}

static void test_the_last_position_is_always_computed(void **state)
{
    fake_engine *engine = create(&limits, true);
    (void)state;
    const choir_request first = prompt(0, 1, 16, 1), second = prompt(1, 1, 16, 1);
    submit(engine, &first);
    fake_drain(engine);
    submit(engine, &second);
    fake_drain(engine);
    assert_int_equal(engine->n_rows, 16 + 4);
    assert_int_equal(engine->records[1].n_cached, 12);
    fake_destroy(engine);
}

static void test_an_answer_is_found_again(void **state)
{
    fake_engine *engine = create(&limits, true);
    int32_t longer[FAKE_LENGTH];
    (void)state;
    choir_request request = prompt(0, 1, 10, 20);
    submit(engine, &request);
    fake_drain(engine);
    const fake_record *record = &engine->records[0];
    assert_int_equal(record->n_tokens, 20);
    memcpy(longer, ids, 10 * sizeof longer[0]);
    for (int i = 0; i < 20; i++)
        longer[10 + i] = record->tokens[i].id;
    longer[30] = 1;
    request = prompt(1, 1, 31, 1);
    request.token_ids = longer;
    submit(engine, &request);
    fake_drain(engine);
    assert_int_equal(engine->records[1].n_cached, 28); /* 29 positions were computed */
    fake_destroy(engine);
}

static void test_who_shares_with_whom(void **state)
{
    fake_engine *engine = create(&limits, true);
    (void)state;
    choir_request requests[6];
    for (uint64_t id = 0; id < 6; id++)
        requests[id] = prompt(id, id % 3 == 0 ? 1 : 2, 41, 1);
    requests[2].cache_salt = requests[3].cache_salt = "salt";
    requests[2].n_cache_salt = requests[3].n_cache_salt = 4;
    requests[5].cache_salt = "sal";
    requests[5].n_cache_salt = 3;
    for (int id = 0; id < 6; id++) {
        submit(engine, &requests[id]);
        fake_drain(engine);
    }
    const int expected[] = {0, 0, 0, 40, 40, 0}; /* user 1, user 2, salt, salt, user 2, sal */
    for (int id = 0; id < 6; id++)
        assert_int_equal(engine->records[id].n_cached, expected[id]);
    fake_destroy(engine);
}

static void test_nobody_shares_without_a_cache(void **state)
{
    fake_engine *engine = create(&limits, false);
    (void)state;
    for (uint64_t id = 0; id < 4; id++) {
        const choir_request request = prompt(id, 1, 41, 2);
        submit(engine, &request);
    }
    fake_drain(engine);
    for (int id = 0; id < 4; id++)
        assert_int_equal(engine->records[id].n_cached, 0);
    assert_int_equal(engine->n_rows, 4 * 42);
    assert_int_equal(load_of(engine).n_pages_kept, 0);
    assert_int_equal(load_of(engine).n_cache_queries, 0);
    fake_destroy(engine);
}

static void test_who_waits_for_a_page_goes_on_when_it_does_not_come(void **state)
{
    fake_engine *engine = create(&limits, true);
    (void)state;
    const choir_request first = prompt(0, 1, 90, 1), second = prompt(1, 1, 90, 1);
    submit(engine, &first);
    submit(engine, &second);
    assert_true(turn(engine));
    assert_int_equal(engine->n_last, 1);
    choir_scheduler_abort(engine->scheduler, 0, engine->now_us);
    fake_drain(engine);
    assert_int_equal(engine->records[1].n_cached, 32);
    check_alone(engine, &second);
    fake_destroy(engine);
}

static void test_scores_are_computed_and_shared(void **state)
{
    fake_engine *engine = create(&limits, true);
    (void)state;
    choir_request score = prompt(0, 1, 41, 0);
    score.is_score = true;
    submit(engine, &score);
    fake_drain(engine);
    score.id = 1; /* all of its logits are wanted: nothing comes from the cache */
    submit(engine, &score);
    fake_drain(engine);
    assert_int_equal(engine->n_rows, 80);
    const choir_request request = prompt(2, 1, 41, 1);
    submit(engine, &request);
    fake_drain(engine);
    assert_int_equal(engine->records[2].n_cached, 40);
    fake_destroy(engine);
}

/* ---- putting back ---- */

static void test_the_newest_is_put_back_when_pages_run_out(void **state)
{
    choir_step_limits few = limits;
    few.n_pages = 12; /* 48 positions */
    for (int keeps_pages = 0; keeps_pages < 2; keeps_pages++) {
        fake_engine *engine = create(&few, keeps_pages);
        (void)state;
        choir_request requests[4];
        for (uint64_t id = 0; id < 4; id++) {
            requests[id] = prompt(id, 1, 6, 30);
            requests[id].token_ids = ids + id;
            submit(engine, &requests[id]);
            engine->now_us++;
        }
        while (engine->records[0].n_ends == 0)
            assert_true(turn(engine));
        for (int id = 1; id < 4; id++) /* the oldest was never held up */
            assert_int_equal(engine->records[id].n_ends, 0);
        fake_drain(engine);
        assert_true(load_of(engine).n_preemptions >= 2);
        for (int id = 0; id < 4; id++)
            check_alone(engine, &requests[id]);
        fake_destroy(engine);
    }
}

static void test_a_score_goes_on_where_it_was(void **state)
{
    choir_step_limits few = limits;
    few.n_pages = 14;
    few.max_num_batched_tokens = 8;
    fake_engine *engine = create(&few, true);
    (void)state;
    const choir_request talker = prompt(0, 1, 6, 40);
    choir_request score = prompt(1, 1, 48, 0);
    score.token_ids = ids + 1;
    score.is_score = true;
    score.n_top = 2;
    submit(engine, &talker);
    submit(engine, &score);
    while (engine->records[1].n_tokens < 20)
        assert_true(turn(engine));
    choir_request urgent = prompt(2, 1, 30, 1);
    urgent.token_ids = ids + 2;
    urgent.priority = -1;
    submit(engine, &urgent);
    fake_drain(engine);
    assert_true(load_of(engine).n_preemptions > 0);
    check_alone(engine, &score);
    fake_destroy(engine);
}

/* ---- priority, fairness, time ---- */

static void test_priorities(void **state)
{
    choir_step_limits one = limits;
    one.max_num_seqs = 1;
    fake_engine *engine = create(&one, false);
    (void)state;
    choir_request low = prompt(0, 1, 3, 50), middle = prompt(1, 1, 3, 2), high = prompt(2, 1, 3, 2);
    low.priority = 5;
    high.priority = -5;
    submit(engine, &low);
    assert_true(turn(engine));
    submit(engine, &middle);
    submit(engine, &high);
    assert_true(turn(engine) && turn(engine));
    assert_int_equal(engine->records[2].n_ends, 1); /* it took the place of the one that ran */
    assert_int_equal(engine->records[1].n_tokens, 0);
    fake_drain(engine);
    assert_int_equal(load_of(engine).n_preemptions, 1);
    check_alone(engine, &low);
    fake_destroy(engine);
}

static void test_a_user_with_many_does_not_keep_the_others_out(void **state)
{
    fake_engine *engine = create(&limits, false);
    (void)state;
    for (uint64_t id = 0; id < 20; id++) {
        const choir_request request = prompt(id, 1, 3, 100);
        submit(engine, &request);
    }
    assert_true(turn(engine));
    const choir_request one = prompt(40, 2, 3, 3), other = prompt(41, 3, 3, 3);
    submit(engine, &one);
    submit(engine, &other);
    for (int i = 0; i < 5; i++)
        assert_true(turn(engine));
    assert_int_equal(engine->records[40].n_ends, 1);
    assert_int_equal(engine->records[41].n_ends, 1);
    assert_int_equal(load_of(engine).n_preemptions, 2);
    fake_drain(engine);
    fake_destroy(engine);
}

static void test_a_short_prompt_gets_rows_beside_a_long_one(void **state)
{
    fake_engine *engine = create(&limits, false);
    (void)state;
    const choir_request reader = prompt(0, 1, 110, 1), asker = prompt(1, 2, 6, 1);
    submit(engine, &reader);
    submit(engine, &asker);
    assert_true(turn(engine));
    assert_int_equal(engine->records[1].n_ends, 1);
    assert_int_equal(engine->n_rows, 32); /* and the rest went to the long one */
    fake_drain(engine);
    fake_destroy(engine);
}

/* Four users with four requests open each, of which two fit: who ends leaves its slot to its like.
 */
static void test_users_do_not_push_each_other_out(void **state)
{
    enum { USERS = 4, OPEN = 4 };
    choir_step_limits many = limits;
    many.max_num_seqs = 8;
    fake_engine *engine = create(&many, true);
    uint64_t n_sent = 0;
    (void)state;
    do {
        int n_open[USERS] = {0};
        for (uint64_t id = 0; id < n_sent; id++)
            n_open[id % USERS] += !engine->records[id].n_ends;
        while (n_sent < FAKE_REQUESTS && n_open[n_sent % USERS] < OPEN) {
            const choir_request request =
                prompt(n_sent, n_sent % USERS, 3, 5 + (int64_t)(n_sent * 7 % 11));
            n_open[n_sent % USERS]++;
            n_sent++;
            submit(engine, &request);
        }
    } while (turn(engine) || n_sent < FAKE_REQUESTS);
    fake_drain(engine);
    assert_true(load_of(engine).n_preemptions < FAKE_REQUESTS / 8);
    fake_destroy(engine);
}

static void test_timeouts(void **state)
{
    choir_step_limits one = limits;
    one.max_num_seqs = 1;
    fake_engine *engine = create(&one, false);
    (void)state;
    choir_request running = prompt(0, 1, 3, 100), waiting = prompt(1, 1, 3, 1);
    running.timeout_us = 60;
    waiting.timeout_us = 25;
    submit(engine, &running);
    submit(engine, &waiting);
    assert_true(turn(engine) && turn(engine));
    assert_int_equal(engine->records[1].n_ends, 0);
    assert_true(turn(engine));
    assert_int_equal(engine->records[1].finish, CHOIR_FINISH_ERROR);
    assert_int_equal(engine->records[1].status, CHOIR_ETIMEOUT);
    for (int i = 0; i < 4; i++)
        turn(engine);
    assert_int_equal(engine->records[0].status, CHOIR_ETIMEOUT);
    assert_int_equal(engine->records[0].n_tokens, 5);
    fake_drain(engine);
    choir_request bad = prompt(2, 1, 3, 1);
    bad.timeout_us = -1;
    assert_int_equal(choir_scheduler_submit(engine->scheduler, &bad, 0), CHOIR_EINVALID);
    bad.timeout_us = 0;
    bad.priority = CHOIR_PRIORITY_MAX + 1;
    assert_int_equal(choir_scheduler_submit(engine->scheduler, &bad, 0), CHOIR_EINVALID);
    fake_destroy(engine);
}

/* Ranks that need 100 us for a step and 10 us for a row. */
static bool timed_turn(fake_engine *engine)
{
    const int before = engine->n_rows;
    const bool has_step = fake_step(engine);
    engine->now_us += 100 + 10 * (engine->n_rows - before);
    return fake_complete(engine) || has_step;
}

static void test_prompts_heed_the_time_of_a_step(void **state)
{
    fake_engine *engine = create(&limits, false);
    choir_scheduler_destroy(&engine->scheduler);
    choir_scheduler_options options = {.limits = engine->limits,
                                       .width = FAKE_WIDTH,
                                       .n_stages = 1,
                                       .max_step_us = 255,
                                       .take = fake_take,
                                       .context = engine};
    (void)state;
    assert_int_equal(choir_kernels_get(CHOIR_LEVEL_REF, &options.kernels), CHOIR_OK);
    assert_int_equal(choir_scheduler_create(&options, &engine->scheduler), CHOIR_OK);
    for (uint64_t id = 0; id < 12; id++) { /* what a step costs is to be learnt */
        const choir_request request = prompt(id, 1, 1 + (int64_t)id * 2, 3);
        submit(engine, &request);
        while (timed_turn(engine))
            ;
    }
    const choir_request talker = prompt(20, 1, 3, 100), reader = prompt(21, 1, 100, 1);
    submit(engine, &talker);
    assert_true(timed_turn(engine));
    submit(engine, &reader);
    int64_t before_us = engine->now_us;
    while (engine->records[21].n_ends == 0) {
        assert_true(timed_turn(engine));
        const int64_t us = engine->now_us - before_us;
        assert_true(us <= 260);
        before_us = engine->now_us;
        if (engine->records[21].n_ends == 0)
            assert_true(us >= 240); /* the time was used */
    }
    fake_drain(engine);
    fake_destroy(engine);
}

static void test_when_to_try_again(void **state)
{
    fake_engine *engine = create(&limits, false);
    (void)state;
    assert_int_equal(choir_scheduler_retry_after_us(engine->scheduler, 0), 100000);
    for (uint64_t id = 0; id < 40; id++) {
        const choir_request request = prompt(id, 1, 3, 1);
        submit(engine, &request);
        assert_true(turn(engine));
        engine->now_us += 1000000;
    }
    const int64_t us = choir_scheduler_retry_after_us(engine->scheduler, engine->now_us);
    assert_true(us > 900000 && us < 1100000);
    assert_int_equal(choir_scheduler_retry_after_us(engine->scheduler, engine->now_us + 1000000000),
                     60000000);
    fake_drain(engine);
    fake_destroy(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_prefix_is_computed_once),
        cmocka_unit_test(test_the_last_position_is_always_computed),
        cmocka_unit_test(test_an_answer_is_found_again),
        cmocka_unit_test(test_who_shares_with_whom),
        cmocka_unit_test(test_nobody_shares_without_a_cache),
        cmocka_unit_test(test_who_waits_for_a_page_goes_on_when_it_does_not_come),
        cmocka_unit_test(test_scores_are_computed_and_shared),
        cmocka_unit_test(test_the_newest_is_put_back_when_pages_run_out),
        cmocka_unit_test(test_a_score_goes_on_where_it_was),
        cmocka_unit_test(test_priorities),
        cmocka_unit_test(test_a_user_with_many_does_not_keep_the_others_out),
        cmocka_unit_test(test_a_short_prompt_gets_rows_beside_a_long_one),
        cmocka_unit_test(test_users_do_not_push_each_other_out),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_prompts_heed_the_time_of_a_step),
        cmocka_unit_test(test_when_to_try_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
