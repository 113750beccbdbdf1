/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linear layers in plain C (docs/numerics.md, "Linear layers"): what every other level must equal.
 *
 * A block of a group is taken apart once into integers and scales and then met by a tile of tokens.
 * Every type is the same chain; a type decides only how its block comes apart, and a format of
 * activations only how its 32 integers x do:
 *
 *     I   = sc[0] * sum of v*x over columns 0..15  +  sc[1] * the same over columns 16..31
 *     acc = fma(dw * d, I, acc);  acc = fma(m, d * X, acc) where the type has minima
 *
 * I stays below 2^31 in any case: 128 * 32 * 16256 * 32 for Q6_K and q15.
 */
#include "kernels/half.h"
#include "kernels/layout.h"
#include "kernels/levels.h"

#include <math.h>

enum { TOKENS_TILE = 8, ROWS = CHOIR_GROUP_ROWS };

/* One block of 16 rows x 32 columns, taken apart. */
typedef struct block {
    int16_t v[ROWS][32]; /* the type's integer: q - 8, q, q - 32 */
    int32_t sc[ROWS][2];
    float dw[ROWS];
    float m[ROWS]; /* factor of X */
    bool has_minimum;
} block;

static float half_at(const uint8_t *halves, int r)
{
    return choir_half_widen(choir_half_load(halves + 2 * r));
}

/* nibbles[4][64] of pack.h, less `offset`. */
static void unpack_nibbles(int16_t (*v)[32], const uint8_t *quants, int offset)
{
    for (int c = 0; c < 4; c++)
        for (int r = 0; r < ROWS; r++)
            for (int i = 0; i < 4; i++) {
                int both = quants[64 * c + 4 * r + i];
                v[r][4 * c + i] = (int16_t)((both & 15) - offset);
                v[r][16 + 4 * c + i] = (int16_t)((both >> 4) - offset);
            }
}

/* high[2][64], added to the nibbles. */
static void add_high_bits(int16_t (*v)[32], const uint8_t *quants)
{
    for (int j = 0; j < 2; j++)
        for (int r = 0; r < ROWS; r++)
            for (int i = 0; i < 4; i++) {
                int planes = quants[64 * j + 4 * r + i];
                for (int p = 0; p < 4; p++)
                    v[r][16 * j + 4 * p + i] += (int16_t)((planes >> 2 * p & 3) << 4);
            }
}

static void unpack_bytes(int16_t (*v)[32], const uint8_t *quants)
{
    for (int c = 0; c < 8; c++)
        for (int r = 0; r < ROWS; r++)
            for (int i = 0; i < 4; i++)
                v[r][4 * c + i] = (int8_t)quants[64 * c + 4 * r + i];
}

static void unpack_scales(block *b, choir_type type, const uint8_t *packed, const uint8_t *header)
{
    for (int r = 0; r < ROWS; r++) {
        b->sc[r][0] = b->sc[r][1] = 1;
        if (type == CHOIR_Q4_K) {
            b->dw[r] = half_at(header, r) * packed[r];
            b->m[r] = -(half_at(header + 32, r) * packed[16 + r]);
        } else if (type == CHOIR_Q6_K) {
            b->dw[r] = half_at(header, r);
            b->sc[r][0] = (int8_t)packed[r];
            b->sc[r][1] = (int8_t)packed[16 + r];
        } else {
            b->dw[r] = half_at(packed, r);
            b->m[r] = half_at(packed + 32, r); /* Q4_1's; not used by others */
        }
    }
}

static void unpack(block *b, choir_type type, const uint8_t *packed, const uint8_t *header)
{
    unpack_scales(b, type, packed, header);
    switch (type) {
    case CHOIR_Q4_0:
        unpack_nibbles(b->v, packed + 32, 8);
        break;
    case CHOIR_Q4_1:
        unpack_nibbles(b->v, packed + 64, 0);
        break;
    case CHOIR_Q8_0:
        unpack_bytes(b->v, packed + 32);
        break;
    case CHOIR_Q4_K:
        unpack_nibbles(b->v, packed + 32, 0);
        break;
    case CHOIR_Q6_K:
        unpack_nibbles(b->v, packed + 32, 32);
        add_high_bits(b->v, packed + 32 + 256);
        break;
    default:
        assert(!"a quantized type");
    }
}

/* One block of activations, taken apart. */
typedef struct operand {
    int16_t x[32];
    float d, d_sum;
} operand;

static void unpack_q8(operand *o, const choir_q8 *x)
{
    o->d = x->d;
    o->d_sum = x->d_sum;
    for (int i = 0; i < 32; i++)
        o->x[i] = x->q[i];
}

static void unpack_q15(operand *o, const choir_q15 *x)
{
    o->d = x->d;
    o->d_sum = x->d_sum;
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
        if (b->has_minimum)
            acc[r] = fmaf(b->m[r], o->d_sum, acc[r]);
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
    block b = {.has_minimum = w->type == CHOIR_Q4_1 || w->type == CHOIR_Q4_K};
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
