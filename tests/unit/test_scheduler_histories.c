/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 10,000 seeded histories in virtual time: random limits, stages and pools; users send requests of
 * all kinds with prompts that begin alike, priorities and time limits, abort them, or leave with
 * all they have; pages run out and steps take as long as they like. Whatever the load, each request
 * ends exactly once, with the tokens and log-probabilities that it gets alone (of one that was
 * aborted or late, a prefix of them); no step is larger than allowed, work never stops while there
 * is any, and nothing is held at the end.
 *
 *     test_scheduler_histories [--seed N] [--histories N]
 *
 * A failure prints the seed that repeats it.
 */
#include "tests/unit/fake_engine.h"

#include <signal.h>
#include <stdio.h>

#ifdef __SANITIZE_ADDRESS__
enum { HISTORIES = 3000 }; /* five times as slow */
#else
enum { HISTORIES = 10000 };
#endif

enum { EVENTS = 120, USERS = 4, PREFIXES = 3, STEPS_MOST = 40000 };

static uint64_t random_state;

static int random_below(int n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (int)((random_state >> 33) % (uint64_t)n);
}

/* A request and what it points to. */
typedef struct fake_order {
    choir_request request;
    int32_t token_ids[FAKE_LENGTH], stop_ids[3], bad_ids[4];
    choir_logit_bias bias[2];
    bool is_accepted, is_aborted;
} fake_order;

/* What was seen in all histories. */
typedef struct tally {
    int finishes[7], timeouts;
    uint64_t preemptions, hits, waits, gathered;
} tally;

static fake_order orders[FAKE_REQUESTS];
static choir_sampler *sampler;

/* Prompts are one of a few beginnings and then their own. */
static void fill_prompt(fake_order *order)
{
    const int n = (int)order->request.n_token_ids, prefix = random_below(PREFIXES);
    const int n_alike = random_below(4) ? random_below(n + 1) : 0;
    for (int i = 0; i < n; i++)
        order->token_ids[i] =
            i < n_alike ? (int32_t)(fake_mix((uint64_t)(prefix * FAKE_LENGTH + i)) % FAKE_V)
                        : random_below(FAKE_V);
}

static void fill_wishes(fake_order *order)
{
    static const int32_t lengths[] = {1, 1, 2};
    for (int i = 0; i < 4; i++)
        order->bad_ids[i] = random_below(FAKE_V);
    for (int i = 0; i < 2; i++)
        order->bias[i] = (choir_logit_bias){i + 2 * random_below(40), (float)random_below(9) - 4};
    order->request.wishes = (choir_token_wishes){.bias = order->bias,
                                                 .n_bias = 2,
                                                 .bad_ids = order->bad_ids,
                                                 .bad_lengths = lengths,
                                                 .n_bad_words = 3,
                                                 .min_tokens = random_below(8)};
}

static void fill_order(fake_order *order, uint64_t id, int max_model_len)
{
    const int longest = max_model_len - 1;
    choir_request *request = &order->request;
    *request = (choir_request){.id = id,
                               .user_id = (uint64_t)random_below(USERS),
                               .token_ids = order->token_ids,
                               .n_token_ids =
                                   1 + random_below(random_below(4) ? longest / 3 + 1 : longest),
                               .stop_token_ids = order->stop_ids,
                               .n_stop_token_ids = random_below(4)};
    fill_prompt(order);
    for (int i = 0; i < 3; i++)
        order->stop_ids[i] = random_below(FAKE_V);
    request->sampling = (choir_sampling){.top_p = 1, .seed = (uint64_t)random_below(1000)};
    if (random_below(2)) {
        request->sampling.temperature = 0.5f + (float)random_below(4);
        request->sampling.top_k = random_below(2) * 5;
        request->sampling.top_p = (const float[]){1, 0.8f, 0.99f}[random_below(3)];
    }
    if (random_below(6) == 0)
        request->sampling.repetition_penalty = 1.25f;
    if (random_below(6) == 0)
        request->sampling.presence_penalty = 0.5f;
    if (random_below(6) == 0)
        fill_wishes(order);
    request->max_tokens = 1 + random_below(random_below(3) ? 12 : 200);
    request->wants_logprobs = random_below(2);
    request->n_top = random_below(2) * random_below(6);
    request->is_score = random_below(5) == 0;
    request->wants_prompt_logprobs = !request->is_score && random_below(5) == 0;
    request->pooling = request->is_score || random_below(8) ? CHOIR_POOLING_NONE
                       : random_below(2)                    ? CHOIR_POOLING_LAST
                                                            : CHOIR_POOLING_MEAN;
    request->is_normalized = random_below(2);
    request->wants_prompt_logprobs &= request->pooling == CHOIR_POOLING_NONE;
    request->n_prompt_top = random_below(2) * random_below(6);
    request->group_id = random_below(3) ? 0 : 1 + (uint64_t)random_below(3);
    request->priority = random_below(4) ? 0 : random_below(5) - 2;
    request->timeout_us = random_below(8) ? 0 : 1 + random_below(4000);
    request->n_cache_salt = (size_t)(random_below(2) ? 0 : 1 + random_below(2));
    request->cache_salt = "aa";
    order->is_accepted = order->is_aborted = false;
}

static void add_expected(fake_record *record, int n_top, int32_t id, float logprob,
                         const float *logits, float lse)
{
    choir_top_token top[FAKE_TOP];
    int32_t top_ids[FAKE_TOP];
    float top_logits[FAKE_TOP];
    if (logits)
        fake_top(logits, n_top, top_ids, top_logits);
    for (int i = 0; i < n_top; i++)
        top[i] = (choir_top_token){top_ids[i], top_logits[i] - lse};
    fake_record_token(record, &(choir_output_token){id, logprob, n_top, top});
}

/* What is told of a prompt, up to the first row that is not finite: then false. */
static bool expect_prompt(const choir_request *request, int n_top, fake_record *record)
{
    float logits[FAKE_V], lse;
    add_expected(record, 0, request->token_ids[0], NAN, NULL, 0);
    for (int i = 1; i < request->n_token_ids; i++) {
        const int32_t id = request->token_ids[i];
        if (!fake_row(request->token_ids, i, logits, &lse))
            return false;
        add_expected(record, n_top, id, logits[id] - lse, logits, lse);
    }
    return true;
}

/* An embedding, straight from the definition. */
static void expect_embedding(const choir_request *request, fake_record *record)
{
    const int n = (int)request->n_token_ids;
    const bool is_mean = request->pooling == CHOIR_POOLING_MEAN;
    float sum[FAKE_WIDTH] = {0}, square = 0;
    record->finish = CHOIR_FINISH_EMBEDDED;
    for (int i = is_mean ? 0 : n - 1; i < n; i++) {
        float state[FAKE_WIDTH];
        if (!fake_state(request->token_ids, i + 1, state))
            record->finish = CHOIR_FINISH_ERROR;
        for (int k = 0; k < FAKE_WIDTH; k++)
            sum[k] += state[k];
    }
    for (int k = 0; k < FAKE_WIDTH && is_mean; k++)
        sum[k] = sum[k] / (float)n;
    const float *s = sum; /* five lanes: 0 + 4, then 0..3 by halves */
    square =
        (fmaf(s[0], s[0], 0) + fmaf(s[4], s[4], 0) + s[2] * s[2]) + (s[1] * s[1] + s[3] * s[3]);
    for (int k = 0; k < FAKE_WIDTH; k++)
        record->embedding[k] = request->is_normalized ? sum[k] * (1 / sqrtf(square)) : sum[k];
}

/* What a request gives alone, straight from the definition. */
static void expect(const choir_request *request, int max_model_len, fake_record *record)
{
    int32_t tokens[FAKE_LENGTH];
    int n = (int)request->n_token_ids;
    choir_token_rules *rules;
    memset(record, 0, sizeof *record);
    if (request->pooling != CHOIR_POOLING_NONE) {
        expect_embedding(request, record);
        return;
    }
    if (request->is_score) {
        record->finish = expect_prompt(request, request->n_top, record) ? CHOIR_FINISH_SCORED
                                                                        : CHOIR_FINISH_ERROR;
        return;
    }
    if (request->wants_prompt_logprobs && !expect_prompt(request, request->n_prompt_top, record))
        record->finish = CHOIR_FINISH_ERROR;
    record->n_prompt = record->n_tokens;
    assert_int_equal(
        choir_token_rules_create(&request->wishes, FAKE_V, request->n_stop_token_ids, &rules),
        CHOIR_OK);
    memcpy(tokens, request->token_ids, (size_t)n * sizeof tokens[0]);
    while (!record->finish) {
        float logits[FAKE_V], lse;
        choir_sampling_lists lists;
        if (!fake_row(tokens, n, logits, &lse)) {
            record->finish = CHOIR_FINISH_ERROR;
            break;
        }
        choir_token_rules_lists(rules, tokens, n, request->n_token_ids, request->stop_token_ids,
                                &lists);
        const int32_t id = choir_sampler_pick(sampler, &request->sampling, &lists, logits, n);
        add_expected(record, request->n_top, id, request->wants_logprobs ? logits[id] - lse : NAN,
                     logits, lse);
        tokens[n++] = id;
        if (n == max_model_len || n == request->n_token_ids + request->max_tokens)
            record->finish = CHOIR_FINISH_LENGTH;
        for (int i = 0; i < request->n_stop_token_ids; i++)
            if (request->stop_token_ids[i] == id)
                record->finish = CHOIR_FINISH_STOP;
    }
    choir_token_rules_destroy(&rules);
}

static void check_record(const fake_order *order, const fake_record *record, int max_model_len)
{
    static fake_record expected;
    if (!order->is_accepted) {
        assert_int_equal(record->n_ends + record->n_tokens, 0);
        return;
    }
    expect(&order->request, max_model_len, &expected);
    assert_int_equal(record->n_ends, 1);
    const bool is_late = record->status == CHOIR_ETIMEOUT;
    if (is_late) {
        assert_true(order->request.timeout_us > 0);
        assert_int_equal(record->finish, CHOIR_FINISH_ERROR);
        assert_true(record->n_tokens <= expected.n_tokens);
    } else if (record->finish == CHOIR_FINISH_ABORT) {
        assert_true(order->is_aborted);
        assert_true(record->n_tokens <= expected.n_tokens);
    } else {
        assert_int_equal(record->finish, expected.finish);
        /* A prompt's rows come by chunks, and the bad row's chunk tells nothing. */
        if (record->finish == CHOIR_FINISH_ERROR &&
            (order->request.is_score || order->request.wants_prompt_logprobs))
            assert_true(record->n_tokens <= expected.n_tokens);
        else
            assert_int_equal(record->n_tokens, expected.n_tokens);
    }
    if (!is_late)
        assert_int_equal(record->status,
                         record->finish == CHOIR_FINISH_ERROR ? CHOIR_EENGINE : CHOIR_OK);
    if (record->finish == CHOIR_FINISH_EMBEDDED)
        assert_memory_equal(record->embedding, expected.embedding, sizeof expected.embedding);
    assert_int_equal(record->n_prompt,
                     record->n_tokens < expected.n_prompt ? record->n_tokens : expected.n_prompt);
    for (int i = 0; i < record->n_tokens; i++) {
        assert_int_equal(record->tokens[i].id, expected.tokens[i].id);
        assert_int_equal(isnan(record->tokens[i].logprob), isnan(expected.tokens[i].logprob));
        if (!isnan(expected.tokens[i].logprob))
            assert_int_equal(fake_bits(record->tokens[i].logprob),
                             fake_bits(expected.tokens[i].logprob));
        assert_true(record->top[i] == expected.top[i]);
    }
}

static fake_engine *random_engine(void)
{
    choir_step_limits limits = {.vocab_size = FAKE_V};
    limits.max_num_seqs = 1 + random_below(FAKE_SEQS);
    limits.max_num_batched_tokens = (const int32_t[]){1, 2, 7, 16, FAKE_ROWS}[random_below(5)];
    limits.max_model_len = 4 + random_below(FAKE_LENGTH - 4);
    limits.page_positions = (const int32_t[]){1, 4, 64}[random_below(3)];
    /* From a third of what one sequence may need to plenty. */
    limits.n_pages = 1 + limits.max_model_len / limits.page_positions / 3;
    limits.n_pages += random_below(FAKE_PAGES - limits.n_pages);
    return fake_create_with((choir_scheduler_options){
        .limits = limits,
        .n_stages = 1 + random_below(FAKE_STAGES),
        .max_waiting = 1 + random_below(12),
        .keeps_pages = random_below(6),
        .max_step_us = random_below(2) * (1 + random_below(200)),
    });
}

/* A user leaves: all that it has open ends. */
static void leave(fake_engine *engine, uint64_t n_orders)
{
    const uint64_t user_id = (uint64_t)random_below(USERS);
    for (uint64_t id = 0; id < n_orders; id++)
        if (orders[id].request.user_id == user_id) {
            orders[id].is_aborted = true;
            choir_scheduler_abort(engine->scheduler, id, engine->now_us);
        }
}

static void happen(fake_engine *engine, uint64_t *n_orders, int n_most)
{
    const int kind = random_below(40);
    engine->now_us += random_below(100);
    if (kind < 12 && (int)*n_orders < n_most) {
        fake_order *order = &orders[*n_orders];
        fill_order(order, (*n_orders)++, engine->limits.max_model_len);
        order->is_accepted =
            !choir_scheduler_submit(engine->scheduler, &order->request, engine->now_us);
    } else if (kind < 15 && *n_orders) {
        const int id = random_below((int)*n_orders);
        orders[id].is_aborted = true;
        choir_scheduler_abort(engine->scheduler, (uint64_t)id, engine->now_us);
    } else if (kind == 15) {
        leave(engine, *n_orders);
    } else if (kind < 28) {
        fake_step(engine);
    } else {
        fake_complete(engine);
    }
}

/* Till all is done. With nothing in flight and something running or waiting there is a step. */
static void drain(fake_engine *engine)
{
    choir_scheduler_load load;
    for (int n = 0;; n++) {
        assert_true(n < STEPS_MOST);
        choir_scheduler_get_load(engine->scheduler, &load);
        const bool has_work = load.n_running + load.n_waiting > 0;
        const bool has_step = fake_step(engine);
        choir_scheduler_get_load(engine->scheduler, &load);
        if (has_work && !has_step && engine->n_flights == 0)
            assert_int_equal(load.n_running + load.n_waiting, 0); /* the last ones were late */
        engine->now_us += 1 + random_below(60);
        if (!has_step && !fake_complete(engine))
            break;
    }
    assert_int_equal(load.n_running + load.n_waiting + load.n_steps_in_flight, 0);
    assert_int_equal(load.n_pages_used, 0);
}

static void run_history(uint64_t seed, tally *seen)
{
    choir_scheduler_load load;
    random_state = seed;
    fake_engine *engine = random_engine();
    uint64_t n_orders = 0;
    const int n_most = 1 + random_below(60);
    for (int event = 0; event < EVENTS; event++)
        happen(engine, &n_orders, n_most);
    drain(engine);
    for (uint64_t id = 0; id < n_orders; id++) {
        const fake_record *record = &engine->records[id];
        check_record(&orders[id], record, engine->limits.max_model_len);
        seen->finishes[record->finish]++;
        seen->timeouts += record->status == CHOIR_ETIMEOUT;
    }
    choir_scheduler_get_load(engine->scheduler, &load);
    seen->preemptions += load.n_preemptions;
    seen->hits += load.n_cache_hits;
    seen->waits += load.n_shared_waits;
    seen->gathered += load.n_rows_gathered;
    fake_destroy(engine);
}

static uint64_t first_seed, current_seed, n_histories = HISTORIES;

static void test_histories(void **state)
{
    const choir_kernels *kernels = NULL;
    static tally seen;
    (void)state;
    assert_int_equal(choir_kernels_get(CHOIR_LEVEL_REF, &kernels), CHOIR_OK);
    assert_int_equal(choir_sampler_create(FAKE_V, kernels, &sampler), CHOIR_OK);
    for (uint64_t i = 0; i < n_histories; i++) {
        current_seed = first_seed + i;
        run_history(current_seed * 977 + 1, &seen);
    }
    choir_sampler_destroy(&sampler);
    printf(
        "%llu histories: %d stopped, %d at length, %d aborted, %d failed, %d scored, %d embedded, "
        "%d late; "
        "%llu put back, %llu positions reused, %llu turns waited for a page, %llu rows gathered\n",
        (unsigned long long)n_histories, seen.finishes[CHOIR_FINISH_STOP],
        seen.finishes[CHOIR_FINISH_LENGTH], seen.finishes[CHOIR_FINISH_ABORT],
        seen.finishes[CHOIR_FINISH_ERROR], seen.finishes[CHOIR_FINISH_SCORED],
        seen.finishes[CHOIR_FINISH_EMBEDDED], seen.timeouts, (unsigned long long)seen.preemptions,
        (unsigned long long)seen.hits, (unsigned long long)seen.waits,
        (unsigned long long)seen.gathered);
    if (n_histories < HISTORIES)
        return;
    for (int finish = CHOIR_FINISH_STOP; finish <= CHOIR_FINISH_EMBEDDED; finish++)
        assert_true(seen.finishes[finish] > HISTORIES / 33); /* everything was seen often */
    assert_true(seen.timeouts > HISTORIES / 33 && seen.preemptions > HISTORIES / 3 &&
                seen.hits > HISTORIES / 3 && seen.waits > HISTORIES / 100 &&
                seen.gathered > HISTORIES / 10);
}

static void tell_seed(void)
{
    fprintf(stderr, "repeat it with: test_scheduler_histories --seed %llu\n",
            (unsigned long long)current_seed);
}

/* Of the scheduler's own assertions. */
static void on_abort(int signal_number)
{
    (void)signal_number;
    tell_seed();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_histories)};
    for (int i = 1; i + 1 < argc; i += 2) {
        const uint64_t value = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--seed") == 0) {
            first_seed = value;
            n_histories = 1;
        } else if (strcmp(argv[i], "--histories") == 0) {
            n_histories = value;
        }
    }
    signal(SIGABRT, on_abort);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (failed)
        tell_seed();
    return failed;
}
