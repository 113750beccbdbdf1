/* SPDX-License-Identifier: Apache-2.0 */
/* What `choir top` makes of a service's figures: rates, the rank that others wait for, its lines.
 */
#include "cli/top_view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LINES = 40 };

static choir_rank_report ranks[] = {
    {.rank = 0,
     .host = "node1",
     .threads = 8,
     .rss = (uint64_t)4 << 30,
     .read_bandwidth = 40000000000,
     .step_us_p50 = 57000,
     .compute_share = 0.7f,
     .wait_share = 0.25f,
     .exchange_share = 0.05f,
     .bandwidth = 30000000000},
    {.rank = 1,
     .shard = 1,
     .host = "node12",
     .threads = 8,
     .rss = (uint64_t)4 << 30,
     .read_bandwidth = 20000000000,
     .step_us_p50 = 57900,
     .compute_share = 0.95f,
     .exchange_share = 0.05f,
     .bandwidth = 19000000000},
};

static choir_service_status make_status(void)
{
    return (choir_service_status){
        .state = "READY",
        .model = "SmolLM2",
        .version = "0.1.0",
        .uptime_us = 302000000,
        .num_running_reqs = 3,
        .num_waiting_reqs = 2,
        .cache_hit_rate = 0.345f,
        .n_clients = 2,
        .n_steps = 1000,
        .step_us_p50 = 58200,
        .step_us_p99 = 80100,
        .counters = {.prompt_tokens_total = 700,
                     .generation_tokens_total = 2000,
                     .num_preemptions_total = 4,
                     .kv_pages = 64,
                     .kv_pages_used = 12,
                     .kv_pages_kept = 9},
        .engine = {.ranks = ranks, .n_ranks = 2, .n_stages = 1, .n_shards = 2},
    };
}

static const choir_top_rates rates = {
    .is_known = true, .seconds = 1, .generation_tokens = 51.26, .prompt_tokens = 8, .steps = 17.1};

static size_t view(const choir_top_picture *picture, int width, size_t max_lines,
                   choir_top_line lines[LINES])
{
    const size_t n = choir_top_view(picture, width, lines, max_lines);
    assert_true(n <= max_lines);
    for (size_t i = 0; i < n; i++)
        assert_true(strlen(lines[i].text) <= (size_t)width);
    return n;
}

static void check_lines(const choir_top_line *lines, size_t n, const char *const *wanted,
                        size_t n_wanted)
{
    for (size_t i = 0; i < n && i < n_wanted; i++)
        assert_string_equal(lines[i].text, wanted[i]);
    assert_int_equal(n, n_wanted);
}

static void test_wide(void **state)
{
    (void)state;
    static const char *const wanted[] = {
        "SmolLM2  READY  up 5 min 2 s  Choir 0.1.0",
        "requests  3 running, 2 waiting, 1 other client",
        "tokens    51.3/s generated, 8.0/s of prompts",
        "steps     17.1/s, half within 58.2 ms, 99 % within 80.1 ms",
        "KV pages  [########======..........................]  12 used, 9 kept, 43 free",
        "prefixes  34.5 % reused, 4 sequences put back",
        "",
        "the others wait for rank 1 on node12",
        "   rank  host    shard  threads  computes  waits  exchanges     step  reads now  of its "
        "best "
        "   memory",
        "      0  node1       0        8      70 %   25 %        5 %  57.0 ms  30.0 GB/s         "
        "75 % "
        " 4.00 GiB",
        ">     1  node12      1        8      95 %    0 %        5 %  57.9 ms  19.0 GB/s         "
        "95 % "
        " 4.00 GiB",
    };
    const choir_service_status status = make_status();
    const choir_top_picture picture = {.status = &status, .rates = rates};
    choir_top_line lines[LINES];
    const size_t n = view(&picture, 102, LINES, lines);
    check_lines(lines, n, wanted, sizeof wanted / sizeof wanted[0]);
    assert_int_equal(lines[0].style, CHOIR_TOP_TITLE);
    assert_int_equal(lines[7].style, CHOIR_TOP_ALARM);
    assert_int_equal(lines[8].style, CHOIR_TOP_HEADING);
    assert_int_equal(lines[9].style, CHOIR_TOP_PLAIN);
    assert_int_equal(lines[10].style, CHOIR_TOP_ALARM);
    assert_int_equal(choir_top_lines_max(2), n + 1); /* and an alarm */
}

static void test_narrow(void **state)
{
    (void)state;
    static const char *const wanted[] = {
        "SmolLM2  READY  up 5 min 2 s",
        "requests  3 running, 2 waiting",
        "tokens    51.3/s generated",
        "steps     17.1/s",
        "KV pages  12 used, 9 kept",
        "prefixes  34.5 % reused",
        "",
        "the others wait for rank 1",
        "   rank  computes  waits",
        "      0      70 %   25 %",
        ">     1      95 %    0 %",
    };
    const choir_service_status status = make_status();
    const choir_top_picture picture = {.status = &status, .rates = rates};
    choir_top_line lines[LINES];
    const size_t n = view(&picture, 30, LINES, lines);
    check_lines(lines, n, wanted, sizeof wanted / sizeof wanted[0]);
}

/* Whatever the window: no line is too long, none is written beyond the last one (by ASan). */
static void test_every_size(void **state)
{
    (void)state;
    choir_service_status status = make_status();
    memset(status.model, 'm', sizeof status.model - 1);
    const choir_top_picture picture = {.status = &status, .rates = rates, .alarm = "alarm"};
    for (int width = 1; width <= CHOIR_TOP_WIDTH_MAX; width++)
        for (size_t rows = 0; rows <= choir_top_lines_max(2); rows++) {
            choir_top_line *lines = calloc(rows ? rows : 1, sizeof *lines);
            assert_non_null(lines);
            assert_int_equal(view(&picture, width, rows, lines), rows);
            free(lines);
        }
}

/* A row is at least as wide as the window allows: columns come back as it grows. */
static void test_columns_come_in_order(void **state)
{
    (void)state;
    const choir_service_status status = make_status();
    const choir_top_picture picture = {.status = &status, .rates = rates};
    size_t last = 0;
    for (int width = 24; width <= 110; width++) {
        choir_top_line lines[LINES];
        view(&picture, width, LINES, lines);
        const size_t this_width = strlen(lines[8].text);
        assert_true(this_width >= last);
        assert_int_equal(strlen(lines[9].text), this_width);
        last = this_width;
    }
    assert_int_equal(last, 102);
}

static void test_more_ranks_than_lines(void **state)
{
    (void)state;
    choir_rank_report many[30] = {{0}};
    choir_service_status status = make_status();
    status.engine.ranks = many;
    status.engine.n_ranks = 30;
    const choir_top_picture picture = {.status = &status, .rates = rates};
    choir_top_line lines[LINES];
    assert_int_equal(view(&picture, 80, 12, lines), 12);
    assert_string_equal(lines[11].text, "... and 27 more ranks");
    assert_int_equal(view(&picture, 80, LINES, lines), 38); /* all of them */
}

/* At rest shares would be those of an earlier time; before two looks there are no rates. */
static void test_rest(void **state)
{
    (void)state;
    choir_service_status status = make_status();
    choir_top_picture picture = {.status = &status, .rates = {.is_known = true}};
    choir_top_line lines[LINES];
    view(&picture, 100, LINES, lines);
    assert_non_null(strstr(lines[8].text, " computes ")); /* 3 requests run: a step is on its way */
    status.num_running_reqs = 0;
    view(&picture, 100, LINES, lines);
    assert_string_equal(lines[3].text, "steps     0.0/s, half within 58.2 ms, 99 % within 80.1 ms");
    assert_null(strstr(lines[8].text, "%"));
    assert_null(strstr(lines[9].text, "%"));
    picture.rates.is_known = false;
    view(&picture, 100, LINES, lines);
    assert_string_equal(lines[2].text, "tokens    - generated, - of prompts");
}

static void test_alarm_and_nothing(void **state)
{
    (void)state;
    const choir_top_picture picture = {.alarm = "gone"};
    choir_top_line lines[LINES];
    assert_int_equal(view(&picture, 80, LINES, lines), 1);
    assert_string_equal(lines[0].text, "gone");
}

/* Escape sequences in names would reach the terminal. */
static void test_names_are_printable(void **state)
{
    (void)state;
    choir_service_status status = make_status();
    strcpy(status.model, "a\033[2Jb\n\xc3\xa9");
    const choir_top_picture picture = {.status = &status};
    choir_top_line lines[LINES];
    view(&picture, 80, LINES, lines);
    assert_memory_equal(lines[0].text, "a?[2Jb???  READY", 16);
}

/* What is in use or kept shows, however little; the bar is never longer than it is. */
static void test_bar(void **state)
{
    (void)state;
    const struct {
        uint32_t used, kept;
        const char *bar;
    } cases[] = {
        {0, 0, "[..............................]"},
        {1, 0, "[#.............................]"},
        {1, 1, "[#=............................]"},
        {4096, 0, "[##############################]"},
        {4095, 1, "[##############################]"},
        {2048, 2048, "[###############===============]"},
        {UINT32_MAX, UINT32_MAX, "[##############################]  4294967295 used"},
        {0, 4096, "[==============================]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        choir_service_status status = make_status();
        const choir_top_picture picture = {.status = &status};
        choir_top_line lines[LINES];
        status.counters.kv_pages = 4096;
        status.counters.kv_pages_used = cases[i].used;
        status.counters.kv_pages_kept = cases[i].kept;
        view(&picture, 80, LINES, lines);
        assert_memory_equal(lines[4].text + 10, cases[i].bar, strlen(cases[i].bar));
    }
}

static void test_rates(void **state)
{
    (void)state;
    const choir_service_status before = make_status();
    choir_service_status now = before;
    now.n_steps += 10;
    now.counters.generation_tokens_total += 30;
    now.counters.prompt_tokens_total += 5;
    const choir_top_rates found = choir_top_rates_between(&before, &now, 2);
    assert_true(found.is_known && found.seconds == 2 && found.steps == 5 &&
                found.generation_tokens == 15 && found.prompt_tokens == 2.5);
    assert_false(choir_top_rates_between(&now, &before, 2).is_known); /* counted anew */
    assert_false(choir_top_rates_between(&before, &now, 0).is_known);
    now.uptime_us = 1;
    assert_false(choir_top_rates_between(&before, &now, 2).is_known);
}

static int straggler_of(float compute_0, float wait_0, float compute_1, float wait_1)
{
    choir_rank_report two[2] = {
        {.compute_share = compute_0, .wait_share = wait_0, .exchange_share = 1e-6f},
        {.compute_share = compute_1, .wait_share = wait_1, .exchange_share = 1e-6f}};
    const choir_engine_report report = {.ranks = two, .n_ranks = 2};
    return choir_top_straggler(&report);
}

static void test_straggler(void **state)
{
    (void)state;
    assert_int_equal(straggler_of(0.7f, 0.3f, 0.95f, 0.05f), 1);
    assert_int_equal(straggler_of(0.95f, 0.05f, 0.7f, 0.3f), 0);
    assert_int_equal(straggler_of(0.9f, 0.1f, 0.95f, 0.05f), -1);   /* noise */
    assert_int_equal(straggler_of(0.04f, 0.96f, 0.02f, 0.85f), -1); /* computes no more */
    assert_int_equal(straggler_of(0.7f, 0.02f, 0.95f, 0.01f), -1);  /* the network, not a rank */
    const choir_engine_report alone = {.ranks = ranks, .n_ranks = 1}, none = {0};
    assert_int_equal(choir_top_straggler(&alone), -1);
    assert_int_equal(choir_top_straggler(&none), -1);
    choir_rank_report silent[2] = {ranks[0], {0}};
    const choir_engine_report unknown = {.ranks = silent, .n_ranks = 2};
    assert_int_equal(choir_top_straggler(&unknown), -1);
}

static void test_json(void **state)
{
    (void)state;
    const choir_service_status status = make_status();
    choir_top_picture picture = {.status = &status, .rates = rates};
    choir_json *json = choir_top_to_json(&picture);
    assert_true(choir_json_real(choir_json_get(json, "generation_tokens_per_s"), -1) == 51.26);
    assert_int_equal(choir_json_integer(choir_json_get(json, "kv_pages_kept"), -1), 9);
    assert_int_equal(choir_json_integer(choir_json_get(json, "straggler"), -1), 1);
    const choir_json *list = choir_json_get(json, "ranks");
    assert_int_equal(choir_json_size(list), 2);
    assert_true(choir_json_real(choir_json_get(choir_json_at(list, 0), "wait_share"), -1) == 0.25);
    choir_json_destroy(&json);
    picture.rates.is_known = false;
    json = choir_top_to_json(&picture);
    assert_int_equal(choir_json_kind(choir_json_get(json, "steps_per_s")), CHOIR_JSON_NULL);
    choir_json_destroy(&json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wide),
        cmocka_unit_test(test_narrow),
        cmocka_unit_test(test_every_size),
        cmocka_unit_test(test_columns_come_in_order),
        cmocka_unit_test(test_more_ranks_than_lines),
        cmocka_unit_test(test_rest),
        cmocka_unit_test(test_alarm_and_nothing),
        cmocka_unit_test(test_names_are_printable),
        cmocka_unit_test(test_bar),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_straggler),
        cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
