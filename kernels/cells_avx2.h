/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cells on AVX2: 4 columns of 16 rows as 64 bytes, and their dot products with the activations of a
 * tile of tokens.
 *
 * maddubs multiplies unsigned by signed bytes and adds pairs in 16 bits, where it would saturate: 2
 * * highest * 127 has to stay below 2^15. The further sums in 16 bits wrap, so only what comes out
 * in the end has to fit. Weights of which an offset is taken away are half as large then: 4 cells
 * of Q6_K's -32..31 make at most 8 * 32 * 127, so that a whole half is one sum in 16 bits. The sums
 * begin at minus the offset times the activations that an int16 will hold, `minus` of plane.h.
 *
 * Cells are the outer loop: a cell of weights is loaded once for the tile of tokens, and on most of
 * these CPUs a broadcast takes the place of an addition, so that an activation serves two groups
 * where there are many tokens. 8 sums, 2 activations, a run of 8 rows' weights and products fit the
 * 16 registers, as long as these rows meet all tokens before the next 8 are loaded.
 *
 * From how many tokens on it pays to take weights apart in memory was measured with 512 rows of
 * 2,048 columns in the cache (EPYC of Zen 3; build/bench/kernels --op linear --sweep). Of signed
 * weights more is lost by storing them than by taking them apart again.
 *
 * With weights out of memory, asking 1.5 KiB ahead read 0.88 of what a loop of loads did (Q4_0 and
 * Q8_0 of one token, one thread and two; 25 passes over 512 MiB in turn), 2 KiB 0.84 to 0.88, 0.75
 * KiB 0.81 to 0.94, 2.5 KiB 0.83 to 0.86; on AVX-512 (Zen 4) 4 KiB was best.
 *
 * The other levels' cells_<level>.h define the same functions.
 */
#ifndef CHOIR_KERNELS_CELLS_AVX2_H
#define CHOIR_KERNELS_CELLS_AVX2_H

#include "kernels/bytes_avx2.h"
#include "kernels/lanes_avx2.h"
#include "kernels/levels.h"
#include "kernels/plane.h"

enum {
    CELLS_GROUPS = 2,        /* groups of weights that meet an activation once loaded */
    CELLS_TILE = 4,          /* tokens that meet a cell of one group once it is loaded, ... */
    CELLS_GROUPS_TILE = 2,   /* ... and of CELLS_GROUPS */
    CELLS_SUMS = 4,          /* tokens x groups of the larger tile */
    CELLS_FEW = 4,           /* tokens of a pass that takes weights apart in registers */
    CELLS_MANY = 5,          /* from so many tokens on they are taken apart once, in memory; ... */
    CELLS_MANY_SIGNED = 9,   /* ... of signed weights, ... */
    CELLS_MANY_Q15 = 2,      /* ... and where the activations have two planes */
    CELLS_FLOAT_TILE = 4,    /* the same of float weights */
    CELLS_START_LATE = 1,    /* sums of 32 bits begin when those of 16 are done */
    CELLS_HAVE_SIZES = 1,    /* whether cells_dot_signed() takes cells_size() too */
    CELLS_SIGNED_OFFSET = 0, /* what cells_from_signed() adds */
    CELLS_PREFETCH_BYTES = 1536, /* how far ahead weights are asked for */
};

typedef struct cells {
    __m256i low, high; /* rows 0..7, 8..15 */
} cells;

/* One int32 for each row. */
typedef struct counts {
    __m256i low, high;
} counts;

/* Two int16 for each row. */
typedef counts pairs;
/* Of each half of 16 columns a scale for each row, as a pair of twice the same. */
typedef struct scales {
    pairs half[2];
} scales;

static inline cells cells_load(const uint8_t *from)
{
    const __m256i *halves = (const __m256i *)from;
    return (cells){_mm256_loadu_si256(halves), _mm256_loadu_si256(halves + 1)};
}

/* The low or high nibble of each byte. */
static inline cells cells_low_nibbles(cells a)
{
    const __m256i mask = _mm256_set1_epi8(15);
    return (cells){_mm256_and_si256(a.low, mask), _mm256_and_si256(a.high, mask)};
}

static inline cells cells_high_nibbles(cells a)
{
    return cells_low_nibbles((cells){_mm256_srli_epi16(a.low, 4), _mm256_srli_epi16(a.high, 4)});
}

CHOIR_INLINE __m256i cells_move_bits(__m256i bits, const int from, const int to, const int mask)
{
    __m256i moved =
        from < to ? _mm256_slli_epi16(bits, to - from) : _mm256_srli_epi16(bits, from - to);
    return _mm256_and_si256(moved, _mm256_set1_epi8((char)(mask << to)));
}

/* a | (bits >> from & mask) << to, each byte for itself. */
CHOIR_INLINE cells cells_put_bits(cells a, cells bits, const int from, const int to, const int mask)
{
    return (cells){_mm256_or_si256(a.low, cells_move_bits(bits.low, from, to, mask)),
                   _mm256_or_si256(a.high, cells_move_bits(bits.high, from, to, mask))};
}

static inline cells cells_zero(void)
{
    return (cells){_mm256_setzero_si256(), _mm256_setzero_si256()};
}

/* Makes signed weights what cells_dot_signed() takes. */
static inline cells cells_from_signed(cells a)
{
    return a;
}

/* Of signed weights their magnitude, unsigned. */
static inline cells cells_size(cells a)
{
    return (cells){_mm256_abs_epi8(a.low), _mm256_abs_epi8(a.high)};
}

/* table[nibble]. */
static inline cells cells_look_up(const int8_t table[16], cells nibbles)
{
    __m256i values = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table));
    return (cells){_mm256_shuffle_epi8(values, nibbles.low),
                   _mm256_shuffle_epi8(values, nibbles.high)};
}

static inline counts counts_set(int32_t value)
{
    return (counts){_mm256_set1_epi32(value), _mm256_set1_epi32(value)};
}

/* a * 2^n. */
CHOIR_INLINE counts counts_shift(counts a, const int n)
{
    return (counts){_mm256_slli_epi32(a.low, n), _mm256_slli_epi32(a.high, n)};
}

static inline counts counts_add(counts a, counts b)
{
    return (counts){_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
}

static inline lanes counts_to_lanes(counts a)
{
    return (lanes){_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)};
}

/* 16 int8 as floats. */
static inline lanes lanes_from_bytes(row_bytes a)
{
    return (lanes){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(a)),
                   _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(a, 8)))};
}

/* 2^(e - 128), subnormal for e < 2; NaN for 255. */
static inline lanes lanes_from_e8m0(row_bytes e)
{
    return (lanes){bytes_e8m0(e), bytes_e8m0(_mm_srli_si128(e, 8))};
}

static inline pairs pairs_from_bytes(row_bytes first, row_bytes second)
{
    return (pairs){_mm256_cvtepi8_epi16(_mm_unpacklo_epi8(first, second)),
                   _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(first, second))};
}

static inline scales scales_from_bytes(row_bytes first, row_bytes second)
{
    return (scales){{pairs_from_bytes(first, first), pairs_from_bytes(second, second)}};
}

/* Cells whose pairs of products with 127 add up below 2^15. */
CHOIR_INLINE int cells_in_16_bits(const int largest)
{
    return largest <= 16 ? 8 : largest <= 32 ? 4 : 2;
}

/* Whether cells_dot() takes the offset of plain weights away by itself: where more cells fit so. */
CHOIR_INLINE bool cells_take_offset(const int highest, const int offset_bits)
{
    return offset_bits >= 0 && cells_in_16_bits(1 << offset_bits) > cells_in_16_bits(highest);
}

/* Minus 2^offset_bits times the activations of cells [first, last), as their pairs add up. */
CHOIR_INLINE __m256i cells_minus_offset(const plane x, const int t, const int first, const int last,
                                        const int offset_bits)
{
    __m256i minus = _mm256_set1_epi32(plane_minus(x, t, first / 4));
    if (last - first > 4)
        minus = _mm256_add_epi16(minus, _mm256_set1_epi32(plane_minus(x, t, 1)));
    return _mm256_slli_epi16(minus, offset_bits);
}

/*
 * sums[g * n + t] += by[g] * the sum, in 16 bits, over cells [first, last) of group g with
 * token t. offset_bits < 0: no offset is taken away.
 */
CHOIR_INLINE void cells_dot_some(counts *sums, const cells w[][8], const int first, const int last,
                                 const pairs *by, const int offset_bits, const plane x,
                                 const int n_groups, const int n)
{
    pairs acc[CELLS_SUMS];
    if (offset_bits >= 0) {
        CHOIR_UNROLL
        for (int i = 0; i < n * n_groups; i++) {
            const __m256i minus = cells_minus_offset(x, i % n, first, last, offset_bits);
            acc[i] = (pairs){minus, minus};
        }
    }
    CHOIR_UNROLL
    for (int c = first; c < last; c++)
        CHOIR_UNROLL
    for (int i = 0; i < 2 * n * n_groups; i++) {
        /* All tokens with the low rows of a group, then with its high ones. */
        const int g = i / n / 2, t = i % n;
        const bool is_high = i / n % 2 == 1;
        const __m256i a = is_high ? w[g][c].high : w[g][c].low;
        const __m256i four = _mm256_set1_epi32(plane_four(x, t, c));
        const __m256i products = _mm256_maddubs_epi16(a, four);
        __m256i *sum = is_high ? &acc[g * n + t].high : &acc[g * n + t].low;
        const bool is_new = offset_bits < 0 && c == first;
        *sum = is_new ? products : _mm256_add_epi16(*sum, products);
    }
    CHOIR_UNROLL
    for (int i = 0; i < n * n_groups; i++)
        sums[i] = counts_add(sums[i], (counts){_mm256_madd_epi16(acc[i].low, by[i / n].low),
                                               _mm256_madd_epi16(acc[i].high, by[i / n].high)});
}

/*
 * sums[g * n + t] += the products of 32 weights of group g, 0..highest, with token t; less
 * 2^offset_bits times the activations where cells_take_offset(). n is at most the tile of n_groups.
 */
CHOIR_INLINE void cells_dot(counts *sums, const cells w[][8], const int highest,
                            const int offset_bits, const plane x, const int n_groups, const int n)
{
    const __m256i one = _mm256_set1_epi16(1);
    const pairs ones[CELLS_GROUPS] = {{one, one}, {one, one}};
    const bool is_taken = cells_take_offset(highest, offset_bits);
    const int step = cells_in_16_bits(is_taken ? 1 << offset_bits : highest);
    CHOIR_UNROLL
    for (int c = 0; c < 8; c += step)
        cells_dot_some(sums, w, c, c + step, ones, is_taken ? offset_bits : -1, x, n_groups, n);
}

/*
 * The same with a scale for each half of 16 columns, of weights from which 2^offset_bits is taken
 * away (-1: nothing).
 */
CHOIR_INLINE void cells_dot_scaled(counts *sums, const cells w[][8], const scales *by,
                                   const int highest, const int offset_bits, const plane x,
                                   const int n_groups, const int n)
{
    (void)highest; /* at most 32 once the offset is away */
    CHOIR_UNROLL
    for (int half = 0; half < 2; half++) {
        const pairs scale[CELLS_GROUPS] = {by[0].half[half], by[n_groups - 1].half[half]};
        cells_dot_some(sums, w, 4 * half, 4 * half + 4, scale, offset_bits, x, n_groups, n);
    }
}

#include "kernels/cells_scaled.inc"

/*
 * The same of weights from cells_from_signed(). The weight's sign goes over to the activation;
 * |-128| is 128 as an unsigned byte, so a pair is at most 2 * 128 * 127.
 */
CHOIR_INLINE void cells_dot_signed(counts *sums, const cells w[][8], const cells size[][8],
                                   const plane x, const int n_groups, const int n)
{
    const __m256i ones = _mm256_set1_epi16(1);
    CHOIR_UNROLL
    for (int c = 0; c < 8; c++)
        CHOIR_UNROLL
    for (int i = 0; i < 2 * n * n_groups; i++) {
        const int g = i / n / 2, t = i % n;
        const bool is_high = i / n % 2 == 1;
        const __m256i a = is_high ? w[g][c].high : w[g][c].low;
        const __m256i b = is_high ? size[g][c].high : size[g][c].low;
        const __m256i four = _mm256_set1_epi32(plane_four(x, t, c));
        const __m256i products = _mm256_maddubs_epi16(b, _mm256_sign_epi8(four, a));
        __m256i *sum = is_high ? &sums[g * n + t].high : &sums[g * n + t].low;
        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(products, ones));
    }
}

#endif
