/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Two stages; the first of two uneven shards, the second of two that hold nothing but words. */
static choir_rank_report ranks[] = {
    {.rank = 0,
     .stage = 0,
     .shard = 0,
     .threads = 2,
     .host = "node-a",
     .bound_cpus = "0-1",
     .level = "avx512",
     .weights_bytes = 3000000000,
     .kv_bytes = 1 << 20,
     .first_layer = 0,
     .n_layers = 30,
     .first_head = 0,
     .n_heads = 5,
     .read_bandwidth = 10000000000,
     .memory_free = 1 << 30},
    {.rank = 1,
     .stage = 0,
     .shard = 1,
     .threads = 2,
     .host = "a-much-longer-node-name",
     .level = "ref",
     .weights_bytes = 1000000000,
     .first_layer = 0,
     .n_layers = 30,
     .first_head = 5,
     .n_heads = 1,
     .read_bandwidth = 2000000000},
    {.rank = 2, .stage = 1, .shard = 0, .weights_bytes = 100000000, .read_bandwidth = 1000000000},
    {.rank = 3, .stage = 1, .shard = 1, .weights_bytes = 0, .read_bandwidth = 1000000000},
};

static choir_engine_report make_report(void)
{
    return (choir_engine_report){.ranks = ranks, .n_ranks = 4, .n_stages = 2, .n_shards = 2};
}

/* Shards work side by side (the slower one counts: 0.5 s), stages one after the other (+ 0.1 s). */
static void test_read_seconds(void **state)
{
    (void)state;
    choir_engine_report report = make_report();
    assert_true(choir_report_read_seconds(&report) > 0.5999 &&
                choir_report_read_seconds(&report) < 0.6001);
    const uint64_t bandwidth = ranks[3].read_bandwidth;
    ranks[3].read_bandwidth = 0;
    assert_true(choir_report_read_seconds(&report) == 0);
    ranks[3].read_bandwidth = bandwidth;
}

static void test_ranks_stand_in_columns(void **state)
{
    (void)state;
    const choir_engine_report report = make_report();
    char *text = NULL;
    size_t length = 0;
    FILE *file = open_memstream(&text, &length);
    assert_non_null(file);
    choir_report_print_ranks(file, &report);
    fclose(file);
    int n_lines = 0;
    size_t width = 0;
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1, n_lines++) {
        const size_t this_width = strcspn(line, "\n");
        assert_true(width == 0 || this_width == width);
        width = this_width;
    }
    assert_int_equal(n_lines, 5);
    assert_non_null(strstr(text, " 0-29 "));
    assert_non_null(strstr(text, " 0-4 "));
    assert_non_null(strstr(text, " 10.0 GB/s\n"));
    assert_non_null(strstr(text, " a-much-longer-node-name "));
    free(text);
}

static char *print_activity(const choir_engine_report *report)
{
    char *text = NULL;
    size_t length = 0;
    FILE *file = open_memstream(&text, &length);
    assert_non_null(file);
    choir_report_print_activity(file, report);
    fclose(file);
    return text;
}

/* Nothing before the first step; a rank that has not told yet has a line too. */
static void test_activity(void **state)
{
    (void)state;
    choir_rank_report two[2] = {{.rank = 0}, {.rank = 1}};
    const choir_engine_report report = {.ranks = two, .n_ranks = 2, .n_stages = 1, .n_shards = 2};
    char *text = print_activity(&report);
    assert_string_equal(text, "");
    free(text);
    two[1].compute_share = 0.75f;
    two[1].wait_share = 0.125f;
    two[1].exchange_share = 0.125f;
    two[1].step_us_p50 = 1500;
    two[1].step_us_p99 = 20000;
    two[1].bandwidth = 12300000000;
    two[1].rss = 1 << 20;
    text = print_activity(&report);
    assert_string_equal(
        text,
        "     rank  computes   waits  exchanges     step  99 % of them  read in steps    memory\n"
        "        0     0.0 %   0.0 %      0.0 %     0 us          0 us              -       0 B\n"
        "        1    75.0 %  12.5 %     12.5 %  1.50 ms       20.0 ms      12.3 GB/s  1.00 MiB\n");
    free(text);
}

static void test_a_missing_model_is_an_error(void **state)
{
    (void)state;
    const choir_engine_report report = make_report();
    FILE *file = fopen("/dev/null", "w");
    assert_int_equal(choir_report_print_ready(file, "/nowhere.gguf", &report, "ipc://x", NULL, 0),
                     CHOIR_EIO);
    fclose(file);
}

static void test_a_full_disk_is_an_error(void **state)
{
    (void)state;
    const choir_engine_report report = make_report();
    char path[1024];
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    snprintf(path, sizeof path, "%s%s/choir/SmolLM2-135M-Instruct.Q4_1.gguf",
             cache  ? cache
             : home ? home
                    : "",
             cache ? "" : "/.cache");
    FILE *file = fopen("/dev/full", "w");
    assert_non_null(file);
    assert_int_equal(choir_report_print_ready(file, path, &report, "ipc://x", NULL, 0), CHOIR_EIO);
    assert_non_null(strstr(choir_error(), "report"));
    fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_seconds),
        cmocka_unit_test(test_ranks_stand_in_columns),
        cmocka_unit_test(test_activity),
        cmocka_unit_test(test_a_missing_model_is_an_error),
        cmocka_unit_test(test_a_full_disk_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
