/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/blocks.h"
#include "kernels/half.h"

#include <assert.h>

/* The blocks as docs/formats.md lists their fields. Halves are bits. */
typedef struct block_q4_0 {
    uint16_t d;
    uint8_t qs[16];
} block_q4_0;
typedef struct block_q4_1 {
    uint16_t d, m;
    uint8_t qs[16];
} block_q4_1;
typedef struct block_q5_0 {
    uint16_t d;
    uint8_t qh[4];
    uint8_t qs[16];
} block_q5_0;
typedef struct block_q5_1 {
    uint16_t d, m;
    uint8_t qh[4];
    uint8_t qs[16];
} block_q5_1;
typedef struct block_q8_0 {
    uint16_t d;
    int8_t qs[32];
} block_q8_0;
typedef struct block_mxfp4 {
    uint8_t e;
    uint8_t qs[16];
} block_mxfp4;
typedef struct block_q2_k {
    uint8_t scales[16];
    uint8_t qs[64];
    uint16_t d, dmin;
} block_q2_k;
typedef struct block_q3_k {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint16_t d;
} block_q3_k;
typedef struct block_q4_k {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qs[128];
} block_q4_k;
typedef struct block_q5_k {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
} block_q5_k;
typedef struct block_q6_k {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d;
} block_q6_k;
typedef struct block_iq4_xs {
    uint16_t d, scales_h;
    uint8_t scales_l[4];
    uint8_t qs[128];
} block_iq4_xs;

static_assert(sizeof(block_q4_0) == 18, "Q4_0");
static_assert(sizeof(block_q4_1) == 20, "Q4_1");
static_assert(sizeof(block_q5_0) == 22, "Q5_0");
static_assert(sizeof(block_q5_1) == 24, "Q5_1");
static_assert(sizeof(block_q8_0) == 34, "Q8_0");
static_assert(sizeof(block_mxfp4) == 17, "MXFP4");
static_assert(sizeof(block_q2_k) == 84, "Q2_K");
static_assert(sizeof(block_q3_k) == 110, "Q3_K");
static_assert(sizeof(block_q4_k) == 144, "Q4_K");
static_assert(sizeof(block_q5_k) == 176, "Q5_K");
static_assert(sizeof(block_q6_k) == 210, "Q6_K");
static_assert(sizeof(block_iq4_xs) == 136, "IQ4_XS");

const int8_t choir_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};
const int8_t choir_mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* Low nibbles are columns 0..15, high nibbles columns 16..31. */
static void split_nibbles(uint8_t q[32], const uint8_t qs[16])
{
    for (int i = 0; i < 16; i++) {
        q[i] = qs[i] & 15;
        q[i + 16] = qs[i] >> 4;
    }
}

/* Bit i of qh is the fifth bit of column i. */
static void put_fifth_bits(uint8_t q[32], const uint8_t qh[4])
{
    for (int i = 0; i < 32; i++)
        q[i] |= (uint8_t)((qh[i / 8] >> i % 8 & 1) << 4);
}

/* Q4_0 and IQ4_NL, which differ in what a quant stands for. */
static void read_q4_0(choir_piece *piece, const uint8_t *bytes, int index)
{
    block_q4_0 block;
    (void)index;
    memcpy(&block, bytes, sizeof block);
    piece->d = block.d;
    split_nibbles(piece->q, block.qs);
}

static void read_q4_1(choir_piece *piece, const uint8_t *bytes, int index)
{
    block_q4_1 block;
    (void)index;
    memcpy(&block, bytes, sizeof block);
    piece->d = block.d;
    piece->m = block.m;
    split_nibbles(piece->q, block.qs);
}

static void read_q5_0(choir_piece *piece, const uint8_t *bytes, int index)
{
    block_q5_0 block;
    (void)index;
    memcpy(&block, bytes, sizeof block);
    piece->d = block.d;
    split_nibbles(piece->q, block.qs);
    put_fifth_bits(piece->q, block.qh);
}

static void read_q5_1(choir_piece *piece, const uint8_t *bytes, int index)
{
    block_q5_1 block;
    (void)index;
    memcpy(&block, bytes, sizeof block);
    piece->d = block.d;
    piece->m = block.m;
    split_nibbles(piece->q, block.qs);
    put_fifth_bits(piece->q, block.qh);
}

static void read_q8_0(choir_piece *piece, const uint8_t *bytes, int index)
{
    block_q8_0 block;
    (void)index;
    memcpy(&block, bytes, sizeof block);
    piece->d = block.d;
    memcpy(piece->q, block.qs, sizeof piece->q);
}

static void read_mxfp4(choir_piece *piece, const uint8_t *bytes, int index)
{
    block_mxfp4 block;
    (void)index;
    memcpy(&block, bytes, sizeof block);
    piece->scale[0] = block.e;
    split_nibbles(piece->q, block.qs);
}

/* The two bits of a piece: 128 columns share 32 bytes, a piece has one plane of them. */
static void split_crumbs(uint8_t q[32], const uint8_t qs[64], int index)
{
    for (int i = 0; i < 32; i++)
        q[i] = qs[index / 4 * 32 + i] >> 2 * (index % 4) & 3;
}

static void read_q2_k(choir_piece *piece, const uint8_t *bytes, int index)
{
    block_q2_k block;
    memcpy(&block, bytes, sizeof block);
    piece->d = block.d;
    piece->m = block.dmin;
    for (int half = 0; half < 2; half++) {
        piece->scale[half] = block.scales[2 * index + half] & 15;
        piece->minimum[half] = block.scales[2 * index + half] >> 4;
    }
    split_crumbs(piece->q, block.qs, index);
}

/* The third bit of a piece is its own plane of hmask. */
static void read_q3_k(choir_piece *piece, const uint8_t *bytes, int index)
{
    block_q3_k block;
    memcpy(&block, bytes, sizeof block);
    piece->d = block.d;
    for (int half = 0; half < 2; half++) {
        int k = 2 * index + half;
        int low = block.scales[k % 8] >> k / 8 * 4 & 15;
        int high = block.scales[8 + k % 4] >> k / 4 * 2 & 3;
        piece->scale[half] = (uint8_t)(low | high << 4);
    }
    split_crumbs(piece->q, block.qs, index);
    for (int i = 0; i < 32; i++)
        piece->q[i] |= (uint8_t)((block.hmask[i] >> index & 1) << 2);
}

/* The 6-bit scale and minimum of Q4_K and Q5_K: eight of each in 12 bytes. */
static void read_scales_k(choir_piece *piece, const uint8_t b[12], int index)
{
    if (index < 4) {
        piece->scale[0] = b[index] & 63;
        piece->minimum[0] = b[index + 4] & 63;
    } else {
        piece->scale[0] = (uint8_t)((b[index + 4] & 15) | (b[index - 4] >> 6) << 4);
        piece->minimum[0] = (uint8_t)(b[index + 4] >> 4 | (b[index] >> 6) << 4);
    }
}

/* 64 columns share 32 bytes: the even piece has the low nibbles, the odd one the high nibbles. */
static void split_nibbles_k(uint8_t q[32], const uint8_t qs[128], int index)
{
    for (int i = 0; i < 32; i++)
        q[i] = qs[index / 2 * 32 + i] >> index % 2 * 4 & 15;
}

static void read_q4_k(choir_piece *piece, const uint8_t *bytes, int index)
{
    block_q4_k block;
    memcpy(&block, bytes, sizeof block);
    piece->d = block.d;
    piece->m = block.dmin;
    read_scales_k(piece, block.scales, index);
    split_nibbles_k(piece->q, block.qs, index);
}

static void read_q5_k(choir_piece *piece, const uint8_t *bytes, int index)
{
    block_q5_k block;
    memcpy(&block, bytes, sizeof block);
    piece->d = block.d;
    piece->m = block.dmin;
    read_scales_k(piece, block.scales, index);
    split_nibbles_k(piece->q, block.qs, index);
    for (int i = 0; i < 32; i++)
        piece->q[i] |= (uint8_t)((block.qh[i] >> index & 1) << 4);
}

/* 128 columns share 64 bytes of low nibbles and 32 bytes of two high bits. */
static void read_q6_k(choir_piece *piece, const uint8_t *bytes, int index)
{
    block_q6_k block;
    memcpy(&block, bytes, sizeof block);
    piece->d = block.d;
    piece->scale[0] = (uint8_t)block.scales[2 * index];
    piece->scale[1] = (uint8_t)block.scales[2 * index + 1];
    int half = index / 4;
    int quarter = index % 4;
    const uint8_t *ql = block.ql + 64 * half + quarter % 2 * 32;
    const uint8_t *qh = block.qh + 32 * half;
    for (int i = 0; i < 32; i++) {
        int low = ql[i] >> quarter / 2 * 4 & 15;
        int high = qh[i] >> 2 * quarter & 3;
        piece->q[i] = (uint8_t)(low | high << 4);
    }
}

static void read_iq4_xs(choir_piece *piece, const uint8_t *bytes, int index)
{
    block_iq4_xs block;
    memcpy(&block, bytes, sizeof block);
    piece->d = block.d;
    int low = block.scales_l[index / 2] >> index % 2 * 4 & 15;
    int high = block.scales_h >> 2 * index & 3;
    piece->scale[0] = (uint8_t)((low | high << 4) - 32);
    split_nibbles(piece->q, block.qs + 16 * index);
}

typedef void (*read_fn)(choir_piece *piece, const uint8_t *bytes, int index);

static const read_fn readers[CHOIR_TYPE_LIMIT] = {
    [CHOIR_Q4_0] = read_q4_0,   [CHOIR_Q4_1] = read_q4_1,   [CHOIR_Q5_0] = read_q5_0,
    [CHOIR_Q5_1] = read_q5_1,   [CHOIR_Q8_0] = read_q8_0,   [CHOIR_Q2_K] = read_q2_k,
    [CHOIR_Q3_K] = read_q3_k,   [CHOIR_Q4_K] = read_q4_k,   [CHOIR_Q5_K] = read_q5_k,
    [CHOIR_Q6_K] = read_q6_k,   [CHOIR_IQ4_NL] = read_q4_0, [CHOIR_IQ4_XS] = read_iq4_xs,
    [CHOIR_MXFP4] = read_mxfp4,
};

void choir_piece_read(choir_piece *piece, choir_type type, const uint8_t *block, int index)
{
    assert(readers[type]);
    memset(piece, 0, sizeof *piece);
    readers[type](piece, block, index);
}

/* What is taken away from a quant that stands for a number. */
static int offset_of(choir_type type)
{
    switch (type) {
    case CHOIR_Q3_K:
        return 4;
    case CHOIR_Q4_0:
        return 8;
    case CHOIR_Q5_0:
        return 16;
    case CHOIR_Q6_K:
        return 32;
    default:
        return 0;
    }
}

void choir_quant_values(int16_t *values, choir_type type, const uint8_t *q, int n)
{
    const int offset = offset_of(type);
    const int8_t *table = NULL;
    if (type == CHOIR_IQ4_NL || type == CHOIR_IQ4_XS)
        table = choir_iq4_values;
    if (type == CHOIR_MXFP4)
        table = choir_mxfp4_values;
    if (table != NULL)
        for (int i = 0; i < n; i++)
            values[i] = table[q[i]];
    else if (type == CHOIR_Q8_0)
        for (int i = 0; i < n; i++)
            values[i] = (int8_t)q[i];
    else
        for (int i = 0; i < n; i++)
            values[i] = (int16_t)(q[i] - offset);
}

/* What multiplies the integers of each half, and what is added. All products are exact in f32. */
static void read_factors(float scale[2], float m[2], const choir_piece *piece, choir_type type)
{
    float d = choir_half_widen(piece->d);
    float dm = choir_half_widen(piece->m);
    for (int half = 0; half < 2; half++) {
        scale[half] = d;
        m[half] = dm;
        switch (type) {
        case CHOIR_Q2_K:
            scale[half] = d * piece->scale[half];
            m[half] = -(dm * piece->minimum[half]);
            break;
        case CHOIR_Q3_K:
            scale[half] = d * (float)(piece->scale[half] - 32);
            break;
        case CHOIR_Q4_K:
        case CHOIR_Q5_K:
            scale[half] = d * piece->scale[0];
            m[half] = -(dm * piece->minimum[0]);
            break;
        case CHOIR_Q6_K:
            scale[half] = d * (int8_t)piece->scale[half];
            break;
        case CHOIR_IQ4_XS:
            scale[half] = d * (int8_t)piece->scale[0];
            break;
        case CHOIR_MXFP4:
            scale[half] = choir_e8m0_widen(piece->scale[0]);
            break;
        default:
            break;
        }
    }
}

/* Only the sum with a minimum rounds. Without one nothing is added: -0 must stay. */
void choir_piece_values(float y[32], const choir_piece *piece, choir_type type)
{
    float scale[2], m[2];
    int16_t values[32];
    read_factors(scale, m, piece, type);
    choir_quant_values(values, type, piece->q, 32);
    for (int i = 0; i < 32; i++)
        y[i] = scale[i / 16] * (float)values[i];
    for (int i = 0; i < 32 && choir_type_minima(type) > 0; i++)
        y[i] = y[i] + m[i / 16];
}

void choir_dequantize(float *y, const uint8_t *blocks, choir_type type, int64_t n)
{
    const choir_type_info *info = choir_type_info_of(type);
    assert(n % info->block_elements == 0);
    if (type == CHOIR_F32) {
        memcpy(y, blocks, (size_t)n * sizeof *y);
    } else if (type == CHOIR_F16) {
        for (int64_t i = 0; i < n; i++)
            y[i] = choir_half_widen(choir_half_load(blocks + 2 * i));
    } else if (type == CHOIR_BF16) {
        for (int64_t i = 0; i < n; i++)
            y[i] = choir_bf16_widen(choir_half_load(blocks + 2 * i));
    } else {
        int n_pieces = info->block_elements / 32;
        for (int64_t i = 0; i < n / 32; i++) {
            choir_piece piece;
            const uint8_t *block = blocks + i / n_pieces * info->block_bytes;
            choir_piece_read(&piece, type, block, (int)(i % n_pieces));
            choir_piece_values(y + 32 * i, &piece, type);
        }
    }
}
