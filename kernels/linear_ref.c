/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linear layers in plain C (docs/numerics.md, "Linear layers"): what every other level must equal.
 *
 * A block of a group is taken apart once into integers and scales and then met by a tile of tokens.
 * Every type is the same chain; a type decides only how its block comes apart, and a format of
 * activations only how its 32 integers x do:
 *
 *     I   = sc[0] * sum of v*x over columns 0..15  +  sc[1] * the same over columns 16..31
 *     acc = fma(dw * d, I, acc);  acc = fma(m, d * X, acc) for each minimum
 *
 * I stays below 2^31 in any case: 128 * 32 * 16256 * 32 for Q6_K and q15.
 */
#include "kernels/blocks.h"
#include "kernels/half.h"
#include "kernels/layout.h"
#include "kernels/levels.h"

#include <math.h>

enum { TOKENS_TILE = 8, ROWS = CHOIR_GROUP_ROWS };

/* One block of 16 rows x 32 columns, taken apart. */
typedef struct block {
    uint8_t q[ROWS][32]; /* as stored */
    int16_t v[ROWS][32]; /* the type's integer: q - 8, q, q - 32, ... */
    int32_t sc[ROWS][2];
    float dw[ROWS];
    float m[ROWS][2]; /* factors of X, or of X of each half */
    int n_minima;
} block;

static float half_at(const uint8_t *halves, int r)
{
    return choir_half_widen(choir_half_load(halves + 2 * r));
}

/* nibbles[4][64] of pack.h. */
static void unpack_nibbles(uint8_t (*q)[32], const uint8_t *quants)
{
    for (int c = 0; c < 4; c++)
        for (int r = 0; r < ROWS; r++)
            for (int k = 0; k < 4; k++) {
                int both = quants[64 * c + 4 * r + k];
                q[r][4 * c + k] = (uint8_t)(both & 15);
                q[r][16 + 4 * c + k] = (uint8_t)(both >> 4);
            }
}

/* crumbs[2][64], put into the quants above their low `shift` bits. */
static void put_crumbs(uint8_t (*q)[32], const uint8_t *quants, int shift)
{
    for (int j = 0; j < 2; j++)
        for (int r = 0; r < ROWS; r++)
            for (int k = 0; k < 4; k++) {
                int planes = quants[64 * j + 4 * r + k];
                for (int p = 0; p < 4; p++)
                    q[r][16 * j + 4 * p + k] |= (uint8_t)((planes >> 2 * p & 3) << shift);
            }
}

/* bits[64], put into the quants above their low `shift` bits. */
static void put_bits(uint8_t (*q)[32], const uint8_t *quants, int shift)
{
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < 32; i++)
            q[r][i] |= (uint8_t)((quants[4 * r + i % 4] >> i / 4 & 1) << shift);
}

static void unpack_bytes(uint8_t (*q)[32], const uint8_t *quants)
{
    for (int c = 0; c < 8; c++)
        for (int r = 0; r < ROWS; r++)
            memcpy(&q[r][4 * c], &quants[64 * c + 4 * r], 4);
}

static void unpack_quants(block *b, choir_type type, const uint8_t *quants)
{
    memset(b->q, 0, sizeof b->q);
    switch (type) {
    case CHOIR_Q8_0:
        unpack_bytes(b->q, quants);
        break;
    case CHOIR_Q2_K:
        put_crumbs(b->q, quants, 0);
        break;
    case CHOIR_Q3_K:
        put_crumbs(b->q, quants, 0);
        put_bits(b->q, quants + 128, 2);
        break;
    case CHOIR_Q5_0:
    case CHOIR_Q5_1:
    case CHOIR_Q5_K:
        unpack_nibbles(b->q, quants);
        put_bits(b->q, quants + 256, 4);
        break;
    case CHOIR_Q6_K:
        unpack_nibbles(b->q, quants);
        put_crumbs(b->q, quants + 256, 4);
        break;
    default: /* the types of four bits */
        unpack_nibbles(b->q, quants);
        break;
    }
    choir_quant_values(b->v[0], type, b->q[0], ROWS * 32);
}

/* Q3_K's two scales of row r, 6 bits each. */
static void unpack_six_bit_scales(int32_t sc[2], const uint8_t *scales, int r)
{
    int high = scales[16 + r / 2] >> r % 2 * 4;
    sc[0] = ((scales[r] & 15) | (high & 3) << 4) - 32;
    sc[1] = (scales[r] >> 4 | (high >> 2 & 3) << 4) - 32;
}

/* Row r: `halves` has d and the factor of its minima, `scales` is the block's begin. */
static void unpack_scales(block *b, choir_type type, int r, const uint8_t *halves,
                          const uint8_t *scales)
{
    float d = type == CHOIR_MXFP4 ? choir_e8m0_widen(scales[r]) : half_at(halves, r);
    float m = b->n_minima > 0 ? half_at(halves + 32, r) : 0;
    b->dw[r] = d;
    b->m[r][0] = m;
    b->sc[r][0] = b->sc[r][1] = 1;
    switch (type) {
    case CHOIR_Q2_K:
        for (int half = 0; half < 2; half++) {
            b->sc[r][half] = scales[16 * half + r] & 15;
            b->m[r][half] = -(m * (float)(scales[16 * half + r] >> 4));
        }
        break;
    case CHOIR_Q3_K:
        unpack_six_bit_scales(b->sc[r], scales, r);
        break;
    case CHOIR_Q4_K:
    case CHOIR_Q5_K:
        b->dw[r] = d * scales[r];
        b->m[r][0] = -(m * scales[16 + r]);
        break;
    case CHOIR_Q6_K:
        b->sc[r][0] = (int8_t)scales[r];
        b->sc[r][1] = (int8_t)scales[16 + r];
        break;
    case CHOIR_IQ4_XS:
        b->dw[r] = d * (int8_t)scales[r];
        break;
    default:
        break;
    }
}

static void unpack(block *b, choir_type type, const uint8_t *packed, const uint8_t *header)
{
    const uint8_t *halves = choir_packed_header_bytes(type) > 0 ? header : packed;
    b->n_minima = choir_type_minima(type);
    for (int r = 0; r < ROWS; r++)
        unpack_scales(b, type, r, halves, packed);
    unpack_quants(b, type, packed + choir_packed_scales_bytes(type));
}

/* One block of activations, taken apart. */
typedef struct operand {
    int16_t x[32];
    float d, d_sum, d_sum_half[2];
} operand;

static void unpack_q8(operand *o, const choir_q8 *x)
{
    o->d = x->d;
    o->d_sum = x->d_sum;
    memcpy(o->d_sum_half, x->d_sum_half, sizeof o->d_sum_half);
    for (int i = 0; i < 32; i++)
        o->x[i] = x->q[i];
}

static void unpack_q15(operand *o, const choir_q15 *x)
{
    o->d = x->d;
    o->d_sum = x->d_sum;
    memcpy(o->d_sum_half, x->d_sum_half, sizeof o->d_sum_half);
    for (int i = 0; i < 32; i++)
        o->x[i] = (int16_t)(128 * x->h[i] + x->l[i]);
}

static int32_t dot16(const int16_t *v, const int16_t *x)
{
    int32_t sum = 0;
#pragma GCC unroll 1 /* taken apart completely it would not become vectors */
    for (int k = 0; k < 16; k++)
        sum += v[k] * x[k];
    return sum;
}

static void add_block(float acc[ROWS], const block *b, const operand *o)
{
    for (int r = 0; r < ROWS; r++) {
        int32_t I =
            b->sc[r][0] * dot16(b->v[r], o->x) + b->sc[r][1] * dot16(b->v[r] + 16, o->x + 16);
        acc[r] = fmaf(b->dw[r] * o->d, (float)I, acc[r]);
        if (b->n_minima == 1)
            acc[r] = fmaf(b->m[r][0], o->d_sum, acc[r]);
        for (int half = 0; b->n_minima == 2 && half < 2; half++)
            acc[r] = fmaf(b->m[r][half], o->d_sum_half[half], acc[r]);
    }
}

/* What a matrix meets: the tokens [first, first + count) of T. */
typedef struct tokens {
    const void *x;
    bool is_q15; /* else q8, where the type takes blocks */
    int T, first, count;
} tokens;

/* The chain of one leaf, blocks [begin, end) of a group. */
static void add_quantized_leaf(float (*acc)[ROWS], const choir_matrix *w, const uint8_t *group,
                               int64_t begin, int64_t end, const tokens *in)
{
    const int64_t n_blocks = w->cols / CHOIR_BLOCK_COLUMNS;
    block b;
    for (int64_t i = begin; i < end; i++) {
        unpack(&b, w->type, group + choir_packed_block_offset(w, w->type, i),
               group + choir_packed_header_offset(w, w->type, i));
        for (int t = 0; t < in->count; t++) {
            const int64_t at = choir_panel_index(n_blocks, in->T, in->first + t, i);
            operand o;
            if (in->is_q15)
                unpack_q15(&o, (const choir_q15 *)in->x + at);
            else
                unpack_q8(&o, (const choir_q8 *)in->x + at);
            add_block(acc[t], &b, &o);
        }
    }
}

static float float_at(const uint8_t *group, choir_type type, int64_t element)
{
    if (type == CHOIR_F16)
        return choir_half_widen(choir_half_load(group + 2 * element));
    if (type == CHOIR_BF16)
        return choir_bf16_widen(choir_half_load(group + 2 * element));
    float value;
    memcpy(&value, group + 4 * element, sizeof value);
    return value;
}

static void add_float_leaf(float (*acc)[ROWS], const choir_matrix *w, const uint8_t *group,
                           int64_t begin, int64_t end, const tokens *in)
{
    const float *x = (const float *)in->x + in->first * w->cols;
    for (int64_t c = 32 * begin; c < 32 * end; c++)
        for (int r = 0; r < ROWS; r++) {
            float value = float_at(group, w->type, c * ROWS + r);
            for (int t = 0; t < in->count; t++)
                acc[t][r] = fmaf(value, x[t * w->cols + c], acc[t][r]);
        }
}

/* The tree over the leaves, in sums[0], for one group and at most TOKENS_TILE tokens. */
static void add_tree(float (*sums)[TOKENS_TILE][ROWS], const choir_matrix *w, const uint8_t *group,
                     const tokens *in, const choir_leaves *leaves)
{
    int depth = 0;
    for (int leaf = 0; leaf < leaves->n_leaves; leaf++) {
        int64_t begin = leaves->first_block + leaf * leaves->leaf_blocks;
        int64_t end = begin + leaves->leaf_blocks;
        int64_t last = leaves->first_block + leaves->n_blocks;
        end = end < last ? end : last;
        assert(depth < CHOIR_TREE_DEPTH);
        memset(sums[depth], 0, sizeof sums[depth]);
        if (choir_type_info_of(w->type)->is_quantized)
            add_quantized_leaf(sums[depth], w, group, begin, end, in);
        else
            add_float_leaf(sums[depth], w, group, begin, end, in);
        depth++;
        for (int merge = 0; merge < leaves->merges[leaf]; merge++) {
            depth--;
            for (int t = 0; t < in->count; t++)
                for (int r = 0; r < ROWS; r++)
                    sums[depth - 1][t][r] = sums[depth - 1][t][r] + sums[depth][t][r];
        }
    }
    assert(depth == 1);
}

/* The groups of the matrix for all tokens of `in`. */
static void add_groups(float *y, int64_t y_stride, const choir_matrix *w, int64_t group_begin,
                       int64_t group_end, tokens in, const choir_leaves *leaves)
{
    for (int64_t g = group_begin; g < group_end; g++) {
        const uint8_t *group = (const uint8_t *)w->data + (size_t)g * w->group_bytes;
        int64_t n_rows = w->rows - g * ROWS < ROWS ? w->rows - g * ROWS : ROWS;
        for (in.first = 0; in.first < in.T; in.first += TOKENS_TILE) {
            in.count = in.T - in.first < TOKENS_TILE ? in.T - in.first : TOKENS_TILE;
            float sums[CHOIR_TREE_DEPTH][TOKENS_TILE][ROWS];
            add_tree(sums, w, group, &in, leaves);
            for (int i = 0; i < in.count; i++)
                memcpy(y + (in.first + i) * y_stride + g * ROWS, sums[0][i],
                       (size_t)n_rows * sizeof *y);
        }
    }
}

static void linear(float *y, int64_t y_stride, const choir_matrix *w, int64_t group_begin,
                   int64_t group_end, const void *x, int T, const choir_leaves *leaves)
{
    add_groups(y, y_stride, w, group_begin, group_end, (tokens){.x = x, .T = T}, leaves);
}

static void linear_q15(float *y, int64_t y_stride, const choir_matrix *w, int64_t group_begin,
                       int64_t group_end, const void *x, int T, const choir_leaves *leaves)
{
    add_groups(y, y_stride, w, group_begin, group_end, (tokens){.x = x, .is_q15 = true, .T = T},
               leaves);
}

void choir_linear_fill_ref(choir_kernels *kernels)
{
    int count;
    const choir_type_info *types = choir_type_all(&count);
    for (int i = 0; i < count; i++) {
        kernels->linear[types[i].type] = linear;
        if (types[i].is_quantized)
            kernels->linear_q15[types[i].type] = linear_q15;
    }
}
