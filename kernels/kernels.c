/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dispatch: the one file that asks which machine this is. A level's table is `ref`, overwritten
 * by each level up to it, so an operation without a variant of its own falls back by itself.
 */
#include "kernels/blocks.h"
#include "kernels/levels.h"

#include <pthread.h>
#include <strings.h>

static const char *const names[CHOIR_LEVEL_COUNT] = {"ref", "avx2", "avx512", "neon"};

static choir_kernels tables[CHOIR_LEVEL_COUNT];
static bool has_level[CHOIR_LEVEL_COUNT];
static choir_level best;
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void fill_ref(choir_kernels *kernels)
{
    kernels->dequantize = choir_dequantize;
    choir_rows_fill_ref(kernels);
    choir_attention_fill_ref(kernels);
    choir_linear_fill_ref(kernels);
}

/* The table of a level that this CPU has, filled with that of the best one so far. */
static choir_kernels *begin_level(choir_level level)
{
    tables[level] = tables[best];
    tables[level].level = level;
    has_level[level] = true;
    best = level;
    return &tables[level];
}

#if defined(__x86_64__)
#include <cpuid.h>

/* __builtin_cpu_supports() also asks whether the system saves the wide registers. */
static bool has_avx2(void)
{
    unsigned a, b, c, d;
    bool has_f16c = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
    return has_f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
}

static void fill_higher(void)
{
    if (has_avx2()) {
        choir_kernels *kernels = begin_level(CHOIR_LEVEL_AVX2);
        choir_rows_fill_avx2(kernels);
        choir_attention_fill_avx2(kernels);
        choir_linear_fill_avx2(kernels);
        choir_linear_q15_fill_avx2(kernels);
    }
    if (has_avx512()) {
        choir_kernels *kernels = begin_level(CHOIR_LEVEL_AVX512);
        choir_rows_fill_avx512(kernels);
        choir_attention_fill_avx512(kernels);
        choir_linear_fill_avx512(kernels);
        choir_linear_q15_fill_avx512(kernels);
    }
}
#elif defined(__aarch64__)
#include <sys/auxv.h>

static void fill_higher(void)
{
    if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) {
        choir_kernels *kernels = begin_level(CHOIR_LEVEL_NEON);
        choir_rows_fill_neon(kernels);
        choir_attention_fill_neon(kernels);
        choir_linear_fill_neon(kernels);
        choir_linear_q15_fill_neon(kernels);
    }
}
#else
static void fill_higher(void)
{
}
#endif

static void fill_tables(void)
{
    fill_ref(begin_level(CHOIR_LEVEL_REF));
    fill_higher();
}

choir_status choir_kernels_get(choir_level level, const choir_kernels **result)
{
    *result = NULL;
    choir_level highest = choir_level_best();
    if (!has_level[level])
        return choir_fail(CHOIR_EUNSUPPORTED, "this CPU has no level %s, its highest is %s",
                          choir_level_name(level), choir_level_name(highest));
    *result = &tables[level];
    return CHOIR_OK;
}

choir_level choir_level_best(void)
{
    pthread_once(&tables_once, fill_tables);
    return best;
}

const char *choir_level_name(choir_level level)
{
    return names[level];
}

choir_status choir_level_parse(const char *name, choir_level *level)
{
    for (int i = 0; i < CHOIR_LEVEL_COUNT; i++)
        if (strcasecmp(name, names[i]) == 0) {
            *level = (choir_level)i;
            return CHOIR_OK;
        }
    return choir_fail(CHOIR_EUSAGE, "unknown level \"%.32s\": ref, avx2, avx512 or neon", name);
}
