/* SPDX-License-Identifier: Apache-2.0 */
/* Packing takes each row's blocks apart and lays 16 rows side by side, piece by piece. */
#include "kernels/pack.h"
#include "common/mem.h"
#include "kernels/blocks.h"
#include "kernels/half.h"
#include "kernels/layout.h"

#include <string.h>

int64_t choir_matrix_groups(const choir_matrix *matrix)
{
    return choir_ceil_div(matrix->rows, CHOIR_GROUP_ROWS);
}

/* Bytes of one group; false where they wrap. */
static bool plan_group(const choir_matrix *matrix, size_t *group_bytes)
{
    int64_t n_blocks = matrix->cols / CHOIR_BLOCK_COLUMNS;
    int64_t first = matrix->first_col / CHOIR_BLOCK_COLUMNS % 8;
    int64_t n_headers;
    if (!choir_count_add(first, n_blocks, &n_headers))
        return false;
    n_headers = choir_ceil_div(n_headers, 8);
    int64_t blocks_bytes, headers_bytes, bytes;
    return choir_count_mul(n_blocks, choir_packed_block_bytes(matrix->type), &blocks_bytes) &&
           choir_count_mul(n_headers, choir_packed_header_bytes(matrix->type), &headers_bytes) &&
           choir_count_add(blocks_bytes, headers_bytes, &bytes) &&
           choir_size_round_up((size_t)bytes, 64, group_bytes);
}

choir_status choir_matrix_plan(choir_matrix *matrix, choir_type type, int64_t rows, int64_t cols,
                               int64_t first_col)
{
    assert(rows > 0 && cols > 0 && first_col >= 0);
    assert(cols % CHOIR_BLOCK_COLUMNS == 0 && first_col % CHOIR_BLOCK_COLUMNS == 0);
    matrix->type = type;
    matrix->rows = rows;
    matrix->cols = cols;
    matrix->first_col = first_col;
    size_t bytes;
    if (!plan_group(matrix, &matrix->group_bytes) ||
        !choir_size_mul(matrix->group_bytes, (size_t)choir_matrix_groups(matrix), &bytes))
        return choir_fail(CHOIR_ENOMEM, "a matrix of %lld x %lld is too large", (long long)rows,
                          (long long)cols);
    return CHOIR_OK;
}

size_t choir_matrix_bytes(const choir_matrix *matrix)
{
    return (size_t)choir_matrix_groups(matrix) * matrix->group_bytes;
}

choir_matrix choir_matrix_part(const choir_matrix *matrix, int64_t group_begin, int64_t group_end)
{
    choir_matrix part = *matrix;
    const int64_t end = group_end * CHOIR_GROUP_ROWS;
    part.rows = (end < matrix->rows ? end : matrix->rows) - group_begin * CHOIR_GROUP_ROWS;
    part.data = (uint8_t *)matrix->data + (size_t)group_begin * matrix->group_bytes;
    return part;
}

/* 32 columns of row r as nibbles: cell c (columns 4c..4c+3) low, cell c + 4 high, c = 0..3. */
static void pack_nibbles(uint8_t *quants, int r, const uint8_t q[32])
{
    for (int c = 0; c < 4; c++)
        for (int i = 0; i < 4; i++)
            quants[64 * c + 4 * r + i] =
                (uint8_t)((q[4 * c + i] & 15) | (q[16 + 4 * c + i] & 15) << 4);
}

/* Bits `shift` and shift + 1: byte j has those of cells 4j + p at bits 2p, j = 0, 1. */
static void pack_crumbs(uint8_t *quants, int r, const uint8_t q[32], int shift)
{
    for (int j = 0; j < 2; j++)
        for (int i = 0; i < 4; i++) {
            int byte = 0;
            for (int p = 0; p < 4; p++)
                byte |= (q[16 * j + 4 * p + i] >> shift & 3) << 2 * p;
            quants[64 * j + 4 * r + i] = (uint8_t)byte;
        }
}

/* Bit `shift`: that of cell c at bit c. */
static void pack_bits(uint8_t *quants, int r, const uint8_t q[32], int shift)
{
    for (int i = 0; i < 4; i++) {
        int byte = 0;
        for (int c = 0; c < 8; c++)
            byte |= (q[4 * c + i] >> shift & 1) << c;
        quants[4 * r + i] = (uint8_t)byte;
    }
}

static void pack_bytes(uint8_t *quants, int r, const uint8_t q[32])
{
    for (int c = 0; c < 8; c++)
        memcpy(quants + 64 * c + 4 * r, q + 4 * c, 4);
}

/* Q3_K's two scales of 6 bits, 24 bytes for 16 rows. The block was zeroed. */
static void pack_six_bit_scales(uint8_t *scales, int r, const uint8_t scale[2])
{
    scales[r] = (uint8_t)((scale[0] & 15) | (scale[1] & 15) << 4);
    scales[16 + r / 2] |= (uint8_t)((scale[0] >> 4 | (scale[1] >> 4) << 2) << r % 2 * 4);
}

/* Row r of what stands before the quants of a block, and of its super-block's header. */
static void pack_scales(uint8_t *block, uint8_t *header, choir_type type, int r,
                        const choir_piece *piece)
{
    uint8_t *halves = choir_packed_header_bytes(type) > 0 ? header : block;
    if (type != CHOIR_MXFP4)
        memcpy(halves + 2 * r, &piece->d, 2);
    if (choir_type_minima(type) > 0)
        memcpy(halves + 32 + 2 * r, &piece->m, 2);
    switch (type) {
    case CHOIR_Q2_K:
        block[r] = (uint8_t)(piece->scale[0] | piece->minimum[0] << 4);
        block[16 + r] = (uint8_t)(piece->scale[1] | piece->minimum[1] << 4);
        break;
    case CHOIR_Q3_K:
        pack_six_bit_scales(block, r, piece->scale);
        break;
    case CHOIR_Q4_K:
    case CHOIR_Q5_K:
        block[r] = piece->scale[0];
        block[16 + r] = piece->minimum[0];
        break;
    case CHOIR_Q6_K:
        block[r] = piece->scale[0];
        block[16 + r] = piece->scale[1];
        break;
    case CHOIR_IQ4_XS:
    case CHOIR_MXFP4:
        block[r] = piece->scale[0];
        break;
    default:
        break;
    }
}

/* Row r of one packed block and of its super-block's header. */
static void pack_piece(uint8_t *block, uint8_t *header, choir_type type, int r,
                       const choir_piece *piece)
{
    pack_scales(block, header, type, r, piece);
    uint8_t *quants = block + choir_packed_scales_bytes(type);
    switch (type) {
    case CHOIR_Q8_0:
        pack_bytes(quants, r, piece->q);
        break;
    case CHOIR_Q2_K:
        pack_crumbs(quants, r, piece->q, 0);
        break;
    case CHOIR_Q3_K:
        pack_crumbs(quants, r, piece->q, 0);
        pack_bits(quants + 128, r, piece->q, 2);
        break;
    case CHOIR_Q5_0:
    case CHOIR_Q5_1:
    case CHOIR_Q5_K:
        pack_nibbles(quants, r, piece->q);
        pack_bits(quants + 256, r, piece->q, 4);
        break;
    case CHOIR_Q6_K:
        pack_nibbles(quants, r, piece->q);
        pack_crumbs(quants + 256, r, piece->q, 4);
        break;
    default: /* the types of four bits */
        pack_nibbles(quants, r, piece->q);
        break;
    }
}

/* Row r of a run of columns of a float type: elements of `size` bytes, copied. */
static void pack_floats(uint8_t *columns, int r, const uint8_t *elements, int64_t n, size_t size)
{
    for (int64_t c = 0; c < n; c++)
        memcpy(columns + ((size_t)c * CHOIR_GROUP_ROWS + (size_t)r) * size,
               elements + (size_t)c * size, size);
}

/* Row r of block b of a group, through f32 (--activations f32). `block` is the file's. */
static void pack_values(uint8_t *group, int r, int64_t b, choir_type source_type,
                        const uint8_t *block, int index)
{
    float values[32];
    if (choir_type_info_of(source_type)->is_quantized) {
        choir_piece piece;
        choir_piece_read(&piece, source_type, block, index);
        choir_piece_values(values, &piece, source_type);
    } else {
        choir_dequantize(values, block, source_type, 32);
    }
    pack_floats(group + b * choir_packed_block_bytes(CHOIR_F32), r, (const uint8_t *)values, 32,
                sizeof *values);
}

static void pack_row(const choir_matrix *matrix, uint8_t *group, int r, choir_type source_type,
                     const uint8_t *row)
{
    const choir_type_info *info = choir_type_info_of(source_type);
    if (matrix->type == source_type && !info->is_quantized) {
        size_t size = (size_t)info->block_bytes;
        pack_floats(group, r, row + (size_t)matrix->first_col * size, matrix->cols, size);
        return;
    }
    for (int64_t b = 0; b < matrix->cols / CHOIR_BLOCK_COLUMNS; b++) {
        int64_t column = matrix->first_col + b * CHOIR_BLOCK_COLUMNS;
        const uint8_t *block = row + column / info->block_elements * info->block_bytes;
        int index = (int)(column % info->block_elements / CHOIR_BLOCK_COLUMNS);
        if (matrix->type == source_type) {
            choir_piece piece;
            choir_piece_read(&piece, source_type, block, index);
            pack_piece(group + choir_packed_block_offset(matrix, source_type, b),
                       group + choir_packed_header_offset(matrix, source_type, b), source_type, r,
                       &piece);
        } else {
            assert(matrix->type == CHOIR_F32);
            pack_values(group, r, b, source_type, block, index);
        }
    }
}

void choir_matrix_pack(const choir_matrix *matrix, int64_t group_begin, int64_t group_end,
                       choir_type source_type, const uint8_t *source, size_t row_bytes)
{
    for (int64_t g = group_begin; g < group_end; g++) {
        uint8_t *group = (uint8_t *)matrix->data + (size_t)g * matrix->group_bytes;
        memset(group, 0, matrix->group_bytes);
        for (int r = 0; r < CHOIR_GROUP_ROWS; r++) {
            int64_t row = g * CHOIR_GROUP_ROWS + r;
            int64_t source_row = row - group_begin * CHOIR_GROUP_ROWS;
            if (row < matrix->rows)
                pack_row(matrix, group, r, source_type, source + (size_t)source_row * row_bytes);
        }
    }
}
