/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sampling rule: its lists and filters against a plain rendering of docs/numerics.md (sort
 * everything, mark what is kept, draw all noise). test_sampler_noise.c has the noise.
 */
#include "coordinator/sampler.h"

#include "common/philox.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 3000 };

static const choir_kernels *kernels;

static int get_kernels(void **state)
{
    (void)state;
    return choir_kernels_get(CHOIR_LEVEL_REF, &kernels);
}

/* What the plain rendering sorts by. */
static const float *sort_key;

static int descending(const void *a, const void *b)
{
    const int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    if (sort_key[i] != sort_key[j])
        return sort_key[i] > sort_key[j] ? -1 : 1;
    return i < j ? -1 : 1;
}

/* l of the log-sum-exp over z[0..V), lane by lane; what is all -inf is skipped. */
static float plain_total(const float *z, int64_t V)
{
    int64_t C = 16;
    while ((V + C - 1) / C > 64)
        C *= 2;
    float m = -INFINITY, l = 0;
    for (int64_t begin = 0; begin < V; begin += C) {
        const int64_t end = begin + C < V ? begin + C : V;
        float chunk_m = -INFINITY, lanes[16] = {0};
        for (int64_t i = begin; i < end; i++)
            chunk_m = z[i] > chunk_m ? z[i] : chunk_m;
        for (int64_t i = begin; i < end; i++)
            lanes[(i - begin) % 16] += choir_expf(z[i] - chunk_m);
        for (int half = 8; half; half /= 2)
            for (int i = 0; i < half; i++)
                lanes[i] += lanes[i + half];
        if (chunk_m == -INFINITY)
            continue;
        if (m == -INFINITY) {
            m = chunk_m;
            l = lanes[0];
        } else {
            const float larger = m > chunk_m ? m : chunk_m;
            l = fmaf(l, choir_expf(m - larger), lanes[0] * choir_expf(chunk_m - larger));
            m = larger;
        }
    }
    return l;
}

/* What the settings make of a logit, straight from the text. */
static float plain_logit(const choir_sampling *s, const choir_sampling_lists *lists, float z,
                         int32_t id)
{
    int n_answer = 0;
    bool is_allowed = lists->n_allowed == 0, is_seen = false;
    for (int i = 0; i < lists->n_bias; i++)
        z += lists->bias[i].token_id == id ? lists->bias[i].bias : 0;
    for (int i = 0; i < lists->n_allowed; i++)
        is_allowed = is_allowed || lists->allowed[i] == id;
    for (int i = 0; i < lists->n_banned; i++)
        is_allowed = is_allowed && lists->banned[i] != id;
    if (!is_allowed)
        z = -INFINITY;
    for (int i = 0; i < lists->n_history; i++) {
        is_seen = is_seen || lists->history[i] == id;
        n_answer += i >= lists->n_prompt && lists->history[i] == id;
    }
    if (is_seen && s->repetition_penalty > 0)
        z = z > 0 ? z / s->repetition_penalty : z * s->repetition_penalty;
    if (n_answer > 0) {
        const float frequency = (float)n_answer * s->frequency_penalty;
        z = z - frequency;
        z = z - s->presence_penalty;
    }
    return s->temperature == 0 ? z : z / s->temperature;
}

static int ascending(const void *a, const void *b)
{
    const int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    if (sort_key[i] != sort_key[j])
        return sort_key[i] < sort_key[j] ? -1 : 1;
    return i < j ? -1 : 1;
}

/* The most typical of ids[0..n), which descend; they descend again. */
static int64_t plain_typical(int32_t *ids, int64_t n, const float *z, float z_max, float typical_p)
{
    static float distances[MOST];
    float total = 0, H = 0, sum = 0;
    int64_t k = 0;
    for (int64_t i = 0; i < n; i++)
        total += choir_expf(z[ids[i]] - z_max);
    for (int64_t i = 0; i < n; i++) {
        const float p = choir_expf(z[ids[i]] - z_max) / total;
        H -= p > 0 ? p * choir_logf(p) : 0;
    }
    for (int64_t i = 0; i < n; i++)
        distances[ids[i]] = fabsf(-choir_logf(choir_expf(z[ids[i]] - z_max) / total) - H);
    sort_key = distances;
    qsort(ids, (size_t)n, sizeof ids[0], ascending);
    do
        sum += choir_expf(z[ids[k++]] - z_max) / total;
    while (k < n && !(sum >= typical_p));
    sort_key = z;
    qsort(ids, (size_t)k, sizeof ids[0], descending);
    return k;
}

static int32_t plain_pick_with(const choir_sampling *s, const choir_sampling_lists *lists,
                               const float *logits, int64_t V, int64_t position)
{
    static float z[MOST];
    static int32_t ids[MOST];
    int64_t n = 0;
    for (int32_t i = 0; i < V; i++)
        z[i] = plain_logit(s, lists, logits[i], i);
    sort_key = z;
    for (int32_t i = 0; i < V; i++)
        ids[i] = i;
    qsort(ids, (size_t)V, sizeof ids[0], descending);
    if (z[ids[0]] == -INFINITY)
        return -1;
    if (s->temperature == 0)
        return ids[0];
    const float z_max = z[ids[0]];
    const bool is_typical = s->typical_p > 0 && s->typical_p < 1;
    if (s->min_p > 0) {
        while (n < V && choir_expf(z[ids[n]] - z_max) >= s->min_p)
            n++;
    } else {
        n = V;
    }
    if (s->top_k > 0 && s->top_k < n)
        n = s->top_k;
    if (is_typical)
        n = plain_typical(ids, n, z, z_max, s->typical_p);
    if (s->top_p < 1) {
        float total = 0, sum = 0;
        int64_t k = 0;
        if (s->min_p > 0 || is_typical || (s->top_k > 0 && s->top_k < V))
            for (int64_t i = 0; i < n; i++)
                total += choir_expf(z[ids[i]] - z_max);
        else
            total = plain_total(z, V);
        do
            sum += choir_expf(z[ids[k++]] - z_max);
        while (k < n && !(sum >= s->top_p * total));
        n = k;
    }
    int32_t best = -1;
    float best_sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const uint32_t key[2] = {(uint32_t)s->seed, (uint32_t)(s->seed >> 32)};
        const uint32_t counter[4] = {(uint32_t)position, (uint32_t)s->choice, (uint32_t)ids[i] / 4,
                                     0};
        uint32_t words[4];
        choir_philox(key, counter, words);
        const float u = ((float)(words[ids[i] % 4] >> 9) + 0.5f) / 8388608;
        const float sum = z[ids[i]] - choir_logf(-choir_logf(u));
        if (best < 0 || sum > best_sum || (sum == best_sum && ids[i] < best)) {
            best = ids[i];
            best_sum = sum;
        }
    }
    return best;
}

static const choir_sampling_lists no_lists;

static int32_t plain_pick(const choir_sampling *s, const float *logits, int64_t V, int64_t position)
{
    return plain_pick_with(s, &no_lists, logits, V, position);
}

static uint32_t random_state[2];

static uint32_t random_word(void)
{
    uint32_t words[4];
    const uint32_t counter[4] = {random_state[0]++, 0, 0, 0};
    choir_philox(random_state, counter, words);
    return words[0];
}

static float random_unit(void)
{
    return (float)(random_word() >> 8) * 0x1p-24f;
}

static void fill_logits(float *logits, int64_t V)
{
    const float scale = (const float[]){0.5f, 3, 10, 60}[random_word() % 4];
    const float grid = (const float[]){0, 0, 0.5f, 4}[random_word() % 4]; /* makes ties */
    const float offset = random_word() % 4 ? 0 : 1e8f; /* makes sums with noise tie */
    for (int64_t i = 0; i < V; i++) {
        logits[i] = (random_unit() + random_unit() - 1) * scale;
        if (grid > 0)
            logits[i] = rintf(logits[i] / grid) * grid;
        logits[i] += offset;
        if (logits[i] == 0 && random_word() % 2)
            logits[i] = -0.0f;
    }
}

static choir_sampling random_sampling(int64_t V)
{
    choir_sampling s = {.top_p = 1, .seed = (uint64_t)random_word() << 32 | random_word()};
    const uint32_t kind = random_word();
    s.temperature =
        kind % 8 == 0 ? 0 : 0.01f + random_unit() * (const float[]){0.1f, 1, 3}[kind % 3];
    if (kind >> 8 & 1)
        s.top_k = 1 + (int32_t)(random_word() % (uint32_t)(V + 2));
    if (kind >> 9 & 1)
        s.top_p = (const float[]){1e-6f, 0.5f, 0.95f, 0.9999999f}[random_word() % 4];
    if (kind >> 10 & 1)
        s.min_p = (const float[]){1e-30f, 0.01f, 0.3f, 1}[random_word() % 4];
    if (kind >> 11 & 3)
        s.choice = (int32_t)(random_word() % 5);
    if ((kind >> 13 & 7) == 0)
        s.typical_p = (const float[]){0.2f, 0.95f, 1, 1e-9f}[random_word() % 4];
    if ((kind >> 16 & 3) == 0)
        s.repetition_penalty = (const float[]){1, 1.3f, 0.7f, 2}[random_word() % 4];
    if ((kind >> 18 & 3) == 0)
        s.frequency_penalty = random_unit() * 4 - 2;
    if ((kind >> 20 & 3) == 0)
        s.presence_penalty = random_unit() * 4 - 2;
    return s;
}

static void test_filters_equal_the_plain_rendering(void **state)
{
    static const int64_t sizes[] = {1, 2, 5, 16, 17, 63, 64, 333, 1024, MOST};
    static float logits[MOST];
    (void)state;
    random_state[1] = 11;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const int64_t V = sizes[i];
        choir_sampler *sampler = NULL;
        assert_int_equal(choir_sampler_create(V, kernels, &sampler), CHOIR_OK);
        for (int round = 0; round < (V > 100 ? 300 : 1500); round++) {
            fill_logits(logits, V);
            const choir_sampling s = random_sampling(V);
            assert_int_equal(choir_sampling_check(&s), CHOIR_OK);
            const int64_t position = random_word() % 8192;
            const int32_t expected = plain_pick(&s, logits, V, position);
            const int32_t token = choir_sampler_pick(sampler, &s, &no_lists, logits, position);
            if (token != expected)
                fail_msg("V %d round %d T %g top_k %d top_p %g min_p %g: %d, not %d", (int)V, round,
                         (double)s.temperature, s.top_k, (double)s.top_p, (double)s.min_p, token,
                         expected);
        }
        choir_sampler_destroy(&sampler);
        assert_null(sampler);
        choir_sampler_destroy(&sampler);
    }
}

/* Lists of every kind, now and then such that no token is left. */
static void test_lists_equal_the_plain_rendering(void **state)
{
    enum { V = 200, LIST = 40 };
    static float logits[V];
    choir_sampler *sampler = NULL;
    int n_without = 0;
    (void)state;
    random_state[1] = 14;
    assert_int_equal(choir_sampler_create(V, kernels, &sampler), CHOIR_OK);
    for (int round = 0; round < 6000; round++) {
        choir_logit_bias bias[LIST];
        int32_t allowed[LIST], banned[LIST], history[LIST];
        choir_sampling_lists lists = {.bias = bias,
                                      .allowed = allowed,
                                      .banned = banned,
                                      .history = history,
                                      .n_history = (int32_t)(random_word() % LIST)};
        int32_t id = 0;
        for (uint32_t n = random_word() % 3 ? 0 : random_word() % LIST; n > 0; n--) {
            id += 1 + (int32_t)(random_word() % 4);
            bias[lists.n_bias++] = (choir_logit_bias){id, random_unit() * 20 - 10};
        }
        id = -1;
        for (uint32_t n = random_word() % 3 ? 0 : random_word() % LIST; n > 0; n--)
            allowed[lists.n_allowed++] = id += 1 + (int32_t)(random_word() % 4);
        for (uint32_t n = random_word() % 3 ? 0 : random_word() % LIST; n > 0; n--)
            banned[lists.n_banned++] = random_word() % 4 || !lists.n_allowed
                                           ? (int32_t)(random_word() % V)
                                           : allowed[random_word() % (uint32_t)lists.n_allowed];
        for (int i = 0; i < lists.n_history; i++)
            history[i] = (int32_t)(random_word() % (V / 4));
        lists.n_prompt = (int32_t)(random_word() % (uint32_t)(lists.n_history + 1));
        fill_logits(logits, V);
        const choir_sampling s = random_sampling(V);
        assert_int_equal(choir_sampling_check(&s), CHOIR_OK);
        const int32_t expected = plain_pick_with(&s, &lists, logits, V, round);
        assert_int_equal(choir_sampler_pick(sampler, &s, &lists, logits, round), expected);
        n_without += expected < 0;
    }
    assert_in_range(n_without, 20, 1000);
    choir_sampler_destroy(&sampler);
}

/* A part of the vocabulary gets what the whole row has there. */
static void test_parts_of_a_row_are_alike(void **state)
{
    enum { V = 300 };
    static float logits[V], whole[V], part[V];
    static int32_t counts[V];
    static const int32_t allowed[] = {0, 5, 99, 100, 101, 150, 199, 200, 299};
    static const int32_t banned[] = {100, 7, 200}, history[] = {5, 99, 100, 5, 299, 150, 5};
    static const choir_logit_bias bias[] = {{99, 2}, {100, -1}, {250, 3}};
    const choir_sampling_lists lists = {bias, 3, allowed, 9, banned, 3, history, 7, 2};
    const choir_sampling s = {.temperature = 0.7f,
                              .repetition_penalty = 1.2f,
                              .frequency_penalty = 0.3f,
                              .presence_penalty = 0.4f};
    (void)state;
    random_state[1] = 15;
    fill_logits(logits, V);
    choir_sampling_apply(whole, logits, 0, V, &s, &lists, counts);
    for (int64_t begin = 0; begin < V; begin += 100) {
        choir_sampling_apply(part + begin, logits + begin, begin, 100, &s, &lists, counts);
        for (int64_t i = 0; i < V; i++)
            assert_int_equal(counts[i], 0);
    }
    assert_memory_equal(part, whole, sizeof whole);
    choir_sampling_apply(logits, logits, 0, V, &s, &lists, counts);
    assert_memory_equal(logits, whole, sizeof whole);
}

/*
 * top_p where a running sum meets p times the total to the last bit, so that another total, or
 * another comparison, keeps one token more or less.
 */
static void test_top_p_at_its_border(void **state)
{
    static float logits[64];
    static int32_t ids[64];
    (void)state;
    random_state[1] = 13;
    for (int round = 0; round < 6000; round++) {
        const int64_t V = 20 + random_word() % 44;
        const int k = 1 + (int)(random_word() % 6);
        choir_sampler *sampler = NULL;
        float sum = 0;
        for (int32_t i = 0; i < V; i++) {
            logits[i] = random_unit();
            ids[i] = i;
        }
        sort_key = logits;
        qsort(ids, (size_t)V, sizeof ids[0], descending);
        for (int i = 0; i < k; i++)
            sum += choir_expf(logits[ids[i]] - logits[ids[0]]);
        choir_sampling s = {.temperature = 1, .top_k = round % 2 ? (int32_t)V : 0};
        s.top_p = sum / plain_total(logits, V);
        s.seed = (uint64_t)round;
        assert_int_equal(choir_sampler_create(V, kernels, &sampler), CHOIR_OK);
        assert_int_equal(choir_sampler_pick(sampler, &s, &no_lists, logits, 0),
                         plain_pick(&s, logits, V, 0));
        choir_sampler_destroy(&sampler);
    }
}

static void test_many_unlikely_tokens_together(void **state)
{
    /* One at 0 and 2,999 at -9 that have a quarter of the weight: top_p has to go far down. */
    static float logits[MOST];
    choir_sampler *sampler = NULL;
    int n_unlikely = 0;
    (void)state;
    for (int i = 0; i < MOST; i++)
        logits[i] = i == 700 ? 0 : -9;
    assert_int_equal(choir_sampler_create(MOST, kernels, &sampler), CHOIR_OK);
    for (int round = 0; round < 200; round++) {
        const choir_sampling s = {.temperature = 1, .top_p = 0.9f, .seed = (uint64_t)round};
        const int32_t token = choir_sampler_pick(sampler, &s, &no_lists, logits, 0);
        assert_int_equal(token, plain_pick(&s, logits, MOST, 0));
        n_unlikely += token != 700;
    }
    assert_in_range(n_unlikely, 20, 80);
    choir_sampler_destroy(&sampler);
}

static void test_ties_go_to_the_lower_id(void **state)
{
    choir_sampler *sampler = NULL;
    choir_sampling s = {.temperature = 0, .top_p = 1};
    (void)state;
    assert_int_equal(choir_sampler_create(4, kernels, &sampler), CHOIR_OK);
    assert_int_equal(choir_sampler_pick(sampler, &s, &no_lists, (const float[]){1, 2, 2, 2}, 0), 1);
    assert_int_equal(
        choir_sampler_pick(sampler, &s, &no_lists, (const float[]){-1, -0.0f, 0, -0.0f}, 0), 1);
    s.temperature = 1;
    s.top_k = 1;
    for (int64_t position = 0; position < 50; position++)
        assert_int_equal(
            choir_sampler_pick(sampler, &s, &no_lists, (const float[]){-1, -0.0f, 0, 0}, position),
            1);
    choir_sampler_destroy(&sampler);
}

static void test_any_row_gives_a_token(void **state)
{
    /* A row that is not finite never reaches the sampler; if one did, it stays in its bounds (-1:
     * nothing but -inf). */
    static const float values[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 0};
    float logits[16];
    choir_sampler *sampler = NULL;
    (void)state;
    random_state[1] = 12;
    assert_int_equal(choir_sampler_create(16, kernels, &sampler), CHOIR_OK);
    for (int round = 0; round < 3000; round++) {
        for (int i = 0; i < 16; i++)
            logits[i] = values[random_word() % 6];
        const choir_sampling s = random_sampling(16);
        const int32_t token = choir_sampler_pick(sampler, &s, &no_lists, logits, round);
        assert_true(token >= -1 && token < 16);
    }
    choir_sampler_destroy(&sampler);
}

static void test_fields_out_of_range_are_named(void **state)
{
    static const struct {
        choir_sampling s;
        const char *name;
    } cases[] = {
        {{.temperature = NAN, .top_p = 1}, "temperature"},
        {{.temperature = -1, .top_p = 1}, "temperature"},
        {{.temperature = 0.009f, .top_p = 1}, "temperature"},
        {{.temperature = 1e30f, .top_p = 1}, "temperature"},
        {{.top_k = -1, .top_p = 1}, "top_k"},
        {{.top_p = 0}, "top_p"},
        {{.top_p = -0.5f}, "top_p"},
        {{.top_p = NAN}, "top_p"},
        {{.top_p = INFINITY}, "top_p"},
        {{.top_p = 1, .min_p = -0.1f}, "min_p"},
        {{.top_p = 1, .min_p = 1.1f}, "min_p"},
        {{.top_p = 1, .min_p = NAN}, "min_p"},
        {{.top_p = 1, .typical_p = 1.5f}, "typical_p"},
        {{.top_p = 1, .typical_p = NAN}, "typical_p"},
        {{.top_p = 1, .repetition_penalty = -1}, "repetition_penalty"},
        {{.top_p = 1, .repetition_penalty = INFINITY}, "repetition_penalty"},
        {{.top_p = 1, .frequency_penalty = 2.5f}, "frequency_penalty"},
        {{.top_p = 1, .frequency_penalty = NAN}, "frequency_penalty"},
        {{.top_p = 1, .presence_penalty = -2.5f}, "presence_penalty"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(choir_sampling_check(&cases[i].s), CHOIR_EINVALID);
        assert_non_null(strstr(choir_error(), cases[i].name));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filters_equal_the_plain_rendering),
        cmocka_unit_test(test_lists_equal_the_plain_rendering),
        cmocka_unit_test(test_parts_of_a_row_are_alike),
        cmocka_unit_test(test_top_p_at_its_border),
        cmocka_unit_test(test_many_unlikely_tokens_together),
        cmocka_unit_test(test_ties_go_to_the_lower_id),
        cmocka_unit_test(test_any_row_gives_a_token),
        cmocka_unit_test(test_fields_out_of_range_are_named),
    };
    return cmocka_run_group_tests(tests, get_kernels, NULL);
}
