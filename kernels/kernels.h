/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of kernels. docs/numerics.md defines every operation down to the order of its
 * roundings; each level equals `ref` bit for bit. Kernels are pure: no allocation, no state, no
 * threads, no failure; sizes are the caller's promise, asserted. Pointers may be unaligned unless
 * stated.
 *
 * Shapes: D model width, S head size, T token rows, V vocabulary.
 */
#ifndef CHOIR_KERNELS_KERNELS_H
#define CHOIR_KERNELS_KERNELS_H

#include "common/status.h"
#include "kernels/pack.h"

typedef enum choir_level {
    CHOIR_LEVEL_REF,
    CHOIR_LEVEL_AVX2,   /* AVX2, FMA, F16C */
    CHOIR_LEVEL_AVX512, /* F, BW, VL, DQ, VNNI, and all of AVX2's */
    CHOIR_LEVEL_NEON,   /* AArch64 with the dot product of int8 */
    CHOIR_LEVEL_COUNT,
} choir_level;

/*
 * One block of 32 activations of one token in int8 (docs/numerics.md, "Linear layers", q8). 60
 * bytes. The sums are there for minima and for weights whose offset is taken away afterwards.
 */
typedef struct choir_q8 {
    int8_t q[32]; /* -127..127: -128 would saturate the AVX2 level */
    float d;
    float d_sum;              /* d * (float)(sum of q), one rounded product */
    float d_sum_half[2];      /* the same of q[0..16) and of q[16..32) */
    int32_t minus_sum;        /* -(sum of q) */
    int16_t minus_sums[2][2]; /* of each half minus that of q[4c], q[4c + 1], and of the others */
} choir_q8;

/* The same in 15 bits, as two planes of int8: value = 128 * h + l, -16256..16256. 100 bytes. */
typedef struct choir_q15 {
    int8_t h[32]; /* -127..127 */
    int8_t l[32]; /* -64..63 */
    float d;
    float d_sum; /* of the values, as in choir_q8 */
    float d_sum_half[2];
    int32_t minus_sum;                              /* of the values */
    int16_t minus_sums_h[2][2], minus_sums_l[2][2]; /* of the planes, as in choir_q8 */
} choir_q15;

/*
 * Quantized activations of T tokens x n_blocks blocks lie in *panels* of some tokens, so that a
 * panel stays in the cache while the weights pass by. Panel p holds width = min(P, T - p * P)
 * tokens; in it the tokens of one block stand side by side:
 *
 *     blocks[p * P * n_blocks + b * width + t % P],  p = t / P
 *
 * P: so that a panel is at most 480 KiB. Twice the tokens halve the work of taking weights apart (4
 * to 9 % of a prefill, EPYC of Zen 5), while panels of 16 made rows of 8,192 columns 20 to 40 %
 * slower than 32 (1 MiB of L2, EPYC of Zen 4; build/bench/kernels --op linear --shape gate --shape
 * down --rows 24,64,512).
 */
enum { CHOIR_PANEL_TOKENS = 64 }; /* at most */

static inline int choir_panel_tokens(int64_t n_blocks)
{
    return n_blocks <= 128 ? CHOIR_PANEL_TOKENS : n_blocks <= 256 ? 32 : 16;
}

/* How far apart the blocks of token t stand: its panel's width. */
static inline int64_t choir_panel_stride(int64_t n_blocks, int T, int t)
{
    const int P = choir_panel_tokens(n_blocks);
    const int rest = T - t / P * P;
    return rest < P ? rest : P;
}

/* Where block b of token t stands; the following ones at the stride above. */
static inline int64_t choir_panel_index(int64_t n_blocks, int T, int t, int64_t b)
{
    const int P = choir_panel_tokens(n_blocks);
    return t / P * P * n_blocks + b * choir_panel_stride(n_blocks, T, t) + t % P;
}

enum { CHOIR_MAX_LEAVES = 64 };

/*
 * The leaves of one subtree of the sum tree, within the columns of a slice. Leaf i covers the
 * slice's blocks [first_block + i * leaf_blocks, ...), leaf_blocks of them, the last one perhaps
 * fewer. The tree as a stack program: after leaf i is pushed, merges[i] times the two topmost are
 * popped and (lower + upper) is pushed.
 */
typedef struct choir_leaves {
    int64_t first_block;
    int64_t n_blocks; /* > 0 */
    int64_t leaf_blocks;
    int n_leaves; /* ceil(n_blocks / leaf_blocks), 1..CHOIR_MAX_LEAVES */
    uint8_t merges[CHOIR_MAX_LEAVES];
} choir_leaves;

/* Fills n_leaves and merges of a subtree from the three other fields. */
void choir_leaves_plan(choir_leaves *leaves);

/*
 * y[t][r] = tree over the leaves of the chain of row r and token t, for the rows of groups
 * [group_begin, group_end), valid rows only.
 *
 *   y   [T][y_stride] f32; row r of the slice is written to y[t * y_stride + r]; overwritten
 *   x   for block types the panels of T tokens and all w->cols / 32 blocks of the slice, choir_q8
 *       or choir_q15; for float types f32 [T][w->cols]
 *   T   >= 1, any
 */
typedef void (*choir_linear_fn)(float *y, int64_t y_stride, const choir_matrix *w,
                                int64_t group_begin, int64_t group_end, const void *x, int T,
                                const choir_leaves *leaves);

/* out[i * stride] = block i of x[0..n); n a multiple of 32. */
typedef void (*choir_quantize_fn)(choir_q8 *out, int64_t stride, const float *x, int64_t n);
typedef void (*choir_quantize_q15_fn)(choir_q15 *out, int64_t stride, const float *x, int64_t n);

/* y = x / rms(x) * weight over n elements, "Everything else"; y may be x. */
typedef void (*choir_rms_norm_fn)(float *y, const float *x, const float *weight, int64_t n,
                                  float eps);

/*
 * y = (x - mean) / deviation * weight + bias over n elements, "Everything else"; y may be x. No
 * architecture that is served yet has it.
 */
typedef void (*choir_layer_norm_fn)(float *y, const float *x, const float *weight,
                                    const float *bias, int64_t n, float eps);

/* h[i] = silu(gate[i]) * up[i]; h may be gate. */
typedef void (*choir_swiglu_fn)(float *h, const float *gate, const float *up, int64_t n);

/*
 * h[i] = gelu(gate[i]) * up[i] with the GELU by tanh of "Decided by the code"; h may be gate. No
 * architecture that is served yet has it.
 */
typedef void (*choir_geglu_fn)(float *h, const float *gate, const float *up, int64_t n);

/* x[i] = x[i] + y[i], each one rounded addition. */
typedef void (*choir_add_fn)(float *x, const float *y, int64_t n);

/*
 * Rotates one head of S elements in place. cosines, sines [n_rot / 2] of the row's position.
 * Adjacent: pairs (2i, 2i+1), else (i, i + n_rot/2). Elements from n_rot on stay.
 */
typedef void (*choir_rotary_fn)(float *x, const float *cosines, const float *sines, int64_t n_rot,
                                bool is_adjacent);

enum { CHOIR_PAGE_POSITIONS = 64, CHOIR_SPAN_PAGES = 16 };

typedef enum choir_cache_type {
    CHOIR_CACHE_F16,
    CHOIR_CACHE_F32,
    CHOIR_CACHE_Q8_0
} choir_cache_type;

/*
 * Bytes of the keys (or values) of one KV head in one page of 64 positions: keys [S][64], values
 * [64][S]; q8_0 keeps the quants so, followed by the halves d as [S/32][64] or [64][S/32]. A
 * multiple of 64. S even, for q8_0 a multiple of 32.
 */
size_t choir_kv_page_bytes(choir_cache_type type, int64_t S);
/*
 * Rounds one position's key (S floats, rotated) or value to the type and stores it in its page.
 * q8_0 takes the quants of choir_q8 and rounds their d to a half.
 */
void choir_kv_store_key(void *page, choir_cache_type type, int64_t S, int position_in_page,
                        const float *key);
void choir_kv_store_value(void *page, choir_cache_type type, int64_t S, int position_in_page,
                          const float *value);

/* The running state of attention for one query head: maximum, sum, and o [S] behind it. */
typedef struct choir_attention_state {
    float m, l;
    float *o; /* [S] */
} choir_attention_state;

/*
 * One span for some queries that look at the same KV head: heads of its group, and rows of one
 * sequence. For each as if the span were the whole.
 *
 *   states     [n_queries], overwritten
 *   q          [n_queries][S], rotated and scaled
 *   key_pages  [n_pages] the span's pages for this KV head, n_pages <= CHOIR_SPAN_PAGES
 *   n_visible  [n_queries] positions of the span that each may see, 0..64 * n_pages; with 0 the
 *              state is (-inf, 0, 0), which a merge passes over
 */
typedef void (*choir_attention_span_fn)(choir_attention_state *states, const float *q,
                                        int n_queries, int64_t S, const void *const *key_pages,
                                        const void *const *value_pages, choir_cache_type key_type,
                                        choir_cache_type value_type, const int64_t *n_visible);
/*
 * Merges the next span's state into the running one, ascending; S elements. The running one may
 * start as the first span's state or as m = -inf, l = 0.
 */
typedef void (*choir_attention_merge_fn)(choir_attention_state *running,
                                         const choir_attention_state *span, int64_t S);
/* out = o / l. */
typedef void (*choir_attention_finish_fn)(float *out, const choir_attention_state *state,
                                          int64_t S);

/*
 * One chunk of log-sum-exp: *m = max z, *l = lane sum of exp(z - m); n >= 1. A chunk of -inf alone
 * gives (-inf, 0), one with a NaN gives NaN twice.
 */
typedef void (*choir_lse_chunk_fn)(const float *z, int64_t n, float *m, float *l);

/* y[i] = exp(x[i] - from), n >= 0. */
typedef void (*choir_exp_from_fn)(float *y, const float *x, float from, int64_t n);

/* n values of a file row in its own blocks as f32; n a multiple of the block. */
typedef void (*choir_dequantize_fn)(float *y, const uint8_t *blocks, choir_type type, int64_t n);

/* All kernels of one level. */
typedef struct choir_kernels {
    choir_level level;
    /* By choir_type; NULL where the type is not served. */
    choir_linear_fn linear[CHOIR_TYPE_LIMIT]; /* x in q8 for block types, in f32 for float types */
    choir_linear_fn linear_q15[CHOIR_TYPE_LIMIT]; /* block types alone */
    choir_quantize_fn quantize;
    choir_quantize_q15_fn quantize_q15;
    choir_rms_norm_fn rms_norm;
    choir_layer_norm_fn layer_norm;
    choir_swiglu_fn swiglu;
    choir_geglu_fn geglu;
    choir_add_fn add;
    choir_rotary_fn rotary;
    choir_attention_span_fn attention_span;
    choir_attention_merge_fn attention_merge;
    choir_attention_finish_fn attention_finish;
    choir_lse_chunk_fn lse_chunk;
    choir_exp_from_fn exp_from;
    choir_dequantize_fn dequantize;
} choir_kernels;

/* The table of a level: `ref` overwritten upward. EUNSUPPORTED where this CPU lacks the level. */
choir_status choir_kernels_get(choir_level level, const choir_kernels **result) CHOIR_MUST_CHECK;
/* The highest level this CPU has. */
choir_level choir_level_best(void);
const char *choir_level_name(choir_level level);
/* EUSAGE for an unknown name. */
choir_status choir_level_parse(const char *name, choir_level *level) CHOIR_MUST_CHECK;
const char *choir_cache_type_name(choir_cache_type type);
choir_status choir_cache_type_parse(const char *name, choir_cache_type *type) CHOIR_MUST_CHECK;

/* exp and log of docs/numerics.md; the same operations on every level. */
float choir_expf(float x);
float choir_logf(float x);
/*
 * Merges the next chunk (m, l) into a running log-sum-exp; start with (-inf, 0) and the first chunk
 * that is not -inf is taken as it is. NaN stays in l. lse = m + choir_logf(l) at the end.
 */
void choir_lse_merge(float *m, float *l, float chunk_m, float chunk_l);
/* Entries of one chunk for a vocabulary of V: a power of two, at least 16, at most 64 chunks. */
int64_t choir_lse_chunk_size(int64_t V);
float choir_half_to_float(uint16_t half);
uint16_t choir_float_to_half(float value);

#endif
