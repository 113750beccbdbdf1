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
 * Bytes of a block, in order; [16] runs over the rows, halves stay halves:
 *
 *     Q4_0   half d[16]                        nibbles[4][64]                 288
 *     Q4_1   half d[16], half m[16]            nibbles[4][64]                 320
 *     Q8_0   half d[16]                        int8 cells[8][64]              544
 *     Q4_K   u8 sc[16], u8 mn[16]              nibbles[4][64]                 288
 *     Q6_K   int8 sc0[16], int8 sc1[16]        nibbles[4][64], high[2][64]    416
 *     F32, F16, BF16                           element[32][16]       2048, 1024, 1024
 *
 * nibbles[c]: cell c in the low and cell c + 4 in the high nibbles, that is columns 0..15 low and
 * 16..31 high. high[j]: bits 4 and 5 of cell 4j + p at bits 2p and 2p + 1. sc0, sc1 are the scales
 * of columns 0..15 and 16..31. Q4_K and Q6_K have a header before the first block of each
 * super-block of 256 file columns that the slice touches (so before block 0 in any case): half
 * d[16], half dmin[16], 64 bytes, or half d[16], 32 bytes. Every type keeps the file's size but
 * Q4_K, which takes 148 bytes for 144. Rows are padded to 16 with zeros; padded rows are never
 * stored in a result.
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

/*
 * Packs groups [group_begin, group_end). `source` is row 0 of the slice in the file's own blocks of
 * `source_type`, column 0 of the *file's* row; rows stand `row_bytes` apart. matrix->type is
 * source_type or CHOIR_F32 (values as in docs/formats.md, rounded once). Reads only the blocks that
 * hold columns of the slice. Groups are independent: threads may share a matrix.
 */
void choir_matrix_pack(const choir_matrix *matrix, int64_t group_begin, int64_t group_end,
                       choir_type source_type, const uint8_t *source, size_t row_bytes);

#endif
