/* SPDX-License-Identifier: Apache-2.0 */
/* The block decoders against the golden files of an independent program, bit for bit. */
#include "tests/kernels/check.h"

#include <ctype.h>

static uint8_t *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("%s: cannot be opened", path);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *size = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(*size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *size, file), *size);
    fclose(file);
    return bytes;
}

static void check_type(const choir_type_info *info)
{
    char path[128], name[16];
    snprintf(name, sizeof name, "%s", info->name);
    for (char *at = name; *at != '\0'; at++)
        *at = (char)tolower((unsigned char)*at);
    size_t size, value_size;
    snprintf(path, sizeof path, "tests/fixtures/reference/blocks/%s.bin", name);
    uint8_t *blocks = read_file(path, &size);
    snprintf(path, sizeof path, "tests/fixtures/reference/blocks/%s.f32", name);
    uint8_t *values = read_file(path, &value_size);
    size_t n = size / (size_t)info->block_bytes * (size_t)info->block_elements;
    assert_true(n >= 256);
    assert_int_equal(value_size, n * sizeof(float));
    check_buffer y = check_buffer_make((int64_t)n);
    check_ref()->dequantize(y.data, blocks, info->type, (int64_t)n);
    if (memcmp(y.data, values, value_size) != 0) {
        check_same_bits(y.data, (const float *)(const void *)values, (int64_t)n, name);
        fail_msg("%s: the bits of a NaN differ", name);
    }
    check_buffer_free(&y);
    free(blocks);
    free(values);
}

static void check_golden(void **state)
{
    (void)state;
    int n_types;
    const choir_type_info *types = choir_type_all(&n_types);
    for (int i = 0; i < n_types; i++)
        if (types[i].type != CHOIR_F32)
            check_type(&types[i]);
}

/* MXFP4 scales from subnormals to the largest; the golden blocks have no extreme ones. */
static void check_scales_of_8_bits(void **state)
{
    (void)state;
    static const struct {
        uint8_t e;
        float scale;
    } known[] = {{0, 0x1p-128f}, {1, 0x1p-127f}, {2, 0x1p-126f},
                 {3, 0x1p-125f}, {128, 0x1p0f},  {254, 0x1p126f}};
    uint8_t block[17];
    float y[32], want[32];
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        memset(block, 0xa2, sizeof block); /* 2 low, -2 high */
        block[0] = known[i].e;
        for (int c = 0; c < 32; c++)
            want[c] = c < 16 ? 2 * known[i].scale : -2 * known[i].scale;
        check_ref()->dequantize(y, block, CHOIR_MXFP4, 32);
        check_same_bits(y, want, 32, "MXFP4");
    }
    block[0] = 255;
    check_ref()->dequantize(y, block, CHOIR_MXFP4, 32);
    for (int c = 0; c < 32; c++)
        assert_true(isnan(y[c]));
}

static void check_f32_copies(void **state)
{
    (void)state;
    uint8_t bytes[4 * 7 + 1]; /* one off, so unaligned */
    uint64_t seed = 1;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)check_random(&seed);
    check_buffer y = check_buffer_make(7);
    check_ref()->dequantize(y.data, bytes + 1, CHOIR_F32, 7);
    assert_memory_equal(y.data, bytes + 1, 4 * 7);
    check_buffer_free(&y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_golden),
        cmocka_unit_test(check_scales_of_8_bits),
        cmocka_unit_test(check_f32_copies),
    };
    return cmocka_run_group_tests(tests, check_reached, NULL);
}
