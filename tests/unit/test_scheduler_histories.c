/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 2,000 seeded histories: random limits, stages and pools; requests of all kinds arrive, are
 * aborted and wait for each other. Whatever the load, each request ends exactly once with the
 * tokens and log-probabilities that it gets alone (of an aborted one, a prefix of them), requests
 * begin in the order they came, and nothing is held at the end.
 */
#include "tests/unit/fake_engine.h"

enum { HISTORIES = 2000, EVENTS = 120 };

static uint64_t random_state;

static int random_below(int n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (int)((random_state >> 33) % (uint64_t)n);
}

/* A request and what it points to. */
typedef struct fake_order {
    choir_request request;
    int32_t token_ids[FAKE_LENGTH], stop_ids[3];
    bool is_accepted, is_aborted;
} fake_order;

static fake_order orders[FAKE_REQUESTS];
static choir_sampler *sampler;

/* First tokens are the ids, so that the order in which sequences begin can be seen. */
static void fill_order(fake_order *order, uint64_t id, int max_model_len)
{
    const int longest = max_model_len - 1;
    choir_request *request = &order->request;
    *request = (choir_request){.id = id,
                               .token_ids = order->token_ids,
                               .n_token_ids =
                                   1 + random_below(random_below(4) ? longest / 3 + 1 : longest),
                               .stop_token_ids = order->stop_ids,
                               .n_stop_token_ids = random_below(4)};
    for (int64_t i = 0; i < request->n_token_ids; i++)
        order->token_ids[i] = i ? random_below(FAKE_V) : (int32_t)id;
    for (int i = 0; i < 3; i++)
        order->stop_ids[i] = random_below(FAKE_V);
    request->sampling = (choir_sampling){.top_p = 1, .seed = (uint64_t)random_below(1000)};
    if (random_below(2)) {
        request->sampling.temperature = 0.5f + (float)random_below(4);
        request->sampling.top_k = random_below(2) * 5;
        request->sampling.top_p = random_below(2) ? 1 : 0.8f;
    }
    request->max_tokens = 1 + random_below(random_below(3) ? 12 : 200);
    request->wants_logprobs = random_below(2);
    request->n_top = random_below(2) * random_below(6);
    request->is_score = random_below(5) == 0;
    order->is_accepted = order->is_aborted = false;
}

static void add_expected(fake_record *record, const choir_request *request, int32_t id,
                         float logprob, const float *logits, float lse)
{
    choir_top_token top[FAKE_TOP];
    int32_t top_ids[FAKE_TOP];
    float top_logits[FAKE_TOP];
    const int n_top = logits ? request->n_top : 0;
    if (logits)
        fake_top(logits, n_top, top_ids, top_logits);
    for (int i = 0; i < n_top; i++)
        top[i] = (choir_top_token){top_ids[i], top_logits[i] - lse};
    fake_record_token(record, &(choir_output_token){id, logprob, n_top, top});
}

/* What a score gives alone: up to the first row that is not finite. */
static void expect_score(const choir_request *request, fake_record *record)
{
    float logits[FAKE_V], lse;
    add_expected(record, request, request->token_ids[0], NAN, NULL, 0);
    record->finish = CHOIR_FINISH_SCORED;
    for (int i = 1; i < request->n_token_ids; i++) {
        const int32_t id = request->token_ids[i];
        if (!fake_row(request->token_ids, i, logits, &lse)) {
            record->finish = CHOIR_FINISH_ERROR;
            return;
        }
        add_expected(record, request, id, logits[id] - lse, logits, lse);
    }
}

/* What a request gives alone, straight from the definition. */
static void expect(const choir_request *request, int max_model_len, fake_record *record)
{
    int32_t tokens[FAKE_LENGTH];
    int n = (int)request->n_token_ids;
    memset(record, 0, sizeof *record);
    if (request->is_score) {
        expect_score(request, record);
        return;
    }
    memcpy(tokens, request->token_ids, (size_t)n * sizeof tokens[0]);
    for (;;) {
        float logits[FAKE_V], lse;
        if (!fake_row(tokens, n, logits, &lse)) {
            record->finish = CHOIR_FINISH_ERROR;
            return;
        }
        const int32_t id = choir_sampler_pick(sampler, &request->sampling, logits, n, 0);
        add_expected(record, request, id, request->wants_logprobs ? logits[id] - lse : NAN, logits,
                     lse);
        tokens[n++] = id;
        for (int i = 0; i < request->n_stop_token_ids; i++)
            if (request->stop_token_ids[i] == id) {
                record->finish = CHOIR_FINISH_STOP;
                return;
            }
        if (n == max_model_len || n == request->n_token_ids + request->max_tokens) {
            record->finish = CHOIR_FINISH_LENGTH;
            return;
        }
    }
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
    if (record->finish == CHOIR_FINISH_ABORT) {
        assert_true(order->is_aborted);
        assert_true(record->n_tokens <= expected.n_tokens);
    } else {
        assert_int_equal(record->finish, expected.finish);
        /* A score's rows come by chunks, and the bad row's chunk tells nothing. */
        if (record->finish == CHOIR_FINISH_ERROR && order->request.is_score)
            assert_true(record->n_tokens <= expected.n_tokens);
        else
            assert_int_equal(record->n_tokens, expected.n_tokens);
    }
    assert_int_equal(record->status,
                     record->finish == CHOIR_FINISH_ERROR ? CHOIR_EENGINE : CHOIR_OK);
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
    return fake_create(&limits, 1 + random_below(FAKE_STAGES), 1 + random_below(12));
}

static void run_history(uint64_t seed, int *finishes)
{
    random_state = seed;
    fake_engine *engine = random_engine();
    const int max_model_len = engine->limits.max_model_len;
    uint64_t n_orders = 0;
    const int n_most = 1 + random_below(60);
    for (int event = 0; event < EVENTS; event++) {
        const int kind = random_below(10);
        engine->now_us += random_below(100);
        if (kind < 3 && (int)n_orders < n_most) {
            fake_order *order = &orders[n_orders];
            fill_order(order, n_orders++, max_model_len);
            order->is_accepted =
                !choir_scheduler_submit(engine->scheduler, &order->request, engine->now_us);
        } else if (kind == 3 && n_orders) {
            const int id = random_below((int)n_orders);
            orders[id].is_aborted = true;
            choir_scheduler_abort(engine->scheduler, (uint64_t)id, engine->now_us);
        } else if (kind < 7) {
            fake_step(engine);
        } else {
            fake_complete(engine);
        }
    }
    fake_drain(engine);
    for (uint64_t id = 0; id < n_orders; id++) {
        check_record(&orders[id], &engine->records[id], max_model_len);
        finishes[engine->records[id].finish]++;
    }
    for (int i = 1; i < engine->n_begun; i++)
        assert_true(engine->first_tokens[i] > engine->first_tokens[i - 1]);
    fake_destroy(engine);
}

static void test_histories(void **state)
{
    const choir_kernels *kernels = NULL;
    int finishes[6] = {0};
    (void)state;
    assert_int_equal(choir_kernels_get(CHOIR_LEVEL_REF, &kernels), CHOIR_OK);
    assert_int_equal(choir_sampler_create(FAKE_V, kernels, &sampler), CHOIR_OK);
    for (uint64_t seed = 0; seed < HISTORIES; seed++)
        run_history(seed * 977 + 1, finishes);
    choir_sampler_destroy(&sampler);
    for (int finish = CHOIR_FINISH_STOP; finish <= CHOIR_FINISH_SCORED; finish++)
        assert_true(finishes[finish] > 300); /* every way to end was seen often */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_histories)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
