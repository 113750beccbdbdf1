/* SPDX-License-Identifier: Apache-2.0 */
/* Figures of a load test; expected values by numpy.percentile, mean and std of the same lists. */
#include "cli/load_record.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check_near(double value, double expected)
{
    if (!(fabs(value - expected) <= 1e-9 * fabs(expected)))
        fail_msg("%.15g, not %.15g", value, expected);
}

/* Three requests with tokens, one that failed, and one that ended without any. */
static void make_records(choir_load_record records[5])
{
    static const int64_t sent[] = {0, 100000, 200000};
    memset(records, 0, 5 * sizeof records[0]);
    for (int i = 0; i < 3; i++) {
        records[i].sent_us = sent[i];
        records[i].is_done = true;
        records[i].n_input = 10 + i;
        for (int k = 0; k <= i + 1; k++)
            assert_int_equal(choir_load_record_tokens(&records[i], k == 1 ? 2 : 1,
                                                      sent[i] + 50000 * (i + 1) + 10000 * k * k),
                             CHOIR_OK);
    }
    records[3].is_done = false;
    strcpy(records[3].error, "busy");
    records[4].is_done = true;
}

static void release(choir_load_record records[5])
{
    for (int i = 0; i < 5; i++)
        free(records[i].itls_us);
}

static void test_figures(void **state)
{
    choir_load_record records[5];
    choir_load_figures f;
    const choir_load_goals goals = {.ttft_ms = 100};
    (void)state;
    make_records(records);
    assert_int_equal(choir_load_figures_make(records, 5, 2000000, &goals, &f), CHOIR_OK);
    assert_int_equal(f.n_completed, 3);
    assert_int_equal(f.n_failed, 2);
    assert_int_equal(f.n_input, 33);
    assert_int_equal(f.n_output, 3 + 4 + 5);
    check_near(f.ttft.mean, 100); /* 50, 100, 150 */
    check_near(f.ttft.median, 100);
    check_near(f.ttft.p99, 149);
    check_near(f.ttft.std, 40.824829046386302);
    check_near(f.e2el.mean, 146.66666666666667);   /* 60, 140, 240 */
    check_near(f.tpot.median, 13.333333333333334); /* 5, 40/3, 22.5 */
    check_near(f.itl.mean, 23.333333333333332);    /* 10, 10 30, 10 30 50 */
    check_near(f.itl.median, 20);
    check_near(f.itl.p99, 49);
    check_near(f.request_throughput, 1.5);
    check_near(f.request_goodput, 1); /* two of them within 100 ms */
    check_near(f.output_throughput, 6);
    check_near(f.total_token_throughput, 22.5);
    release(records);
}

static void test_nothing_gives_zeros(void **state)
{
    choir_load_figures f;
    const choir_load_goals goals = {0};
    (void)state;
    assert_int_equal(choir_load_figures_make(NULL, 0, 0, &goals, &f), CHOIR_OK);
    assert_int_equal(f.n_completed, 0);
    assert_true(f.ttft.mean == 0 && f.itl.p99 == 0 && f.request_throughput == 0);
}

static void test_json_has_the_keys_of_vllm(void **state)
{
    static const char *const keys[] = {"duration",
                                       "completed",
                                       "total_input_tokens",
                                       "total_output_tokens",
                                       "mean_ttft_ms",
                                       "median_ttft_ms",
                                       "std_ttft_ms",
                                       "p99_ttft_ms",
                                       "mean_tpot_ms",
                                       "median_tpot_ms",
                                       "std_tpot_ms",
                                       "p99_tpot_ms",
                                       "mean_itl_ms",
                                       "median_itl_ms",
                                       "std_itl_ms",
                                       "p99_itl_ms",
                                       "mean_e2el_ms",
                                       "median_e2el_ms",
                                       "std_e2el_ms",
                                       "p99_e2el_ms",
                                       "input_lens",
                                       "output_lens",
                                       "ttfts",
                                       "itls",
                                       "errors",
                                       "request_goodput",
                                       "request_throughput",
                                       "output_throughput",
                                       "total_token_throughput"};
    choir_load_record records[5];
    choir_load_figures f;
    const choir_load_goals goals = {0};
    (void)state;
    make_records(records);
    assert_int_equal(choir_load_figures_make(records, 5, 2000000, &goals, &f), CHOIR_OK);
    choir_json *json = choir_json_make_object();
    choir_load_figures_to_json(&f, json);
    choir_load_records_to_json(records, 5, json);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (!choir_json_get(json, keys[i]))
            fail_msg("no %s", keys[i]);
    assert_int_equal(choir_json_size(choir_json_at(choir_json_get(json, "itls"), 2)), 3);
    check_near(choir_json_real(choir_json_at(choir_json_get(json, "ttfts"), 1), 0), 0.1);
    assert_string_equal(choir_json_string(choir_json_at(choir_json_get(json, "errors"), 3), ""),
                        "busy");
    choir_json_destroy(&json);
    release(records);
}

static void test_goals(void **state)
{
    static const char *const bad[] = {"",       "ttft",     "ttft:", "ttft:x",  "ttft:-1",
                                      "ttft:0", "ttft:nan", "itl:5", "ttft:5 ", "ttft:inf"};
    choir_load_goals goals = {0};
    (void)state;
    assert_int_equal(choir_load_goals_parse(&goals, "ttft:500"), CHOIR_OK);
    assert_int_equal(choir_load_goals_parse(&goals, "tpot:12.5"), CHOIR_OK);
    assert_int_equal(choir_load_goals_parse(&goals, "e2el:9000"), CHOIR_OK);
    check_near(goals.ttft_ms, 500);
    check_near(goals.tpot_ms, 12.5);
    check_near(goals.e2el_ms, 9000);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(choir_load_goals_parse(&goals, bad[i]), CHOIR_EUSAGE);
}

static void test_plot_is_whole(void **state)
{
    choir_load_record records[5];
    char *svg = NULL;
    (void)state;
    make_records(records);
    assert_int_equal(choir_load_plot(records, 5, 2000000, "a <b> & \"c\"", &svg), CHOIR_OK);
    assert_memory_equal(svg, "<svg ", 5);
    assert_non_null(strstr(svg, "</svg>"));
    assert_non_null(strstr(svg, ">a b  c</text>"));
    assert_null(strstr(svg, "nan"));
    assert_null(strstr(svg, "inf"));
    free(svg);
    assert_int_equal(choir_load_plot(NULL, 0, 0, "", &svg), CHOIR_OK);
    assert_null(strstr(svg, "nan"));
    free(svg);
    release(records);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_nothing_gives_zeros),
        cmocka_unit_test(test_json_has_the_keys_of_vllm),
        cmocka_unit_test(test_goals),
        cmocka_unit_test(test_plot_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
