/* SPDX-License-Identifier: Apache-2.0 */
/* The dispatch: levels by what the system says of the CPU, tables without holes, names. */
#include "kernels/activations.h"
#include "tests/kernels/check.h"

/* Whether /proc/cpuinfo's first list of flags has the word; a second opinion on the dispatch. */
static bool cpu_has(const char *word)
{
    static char line[1 << 16];
    char needle[32];
    bool found = false;
    FILE *file = fopen("/proc/cpuinfo", "r");
    assert_non_null(file);
    snprintf(needle, sizeof needle, " %s ", word);
    while (!found && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = ' ';
        bool is_list = strncmp(line, "flags", 5) == 0 || strncmp(line, "Features", 8) == 0;
        found = is_list && strstr(line, needle) != NULL;
    }
    fclose(file);
    return found;
}

static void check_best_level(void **state)
{
    (void)state;
    if (getenv("CHOIR_CHECK_LEVEL") != NULL)
        return; /* emulated: the file tells of another CPU, and check_reached() has compared */
    bool avx2 = cpu_has("avx2") && cpu_has("fma") && cpu_has("f16c");
    bool avx512 = avx2 && cpu_has("avx512f") && cpu_has("avx512bw") && cpu_has("avx512vl") &&
                  cpu_has("avx512dq") && cpu_has("avx512_vnni");
    choir_level want = avx512               ? CHOIR_LEVEL_AVX512
                       : avx2               ? CHOIR_LEVEL_AVX2
                       : cpu_has("asimddp") ? CHOIR_LEVEL_NEON
                                            : CHOIR_LEVEL_REF;
    assert_int_equal(choir_level_best(), want);
}

static void check_tables(void **state)
{
    (void)state;
    int n_types;
    const choir_type_info *types = choir_type_all(&n_types);
    for (int level = 0; level < CHOIR_LEVEL_COUNT; level++) {
        const choir_kernels *kernels = check_level(level);
        if (kernels == NULL) {
            assert_int_equal(choir_kernels_get((choir_level)level, &kernels), CHOIR_EUNSUPPORTED);
            assert_null(kernels);
            continue;
        }
        for (int i = 0; i < n_types; i++) {
            assert_non_null(kernels->linear[types[i].type]);
            assert_true(types[i].is_quantized == (kernels->linear_q15[types[i].type] != NULL));
        }
        assert_true(kernels->quantize && kernels->quantize_q15 && kernels->rms_norm &&
                    kernels->swiglu && kernels->add && kernels->rotary && kernels->attention_span &&
                    kernels->attention_merge && kernels->attention_finish && kernels->lse_chunk &&
                    kernels->exp_from && kernels->dequantize);
    }
}

static void check_names(void **state)
{
    (void)state;
    for (int i = 0; i < CHOIR_LEVEL_COUNT; i++) {
        choir_level level;
        assert_int_equal(choir_level_parse(choir_level_name((choir_level)i), &level), CHOIR_OK);
        assert_int_equal(level, i);
    }
    for (int i = CHOIR_CACHE_F16; i <= CHOIR_CACHE_Q8_0; i++) {
        choir_cache_type type;
        assert_int_equal(choir_cache_type_parse(choir_cache_type_name((choir_cache_type)i), &type),
                         CHOIR_OK);
        assert_int_equal(type, i);
    }
    for (int i = CHOIR_ACTIVATIONS_Q8; i <= CHOIR_ACTIVATIONS_F32; i++) {
        choir_activations activations;
        const char *name = choir_activations_name((choir_activations)i);
        assert_int_equal(choir_activations_parse(name, &activations), CHOIR_OK);
        assert_int_equal(activations, i);
    }
    choir_level level;
    choir_cache_type type;
    choir_activations activations;
    assert_int_equal(choir_level_parse("avx3", &level), CHOIR_EUSAGE);
    assert_non_null(strstr(choir_error(), "avx3"));
    assert_int_equal(choir_cache_type_parse("q4_0", &type), CHOIR_EUSAGE);
    assert_non_null(strstr(choir_error(), "q4_0"));
    assert_int_equal(choir_activations_parse("q7", &activations), CHOIR_EUSAGE);
    assert_non_null(strstr(choir_error(), "q7"));
}

static void check_formats(void **state)
{
    (void)state;
    static const struct {
        choir_activations activations;
        bool is_q15_projection, is_q15_elsewhere;
    } rows[] = {{CHOIR_ACTIVATIONS_Q8, false, false},
                {CHOIR_ACTIVATIONS_MIXED, true, false},
                {CHOIR_ACTIVATIONS_Q15, true, true},
                {CHOIR_ACTIVATIONS_F32, false, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(choir_activations_is_q15(rows[i].activations, true),
                         rows[i].is_q15_projection);
        assert_int_equal(choir_activations_is_q15(rows[i].activations, false),
                         rows[i].is_q15_elsewhere);
    }
    assert_int_equal(choir_activations_block_bytes(true), sizeof(choir_q15));
    assert_int_equal(choir_activations_block_bytes(false), sizeof(choir_q8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_best_level),
        cmocka_unit_test(check_tables),
        cmocka_unit_test(check_names),
        cmocka_unit_test(check_formats),
    };
    return cmocka_run_group_tests(tests, check_reached, NULL);
}
