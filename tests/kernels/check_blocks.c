/* SPDX-License-Identifier: Apache-2.0 */
/* The block decoders against the golden files of an independent program, bit for bit. */
#include "tests/kernels/check.h"

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

static void check_type(choir_type type, const char *name)
{
    char path[128];
    size_t size, value_size;
    snprintf(path, sizeof path, "tests/fixtures/reference/blocks/%s.bin", name);
    uint8_t *blocks = read_file(path, &size);
    snprintf(path, sizeof path, "tests/fixtures/reference/blocks/%s.f32", name);
    uint8_t *values = read_file(path, &value_size);
    const choir_type_info *info = choir_type_info_of(type);
    size_t n = size / (size_t)info->block_bytes * (size_t)info->block_elements;
    assert_true(n >= 256);
    assert_int_equal(value_size, n * sizeof(float));
    check_buffer y = check_buffer_make((int64_t)n);
    check_ref()->dequantize(y.data, blocks, type, (int64_t)n);
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
    check_type(CHOIR_F16, "f16");
    check_type(CHOIR_BF16, "bf16");
    check_type(CHOIR_Q4_0, "q4_0");
    check_type(CHOIR_Q4_1, "q4_1");
    check_type(CHOIR_Q8_0, "q8_0");
    check_type(CHOIR_Q4_K, "q4_k");
    check_type(CHOIR_Q6_K, "q6_k");
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
        cmocka_unit_test(check_f32_copies),
    };
    return cmocka_run_group_tests(tests, check_reached, NULL);
}
