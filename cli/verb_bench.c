/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `choir bench`: tokens per second of prefill and decode, in the form of llama-bench. The ranks
 * make the steps themselves (cli/bench_job.c); this program starts them, waits and prints.
 */
#include "cli/bench_tests.h"
#include "cli/engine_flags.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/print.h"
#include "cli/service.h"
#include "cli/verbs.h"
#include "common/json.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench_options {
    choir_flag_reals prompts, generated, batches, depths;
    int64_t n_samples;
    bool is_json, has_breakdown;
    const char *log_file;
} bench_options;

enum { TOKENS_MAX = 1 << 20 };

static const char dashes[] = "------------------------";

#define AT(member) offsetof(bench_options, member)

static const choir_flag flags[] = {
    {"-p --n-prompt", "N,…", "tokens of a prefill; 0: none (default 512)", CHOIR_FLAG_REALS,
     AT(prompts), 0, TOKENS_MAX, NULL},
    {"-g --n-gen", "N,…", "tokens that each sequence decodes; 0: none (default 128)",
     CHOIR_FLAG_REALS, AT(generated), 0, TOKENS_MAX, NULL},
    {"-b --batch", "B,…", "sequences that decode together (default 1)", CHOIR_FLAG_REALS,
     AT(batches), 1, 4096, NULL},
    {"-d --n-depth --prompt-tokens", "N,…",
     "positions that stand before the measured tokens (default 0)", CHOIR_FLAG_REALS, AT(depths), 0,
     TOKENS_MAX, NULL},
    {"-r --repetitions", "N", "of each test (default 5)", CHOIR_FLAG_INTEGER, AT(n_samples), 1,
     CHOIR_BENCH_SAMPLES_MAX, NULL},
    {"--breakdown", NULL, "tell how the time of a step divides between operations and waits",
     CHOIR_FLAG_BOOL, AT(has_breakdown), 0, 0, NULL},
    {"--json", NULL, "one JSON object a test", CHOIR_FLAG_BOOL, AT(is_json), 0, 0, NULL},
    {"--log-file", "F", "add all that mpirun and the ranks print to this file", CHOIR_FLAG_STRING,
     AT(log_file), 0, 0, NULL},
};

/* ---- the tests ---- */

typedef struct test_list {
    char *text; /* words joined by commas */
    size_t used, size;
    int n;
} test_list;

static void add_test(test_list *list, choir_bench_word word)
{
    char text[CHOIR_BENCH_WORD_BYTES];
    if (word.n_tokens == 0 || list->n++ >= CHOIR_BENCH_TESTS_MAX)
        return;
    choir_bench_word_write(&word, text);
    list->used += (size_t)snprintf(list->text + list->used, list->size - list->used, "%s%s",
                                   list->used ? "," : "", text);
}

/* A flag's values, or the one that stands for a flag that was not given. */
static size_t count_of(const choir_flag_reals *reals)
{
    return reals->n_items > 0 ? reals->n_items : 1;
}

static int64_t value_of(const choir_flag_reals *reals, size_t index, int64_t otherwise)
{
    return reals->n_items > 0 ? (int64_t)reals->items[index] : otherwise;
}

static choir_status list_tests(const bench_options *o, test_list *list)
{
    for (size_t d = 0; d < count_of(&o->depths); d++) {
        const int64_t depth = value_of(&o->depths, d, 0);
        for (size_t i = 0; i < count_of(&o->prompts); i++)
            add_test(list, (choir_bench_word){true, value_of(&o->prompts, i, 512), 1, depth});
        for (size_t i = 0; i < count_of(&o->generated); i++)
            for (size_t b = 0; b < count_of(&o->batches); b++)
                add_test(list, (choir_bench_word){false, value_of(&o->generated, i, 128),
                                                  value_of(&o->batches, b, 1), depth});
    }
    if (list->n == 0)
        return choir_fail(CHOIR_EUSAGE, "nothing to measure: both -p and -g are 0");
    if (list->n > CHOIR_BENCH_TESTS_MAX)
        return choir_fail(CHOIR_EUSAGE, "%d tests are more than %d: give fewer values", list->n,
                          CHOIR_BENCH_TESTS_MAX);
    return CHOIR_OK;
}

/* ---- printing ---- */

static choir_status print_as_json(const choir_json *rows)
{
    choir_status status = CHOIR_OK;
    for (size_t i = 0; status == CHOIR_OK && i < choir_json_size(rows); i++) {
        char *text = NULL;
        status = choir_json_dump(choir_json_at(rows, i), &text);
        if (status == CHOIR_OK)
            status = choir_print("%s\n", text);
        free(text);
    }
    return status;
}

static int64_t integer_of(const choir_json *row, const char *key)
{
    return choir_json_integer(choir_json_get(row, key), 0);
}

static const char *string_of(const choir_json *row, const char *key)
{
    return choir_json_string(choir_json_get(row, key), "");
}

static choir_status print_row(const choir_json *row)
{
    char bytes[CHOIR_NUMBER_BYTES], parameters[CHOIR_NUMBER_BYTES], layout[CHOIR_NUMBER_BYTES];
    const char *types = string_of(row, "model_type");
    snprintf(layout, sizeof layout, "%lld x %lld", (long long)integer_of(row, "pp"),
             (long long)integer_of(row, "tp"));
    return choir_print(
        "| %-24.24s | %6.*s | %10s | %8s | %5lld | %15s | %7lld | %-14s | %9.2f ± %8.2f |\n",
        string_of(row, "model_name"), (int)strcspn(types, " "), types,
        choir_number_bytes((uint64_t)integer_of(row, "model_size"), bytes),
        choir_number_count((uint64_t)integer_of(row, "model_n_params"), parameters),
        (long long)integer_of(row, "ranks"), layout, (long long)integer_of(row, "threads"),
        string_of(row, "test"), choir_json_real(choir_json_get(row, "avg_ts"), 0),
        choir_json_real(choir_json_get(row, "stddev_ts"), 0));
}

static double real_of(const choir_json *object, const char *key)
{
    return choir_json_real(choir_json_get(object, key), 0);
}

static choir_status print_operations(const choir_json *operations)
{
    double sum = 0;
    choir_status status = choir_print("%-12s %10s %10s %10s %7s\n", "operation", "works", "at most",
                                      "then waits", "%");
    for (size_t i = 0; i < choir_json_size(operations); i++)
        sum += real_of(choir_json_at(operations, i), "work_us") +
               real_of(choir_json_at(operations, i), "wait_us");
    for (size_t i = 0; status == CHOIR_OK && i < choir_json_size(operations); i++) {
        const choir_json *o = choir_json_at(operations, i);
        const double work = real_of(o, "work_us"), wait = real_of(o, "wait_us");
        if (work + wait > 0)
            status = choir_print("%-12s %10.1f %10.1f %10.1f %7.1f\n", string_of(o, "operation"),
                                 work, real_of(o, "most_work_us"), wait, 100 * (work + wait) / sum);
    }
    return status;
}

/* Microseconds a step: the mean over all threads, the largest of one, and the mean wait behind. */
static choir_status print_breakdown(const choir_json *row)
{
    const choir_json *breakdown = choir_json_get(row, "breakdown");
    const choir_json *threads = choir_json_get(breakdown, "threads");
    choir_status status =
        choir_print("\n%s: microseconds of a thread in each of %lld steps\n",
                    string_of(row, "test"), (long long)integer_of(breakdown, "steps"));
    if (status == CHOIR_OK)
        status = print_operations(choir_json_get(breakdown, "operations"));
    if (status == CHOIR_OK)
        status =
            choir_print("%6s %6s %10s %10s %10s\n", "rank", "thread", "works", "waits", "outside");
    for (size_t i = 0; status == CHOIR_OK && i < choir_json_size(threads); i++) {
        const choir_json *t = choir_json_at(threads, i);
        status = choir_print("%6lld %6lld %10.1f %10.1f %10.1f\n", (long long)integer_of(t, "rank"),
                             (long long)integer_of(t, "thread"), real_of(t, "work_us"),
                             real_of(t, "wait_us"), real_of(t, "outside_us"));
    }
    return status;
}

static choir_status print_for_people(const choir_json *rows)
{
    const choir_json *first = choir_json_at(rows, 0);
    choir_status status =
        choir_print("%s kernels, %s activations, %s keys, %s values\n\n"
                    "| %-24s | %6s | %10s | %8s | %5s | %15s | %7s | %-14s | %20s |\n"
                    "| %.24s | %.5s: | %.9s: | %.7s: | %.4s: | %.14s: | %.6s: | %.14s | %.19s: |\n",
                    string_of(first, "level"), string_of(first, "activations"),
                    string_of(first, "cache_type_k"), string_of(first, "cache_type_v"), "model",
                    "type", "size", "params", "ranks", "stages x shards", "threads", "test", "t/s",
                    dashes, dashes, dashes, dashes, dashes, dashes, dashes, dashes, dashes);
    for (size_t i = 0; status == CHOIR_OK && i < choir_json_size(rows); i++)
        status = print_row(choir_json_at(rows, i));
    for (size_t i = 0; status == CHOIR_OK && i < choir_json_size(rows); i++)
        if (choir_json_get(choir_json_at(rows, i), "breakdown"))
            status = print_breakdown(choir_json_at(rows, i));
    return status;
}

/* ---- the verb ---- */

static choir_status measure(const bench_options *options, const choir_engine_options *engine,
                            choir_json **rows)
{
    char words[CHOIR_BENCH_TESTS_MAX * CHOIR_BENCH_WORD_BYTES] = "", *text = NULL;
    test_list tests = {.text = words, .size = sizeof words};
    const choir_service_options wanted = {
        .engine = engine,
        .log_file = options->log_file,
        .progress = choir_interrupt_show_progress,
    };
    *rows = NULL;
    choir_status status = list_tests(options, &tests);
    if (status != CHOIR_OK)
        return status;
    choir_interrupt_install();
    status =
        choir_service_bench(&wanted, words, (int)options->n_samples, options->has_breakdown, &text);
    choir_progress(NULL);
    if (status == CHOIR_OK)
        status = choir_json_parse(text, strlen(text), rows);
    free(text);
    return status;
}

typedef choir_status verb_function(int argc, char **argv);

/* One of the verbs of bench, or NULL. */
static verb_function *find_verb(const char *name)
{
    static const struct {
        const char *name;
        verb_function *run;
    } verbs[] = {
        {"latency", choir_verb_bench_latency},
        {"throughput", choir_verb_bench_throughput},
        {"serve", choir_verb_bench_serve},
    };
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(name, verbs[i].name) == 0)
            return verbs[i].run;
    return NULL;
}

choir_status choir_verb_bench(int argc, char **argv)
{
    bench_options options = {.n_samples = CHOIR_BENCH_SAMPLES};
    choir_engine_options engine = choir_engine_options_default();
    const choir_flag_group groups[] = {
        {"Tests", flags, sizeof flags / sizeof flags[0], &options},
        choir_rank_flags(&engine),
        choir_engine_flags(&engine),
    };
    const choir_command command = {
        "choir bench",
        "--model FILE [FLAGS] | latency [FLAGS] | throughput [FLAGS] | serve [FLAGS]",
        "Measures tokens per second of prefill (pp512: one sequence of 512 tokens) and decode "
        "(tg128: 128 tokens, one at a time) inside the ranks, without clients. tg128x8@1024: 8 "
        "sequences together, each after 1,024 positions. With scheduler and requests: `choir bench "
        "latency` measures one batch, `choir bench throughput` many requests at once, `choir bench "
        "serve` a service under load.",
        "choir bench --model model.gguf\n"
        "choir bench --model model.gguf -n 2 -tp 2 -p 0 -g 64 -b 1,8,32 -d 1024 --json",
        groups,
        sizeof groups / sizeof groups[0],
    };
    choir_json *rows = NULL;
    int n_rest;
    bool is_help_shown;
    verb_function *const other = argc > 1 ? find_verb(argv[1]) : NULL;
    if (other)
        return other(argc - 1, argv + 1);
    choir_status status = choir_flags_parse(&command, argc, argv, &n_rest, &is_help_shown);
    if (status != CHOIR_OK || is_help_shown)
        return status;
    if (n_rest > 0)
        return choir_fail(CHOIR_EUSAGE, "unexpected argument %.40s; `choir bench --help`", argv[0]);
    status = measure(&options, &engine, &rows);
    if (status == CHOIR_OK)
        status = options.is_json ? print_as_json(rows) : print_for_people(rows);
    choir_json_destroy(&rows);
    return status;
}
