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
    uint8_t q[32];    /* the quants as stored, 4 or 6 bits, Q8_0 in two's complement */
    uint16_t d;       /* half: the scale of the block or super-block */
    uint16_t m;       /* half: Q4_1's m, Q4_K's dmin; else 0 */
    uint8_t scale[2]; /* Q4_K: sc, 0; Q6_K: int8 sc of each half of 16 columns; else 0 */
    uint8_t minimum;  /* Q4_K: mn; else 0 */
} choir_piece;

/* Takes piece `index` out of a block: 0 for blocks of 32, 0..7 for super-blocks of 256. */
void choir_piece_read(choir_piece *piece, choir_type type, const uint8_t *block, int index);
/* The 32 values, each rounded once. */
void choir_piece_values(float y[32], const choir_piece *piece, choir_type type);
/* choir_dequantize_fn, for every level. */
void choir_dequantize(float *y, const uint8_t *blocks, choir_type type, int64_t n);

#endif
