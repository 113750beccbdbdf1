/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks as they stand in a file, for checks: filled with random and extreme data, and read column
 * by column straight from the tables of formats.md and numerics.md. Shares no code with kernels/.
 */
#ifndef CHOIR_TESTS_KERNELS_FILE_BLOCKS_H
#define CHOIR_TESTS_KERNELS_FILE_BLOCKS_H

#include "tests/kernels/check.h"

/* What fills the matrix and the activations. */
typedef enum fill {
    FILL_RANDOM,
    FILL_LOWEST,  /* quants of all bits 0; Q8_0 -128, Q6_K scales -128; x all -127 or all 127 */
    FILL_HIGHEST, /* all bits 1; Q8_0 and scales 127; x the same */
    FILL_ZERO,    /* scales 0 */
    FILL_TINY,    /* subnormal scales, and x so small that products with them are subnormal */
    FILL_HUGE,    /* the largest scales, and x so large that sums overflow */
    FILL_SPECIAL, /* scales of NaN and infinity among others */
    FILL_COUNT,
} fill;

static inline uint16_t random_scale(fill how, uint64_t *seed)
{
    static const uint16_t special[] = {0x7e00, 0x7c00, 0xfc00, 0x2e66, 0x0001, 0x0000};
    uint16_t sign = (uint16_t)(check_random(seed) & 0x8000);
    switch (how) {
    case FILL_ZERO:
        return sign;
    case FILL_TINY:
        return (uint16_t)(sign | (1 + check_random(seed) % 0x3ff));
    case FILL_HUGE:
        return (uint16_t)(sign | 0x7bff);
    case FILL_SPECIAL:
        return special[check_random(seed) % 6];
    default:
        return (uint16_t)(sign | (0x2000 + check_random(seed) % 0x1000));
    }
}

/* Of F32 and BF16, whose values are these. */
static inline float random_value(fill how, uint64_t *seed)
{
    switch (how) {
    case FILL_ZERO:
        return check_random(seed) % 2 ? 0.0f : -0.0f;
    case FILL_TINY:
        return check_random_float(seed) * 0x1p-130f;
    case FILL_HUGE:
        return check_random_float(seed) * 0x1p127f;
    case FILL_SPECIAL:
        return check_odd_float(seed);
    default:
        return check_random_float(seed);
    }
}

/* MXFP4's: no zero, 2^-128 is the least. */
static inline uint8_t random_e8m0(fill how, uint64_t *seed)
{
    static const uint8_t special[] = {0, 1, 2, 120, 254, 255};
    switch (how) {
    case FILL_ZERO:
    case FILL_TINY:
        return (uint8_t)(check_random(seed) % 3);
    case FILL_HUGE:
        return 254;
    case FILL_SPECIAL:
        return special[check_random(seed) % 6];
    default:
        return (uint8_t)(110 + check_random(seed) % 20);
    }
}

static inline void put_half(uint8_t *at, uint16_t half)
{
    memcpy(at, &half, 2);
}

/* Where the halves of a block stand, by formats.md: d, and a minimum's factor 2 bytes behind it. */
static inline int offset_of_d(choir_type type)
{
    switch (type) {
    case CHOIR_Q2_K:
        return 80;
    case CHOIR_Q3_K:
        return 108;
    case CHOIR_Q6_K:
        return 208;
    default:
        return 0;
    }
}

/* Minima of 32 columns; Q2_K has one for each half. */
static inline int count_minima(choir_type type)
{
    bool has_one =
        type == CHOIR_Q4_1 || type == CHOIR_Q5_1 || type == CHOIR_Q4_K || type == CHOIR_Q5_K;
    return type == CHOIR_Q2_K ? 2 : has_one ? 1 : 0;
}

static inline void fill_block(uint8_t *block, choir_type type, fill how, uint64_t *seed)
{
    size_t size = (size_t)choir_type_info_of(type)->block_bytes;
    bool is_extreme = how == FILL_LOWEST || how == FILL_HIGHEST;
    for (size_t i = 0; i < size; i++)
        block[i] = (uint8_t)check_random(seed);
    if (is_extreme)
        memset(block, how == FILL_LOWEST ? 0 : 0xff, size);
    if (is_extreme && type == CHOIR_Q8_0)
        memset(block, how == FILL_LOWEST ? 0x80 : 0x7f, size);
    if (is_extreme && type == CHOIR_Q6_K)
        memset(block + 192, how == FILL_LOWEST ? 0x80 : 0x7f, 16);
    if (type == CHOIR_F32) {
        float value = random_value(how, seed);
        memcpy(block, &value, 4);
    } else if (type == CHOIR_BF16) { /* the upper half of a float */
        float value = random_value(how, seed);
        memcpy(block, (const uint8_t *)&value + 2, 2);
    } else if (type == CHOIR_MXFP4) {
        block[0] = random_e8m0(how, seed);
    } else {
        put_half(block + offset_of_d(type), random_scale(how, seed));
        if (count_minima(type) > 0)
            put_half(block + offset_of_d(type) + 2, random_scale(how, seed));
    }
}

/* One column of a block of a file: its integer, and what multiplies and is added (numerics.md). */
typedef struct column {
    int value, sc;
    float dw;
    float m; /* of its half, or of all 32 */
} column;

static inline float half_at(const uint8_t *at)
{
    uint16_t half;
    memcpy(&half, at, 2);
    return choir_half_to_float(half);
}

static inline int bit_at(const uint8_t *bytes, int bit)
{
    return bytes[bit / 8] >> bit % 8 & 1;
}

/* 2^(e - 128), without the bits of a float. */
static inline float e8m0_at(const uint8_t *at)
{
    return *at == 255 ? NAN : ldexpf(1.0f, *at - 128);
}

static const int iq4_table[] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                1,    13,   25,  38,  53,  69,  89,  113};
static const int mxfp4_table[] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* The types with blocks of 32. */
static inline void read_column_of_32(column *c, choir_type type, const uint8_t *block, int at)
{
    int shift = at < 16 ? 0 : 4;
    int i = at % 16;
    switch (type) {
    case CHOIR_Q4_0:
        c->value = (block[2 + i] >> shift & 15) - 8;
        break;
    case CHOIR_Q4_1:
        c->value = block[4 + i] >> shift & 15;
        c->m = half_at(block + 2);
        break;
    case CHOIR_Q5_0:
        c->value = (block[6 + i] >> shift & 15) + 16 * bit_at(block + 2, at) - 16;
        break;
    case CHOIR_Q5_1:
        c->value = (block[8 + i] >> shift & 15) + 16 * bit_at(block + 4, at);
        c->m = half_at(block + 2);
        break;
    case CHOIR_Q8_0:
        c->value = (int8_t)block[2 + at];
        break;
    case CHOIR_IQ4_NL:
        c->value = iq4_table[block[2 + i] >> shift & 15];
        break;
    case CHOIR_MXFP4:
        c->value = mxfp4_table[block[1 + i] >> shift & 15];
        c->dw = e8m0_at(block);
        break;
    default:
        fail();
    }
}

/* Sub-block j of Q4_K and Q5_K, from their 12 bytes. */
static inline void read_scales_of_6_bits(column *c, const uint8_t *block, int j)
{
    const uint8_t *b = block + 4;
    int scale = j < 4 ? b[j] & 63 : (b[j + 4] & 15) + ((b[j - 4] >> 6) << 4);
    int minimum = j < 4 ? b[j + 4] & 63 : (b[j + 4] >> 4) + ((b[j] >> 6) << 4);
    c->dw = half_at(block) * (float)scale;
    c->m = -(half_at(block + 2) * (float)minimum);
}

/* The types with blocks of 256. Element `at` lies in sub-block k of 16. */
static inline void read_column_of_256(column *c, choir_type type, const uint8_t *block, int at)
{
    int l = at % 32, k = at / 16, plane = at % 128 / 32;
    int two = block[16 + at / 128 * 32 + l] >> 2 * plane & 3; /* of Q2_K */
    switch (type) {
    case CHOIR_Q2_K:
        c->value = two;
        c->sc = block[k] & 15;
        c->m = -(half_at(block + 82) * (float)(block[k] >> 4));
        break;
    case CHOIR_Q3_K: {
        const uint8_t *s = block + 96;
        int low = k < 8 ? s[k] & 15 : s[k - 8] >> 4;
        c->sc = low + ((s[8 + k % 4] >> 2 * (k / 4) & 3) << 4) - 32;
        c->value =
            (block[32 + at / 128 * 32 + l] >> 2 * plane & 3) - ((block[l] >> at / 32 & 1) ? 0 : 4);
        break;
    }
    case CHOIR_Q4_K:
        read_scales_of_6_bits(c, block, at / 32);
        c->value = block[16 + at / 64 * 32 + l] >> (at % 64 < 32 ? 0 : 4) & 15;
        break;
    case CHOIR_Q5_K:
        read_scales_of_6_bits(c, block, at / 32);
        c->value = (block[48 + at / 64 * 32 + l] >> (at % 64 < 32 ? 0 : 4) & 15) +
                   16 * (block[16 + l] >> at / 32 & 1);
        break;
    case CHOIR_Q6_K: {
        int ql = block[at / 128 * 64 + l + plane % 2 * 32];
        int qh = block[128 + at / 128 * 32 + l];
        c->value = (plane < 2 ? ql & 15 : ql >> 4) + ((qh >> plane * 2 & 3) << 4) - 32;
        c->sc = (int8_t)block[192 + k];
        break;
    }
    case CHOIR_IQ4_XS: {
        int i = at / 32, high = block[2] | block[3] << 8;
        int ls = (block[4 + i / 2] >> 4 * (i % 2) & 15) | (high >> 2 * i & 3) << 4;
        c->dw = half_at(block) * (float)(ls - 32);
        c->value = iq4_table[block[8 + 16 * i + l % 16] >> (l < 16 ? 0 : 4) & 15];
        break;
    }
    default:
        fail();
    }
}

static inline column read_column(choir_type type, const uint8_t *block, int at)
{
    column c = {.sc = 1};
    if (type != CHOIR_MXFP4)
        c.dw = half_at(block + offset_of_d(type));
    if (choir_type_info_of(type)->block_elements == 32)
        read_column_of_32(&c, type, block, at);
    else
        read_column_of_256(&c, type, block, at);
    return c;
}

#endif
