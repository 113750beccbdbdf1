/* SPDX-License-Identifier: Apache-2.0 */
/* The row operations of every level, ref among them, against scalar ones written from numerics.md.
 */
#include "tests/kernels/check.h"

static const int64_t lengths[] = {1, 2, 15, 16, 17, 31, 33, 64, 100, 576, 1536};
enum { N_LENGTHS = sizeof lengths / sizeof *lengths, N_MOST = 1536 };

/* Runs a check on every level that this CPU has. */
static void on_levels(void (*check)(const choir_kernels *))
{
    for (int level = 0; level < CHOIR_LEVEL_COUNT; level++) {
        const choir_kernels *kernels = check_level(level);
        if (kernels != NULL)
            check(kernels);
    }
}

static float lane_sum(const float *x, int64_t n, bool squares)
{
    float lanes[16] = {0};
    for (int64_t i = 0; i < n; i++)
        lanes[i % 16] = squares ? fmaf(x[i], x[i], lanes[i % 16]) : lanes[i % 16] + x[i];
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lanes[i] = lanes[i + half] + lanes[i];
    return lanes[0];
}

/* What a block of activations says, by numerics.md: d and the integers. */
typedef struct naive_block {
    float d;
    int q[32];
} naive_block;

static naive_block naive_quantize(const float *x, float most)
{
    naive_block block = {.d = 0};
    uint32_t highest = 0;
    for (int i = 0; i < 32; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], 4);
        bits &= 0x7fffffff;
        highest = bits > highest ? bits : highest;
    }
    float amax;
    memcpy(&amax, &highest, 4);
    if (!isfinite(amax)) {
        block.d = NAN;
    } else if (amax >= 0x1p-100f) {
        block.d = amax / most;
        float id = most / amax;
        for (int i = 0; i < 32; i++) {
            volatile float product = x[i] * id;
            block.q[i] = (int)nearbyint((double)product);
        }
    }
    return block;
}

static int sum_of(const int *q, int n)
{
    int sum = 0;
    for (int i = 0; i < n; i++)
        sum += q[i];
    return sum;
}

/* The products d * sum that both formats hold. */
static void check_d_sums(const naive_block *want, float d, float d_sum, const float *d_sum_half)
{
    check_same_bits(&d, &want->d, 1, "d");
    float product = want->d * (float)sum_of(want->q, 32);
    check_same_bits(&d_sum, &product, 1, "d_sum");
    for (int h = 0; h < 2; h++) {
        product = want->d * (float)sum_of(want->q + 16 * h, 16);
        check_same_bits(&d_sum_half[h], &product, 1, "d_sum_half");
    }
}

/* minus[h][p]: columns 4c + 2p and the next of half h. */
static void check_minus_sums(const int16_t minus[2][2], const int *q)
{
    int sums[2][2] = {{0}};
    for (int i = 0; i < 32; i++)
        sums[i / 16][i / 2 % 2] += q[i];
    for (int i = 0; i < 4; i++)
        assert_int_equal(minus[i / 2][i % 2], -sums[i / 2][i % 2]);
}

static void check_q8(const choir_q8 *got, const float *x)
{
    const naive_block want = naive_quantize(x, 127);
    check_d_sums(&want, got->d, got->d_sum, got->d_sum_half);
    for (int i = 0; i < 32; i++) {
        assert_int_equal(got->q[i], want.q[i]);
        assert_int_not_equal(got->q[i], -128);
    }
    assert_int_equal(got->minus_sum, -sum_of(want.q, 32));
    check_minus_sums(got->minus_sums, want.q);
}

static void check_q15(const choir_q15 *got, const float *x)
{
    const naive_block want = naive_quantize(x, 16256);
    check_d_sums(&want, got->d, got->d_sum, got->d_sum_half);
    int h[32], l[32];
    for (int i = 0; i < 32; i++) {
        h[i] = (int)floor((want.q[i] + 64) / 128.0);
        l[i] = want.q[i] - 128 * h[i];
        assert_in_range(h[i] + 127, 0, 254);
        assert_in_range(l[i] + 64, 0, 127);
        assert_int_equal(got->h[i], h[i]);
        assert_int_equal(got->l[i], l[i]);
    }
    assert_int_equal(got->minus_sum, -sum_of(want.q, 32));
    check_minus_sums(got->minus_sums_h, h);
    check_minus_sums(got->minus_sums_l, l);
}

enum { BLOCKS = 300 };

/* Ordinary, tiny, huge and odd values, ties, and the border below which a block counts as zero. */
static void fill_blocks(float *x, float most)
{
    uint64_t seed = 1;
    for (int b = 0; b < BLOCKS; b++) {
        float scale = ldexpf(1, (int)(check_random(&seed) % 254) - 130);
        check_random_floats(x + 32 * b, 32, b % 3 ? 1 : scale, &seed);
        if (b % 7 == 0) /* ties: halves of the step that amax = most gives */
            for (int i = 0; i < 32; i++)
                x[32 * b + i] = i == 5
                                    ? -most
                                    : (float)(int)(check_random(&seed) % (uint64_t)(4 * most)) / 4 -
                                          floorf(most / 2);
        if (b % 11 == 0)
            x[32 * b + check_random(&seed) % 32] = check_odd_float(&seed);
        if (b % 13 == 0)
            for (int i = 0; i < 32; i++)
                x[32 * b + i] = (b % 2 ? 0x1p-100f : 0x1.fffffep-101f) * (i % 3 ? 1 : -1);
    }
}

/* Side by side and 3 apart, when what lies between stays as it was. */
static void quantize(const choir_kernels *kernels)
{
    static choir_q8 q8[3 * BLOCKS];
    static choir_q15 q15[3 * BLOCKS];
    for (int stride = 1; stride <= 3; stride += 2) {
        check_buffer x = check_buffer_make(32 * BLOCKS);
        memset(q8, 0xa5, sizeof q8);
        memset(q15, 0xa5, sizeof q15);
        fill_blocks(x.data, 127);
        kernels->quantize(q8, stride, x.data, 32 * (BLOCKS - 1));
        for (int b = 0; b < BLOCKS - 1; b++)
            check_q8(&q8[b * stride], x.data + 32 * b);
        fill_blocks(x.data, 16256);
        kernels->quantize_q15(q15, stride, x.data, 32 * (BLOCKS - 1));
        for (int b = 0; b < BLOCKS - 1; b++)
            check_q15(&q15[b * stride], x.data + 32 * b);
        for (int i = 0; i < 3 * BLOCKS; i++) {
            bool is_block = i % stride == 0 && i / stride < BLOCKS - 1;
            for (size_t k = 0; !is_block && k < sizeof *q8; k++)
                assert_int_equal(((uint8_t *)&q8[i])[k], 0xa5);
            for (size_t k = 0; !is_block && k < sizeof *q15; k++)
                assert_int_equal(((uint8_t *)&q15[i])[k], 0xa5);
        }
        check_buffer_free(&x);
    }
}

static void check_quantize(void **state)
{
    (void)state;
    assert_int_equal(sizeof(choir_q8), 60);
    assert_int_equal(sizeof(choir_q15), 100);
    on_levels(quantize);
}

/* Ordinary values, subnormal ones, ones whose squares overflow, zeros, and odd ones among others.
 */
enum { N_KINDS = 5 };

static void fill_floats(float *x, int64_t n, float scale, int kind, uint64_t *seed)
{
    static const float sizes[N_KINDS] = {1, 0x1p-128f, 0x1p100f, 0, 1};
    check_random_floats(x, n, kind == 0 || kind == 4 ? scale : sizes[kind], seed);
    for (int64_t i = 0; kind == 4 && i < n; i++)
        if (check_random(seed) % 64 == 0)
            x[i] = check_odd_float(seed);
}

static void rms_norm(const choir_kernels *kernels)
{
    uint64_t seed = 2;
    for (int k = 0; k < 20 * N_LENGTHS; k++) {
        int64_t n = lengths[k % N_LENGTHS];
        check_buffer x = check_buffer_make(n), w = check_buffer_make(n), y = check_buffer_make(n);
        float want[N_MOST];
        fill_floats(x.data, n, 100, k / N_LENGTHS % N_KINDS, &seed);
        fill_floats(w.data, n, 2, k / N_LENGTHS / N_KINDS, &seed);
        float scale = 1.0f / sqrtf(lane_sum(x.data, n, true) / (float)n + 1e-5f);
        for (int64_t i = 0; i < n; i++) {
            want[i] = x.data[i] * scale;
            want[i] = want[i] * w.data[i];
        }
        kernels->rms_norm(y.data, x.data, w.data, n, 1e-5f);
        check_same_bits(y.data, want, n, "rms_norm");
        kernels->rms_norm(x.data, x.data, w.data, n, 1e-5f);
        check_same_bits(x.data, want, n, "rms_norm in place");
        check_buffer_free(&x);
        check_buffer_free(&w);
        check_buffer_free(&y);
    }
}

static void check_rms_norm(void **state)
{
    (void)state;
    on_levels(rms_norm);
}

static void layer_norm(const choir_kernels *kernels)
{
    uint64_t seed = 7;
    for (int k = 0; k < 20 * N_LENGTHS; k++) {
        int64_t n = lengths[k % N_LENGTHS];
        check_buffer x = check_buffer_make(n), w = check_buffer_make(n), b = check_buffer_make(n);
        check_buffer y = check_buffer_make(n);
        float want[N_MOST], d[N_MOST];
        fill_floats(x.data, n, 100, k / N_LENGTHS % N_KINDS, &seed);
        fill_floats(w.data, n, 2, k / N_LENGTHS / N_KINDS, &seed);
        fill_floats(b.data, n, 3, k / N_LENGTHS / N_KINDS, &seed);
        float mean = lane_sum(x.data, n, false) / (float)n;
        for (int64_t i = 0; i < n; i++)
            d[i] = x.data[i] - mean;
        float scale = 1.0f / sqrtf(lane_sum(d, n, true) / (float)n + 1e-5f);
        for (int64_t i = 0; i < n; i++) {
            want[i] = d[i] * scale;
            want[i] = want[i] * w.data[i];
            want[i] = want[i] + b.data[i];
        }
        kernels->layer_norm(y.data, x.data, w.data, b.data, n, 1e-5f);
        check_same_bits(y.data, want, n, "layer_norm");
        kernels->layer_norm(x.data, x.data, w.data, b.data, n, 1e-5f);
        check_same_bits(x.data, want, n, "layer_norm in place");
        check_buffer_free(&x);
        check_buffer_free(&w);
        check_buffer_free(&b);
        check_buffer_free(&y);
    }
}

static void check_layer_norm(void **state)
{
    (void)state;
    on_levels(layer_norm);
}

static float naive_silu(float x)
{
    const float below = 1 + choir_expf(-x);
    return x / below;
}

static float naive_gelu(float x)
{
    const float linear = 0.044715f * x, cubic = linear * x;
    const float y = fmaf(cubic, x, x) * 0.79788456f;
    const float above = choir_expf(2 * y) + 1;
    const float quotient = 2 / above, tanh = 1 - quotient;
    return 0.5f * x * (tanh + 1);
}

/* Over a sample of all floats, so that the exp of lanes meets every range it has. */
static void gates(void (*kernel)(float *, const float *, const float *, int64_t),
                  float (*naive)(float))
{
    uint64_t seed = 3;
    check_buffer g = check_buffer_make(N_MOST), u = check_buffer_make(N_MOST);
    check_buffer h = check_buffer_make(N_MOST);
    uint64_t bits = 0;
    for (int round = 0; bits < 1ull << 32; round++) {
        int64_t n = lengths[N_LENGTHS - 1 - round % 3];
        for (int64_t i = 0; i < n; i++, bits += 20011) {
            uint32_t pattern = (uint32_t)bits;
            memcpy(&g.data[i], &pattern, 4);
        }
        fill_floats(u.data, n, 10, round % N_KINDS, &seed);
        float want[N_MOST];
        for (int64_t i = 0; i < n; i++) {
            const float value = naive(g.data[i]);
            want[i] = value * u.data[i];
        }
        kernel(h.data, g.data, u.data, n);
        check_same_bits(h.data, want, n, "gate");
    }
    for (int k = 0; k < N_LENGTHS; k++) {
        check_buffer in_place = check_buffer_make(lengths[k]);
        check_random_floats(in_place.data, lengths[k], 10, &seed);
        memcpy(g.data, in_place.data, (size_t)lengths[k] * 4);
        kernel(h.data, g.data, u.data, lengths[k]);
        kernel(in_place.data, in_place.data, u.data, lengths[k]);
        check_same_bits(in_place.data, h.data, lengths[k], "gate in place");
        check_buffer_free(&in_place);
    }
    check_buffer_free(&g);
    check_buffer_free(&u);
    check_buffer_free(&h);
}

static void swiglu(const choir_kernels *kernels)
{
    gates(kernels->swiglu, naive_silu);
}

static void check_swiglu(void **state)
{
    (void)state;
    on_levels(swiglu);
}

static void geglu(const choir_kernels *kernels)
{
    gates(kernels->geglu, naive_gelu);
    for (float x = -12; x < 12; x += 0.01f) {
        const double inner = sqrt(2 / acos(-1)) * (x + 0.044715 * pow(x, 3));
        const double want = 0.5 * x * (1 + tanh(inner));
        const float up = 1;
        float got;
        kernels->geglu(&got, &x, &up, 1);
        assert_true(fabs(got - want) <= 1e-6 * (1 + fabs(want)));
    }
}

static void check_geglu(void **state)
{
    (void)state;
    on_levels(geglu);
}

static void add(const choir_kernels *kernels)
{
    uint64_t seed = 4;
    for (int k = 0; k < N_LENGTHS * N_KINDS; k++) {
        int64_t n = lengths[k % N_LENGTHS];
        check_buffer x = check_buffer_make(n), y = check_buffer_make(n);
        float want[N_MOST];
        fill_floats(x.data, n, 1, k / N_LENGTHS, &seed);
        fill_floats(y.data, n, 1e-3f, k / N_LENGTHS, &seed);
        for (int64_t i = 0; i < n; i++)
            want[i] = x.data[i] + y.data[i];
        kernels->add(x.data, y.data, n);
        check_same_bits(x.data, want, n, "add");
        check_buffer_free(&x);
        check_buffer_free(&y);
    }
}

static void check_add(void **state)
{
    (void)state;
    on_levels(add);
}

static void rotary(const choir_kernels *kernels)
{
    uint64_t seed = 5;
    for (int64_t S = 2; S <= 160; S += 14)
        for (int64_t n_rot = 2; n_rot <= S; n_rot += 6)
            for (int adjacent = 0; adjacent < 2; adjacent++) {
                check_buffer x = check_buffer_make(S);
                float c[80], s[80], want[160];
                fill_floats(x.data, S, 3, (int)(S / 2 + n_rot / 2) % N_KINDS, &seed);
                check_random_floats(c, n_rot / 2, 1, &seed);
                check_random_floats(s, n_rot / 2, 1, &seed);
                memcpy(want, x.data, (size_t)S * 4);
                for (int64_t i = 0; i < n_rot / 2; i++) {
                    int64_t a = adjacent ? 2 * i : i, b = adjacent ? a + 1 : i + n_rot / 2;
                    volatile float ac = x.data[a] * c[i], bs = x.data[b] * s[i];
                    volatile float as = x.data[a] * s[i], bc = x.data[b] * c[i];
                    want[a] = ac - bs;
                    want[b] = as + bc;
                }
                kernels->rotary(x.data, c, s, n_rot, adjacent);
                check_same_bits(x.data, want, S, "rotary");
                check_buffer_free(&x);
            }
}

static void check_rotary(void **state)
{
    (void)state;
    on_levels(rotary);
}

static void lse_chunk(const choir_kernels *kernels)
{
    uint64_t seed = 6;
    for (int k = 0; k < N_LENGTHS; k++)
        for (int odd = 0; odd < 6; odd++) {
            int64_t n = lengths[k];
            float z[N_MOST], terms[N_MOST], m, l;
            /* Behind 0..2: subnormal, huge and equal values. */
            fill_floats(z, n, 40, odd < 3 ? 0 : odd - 2, &seed);
            for (int64_t i = 0; i < n; i++)
                if (odd == 2 || (odd == 1 && check_random(&seed) % 4 == 0))
                    z[i] = -INFINITY;
            float highest = -INFINITY;
            for (int64_t i = 0; i < n; i++)
                highest = z[i] > highest ? z[i] : highest;
            for (int64_t i = 0; i < n; i++)
                terms[i] = highest == -INFINITY ? 0 : choir_expf(z[i] - highest);
            float sum = lane_sum(terms, n, false);
            float ref_m, ref_l; /* the sign of a zero maximum is whatever ref gives */
            check_ref()->lse_chunk(z, n, &ref_m, &ref_l);
            assert_true(ref_m == highest);
            kernels->lse_chunk(z, n, &m, &l);
            check_same_bits(&m, &ref_m, 1, "m");
            check_same_bits(&l, &sum, 1, "l");
            z[n / 2] = NAN; /* must be seen, also among -inf alone */
            kernels->lse_chunk(z, n, &m, &l);
            assert_true(m != m && l != l);
        }
}

static void check_lse_chunk(void **state)
{
    (void)state;
    on_levels(lse_chunk);
}

static void exp_from(const choir_kernels *kernels)
{
    uint64_t seed = 7;
    for (int k = 0; k < N_LENGTHS; k++)
        for (int kind = 0; kind < 4; kind++) {
            const int64_t n = lengths[k];
            float x[N_MOST], want[N_MOST];
            fill_floats(x, n, 40, kind, &seed);
            x[n / 2] = kind == 1 ? -INFINITY : x[n / 2];
            for (int64_t i = 0; i < n; i++)
                want[i] = choir_expf(x[i] - x[0]);
            check_buffer y = check_buffer_make(n);
            kernels->exp_from(y.data, x, x[0], n);
            check_same_bits(y.data, want, n, "exp");
            check_buffer_free(&y);
        }
}

static void check_exp_from(void **state)
{
    (void)state;
    on_levels(exp_from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_quantize),   cmocka_unit_test(check_rms_norm),
        cmocka_unit_test(check_layer_norm), cmocka_unit_test(check_swiglu),
        cmocka_unit_test(check_geglu),      cmocka_unit_test(check_add),
        cmocka_unit_test(check_rotary),     cmocka_unit_test(check_lse_chunk),
        cmocka_unit_test(check_exp_from),
    };
    return cmocka_run_group_tests(tests, check_reached, NULL);
}
