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
typedef struct block_q8_0 {
    uint16_t d;
    int8_t qs[32];
} block_q8_0;
typedef struct block_q4_k {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qs[128];
} block_q4_k;
typedef struct block_q6_k {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d;
} block_q6_k;

static_assert(sizeof(block_q4_0) == 18, "Q4_0");
static_assert(sizeof(block_q4_1) == 20, "Q4_1");
static_assert(sizeof(block_q8_0) == 34, "Q8_0");
static_assert(sizeof(block_q4_k) == 144, "Q4_K");
static_assert(sizeof(block_q6_k) == 210, "Q6_K");

/* Low nibbles are columns 0..15, high nibbles columns 16..31. */
static void split_nibbles(uint8_t q[32], const uint8_t qs[16])
{
    for (int i = 0; i < 16; i++) {
        q[i] = qs[i] & 15;
        q[i + 16] = qs[i] >> 4;
    }
}

static void read_q4_0(choir_piece *piece, const uint8_t *bytes)
{
    block_q4_0 block;
    memcpy(&block, bytes, sizeof block);
    piece->d = block.d;
    split_nibbles(piece->q, block.qs);
}

static void read_q4_1(choir_piece *piece, const uint8_t *bytes)
{
    block_q4_1 block;
    memcpy(&block, bytes, sizeof block);
    piece->d = block.d;
    piece->m = block.m;
    split_nibbles(piece->q, block.qs);
}

static void read_q8_0(choir_piece *piece, const uint8_t *bytes)
{
    block_q8_0 block;
    memcpy(&block, bytes, sizeof block);
    piece->d = block.d;
    memcpy(piece->q, block.qs, sizeof piece->q);
}

/* 64 columns share 32 bytes: the even piece has the low nibbles, the odd one the high nibbles. */
static void read_q4_k(choir_piece *piece, const uint8_t *bytes, int index)
{
    block_q4_k block;
    memcpy(&block, bytes, sizeof block);
    piece->d = block.d;
    piece->m = block.dmin;
    const uint8_t *b = block.scales;
    if (index < 4) {
        piece->scale[0] = b[index] & 63;
        piece->minimum = b[index + 4] & 63;
    } else {
        piece->scale[0] = (uint8_t)((b[index + 4] & 15) | (b[index - 4] >> 6) << 4);
        piece->minimum = (uint8_t)(b[index + 4] >> 4 | (b[index] >> 6) << 4);
    }
    for (int i = 0; i < 32; i++)
        piece->q[i] = block.qs[index / 2 * 32 + i] >> index % 2 * 4 & 15;
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

void choir_piece_read(choir_piece *piece, choir_type type, const uint8_t *block, int index)
{
    memset(piece, 0, sizeof *piece);
    switch (type) {
    case CHOIR_Q4_0:
        read_q4_0(piece, block);
        break;
    case CHOIR_Q4_1:
        read_q4_1(piece, block);
        break;
    case CHOIR_Q8_0:
        read_q8_0(piece, block);
        break;
    case CHOIR_Q4_K:
        read_q4_k(piece, block, index);
        break;
    case CHOIR_Q6_K:
        read_q6_k(piece, block, index);
        break;
    default:
        assert(!"a quantized type");
    }
}

/* Every product is exact in f32 (docs/numerics.md), so only the sums of Q4_1 and Q4_K round. */
void choir_piece_values(float y[32], const choir_piece *piece, choir_type type)
{
    float d = choir_half_widen(piece->d);
    float m = choir_half_widen(piece->m);
    for (int i = 0; i < 32; i++) {
        float q = piece->q[i];
        switch (type) {
        case CHOIR_Q4_0:
            y[i] = d * (q - 8);
            break;
        case CHOIR_Q4_1:
            y[i] = d * q + m;
            break;
        case CHOIR_Q8_0:
            y[i] = d * (int8_t)piece->q[i];
            break;
        case CHOIR_Q4_K:
            y[i] = d * piece->scale[0] * q - m * piece->minimum;
            break;
        case CHOIR_Q6_K:
            y[i] = d * (int8_t)piece->scale[i / 16] * (q - 32);
            break;
        default:
            assert(!"a quantized type");
        }
    }
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
