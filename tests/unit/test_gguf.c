/* SPDX-License-Identifier: Apache-2.0 */
/* The GGUF reader: what it reads, and T01 to T08 of the fault list. */
#include "model/gguf.h"
#include "tests/fixtures/hostile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A good model to be edited, and its bytes to be patched. */
static choir_gguf_writer start(void)
{
    choir_gguf_writer writer;
    choir_hostile_start(&writer);
    return writer;
}

static uint8_t *start_bytes(size_t *length)
{
    choir_gguf_writer writer = start();
    return choir_hostile_bytes(&writer, length);
}

static void refuse(choir_gguf_writer *writer, choir_status status, const char *culprit)
{
    choir_expect_writer_refused(writer, status, culprit);
}

/* Refused with the `size` bytes at `at` replaced by `value`. */
static void refuse_patched(size_t at, const void *value, size_t size, choir_status status,
                           const char *culprit)
{
    size_t length;
    uint8_t *bytes = start_bytes(&length);
    memcpy(bytes + at, value, size);
    choir_expect_refused(bytes, length, status, culprit);
    free(bytes);
}

static void refuse_patched_u32(size_t at, uint32_t value, choir_status status, const char *culprit)
{
    refuse_patched(at, &value, sizeof value, status, culprit);
}

static void refuse_patched_u64(size_t at, uint64_t value, choir_status status, const char *culprit)
{
    refuse_patched(at, &value, sizeof value, status, culprit);
}

static void the_good_file_opens(void **state)
{
    (void)state;
    choir_gguf_writer w = start();
    choir_expect_writer_opens(&w);
    w = start();
    w.version = 2;
    choir_expect_writer_opens(&w);
    w = start();
    w.alignment = 4096; /* moves the data, not the tensors that are described already */
    choir_gguf_writer_set_u32(&w, "general.alignment", 4096);
    for (size_t i = 0; i < w.n_tensors; i++)
        w.tensors[i].offset = i * 32768;
    w.data_bytes = w.n_tensors * 32768;
    choir_expect_writer_opens(&w);
}

static void t01_not_a_gguf_file(void **state)
{
    (void)state;
    const uint8_t three[] = {'G', 'G', 'U'};
    choir_expect_refused(three, 0, CHOIR_EFORMAT, "empty");
    choir_expect_refused(three, 3, CHOIR_EFORMAT, "ends inside the magic number");
    refuse_patched_u32(0, 0x46554746, CHOIR_EFORMAT, "not a GGUF file");
    refuse_patched_u32(4, 0, CHOIR_EUNSUPPORTED, "version 0");
    refuse_patched_u32(4, 1, CHOIR_EUNSUPPORTED, "version 1");
    refuse_patched_u32(4, 99, CHOIR_EUNSUPPORTED, "version 99");
    refuse_patched_u32(4, 0x03000000, CHOIR_EUNSUPPORTED, "big-endian");
}

static void t02_counts_beyond_the_file(void **state)
{
    (void)state;
    const uint64_t counts[] = {1ULL << 63, UINT64_MAX, 1ULL << 32, 65537, 40000};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        refuse_patched_u64(8, counts[i], CHOIR_EFORMAT, "tensors in");
        refuse_patched_u64(16, counts[i], CHOIR_EFORMAT, "keys in");
    }
    /* Enough bytes for the count, but over the cap. */
    size_t length;
    uint8_t *bytes = start_bytes(&length);
    bytes = realloc(bytes, length + (4 << 20));
    memset(bytes + length, 0, 4 << 20);
    memcpy(bytes + 16, &(uint64_t){65537}, 8);
    choir_expect_refused(bytes, length + (4 << 20), CHOIR_EFORMAT, "65537 keys");
    free(bytes);
    /* One more than there are: the rest is read as something else and does not fit. */
    refuse_patched_u64(8, 21, CHOIR_EFORMAT, "tensor");
}

static void refuse_value(uint32_t type, const void *value, size_t length, const char *culprit)
{
    choir_gguf_writer w = start();
    choir_gguf_writer_set(&w, "test.value", type, value, length);
    refuse(&w, CHOIR_EFORMAT, culprit);
}

/* An array of `count` elements by its own account, and nothing behind it that it could eat. */
static void refuse_array(uint32_t type, uint64_t count, const char *culprit)
{
    choir_gguf_writer w = start();
    choir_bytes value = {0};
    choir_bytes_begin_array(&w, &value, type, count);
    choir_gguf_writer_set(&w, "test.value", CHOIR_GGUF_ARRAY, value.data, value.length);
    choir_bytes_clear(&value);
    refuse(&w, CHOIR_EFORMAT, culprit);
}

static void t03_strings_and_arrays_beyond_the_file(void **state)
{
    (void)state;
    const uint64_t lengths[] = {1ULL << 63, UINT64_MAX, UINT64_MAX - 7, 1 << 30};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        refuse_patched_u64(24, lengths[i], CHOIR_EFORMAT, "ends inside a key");
        refuse_value(CHOIR_GGUF_STRING, &lengths[i], 8, "ends inside the value of key test.value");
        refuse_array(CHOIR_GGUF_U8, lengths[i], "test.value: an array of");
        refuse_array(CHOIR_GGUF_STRING, lengths[i], "test.value: an array of");
        refuse_array(CHOIR_GGUF_F64, lengths[i] / 8, "test.value: an array of");
    }
}

static void t03_over_the_caps(void **state)
{
    (void)state;
    static char key[65537], piece[8194];
    memset(key, 'k', sizeof key);
    memset(piece, 'p', sizeof piece);
    choir_gguf_writer w = start();
    choir_gguf_writer_append(&w, key, 65536, CHOIR_GGUF_U8, "", 1);
    choir_expect_writer_opens(&w);
    w = start();
    choir_gguf_writer_append(&w, key, 65537, CHOIR_GGUF_U8, "", 1);
    refuse(&w, CHOIR_EFORMAT, "a key at byte");

    choir_bytes array = {0};
    w = start();
    choir_bytes_begin_array(&w, &array, CHOIR_GGUF_STRING, 1);
    choir_bytes_add_string(&w, &array, piece, sizeof piece);
    choir_gguf_writer_set(&w, "test.value", CHOIR_GGUF_ARRAY, array.data, array.length);
    choir_bytes_clear(&array);
    refuse(&w, CHOIR_EFORMAT, "the value of key test.value at byte");
}

static void t03_a_header_over_its_cap(void **state)
{
    (void)state;
    choir_gguf_writer w = start();
    w.n_tensors = 0;
    choir_bytes value = {0};
    choir_bytes_begin_array(&w, &value, CHOIR_GGUF_U8, 257 << 20);
    choir_gguf_writer_append(&w, "test.large", 10, CHOIR_GGUF_ARRAY, value.data, value.length);
    choir_bytes_clear(&value);
    size_t length;
    uint8_t *bytes = choir_hostile_bytes(&w, &length);
    choir_memory_file file;
    choir_memory_file_create(&file, bytes, length);
    assert_int_equal(ftruncate(file.file, 300 << 20), 0); /* a hole: costs nothing */
    choir_model *model;
    assert_int_equal(choir_model_open(file.path, &model), CHOIR_EFORMAT);
    assert_non_null(strstr(choir_error(), "test.large: an array of"));
    choir_memory_file_close(&file);
    free(bytes);
}

static void t04_values_of_no_type(void **state)
{
    (void)state;
    const uint8_t seven = 7;
    refuse_value(13, "12345678", 8, "test.value: unknown value type 13");
    refuse_value(UINT32_MAX, "12345678", 8, "test.value: unknown value type");
    refuse_value(CHOIR_GGUF_BOOL, &seven, 1, "test.value: a bool is 7");
    refuse_array(CHOIR_GGUF_ARRAY, 1, "test.value: an array of arrays");
    refuse_array(13, 1, "test.value: unknown value type 13");
    choir_gguf_writer w = start();
    choir_bytes bools = {0};
    choir_bytes_begin_array(&w, &bools, CHOIR_GGUF_BOOL, 2);
    choir_bytes_add(&w, &bools, "\1\2", 2);
    choir_gguf_writer_set(&w, "test.bools", CHOIR_GGUF_ARRAY, bools.data, bools.length);
    choir_bytes_clear(&bools);
    refuse(&w, CHOIR_EFORMAT, "test.bools: a bool is 2");
}

static void t04_bad_text(void **state)
{
    (void)state;
    choir_gguf_writer w = start();
    choir_gguf_writer_set_string(&w, "general.name", "caf\xe9");
    refuse(&w, CHOIR_EFORMAT, "the value of key general.name at byte");
    const uint8_t nul[] = {3, 0, 0, 0, 0, 0, 0, 0, 'a', 0, 'b'};
    refuse_value(CHOIR_GGUF_STRING, nul, sizeof nul, "test.value at byte");
    const char *const keys[] = {"a\x80", "", "a\nb", "esc\x1b[31m"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        w = start();
        choir_gguf_writer_append(&w, keys[i], strlen(keys[i]), CHOIR_GGUF_U8, "", 1);
        refuse(&w, CHOIR_EFORMAT, "key at byte");
    }
}

static void t04_duplicate_key(void **state)
{
    (void)state;
    choir_gguf_writer w = start();
    choir_gguf_writer_append(&w, "llama.block_count", 17, CHOIR_GGUF_U32, "\2\0\0\0", 4);
    refuse(&w, CHOIR_EFORMAT, "key llama.block_count stands twice");
}

static void t05_duplicate_missing_and_extra_tensors(void **state)
{
    (void)state;
    const uint64_t dims[2] = {64, 64};
    choir_gguf_writer w = start();
    choir_gguf_writer_add_tensor(&w, "blk.1.attn_q.weight", CHOIR_Q8_0, 2, dims);
    refuse(&w, CHOIR_EFORMAT, "tensor blk.1.attn_q.weight stands twice");
    w = start();
    choir_gguf_writer_remove_tensor(&w, "blk.1.ffn_up.weight");
    choir_gguf_writer_add_tensor(&w, "blk.7.ffn_up.weight", CHOIR_Q8_0, 2, dims);
    refuse(&w, CHOIR_EFORMAT, "tensor blk.1.ffn_up.weight is missing");
    w = start();
    choir_gguf_writer_remove_tensor(&w, "output_norm.weight");
    refuse(&w, CHOIR_EFORMAT, "tensor output_norm.weight is missing");
    const char *const extras[] = {"blk.2.attn_q.weight", "blk.0.attn_q.bias", "v.patch.weight",
                                  "blk.00.attn_q.weight"};
    for (size_t i = 0; i < sizeof extras / sizeof extras[0]; i++) {
        w = start();
        choir_gguf_writer_add_tensor(&w, extras[i], CHOIR_Q8_0, 2, dims);
        refuse(&w, CHOIR_EUNSUPPORTED, extras[i]);
    }
}

static void t05_bad_tensor_names(void **state)
{
    (void)state;
    char name[128];
    memset(name, 'n', sizeof name);
    name[64] = '\0';
    choir_gguf_writer w = start();
    strcpy(w.tensors[3].name, name);
    name[63] = '\0';
    refuse(&w, CHOIR_EFORMAT, name);
    w = start();
    strcpy(w.tensors[3].name, name);
    refuse(&w, CHOIR_EFORMAT, "is missing"); /* 63 are allowed: it is no format error */
    w = start();
    w.tensors[3].name[0] = '\0';
    refuse(&w, CHOIR_EFORMAT, "tensor name at byte");
    w = start();
    strcpy(w.tensors[3].name, "a\x1b");
    refuse(&w, CHOIR_EFORMAT, "tensor name at byte");
}

static void refuse_dims(uint32_t n_dims, uint64_t d0, uint64_t d1, uint64_t d2, const char *culprit)
{
    choir_gguf_writer w = start();
    choir_writer_tensor *t = choir_gguf_writer_tensor(&w, "blk.1.attn_k.weight");
    t->n_dims = n_dims;
    t->dims[0] = d0;
    t->dims[1] = d1;
    t->dims[2] = d2;
    refuse(&w, CHOIR_EFORMAT, culprit);
}

static void t06_dimensions(void **state)
{
    (void)state;
    refuse_dims(0, 64, 32, 1, "tensor blk.1.attn_k.weight has 0 dimensions");
    refuse_dims(5, 64, 32, 1, "tensor blk.1.attn_k.weight has 5 dimensions");
    refuse_dims(UINT32_MAX, 64, 32, 1, "tensor blk.1.attn_k.weight has 4294967295 dimensions");
    refuse_dims(2, 0, 32, 1, "tensor blk.1.attn_k.weight: dimension 0 is 0");
    refuse_dims(2, 64, 0, 1, "tensor blk.1.attn_k.weight: dimension 1 is 0");
    refuse_dims(2, 64, UINT64_MAX, 1, "tensor blk.1.attn_k.weight: dimension 1 is -1");
    refuse_dims(2, 1ULL << 32, 1ULL << 32, 1, "tensor blk.1.attn_k.weight: 4294967296 x");
    refuse_dims(2, 1ULL << 31, 1ULL << 32, 1, "tensor blk.1.attn_k.weight: 2147483648 x");
    refuse_dims(3, 64, 1ULL << 62, 4, "tensor blk.1.attn_k.weight: 64 x");
    refuse_dims(2, 48, 32, 1, "tensor blk.1.attn_k.weight: a row of 48");
    /* What fits but is not what the hyper-parameters imply (rule 3). */
    refuse_dims(2, 32, 64, 1, "tensor blk.1.attn_k.weight has dimensions 32 x 64");
    refuse_dims(2, 64, 31, 1, "tensor blk.1.attn_k.weight has dimensions 64 x 31");
    refuse_dims(3, 64, 16, 2, "tensor blk.1.attn_k.weight has dimensions 64 x 16 x 2");
}

static void refuse_offset(uint64_t offset, const char *culprit)
{
    choir_gguf_writer w = start();
    choir_gguf_writer_tensor(&w, "blk.1.attn_k.weight")->offset = offset;
    refuse(&w, CHOIR_EFORMAT, culprit);
}

static void t07_offsets(void **state)
{
    (void)state;
    choir_gguf_writer w = start();
    const uint64_t end = w.data_bytes;
    choir_gguf_writer_clear(&w);
    refuse_offset(33, "tensor blk.1.attn_k.weight: offset 33 is not aligned");
    refuse_offset(0, "blk.1.attn_k.weight");
    refuse_offset(32, "tensors token_embd.weight and blk.1.attn_k.weight overlap");
    refuse_offset(end, "tensor blk.1.attn_k.weight ends at byte");
    refuse_offset(end - 32, "tensor blk.1.attn_k.weight ends at byte");
    refuse_offset(UINT64_MAX - 31, "tensor blk.1.attn_k.weight: offset");
    refuse_offset(1ULL << 63, "tensor blk.1.attn_k.weight: offset");
}

static void t07_alignment(void **state)
{
    (void)state;
    const uint32_t bad[] = {0, 1, 3, 48, 1U << 31, UINT32_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        choir_gguf_writer w = start();
        choir_gguf_writer_set_u32(&w, "general.alignment", bad[i]);
        refuse(&w, CHOIR_EFORMAT, "general.alignment");
    }
    choir_gguf_writer w = start();
    choir_gguf_writer_set(&w, "general.alignment", CHOIR_GGUF_U64, "\40\0\0\0\0\0\0\0", 8);
    refuse(&w, CHOIR_EFORMAT, "key general.alignment has type u64, not u32");
}

static void t08_types_that_are_not_served(void **state)
{
    (void)state;
    const uint32_t bad[] = {4,  5,  9,  15, 16, 17, 18, 19, 21, 22, 24, 25, 26,        27,
                            28, 29, 31, 32, 33, 34, 35, 36, 37, 38, 40, 99, UINT32_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char words[80];
        snprintf(words, sizeof words, "tensor blk.0.ffn_up.weight has type %u,", bad[i]);
        choir_gguf_writer w = start();
        choir_gguf_writer_tensor(&w, "blk.0.ffn_up.weight")->type = bad[i];
        refuse(&w, CHOIR_EUNSUPPORTED, words);
    }
}

/* In a buffer of its own size, so that a sanitizer sees every byte read beyond it. */
static choir_status parse_copy(const uint8_t *bytes, size_t length)
{
    uint8_t *copy = malloc(length ? length : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, length);
    choir_gguf *gguf;
    const choir_status status = choir_gguf_parse(copy, length, "copy", CHOIR_GGUF_WHOLE, &gguf);
    assert_int_equal(status == CHOIR_OK, gguf != NULL);
    choir_gguf_destroy(&gguf);
    free(copy);
    return status;
}

static size_t header_length(const uint8_t *bytes, size_t length)
{
    choir_gguf *gguf;
    assert_int_equal(choir_gguf_parse(bytes, length, "good", CHOIR_GGUF_WHOLE, &gguf), CHOIR_OK);
    const size_t header = choir_gguf_data_offset(gguf);
    choir_gguf_destroy(&gguf);
    return header;
}

static void every_shorter_file_is_refused(void **state)
{
    (void)state;
    size_t length;
    uint8_t *bytes = start_bytes(&length);
    const size_t header = header_length(bytes, length);
    for (size_t n = 0; n <= header; n++)
        assert_int_equal(parse_copy(bytes, n), CHOIR_EFORMAT);
    assert_int_equal(parse_copy(bytes, length - 32), CHOIR_EFORMAT);
    assert_int_equal(parse_copy(bytes, length), CHOIR_OK);
    free(bytes);
}

static void no_changed_byte_breaks_the_reader(void **state)
{
    (void)state;
    static const uint8_t changes[] = {0x01, 0x80, 0xff};
    size_t length;
    uint8_t *bytes = start_bytes(&length);
    const size_t header = header_length(bytes, length);
    size_t refused = 0;
    for (size_t at = 0; at < header; at++)
        for (size_t i = 0; i < sizeof changes; i++) {
            bytes[at] ^= changes[i];
            choir_gguf *gguf;
            refused +=
                choir_gguf_parse(bytes, length, "changed", CHOIR_GGUF_WHOLE, &gguf) != CHOIR_OK;
            choir_gguf_destroy(&gguf);
            bytes[at] ^= changes[i];
        }
    assert_in_range(refused, header, 3 * header);
    free(bytes);
}

/* A document with every kind of value. */
static choir_gguf *parse_values(uint8_t **bytes)
{
    static const int32_t numbers[] = {-1, 2, INT32_MIN};
    static const float floats[] = {0.5F, -1e30F};
    choir_gguf_writer w;
    choir_bytes array = {0};
    choir_gguf_writer_init(&w);
    choir_gguf_writer_set_u32(&w, "u32", 4000000000U);
    choir_gguf_writer_set(&w, "i32", CHOIR_GGUF_I32, &numbers[2], 4);
    choir_gguf_writer_set(&w, "u64", CHOIR_GGUF_U64, &(uint64_t){UINT64_MAX}, 8);
    choir_gguf_writer_set_f32(&w, "f32", 0.1F);
    choir_gguf_writer_set_bool(&w, "bool", true);
    choir_gguf_writer_set_string(&w, "string", "a \"line\"\n\033");
    choir_bytes_begin_array(&w, &array, CHOIR_GGUF_I32, 3);
    choir_bytes_add(&w, &array, numbers, sizeof numbers);
    choir_gguf_writer_set(&w, "numbers", CHOIR_GGUF_ARRAY, array.data, array.length);
    array.length = 0;
    choir_bytes_begin_array(&w, &array, CHOIR_GGUF_F32, 2);
    choir_bytes_add(&w, &array, floats, sizeof floats);
    choir_gguf_writer_set(&w, "floats", CHOIR_GGUF_ARRAY, array.data, array.length);
    array.length = 0;
    choir_bytes_begin_array(&w, &array, CHOIR_GGUF_STRING, 100);
    for (int i = 0; i < 100; i++) {
        char text[16];
        choir_bytes_add_string(&w, &array, text, (size_t)snprintf(text, sizeof text, "%d", i * i));
    }
    choir_gguf_writer_set(&w, "strings", CHOIR_GGUF_ARRAY, array.data, array.length);
    choir_bytes_clear(&array);
    size_t length;
    *bytes = choir_hostile_bytes(&w, &length);
    choir_gguf *gguf;
    assert_int_equal(choir_gguf_parse(*bytes, length, "values", CHOIR_GGUF_WHOLE, &gguf), CHOIR_OK);
    return gguf;
}

static void values_are_read_back(void **state)
{
    (void)state;
    uint8_t *bytes;
    choir_gguf *gguf = parse_values(&bytes);
    uint32_t u32;
    int32_t i32;
    uint64_t u64;
    float f32;
    bool is_true;
    choir_gguf_string string;
    choir_gguf_array array;
    assert_int_equal(choir_gguf_get_u32(gguf, "u32", &u32), CHOIR_OK);
    assert_int_equal(u32, 4000000000U);
    assert_int_equal(choir_gguf_get_i32(gguf, "i32", &i32), CHOIR_OK);
    assert_int_equal(i32, INT32_MIN);
    assert_int_equal(choir_gguf_get_u64(gguf, "u64", &u64), CHOIR_OK);
    assert_true(u64 == UINT64_MAX);
    assert_int_equal(choir_gguf_get_f32(gguf, "f32", &f32), CHOIR_OK);
    assert_true(f32 == 0.1F);
    assert_int_equal(choir_gguf_get_bool(gguf, "bool", &is_true), CHOIR_OK);
    assert_true(is_true);
    assert_int_equal(choir_gguf_get_string(gguf, "string", &string), CHOIR_OK);
    assert_int_equal(string.length, 10);
    assert_memory_equal(string.text, "a \"line\"\n\033", 10);
    assert_int_equal(choir_gguf_get_array(gguf, "numbers", CHOIR_GGUF_I32, &array), CHOIR_OK);
    assert_int_equal(array.count, 3);
    assert_int_equal(choir_gguf_at_i32(&array, 2), INT32_MIN);
    assert_int_equal(choir_gguf_get_array(gguf, "floats", CHOIR_GGUF_F32, &array), CHOIR_OK);
    assert_true(choir_gguf_at_f32(&array, 1) == -1e30F);
    assert_int_equal(choir_gguf_get_array(gguf, "strings", CHOIR_GGUF_STRING, &array), CHOIR_OK);
    for (int i = 99; i >= 0; i--) {
        char text[16];
        string = choir_gguf_at_string(&array, (size_t)i);
        snprintf(text, sizeof text, "%.*s", (int)string.length, string.text);
        assert_int_equal(atoi(text), i * i);
    }
    choir_gguf_destroy(&gguf);
    choir_gguf_destroy(&gguf);
    free(bytes);
}

static void a_wrong_type_is_named(void **state)
{
    (void)state;
    uint8_t *bytes;
    choir_gguf *gguf = parse_values(&bytes);
    uint32_t u32;
    choir_gguf_array array;
    assert_int_equal(choir_gguf_get_u32(gguf, "f32", &u32), CHOIR_EFORMAT);
    assert_string_equal(choir_error(), "values: key f32 has type f32, not u32");
    assert_int_equal(choir_gguf_get_u32(gguf, "nothing", &u32), CHOIR_EFORMAT);
    assert_string_equal(choir_error(), "values: key nothing is missing");
    assert_int_equal(choir_gguf_get_array(gguf, "floats", CHOIR_GGUF_I32, &array), CHOIR_EFORMAT);
    assert_string_equal(choir_error(),
                        "values: key floats has type array of f32, not array of i32");
    assert_true(choir_gguf_has(gguf, "floats"));
    assert_false(choir_gguf_has(gguf, "float"));
    choir_gguf_destroy(&gguf);
    free(bytes);
}

static void values_are_shown_on_one_line(void **state)
{
    (void)state;
    static const char *const shown[] = {
        "4000000000",
        "-2147483648",
        "18446744073709551615",
        "0.100000001",
        "true",
        "\"a \\\"line\\\"\\n\\x1b\"",
        "3 x i32 [-1, 2, -2147483648]",
        "2 x f32 [0.5, -1.00000002e+30]",
        "100 x string [\"0\", \"1\", \"4\", \"9\"…",
    };
    uint8_t *bytes;
    choir_gguf *gguf = parse_values(&bytes);
    assert_int_equal(choir_gguf_n_keys(gguf), sizeof shown / sizeof shown[0]);
    for (size_t i = 0; i < choir_gguf_n_keys(gguf); i++) {
        char text[36];
        choir_gguf_format(gguf, i, text, sizeof text);
        assert_string_equal(text, shown[i]);
    }
    char least[4];
    choir_gguf_format(gguf, 5, least, sizeof least);
    assert_string_equal(least, "…");
    choir_gguf_destroy(&gguf);
    free(bytes);
}

static void tensors_are_found_where_they_are(void **state)
{
    (void)state;
    size_t length;
    uint8_t *bytes = start_bytes(&length);
    choir_gguf *gguf;
    assert_int_equal(choir_gguf_parse(bytes, length, "good", CHOIR_GGUF_WHOLE, &gguf), CHOIR_OK);
    assert_int_equal(choir_gguf_version(gguf), 3);
    assert_int_equal(choir_gguf_n_tensors(gguf), 20);
    const choir_gguf_tensor *down = choir_gguf_find_tensor(gguf, "blk.1.ffn_down.weight");
    assert_non_null(down);
    assert_int_equal(down->type, CHOIR_Q8_0);
    assert_int_equal(down->n_dims, 2);
    assert_int_equal(down->dims[0], 96);
    assert_int_equal(down->dims[1], 64);
    assert_int_equal(down->dims[2] * down->dims[3], 1);
    assert_int_equal(down->row_bytes, 3 * 34);
    assert_int_equal(down->bytes, 64 * 3 * 34);
    const choir_gguf_tensor *first = choir_gguf_tensor_at(gguf, 0);
    assert_int_equal(first->offset, choir_gguf_data_offset(gguf));
    assert_null(choir_gguf_find_tensor(gguf, "blk.2.ffn_down.weight"));
    choir_gguf_destroy(&gguf);
    /* The header alone will do where that is asked for. */
    const size_t header = header_length(bytes, length);
    assert_int_equal(choir_gguf_parse(bytes, header, "header", CHOIR_GGUF_HEADER_ONLY, &gguf),
                     CHOIR_OK);
    choir_gguf_destroy(&gguf);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_good_file_opens),
        cmocka_unit_test(t01_not_a_gguf_file),
        cmocka_unit_test(t02_counts_beyond_the_file),
        cmocka_unit_test(t03_strings_and_arrays_beyond_the_file),
        cmocka_unit_test(t03_over_the_caps),
        cmocka_unit_test(t03_a_header_over_its_cap),
        cmocka_unit_test(t04_values_of_no_type),
        cmocka_unit_test(t04_bad_text),
        cmocka_unit_test(t04_duplicate_key),
        cmocka_unit_test(t05_duplicate_missing_and_extra_tensors),
        cmocka_unit_test(t05_bad_tensor_names),
        cmocka_unit_test(t06_dimensions),
        cmocka_unit_test(t07_offsets),
        cmocka_unit_test(t07_alignment),
        cmocka_unit_test(t08_types_that_are_not_served),
        cmocka_unit_test(every_shorter_file_is_refused),
        cmocka_unit_test(no_changed_byte_breaks_the_reader),
        cmocka_unit_test(values_are_read_back),
        cmocka_unit_test(a_wrong_type_is_named),
        cmocka_unit_test(values_are_shown_on_one_line),
        cmocka_unit_test(tensors_are_found_where_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
