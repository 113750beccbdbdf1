/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packed matrices: the layout that every linear kernel reads.
 *
 * A matrix slice of `rows` x `cols` is cut into groups of 16 rows. A group is a run of 32-column
 * blocks, a block holds for its 16 rows the scales first and then the quants, so that one forward
 * pass over memory reads a group. The unit of quants is the *cell*: columns 4c..4c+3 of one row;
 * the same cell of 16 rows makes 64 bytes, what the integer dot products take:
 *
 *     group g:   | block 0 | block 1 | ...
 *     64 bytes:  | row 0: 4 columns | row 1: 4 columns | ... | row 15: 4 columns |
 *
 * Bytes of a block, in order; [16] runs over the rows, halves stay halves; on the right its size,
 * and that of the header which stands before the first block of each super-block of 256 file
 * columns that the slice touches (so before block 0 in any case):
 *
 *     Q4_0, IQ4_NL  half d[16]                    nibbles[4][64]                      288
 *     Q4_1          half d[16], half m[16]        nibbles[4][64]                      320
 *     Q5_0          half d[16]                    nibbles[4][64], bits[64]            352
 *     Q5_1          half d[16], half m[16]        nibbles[4][64], bits[64]            384
 *     Q8_0          half d[16]                    int8 cells[8][64]                   544
 *     MXFP4         u8 e[16]                      nibbles[4][64]                      272
 *     Q2_K          u8 scales[2][16]              crumbs[2][64]                       160  64
 *     Q3_K          scales, 6 bits each: 24 bytes crumbs[2][64], bits[64]             216  32
 *     Q4_K          u8 sc[16], u8 mn[16]          nibbles[4][64]                      288  64
 *     Q5_K          u8 sc[16], u8 mn[16]          nibbles[4][64], bits[64]            352  64
 *     Q6_K          int8 sc[2][16]                nibbles[4][64], crumbs[2][64]       416  32
 *     IQ4_XS        int8 ls - 32 [16]             nibbles[4][64]                      272  32
 *     F32, F16, BF16                              element[32][16]         2048, 1024, 1024
 *
 * A header is half d[16], then half dmin[16] where the type has minima. Behind scales and sc, [2]
 * is the half of 16 columns. The quants of column 4c + k of row r are in byte 4r + k of a run of
 * 64:
 *
 *     nibbles[c]  4 bits: cell c low, cell c + 4 high, c = 0..3: columns 0..15 low, 16..31 high
 *     crumbs[j]   2 bits: cell 4j + p at bits 2p and 2p + 1: Q2_K's quant, the low two bits of
 *                 Q3_K's, the high two of Q6_K's
 *     bits        1 bit: cell c at bit c: the fifth of Q5_0, Q5_1 and Q5_K, Q3_K's of hmask
 *
 *     Q2_K scales: sc low, mn high. Q3_K scales of row r: the low four bits in byte r, half 0 low,
 *     half 1 high; the high two in byte 16 + r / 2, at 4 (r % 2) those of half 0, then of half 1.
 *
 * Every type keeps the file's size but Q4_K, Q5_K and IQ4_XS, whose scales of 6 bits become bytes:
 * per 256 columns of a row 148 bytes for 144, 180 for 176, 138 for 136. Rows are padded to 16 with
 * zeros; padded rows are never stored in a result.
 */
#ifndef CHOIR_KERNELS_PACK_H
#define CHOIR_KERNELS_PACK_H

#include "common/status.h"
#include "kernels/types.h"

enum { CHOIR_GROUP_ROWS = 16, CHOIR_BLOCK_COLUMNS = 32 };

/* A view of a packed slice; the memory belongs to whoever made it. */
typedef struct choir_matrix {
    choir_type type;
    int64_t rows;       /* valid rows of the slice, > 0 */
    int64_t cols;       /* columns of the slice, > 0, a multiple of 32 */
    int64_t first_col;  /* where the slice begins in the file's row, a multiple of 32 */
    size_t group_bytes; /* bytes of one group of 16 rows, a multiple of 64 */
    void *data;         /* [ceil(rows / 16)][group_bytes], 64-byte aligned */
} choir_matrix;

/* Groups of a matrix: ceil(rows / 16). */
int64_t choir_matrix_groups(const choir_matrix *matrix);

/*
 * Fills every field but data. ENOMEM where sizes wrap. `type` is the type to pack to: the file's,
 * or CHOIR_F32 for --activations f32.
 */
choir_status choir_matrix_plan(choir_matrix *matrix, choir_type type, int64_t rows, int64_t cols,
                               int64_t first_col) CHOIR_MUST_CHECK;
/* ceil(rows / 16) * group_bytes. */
size_t choir_matrix_bytes(const choir_matrix *matrix);

/* A view of groups [group_begin, group_end) alone, not empty, whose rows count from 0. */
choir_matrix choir_matrix_part(const choir_matrix *matrix, int64_t group_begin, int64_t group_end);

/*
 * Packs groups [group_begin, group_end). `source` is the first row of group_begin in the file's own
 * blocks of `source_type`, column 0 of the *file's* row; rows stand `row_bytes` apart. matrix->type
 * is source_type or CHOIR_F32 (values as in docs/formats.md, rounded once). Reads only the blocks
 * that hold columns of the slice. Groups are independent: threads may share a matrix.
 */
void choir_matrix_pack(const choir_matrix *matrix, int64_t group_begin, int64_t group_end,
                       choir_type source_type, const uint8_t *source, size_t row_bytes);

#endif
