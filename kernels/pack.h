/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packed matrices: the layout that every linear kernel reads.
 *
 * A matrix slice of `rows` x `cols` is cut into groups of 16 rows. A group is a run of 32-column
 * blocks, a block holds for its 16 rows the scales first and then the quants, 4 columns of each row
 * together, which is what the integer dot products take:
 *
 *     group g:  | block 0 | block 1 | ...            one forward pass over memory per group
 *     block b:  | 16 scales (16 minima) | quants |
 *     quants:   columns 0-3 of row 0, of row 1, ... of row 15, then columns 4-7 of row 0, ...
 *
 * pack.c gives the exact bytes for each type. Float types are [group][column][16 rows]. Rows are
 * padded to 16 with zeros; padded rows are never stored in a result.
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
 * Fills every field but data. ENOMEM where sizes wrap. `type` is the type to pack to: the file's, or
 * CHOIR_F32 for --activations f32.
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
