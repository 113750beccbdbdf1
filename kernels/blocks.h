/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The blocks of a GGUF file (docs/formats.md), taken apart into pieces of 32 columns: the one
 * decoder that look-up of embeddings and packing share. Private to kernels/.
 */
#ifndef CHOIR_KERNELS_BLOCKS_H
#define CHOIR_KERNELS_BLOCKS_H

#include "kernels/types.h"

/* 32 columns of one row of a quantized type, nothing rounded yet. */
typedef struct choir_piece {
    uint8_t q[32];      /* the quants as stored, 2 to 6 bits, Q8_0 in two's complement */
    uint16_t d;         /* half: the scale of the block or super-block; MXFP4 has none */
    uint16_t m;         /* half: Q4_1's and Q5_1's m, dmin of Q2_K, Q4_K, Q5_K; else 0 */
    uint8_t scale[2];   /* of each half of 16 columns: Q2_K sc, Q3_K s of 6 bits, Q6_K int8 sc; of
                           all 32, then 0: Q4_K, Q5_K sc, IQ4_XS int8 ls - 32, MXFP4 e; else 0 */
    uint8_t minimum[2]; /* Q2_K: mn of each half; Q4_K, Q5_K: mn, 0; else 0 */
} choir_piece;

/* What the four bits of IQ4_NL and IQ4_XS, and those of MXFP4, stand for. */
extern const int8_t choir_iq4_values[16];
extern const int8_t choir_mxfp4_values[16];

/* The integers that n stored quants stand for: "value" of numerics.md, "Linear layers". */
void choir_quant_values(int16_t *values, choir_type type, const uint8_t *q, int n);
/* Takes piece `index` out of a block: 0 for blocks of 32, 0..7 for super-blocks of 256. */
void choir_piece_read(choir_piece *piece, choir_type type, const uint8_t *block, int index);
/* The 32 values, each rounded once. */
void choir_piece_values(float y[32], const choir_piece *piece, choir_type type);
/* choir_dequantize_fn, for every level. */
void choir_dequantize(float *y, const uint8_t *blocks, choir_type type, int64_t n);

#endif
