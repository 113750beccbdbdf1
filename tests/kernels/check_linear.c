/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linear layers: `ref` against a second, naive chain that reads the file's blocks by the tables of
 * formats.md and numerics.md, without packing; then every level against `ref`, bit for bit.
 */
#include "common/mem.h"
#include "tests/kernels/file_blocks.h"

static const choir_type types[] = {CHOIR_F32,  CHOIR_F16,    CHOIR_BF16,   CHOIR_Q4_0,
                                   CHOIR_Q4_1, CHOIR_Q5_0,   CHOIR_Q5_1,   CHOIR_Q8_0,
                                   CHOIR_Q2_K, CHOIR_Q3_K,   CHOIR_Q4_K,   CHOIR_Q5_K,
                                   CHOIR_Q6_K, CHOIR_IQ4_NL, CHOIR_IQ4_XS, CHOIR_MXFP4};
enum { N_TYPES = sizeof types / sizeof *types };

/* One slice of a matrix: the file's rows, packed, and its activations. */
typedef struct slice {
    choir_matrix matrix;
    choir_type type; /* of the file */
    int64_t file_cols;
    size_t row_bytes;
    uint8_t *rows;
    int T;
    bool is_q15; /* else q8, where the packed type takes blocks */
    uint8_t *x_memory;
    uint8_t *x; /* panels of blocks or [T][cols] floats; unaligned */
} slice;

static bool is_quantized(choir_type type)
{
    return choir_type_info_of(type)->is_quantized;
}

/* The quants of extreme blocks; odd blocks of q15 have a low plane too. */
static void set_quants(choir_q8 *block, int q)
{
    memset(block->q, q, sizeof block->q);
    block->minus_sum = -32 * q;
    block->d_sum = block->d * (float)(32 * q);
    for (int h = 0; h < 2; h++) {
        block->minus_sums[h][0] = block->minus_sums[h][1] = (int16_t)(-8 * q);
        block->d_sum_half[h] = block->d * (float)(16 * q);
    }
}

static void set_quants_q15(choir_q15 *block, int h, int l)
{
    int q = 128 * h + l;
    memset(block->h, h, sizeof block->h);
    memset(block->l, l, sizeof block->l);
    block->minus_sum = -32 * q;
    block->d_sum = block->d * (float)(32 * q);
    for (int half = 0; half < 2; half++) {
        block->minus_sums_h[half][0] = block->minus_sums_h[half][1] = (int16_t)(-8 * h);
        block->minus_sums_l[half][0] = block->minus_sums_l[half][1] = (int16_t)(-8 * l);
        block->d_sum_half[half] = block->d * (float)(16 * q);
    }
}

/*
 * Quantizes 32 values of token t to where the panels have block b of it. Extreme weights meet both
 * signs, so that sums reach both ends.
 */
static void put_block(slice *s, fill how, const float *values, int t, int64_t b)
{
    bool is_extreme = how == FILL_LOWEST || how == FILL_HIGHEST;
    bool is_lowest = (how == FILL_LOWEST) == (t % 2 == 0);
    size_t at = (size_t)choir_panel_index(s->matrix.cols / 32, s->T, t, b);
    if (s->is_q15) {
        choir_q15 block;
        check_ref()->quantize_q15(&block, 1, values, 32);
        if (is_extreme && b % 2)
            set_quants_q15(&block, is_lowest ? -126 : 126, is_lowest ? -64 : 63);
        else if (is_extreme)
            set_quants_q15(&block, is_lowest ? -127 : 127, 0);
        memcpy(s->x + at * sizeof block, &block, sizeof block);
    } else {
        choir_q8 block;
        check_ref()->quantize(&block, 1, values, 32);
        if (is_extreme)
            set_quants(&block, is_lowest ? -127 : 127);
        memcpy(s->x + at * sizeof block, &block, sizeof block);
    }
}

/* How large the activations are: so that products with weights of FILL_TINY are subnormal. */
static float size_of_activations(choir_type type, fill how)
{
    if (how == FILL_HUGE)
        return 0x1p126f;
    if (how != FILL_TINY || type == CHOIR_F32)
        return 3;
    return is_quantized(type) ? 0x1p-98f : type == CHOIR_F16 ? 0x1p-115f : 3;
}

static void fill_activations(slice *s, fill how, uint64_t *seed)
{
    float size = size_of_activations(s->matrix.type, how);
    int64_t cols = s->matrix.cols;
    float *values = malloc((size_t)cols * sizeof *values);
    assert_non_null(values);
    for (int t = 0; t < s->T; t++) {
        for (int64_t i = 0; i < cols; i++) {
            values[i] = check_random_float(seed) * size;
            if (how == FILL_SPECIAL && check_random(seed) % 256 == 0)
                values[i] = check_odd_float(seed);
        }
        if (!is_quantized(s->matrix.type))
            memcpy(s->x + (size_t)(t * cols) * 4, values, (size_t)cols * 4);
        for (int64_t b = 0; is_quantized(s->matrix.type) && b < cols / 32; b++)
            put_block(s, how, values + 32 * b, t, b);
    }
    free(values);
}

/* What a slice is made of: `cols` columns from `first_col` of a row of the file. */
typedef struct slice_parts {
    choir_type type, packed_type;
    bool is_q15;
    int64_t rows, cols, first_col;
    int T;
    fill how;
} slice_parts;

static slice slice_make(slice_parts parts, uint64_t *seed)
{
    const choir_type_info *info = choir_type_info_of(parts.type);
    slice s = {.type = parts.type, .T = parts.T, .is_q15 = parts.is_q15};
    s.file_cols = (parts.first_col + parts.cols + 255) / 256 * 256;
    s.row_bytes = (size_t)(s.file_cols / info->block_elements * info->block_bytes);
    s.rows = malloc(s.row_bytes * (size_t)parts.rows);
    assert_non_null(s.rows);
    size_t block_bytes = (size_t)info->block_bytes;
    for (size_t at = 0; at < s.row_bytes * (size_t)parts.rows; at += block_bytes)
        fill_block(s.rows + at, parts.type, parts.how, seed);
    assert_int_equal(
        choir_matrix_plan(&s.matrix, parts.packed_type, parts.rows, parts.cols, parts.first_col),
        CHOIR_OK);
    assert_int_equal(choir_alloc_aligned(1, choir_matrix_bytes(&s.matrix), &s.matrix.data),
                     CHOIR_OK);
    memset(s.matrix.data, 0xee, choir_matrix_bytes(&s.matrix));
    int64_t middle = choir_matrix_groups(&s.matrix) / 2;
    choir_matrix_pack(&s.matrix, middle, choir_matrix_groups(&s.matrix), parts.type,
                      s.rows + (size_t)(middle * CHOIR_GROUP_ROWS) * s.row_bytes, s.row_bytes);
    choir_matrix_pack(&s.matrix, 0, middle, parts.type, s.rows, s.row_bytes);
    size_t bytes = (size_t)(parts.T * parts.cols) * sizeof(float);
    if (is_quantized(parts.packed_type))
        bytes = bytes / 128 * (parts.is_q15 ? sizeof(choir_q15) : sizeof(choir_q8));
    s.x_memory = malloc(bytes + 4);
    assert_non_null(s.x_memory);
    s.x = s.x_memory + 4;
    fill_activations(&s, parts.how, seed);
    return s;
}

static void slice_free(slice *s)
{
    free(s->rows);
    free(s->matrix.data);
    free(s->x_memory);
}

/* The naive chain. */

/* The integers of block b of token t; returns d. */
static float read_activations(const slice *s, int t, int64_t b, int x[32])
{
    int64_t P = s->matrix.cols <= 4096 ? 64 : s->matrix.cols <= 8192 ? 32 : 16;
    int64_t panel = t / P * P;
    int64_t width = s->T - panel < P ? s->T - panel : P;
    int64_t at = panel * (s->matrix.cols / 32) + b * width + t % P;
    choir_q15 wide = {.d = 0};
    choir_q8 block = {.d = 0};
    if (s->is_q15)
        memcpy(&wide, s->x + (size_t)at * sizeof wide, sizeof wide);
    else
        memcpy(&block, s->x + (size_t)at * sizeof block, sizeof block);
    for (int i = 0; i < 32; i++)
        x[i] = s->is_q15 ? 128 * wide.h[i] + wide.l[i] : block.q[i];
    return s->is_q15 ? wide.d : block.d;
}

static float naive_leaf(const slice *s, int64_t r, int t, int64_t begin, int64_t end)
{
    const choir_type_info *info = choir_type_info_of(s->type);
    const uint8_t *row = s->rows + (size_t)r * s->row_bytes;
    float acc = 0;
    for (int64_t b = begin; b < end; b++) {
        int64_t first = s->matrix.first_col + 32 * b;
        const uint8_t *block = row + first / info->block_elements * info->block_bytes;
        if (!is_quantized(s->matrix.type)) {
            float values[256];
            check_ref()->dequantize(values, block, s->type,
                                    info->block_elements == 1 ? 32 : info->block_elements);
            for (int k = 0; k < 32; k++) {
                float x;
                memcpy(&x, s->x + 4 * (t * s->matrix.cols + 32 * b + k), 4);
                acc = fmaf(values[first % info->block_elements + k], x, acc);
            }
            continue;
        }
        int x[32];
        float d = read_activations(s, t, b, x);
        float dw = 0, m[2] = {0, 0};
        int I = 0, X[2] = {0, 0};
        for (int k = 0; k < 32; k++) {
            column c = read_column(s->type, block, (int)(first % info->block_elements) + k);
            I += c.sc * c.value * x[k];
            X[k / 16] += x[k];
            m[k / 16] = c.m;
            dw = c.dw;
        }
        float scale = dw * d;
        acc = fmaf(scale, (float)I, acc);
        float dX = d * (float)(X[0] + X[1]), dX0 = d * (float)X[0], dX1 = d * (float)X[1];
        if (count_minima(s->type) == 1)
            acc = fmaf(m[0], dX, acc);
        if (count_minima(s->type) == 2)
            acc = fmaf(m[1], dX1, fmaf(m[0], dX0, acc));
    }
    return acc;
}

static float naive_tree(const slice *s, int64_t r, int t, const choir_leaves *leaves, int begin,
                        int end)
{
    if (end - begin == 1) {
        int64_t first = leaves->first_block + begin * leaves->leaf_blocks;
        int64_t last = first + leaves->leaf_blocks;
        int64_t all = leaves->first_block + leaves->n_blocks;
        return naive_leaf(s, r, t, first, last < all ? last : all);
    }
    int middle = begin + (end - begin + 1) / 2;
    float lower = naive_tree(s, r, t, leaves, begin, middle);
    return lower + naive_tree(s, r, t, leaves, middle, end);
}

static choir_leaves leaves_make(int64_t first_block, int64_t n_blocks, int64_t leaf_blocks)
{
    choir_leaves leaves = {
        .first_block = first_block, .n_blocks = n_blocks, .leaf_blocks = leaf_blocks};
    choir_leaves_plan(&leaves);
    return leaves;
}

static void run(const choir_kernels *kernels, const slice *s, float *y, int64_t y_stride,
                const choir_leaves *leaves)
{
    int64_t groups = choir_matrix_groups(&s->matrix);
    choir_linear_fn linear = (s->is_q15 ? kernels->linear_q15 : kernels->linear)[s->matrix.type];
    assert_non_null(linear);
    /* In two parts, the last group first, as threads would. */
    linear(y, y_stride, &s->matrix, groups - 1, groups, s->x, s->T, leaves);
    linear(y, y_stride, &s->matrix, 0, groups - 1, s->x, s->T, leaves);
}

static void compare_with_naive(const slice *s, const choir_leaves *leaves)
{
    int64_t rows = s->matrix.rows;
    check_buffer y = check_buffer_make(s->T * rows);
    run(check_ref(), s, y.data, rows, leaves);
    for (int t = 0; t < s->T; t++)
        for (int64_t r = 0; r < rows; r++) {
            float want = naive_tree(s, r, t, leaves, 0, leaves->n_leaves);
            check_same_bits(&y.data[t * rows + r], &want, 1, choir_type_info_of(s->type)->name);
        }
    check_buffer_free(&y);
}

static void check_ref_against_naive(void **state)
{
    (void)state;
    uint64_t seed = 3;
    for (int i = 0; i < N_TYPES; i++)
        for (int how = 0; how < FILL_COUNT; how++)
            for (int k = 0; k < (is_quantized(types[i]) ? 4 : 2); k++) {
                slice s = slice_make((slice_parts){.type = types[i],
                                                   .packed_type = types[i],
                                                   .is_q15 = k >= 2,
                                                   .rows = 21,
                                                   .cols = 288,
                                                   .first_col = k % 2 * 96,
                                                   .T = 3,
                                                   .how = (fill)how},
                                     &seed);
                choir_leaves whole = leaves_make(0, 9, 9);
                choir_leaves many = leaves_make(1, 7, 2);
                compare_with_naive(&s, &whole);
                compare_with_naive(&s, &many);
                slice_free(&s);
            }
}

/* Every type packed to f32 meets f32 activations. */
static void check_packed_to_f32(void **state)
{
    (void)state;
    uint64_t seed = 4;
    for (int i = 0; i < N_TYPES; i++) {
        slice s = slice_make((slice_parts){.type = types[i],
                                           .packed_type = CHOIR_F32,
                                           .rows = 19,
                                           .cols = 320,
                                           .first_col = 160,
                                           .T = 2},
                             &seed);
        choir_leaves leaves = leaves_make(0, 10, 4);
        compare_with_naive(&s, &leaves);
        slice_free(&s);
    }
}

/* With y wider than the rows, all that is no row of the slice must stay as it was. */
static void compare_with_ref(const choir_kernels *kernels, const slice *s,
                             const choir_leaves *leaves)
{
    int64_t y_stride = s->matrix.rows + 3;
    check_buffer want = check_buffer_make(s->T * y_stride);
    check_buffer got = check_buffer_make(s->T * y_stride);
    run(check_ref(), s, want.data, y_stride, leaves);
    run(kernels, s, got.data, y_stride, leaves);
    check_same_bits(got.data, want.data, s->T * y_stride, choir_type_info_of(s->type)->name);
    for (int t = 0; t < s->T; t++)
        for (int i = 0; i < 3 * 4; i++)
            assert_int_equal(((uint8_t *)&got.data[t * y_stride + s->matrix.rows])[i], 0xa5);
    check_buffer_free(&want);
    check_buffer_free(&got);
}

/* Panels of 16 tokens, which rows of more than 8,192 columns have. */
static void check_narrow_panels(void **state)
{
    (void)state;
    uint64_t seed = 7;
    for (int is_q15 = 0; is_q15 < 2; is_q15++) {
        slice s = slice_make((slice_parts){.type = CHOIR_Q4_1,
                                           .packed_type = CHOIR_Q4_1,
                                           .is_q15 = is_q15,
                                           .rows = 17,
                                           .cols = 32 * 257,
                                           .T = 37},
                             &seed);
        choir_leaves leaves = leaves_make(1, 256, 4);
        compare_with_naive(&s, &leaves);
        for (int level = CHOIR_LEVEL_AVX2; level < CHOIR_LEVEL_COUNT; level++) {
            const choir_kernels *kernels = check_find(level);
            if (kernels == NULL)
                continue;
            compare_with_ref(kernels, &s, &leaves);
        }
        slice_free(&s);
    }
}

static void check_levels(void **state)
{
    (void)state;
    static const int tokens[] = {1, 2, 3, 4, 5, 7, 8, 12, 17, 64, 81};
    static const int64_t rows[] = {1, 16, 33, 63, 80}; /* groups: 1 to 4, and 1 alone */
    for (int level = CHOIR_LEVEL_AVX2; level < CHOIR_LEVEL_COUNT; level++) {
        const choir_kernels *kernels = check_level(level);
        uint64_t seed = 5;
        for (int i = 0; kernels != NULL && i < N_TYPES; i++)
            for (int k = 0; k < 60; k++) {
                int64_t n_blocks = 1 + (int64_t)(check_random(&seed) % 20);
                int64_t first = (int64_t)(check_random(&seed) % 9);
                int64_t leaf = 1 + (int64_t)(check_random(&seed) % 4);
                int64_t skip = (int64_t)check_random(&seed) % 2 & (n_blocks > 1);
                slice s = slice_make((slice_parts){.type = types[i],
                                                   .packed_type = types[i],
                                                   .is_q15 = is_quantized(types[i]) && k >= 30,
                                                   .rows = rows[k % 5],
                                                   .cols = 32 * n_blocks,
                                                   .first_col = 32 * first,
                                                   .T = tokens[k % 11],
                                                   .how = (fill)(k % FILL_COUNT)},
                                     &seed);
                choir_leaves whole = leaves_make(0, n_blocks, n_blocks);
                choir_leaves part = leaves_make(skip, n_blocks - skip, leaf);
                compare_with_ref(kernels, &s, &whole);
                compare_with_ref(kernels, &s, &part);
                slice_free(&s);
            }
    }
}

/* A level that this CPU has brings its own variant of the types that must be fast. */
static void check_variants(void **state)
{
    (void)state;
    static const choir_type fast[] = {CHOIR_Q4_0, CHOIR_Q4_1, CHOIR_Q8_0};
    const choir_kernels *below = check_ref();
    for (int level = CHOIR_LEVEL_AVX2; level < CHOIR_LEVEL_COUNT; level++) {
        const choir_kernels *kernels = check_find(level);
        if (kernels == NULL)
            continue;
        for (int i = 0; i < 3; i++)
            assert_true(kernels->linear[fast[i]] != below->linear[fast[i]]);
        below = kernels;
    }
}

static int tree_depth_seen;

/* The stack program on symbols: a leaf is its number, a sum the string "(a+b)". */
static void check_tree_order(void **state)
{
    (void)state;
    for (int n = 1; n <= CHOIR_MAX_LEAVES; n++) {
        /* A range [begin, end) stands for tree([begin, end)), so a merge must join what fits. */
        int begin[CHOIR_MAX_LEAVES], end[CHOIR_MAX_LEAVES];
        int depth = 0;
        choir_leaves leaves = leaves_make(0, 3 * n - 1, 3);
        assert_int_equal(leaves.n_leaves, n);
        for (int i = 0; i < n; i++) {
            begin[depth] = i;
            end[depth] = i + 1;
            depth++;
            tree_depth_seen = depth > tree_depth_seen ? depth : tree_depth_seen;
            for (int k = 0; k < leaves.merges[i]; k++) {
                assert_true(depth >= 2);
                depth--;
                /* tree([b, e)) splits at b + ceil((e - b) / 2), whatever lies around it. */
                int length = end[depth] - begin[depth - 1];
                assert_int_equal(end[depth - 1], begin[depth]);
                assert_int_equal(begin[depth], begin[depth - 1] + (length + 1) / 2);
                end[depth - 1] = end[depth];
            }
        }
        assert_int_equal(depth, 1);
        assert_int_equal(begin[0], 0);
        assert_int_equal(end[0], n);
    }
    assert_int_equal(tree_depth_seen, 7);
}

/* All 64 leaves at once, on every level: the deepest stack. */
static void check_many_leaves(void **state)
{
    (void)state;
    uint64_t seed = 6;
    for (int n = 1; n <= CHOIR_MAX_LEAVES; n += 9) {
        slice s = slice_make(
            (slice_parts){
                .type = CHOIR_Q4_0, .packed_type = CHOIR_Q4_0, .rows = 5, .cols = 32 * n, .T = 2},
            &seed);
        choir_leaves leaves = leaves_make(0, n, 1);
        compare_with_naive(&s, &leaves);
        for (int level = CHOIR_LEVEL_AVX2; level < CHOIR_LEVEL_COUNT; level++) {
            const choir_kernels *kernels = check_find(level);
            if (kernels == NULL)
                continue;
            compare_with_ref(kernels, &s, &leaves);
        }
        slice_free(&s);
    }
}

static void check_plan(void **state)
{
    (void)state;
    choir_matrix matrix;
    /* Bytes of 256 columns of a row: those of the file where not given here (formats.md). */
    static const size_t widened[CHOIR_TYPE_LIMIT] = {
        [CHOIR_Q4_K] = 148, [CHOIR_Q5_K] = 180, [CHOIR_IQ4_XS] = 138};
    for (int i = 0; i < N_TYPES; i++) {
        const choir_type_info *info = choir_type_info_of(types[i]);
        size_t file = (size_t)(256 / info->block_elements * info->block_bytes);
        size_t packed = widened[types[i]] ? widened[types[i]] : file;
        assert_true(packed * 100 <= file * 103);
        assert_int_equal(choir_matrix_plan(&matrix, types[i], 17, 256, 512), CHOIR_OK);
        assert_int_equal(matrix.group_bytes, (16 * packed + 63) / 64 * 64);
        assert_int_equal(choir_matrix_groups(&matrix), 2);
        assert_int_equal(choir_matrix_bytes(&matrix), 2 * matrix.group_bytes);
    }
    assert_int_equal(choir_matrix_plan(&matrix, CHOIR_F32, INT64_MAX, 32, 0), CHOIR_ENOMEM);
    assert_int_equal(choir_matrix_plan(&matrix, CHOIR_F32, 1, INT64_MAX / 32 * 32, 0),
                     CHOIR_ENOMEM);
    assert_int_equal(choir_matrix_plan(&matrix, CHOIR_Q4_0, INT64_MAX / 18, 64, 0), CHOIR_ENOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_plan),          cmocka_unit_test(check_tree_order),
        cmocka_unit_test(check_many_leaves),   cmocka_unit_test(check_ref_against_naive),
        cmocka_unit_test(check_packed_to_f32), cmocka_unit_test(check_levels),
        cmocka_unit_test(check_variants),      cmocka_unit_test(check_narrow_panels),
    };
    return cmocka_run_group_tests(tests, check_reached, NULL);
}
