/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention of every level, ref among them, bit for bit against a scalar one written from
 * numerics.md, and that one within a tolerance against float64. Pages lie in any order, and all
 * that the query may not see is NaN.
 */
#include "tests/kernels/check.h"

enum { MOST_POSITIONS = 1200, MOST_HEADS = 9, MOST_S = 160, PAGES = MOST_POSITIONS / 64 + 1 };

/* A KV head's cache and the queries that share it: heads and rows, of which some see less. */
typedef struct scene {
    choir_cache_type key_type, value_type;
    float key_size, value_size; /* largest elements */
    int64_t S, n;
    int n_heads;
    int64_t seen[MOST_HEADS]; /* <= n */
    void *key_pages[PAGES], *value_pages[PAGES];
    float keys[MOST_POSITIONS][MOST_S], values[MOST_POSITIONS][MOST_S];
    float q[MOST_HEADS * MOST_S];
} scene;

/* The value that the cache keeps of x[0..S), as numerics.md rounds it. */
static void round_row(float *x, int64_t S, choir_cache_type type)
{
    for (int64_t i = 0; type == CHOIR_CACHE_F16 && i < S; i++)
        x[i] = choir_half_to_float(choir_float_to_half(x[i]));
    for (int64_t b = 0; type == CHOIR_CACHE_Q8_0 && b < S / 32; b++) {
        choir_q8 block;
        check_ref()->quantize(&block, 1, x + 32 * b, 32);
        float d = choir_half_to_float(choir_float_to_half(block.d));
        for (int i = 0; i < 32; i++)
            x[32 * b + i] = d * block.q[i];
    }
}

static scene *scene_make_sized(choir_cache_type key_type, choir_cache_type value_type, int64_t S,
                               int n_heads, int64_t n, float key_size, float value_size,
                               uint64_t *seed)
{
    scene *s = malloc(sizeof *s);
    assert_non_null(s);
    s->key_size = key_size;
    s->value_size = value_size;
    s->key_type = key_type;
    s->value_type = value_type;
    s->S = S;
    s->n = n;
    s->n_heads = n_heads;
    for (int i = 0; i < PAGES; i++) {
        int page = i * 7 % PAGES; /* so that their addresses do not ascend */
        s->key_pages[page] = aligned_alloc(64, choir_kv_page_bytes(key_type, S));
        s->value_pages[page] = aligned_alloc(64, choir_kv_page_bytes(value_type, S));
        assert_true(s->key_pages[page] && s->value_pages[page]);
        memset(s->key_pages[page], 0xff, choir_kv_page_bytes(key_type, S));
        memset(s->value_pages[page], 0xff, choir_kv_page_bytes(value_type, S));
    }
    for (int64_t j = 0; j < n; j++) {
        check_random_floats(s->keys[j], S, key_size, seed);
        check_random_floats(s->values[j], S, value_size, seed);
        choir_kv_store_key(s->key_pages[j / 64], key_type, S, (int)(j % 64), s->keys[j]);
        choir_kv_store_value(s->value_pages[j / 64], value_type, S, (int)(j % 64), s->values[j]);
        round_row(s->keys[j], S, key_type);
        round_row(s->values[j], S, value_type);
    }
    check_random_floats(s->q, n_heads * S, 2 / sqrtf((float)S), seed);
    for (int h = 0; h < n_heads; h++)
        s->seen[h] = n;
    return s;
}

static scene *scene_make(choir_cache_type key_type, choir_cache_type value_type, int64_t S,
                         int n_heads, int64_t n, uint64_t *seed)
{
    return scene_make_sized(key_type, value_type, S, n_heads, n, 3, 2, seed);
}

static void scene_free(scene *s)
{
    for (int i = 0; i < PAGES; i++) {
        free(s->key_pages[i]);
        free(s->value_pages[i]);
    }
    free(s);
}

static void run(const choir_kernels *kernels, const scene *s, float *out)
{
    choir_attention_state running[MOST_HEADS], span[MOST_HEADS];
    check_buffer buffers[2 * MOST_HEADS];
    for (int h = 0; h < s->n_heads; h++) {
        buffers[2 * h] = check_buffer_make(s->S);
        buffers[2 * h + 1] = check_buffer_make(s->S);
        running[h].o = buffers[2 * h].data;
        span[h].o = buffers[2 * h + 1].data;
    }
    for (int64_t first = 0; first < s->n; first += 1024) {
        int64_t n_visible[MOST_HEADS];
        for (int h = 0; h < s->n_heads; h++) {
            const int64_t rest = s->seen[h] - first;
            n_visible[h] = rest < 0 ? 0 : rest < 1024 ? rest : 1024;
        }
        kernels->attention_span(first == 0 ? running : span, s->q, s->n_heads, s->S,
                                (const void *const *)s->key_pages + first / 64,
                                (const void *const *)s->value_pages + first / 64, s->key_type,
                                s->value_type, n_visible);
        for (int h = 0; first > 0 && h < s->n_heads; h++)
            kernels->attention_merge(&running[h], &span[h], s->S);
    }
    for (int h = 0; h < s->n_heads; h++)
        kernels->attention_finish(out + h * s->S, &running[h], s->S);
    for (int h = 0; h < 2 * s->n_heads; h++)
        check_buffer_free(&buffers[h]);
}

static float lane_sum64(const float *x)
{
    float lanes[16] = {0};
    for (int i = 0; i < 64; i++)
        lanes[i % 16] += x[i];
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lanes[i] = lanes[i + half] + lanes[i];
    return lanes[0];
}

typedef struct naive_state {
    float m, l, o[MOST_S];
} naive_state;

/* numerics.md, one page: positions [first, last). */
static void naive_page(const scene *s, const float *q, int64_t first, int64_t last, naive_state *st)
{
    float score[64], p[64] = {0}, page_max = -INFINITY;
    for (int64_t j = first; j < last; j++) {
        float acc = 0;
        for (int64_t c = 0; c < s->S; c++)
            acc = fmaf(q[c], s->keys[j][c], acc);
        score[j - first] = acc;
        page_max = acc > page_max ? acc : page_max;
    }
    float m = st->m > page_max ? st->m : page_max;
    float c = choir_expf(st->m - m);
    for (int64_t j = first; j < last; j++)
        p[j - first] = choir_expf(score[j - first] - m);
    st->l = fmaf(st->l, c, lane_sum64(p));
    for (int64_t i = 0; i < s->S; i++) {
        st->o[i] = st->o[i] * c;
        for (int64_t j = first; j < last; j++)
            st->o[i] = fmaf(p[j - first], s->values[j][i], st->o[i]);
    }
    st->m = m;
}

static void naive(const scene *s, float *out)
{
    for (int h = 0; h < s->n_heads; h++) {
        const int64_t n = s->seen[h];
        naive_state all = {.m = -INFINITY};
        for (int64_t first = 0; first < n; first += 1024) {
            naive_state span = {.m = -INFINITY};
            for (int64_t page = first; page < n && page < first + 1024; page += 64)
                naive_page(s, s->q + h * s->S, page, page + 64 < n ? page + 64 : n, &span);
            if (first == 0) {
                all = span;
                continue;
            }
            float m = all.m > span.m ? all.m : span.m;
            float c = choir_expf(all.m - m), e = choir_expf(span.m - m);
            all.l = fmaf(all.l, c, span.l * e);
            for (int64_t i = 0; i < s->S; i++)
                all.o[i] = fmaf(span.o[i], e, all.o[i] * c);
            all.m = m;
        }
        for (int64_t i = 0; i < s->S; i++)
            out[h * s->S + i] = all.o[i] / all.l;
    }
}

/* The textbook formula. */
static void exact(const scene *s, int h, double *out)
{
    static double score[MOST_POSITIONS];
    const float *q = s->q + h * s->S;
    double highest = -INFINITY, sum = 0;
    for (int64_t j = 0; j < s->seen[h]; j++) {
        score[j] = 0;
        for (int64_t c = 0; c < s->S; c++)
            score[j] += (double)q[c] * (double)s->keys[j][c];
        highest = score[j] > highest ? score[j] : highest;
    }
    memset(out, 0, (size_t)s->S * sizeof *out);
    for (int64_t j = 0; j < s->seen[h]; j++) {
        double p = exp(score[j] - highest);
        sum += p;
        for (int64_t i = 0; i < s->S; i++)
            out[i] += p * (double)s->values[j][i];
    }
    for (int64_t i = 0; i < s->S; i++)
        out[i] /= sum;
}

static void check_scene(const scene *s)
{
    int64_t n = s->n_heads * s->S;
    float want[MOST_HEADS * MOST_S];
    naive(s, want);
    for (int h = 0; h < s->n_heads && s->key_size == 3; h++) {
        double near[MOST_S];
        exact(s, h, near);
        for (int64_t i = 0; i < s->S; i++)
            if (fabs((double)want[h * s->S + i] - near[i]) > 1e-5)
                fail_msg("%g is far from %g", (double)want[h * s->S + i], near[i]);
    }
    for (int level = 0; level < CHOIR_LEVEL_COUNT; level++) {
        const choir_kernels *kernels = check_find(level);
        if (kernels == NULL)
            continue;
        check_buffer out = check_buffer_make(n);
        run(kernels, s, out.data);
        check_same_bits(out.data, want, n, choir_level_name((choir_level)level));
        check_buffer_free(&out);
    }
}

/* As rows do that follow each other: each query sees `step` positions less than the one behind. */
static void see_less(scene *s, int64_t step)
{
    for (int h = 0; h < s->n_heads; h++) {
        const int64_t seen = s->n - (s->n_heads - 1 - h) * step;
        s->seen[h] = seen > 0 ? seen : 1;
    }
}

static void check_shapes(void **state)
{
    (void)state;
    static const int64_t sizes[] = {32, 64, 96, 128, 160, 2, 40, 70};
    static const int64_t lengths[] = {1, 16, 17, 63, 64, 65, 130, 200};
    uint64_t seed = 1;
    for (int k = 0; k < 3; k++)
        for (int v = 0; v < 3; v++)
            for (int i = 0; i < 16; i++) {
                int64_t S = sizes[(i + k) % 8];
                if (S % 32 != 0 && (k == CHOIR_CACHE_Q8_0 || v == CHOIR_CACHE_Q8_0))
                    S = 64;
                scene *s = scene_make((choir_cache_type)k, (choir_cache_type)v, S, 1 + i % 9,
                                      lengths[(i + v) % 8], &seed);
                check_scene(s);
                see_less(s, 1 + i % 3);
                check_scene(s);
                scene_free(s);
            }
}

/* Elements that are subnormal, zero, or so large that one position has all the weight. */
static void check_sizes(void **state)
{
    (void)state;
    static const float halves[] = {0, 0x1p-20f, 6e4f}, floats[] = {0, 0x1p-135f, 0x1p60f};
    uint64_t seed = 6;
    for (int k = 0; k < 3; k++)
        for (int v = 0; v < 3; v++)
            for (int i = 0; i < 9; i++) {
                const float *key_sizes = k == CHOIR_CACHE_F32 ? floats : halves;
                const float *value_sizes = v == CHOIR_CACHE_F32 ? floats : halves;
                scene *s = scene_make_sized((choir_cache_type)k, (choir_cache_type)v, 64, 1 + i % 5,
                                            70, key_sizes[i % 3], value_sizes[i / 3], &seed);
                check_scene(s);
                scene_free(s);
            }
}

/* Over the border of a span, where states are merged. */
static void check_spans(void **state)
{
    (void)state;
    uint64_t seed = 2;
    static const int64_t lengths[] = {1024, 1025, 1100};
    for (int i = 0; i < 3; i++) {
        scene *s = scene_make(CHOIR_CACHE_F16, CHOIR_CACHE_F16, 64, 3, lengths[i], &seed);
        check_scene(s);
        see_less(s, 1);
        check_scene(s);
        see_less(s, 40);
        check_scene(s);
        scene_free(s);
    }
}

/* Merging by itself, since a division hides many a last bit. */
static void check_merge(void **state)
{
    (void)state;
    enum { S = 37 };
    for (int level = 0; level < CHOIR_LEVEL_COUNT; level++) {
        const choir_kernels *kernels = check_find(level);
        if (kernels == NULL)
            continue;
        uint64_t seed = 4;
        for (int i = 0; i < 200; i++) {
            float a_o[S], b_o[S], want[S];
            choir_attention_state a = {.m = check_random_float(&seed) * 4, .o = a_o};
            choir_attention_state b = {.m = check_random_float(&seed) * 4, .o = b_o};
            a.l = 1 + check_random_float(&seed);
            b.l = 1 + check_random_float(&seed);
            check_random_floats(a_o, S, 5, &seed);
            check_random_floats(b_o, S, 5, &seed);
            float m = a.m > b.m ? a.m : b.m;
            float c = choir_expf(a.m - m), e = choir_expf(b.m - m);
            volatile float below = b.l * e;
            float l = fmaf(a.l, c, below);
            for (int s = 0; s < S; s++) {
                volatile float scaled = a_o[s] * c;
                want[s] = fmaf(b_o[s], e, scaled);
            }
            kernels->attention_merge(&a, &b, S);
            check_same_bits(&a.m, &m, 1, "m");
            check_same_bits(&a.l, &l, 1, "l");
            check_same_bits(a_o, want, S, "o");
        }
    }
}

/*
 * The exp of each level over a sample of all floats up to 0: key j's one element that counts is x,
 * position 0 has the maximum 0, and value j picks p_j into o[j].
 */
static void check_exp(void **state)
{
    (void)state;
    enum { S = 64 };
    float *keys = aligned_alloc(64, choir_kv_page_bytes(CHOIR_CACHE_F32, S));
    float *values = aligned_alloc(64, choir_kv_page_bytes(CHOIR_CACHE_F32, S));
    assert_true(keys && values);
    memset(keys, 0, choir_kv_page_bytes(CHOIR_CACHE_F32, S));
    memset(values, 0, choir_kv_page_bytes(CHOIR_CACHE_F32, S));
    for (int j = 1; j < 64; j++)
        values[j * S + j] = 1;
    const float q[S] = {1};
    for (int level = 0; level < CHOIR_LEVEL_COUNT; level++) {
        const choir_kernels *kernels = check_level(level);
        if (kernels == NULL)
            continue;
        for (uint32_t bits = 0x80000000; bits < 0xff800000 - 64 * 8009;) {
            float x[64] = {0}, want[64] = {0}, o[S], finish[S];
            for (int j = 1; j < 64; j++, bits += 8009) {
                memcpy(&x[j], &bits, 4);
                want[j] = choir_expf(x[j]);
                keys[j] = x[j];
            }
            choir_attention_state st = {.o = o};
            const void *key_page = keys, *value_page = values;
            kernels->attention_span(&st, q, 1, S, &key_page, &value_page, CHOIR_CACHE_F32,
                                    CHOIR_CACHE_F32, &(int64_t){64});
            check_same_bits(o + 1, want + 1, 63, "exp");
            kernels->attention_finish(finish, &st, S);
            assert_true(finish[0] == 0);
        }
    }
    free(keys);
    free(values);
}

/* Scores of -inf are skipped; a NaN, wherever it stands, reaches the result. */
static void check_not_finite(void **state)
{
    (void)state;
    enum { S = 32, PAGE = 64 };
    float *keys = aligned_alloc(64, 3 * sizeof(float) * PAGE * S);
    float *values = aligned_alloc(64, 3 * sizeof(float) * PAGE * S);
    assert_true(keys && values);
    for (int level = 0; level < CHOIR_LEVEL_COUNT; level++) {
        const choir_kernels *kernels = check_find(level);
        if (kernels == NULL)
            continue;
        for (int bad = 0; bad < 3; bad++)
            for (int is_nan = 0; is_nan < 2; is_nan++) {
                float q[S], o[S], out[S], other_o[S];
                for (int i = 0; i < 3 * PAGE * S; i++)
                    keys[i] = values[i] = 1;
                for (int i = 0; i < PAGE; i++)
                    keys[bad * PAGE * S + i] = is_nan ? NAN : -INFINITY;
                for (int i = 0; i < S; i++)
                    q[i] = 0.25f;
                const void *key_pages[] = {keys, keys + PAGE * S, keys + 2 * PAGE * S};
                const void *value_pages[] = {values, values, values};
                choir_attention_state st = {.o = o}, other = {.o = other_o};
                kernels->attention_span(&st, q, 1, S, key_pages, value_pages, CHOIR_CACHE_F32,
                                        CHOIR_CACHE_F32, &(int64_t){2 * PAGE + 5});
                kernels->attention_finish(out, &st, S);
                assert_true(is_nan ? out[0] != out[0] : out[0] == 1);
                /* The bad page as a span of its own, before and behind a good one. */
                int good = bad == 0;
                kernels->attention_span(&st, q, 1, S, &key_pages[bad], value_pages, CHOIR_CACHE_F32,
                                        CHOIR_CACHE_F32, &(int64_t){5});
                kernels->attention_span(&other, q, 1, S, &key_pages[good], value_pages,
                                        CHOIR_CACHE_F32, CHOIR_CACHE_F32, &(int64_t){5});
                assert_true(is_nan || (st.m == -INFINITY && st.l == 0));
                kernels->attention_merge(bad % 2 ? &st : &other, bad % 2 ? &other : &st, S);
                kernels->attention_finish(out, bad % 2 ? &st : &other, S);
                assert_true(is_nan ? out[0] != out[0] : out[0] == 1);
            }
    }
    free(keys);
    free(values);
}

/* Nothing but the one position changes, and pages have the size that kernels.h says. */
static void check_store(void **state)
{
    (void)state;
    uint64_t seed = 3;
    assert_int_equal(choir_kv_page_bytes(CHOIR_CACHE_F16, 64), 8192);
    assert_int_equal(choir_kv_page_bytes(CHOIR_CACHE_F32, 64), 16384);
    assert_int_equal(choir_kv_page_bytes(CHOIR_CACHE_Q8_0, 64), 4096 + 256);
    for (int type = 0; type < 3; type++)
        for (int is_value = 0; is_value < 2; is_value++) {
            enum { S = 64 };
            uint8_t page[16384 + 64], before[sizeof page];
            float row[S];
            memset(page, 0x5a, sizeof page);
            memcpy(before, page, sizeof page);
            check_random_floats(row, S, 1, &seed);
            (is_value ? choir_kv_store_value : choir_kv_store_key)(page, (choir_cache_type)type, S,
                                                                   63, row);
            size_t changed = 0, end = choir_kv_page_bytes((choir_cache_type)type, S);
            for (size_t i = 0; i < sizeof page; i++) {
                changed += page[i] != before[i];
                assert_true(i < end || page[i] == before[i]);
            }
            size_t bytes = type == CHOIR_CACHE_F32   ? 4 * S
                           : type == CHOIR_CACHE_F16 ? 2 * S
                                                     : S + 4;
            assert_true(changed <= bytes && changed > bytes * 9 / 10);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_store), cmocka_unit_test(check_shapes),
        cmocka_unit_test(check_spans), cmocka_unit_test(check_merge),
        cmocka_unit_test(check_exp),   cmocka_unit_test(check_not_finite),
        cmocka_unit_test(check_sizes),
    };
    return cmocka_run_group_tests(tests, check_reached, NULL);
}
