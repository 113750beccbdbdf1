/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/flags.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct options {
    bool is_json;
    int64_t n_ranks;
    double temperature;
    const char *level;
    int64_t logprobs;
    choir_flag_strings stop;
    choir_flag_reals split;
} options;

#define AT(member) offsetof(options, member)

static const choir_flag flags[] = {
    {"--json", NULL, "one JSON object", CHOIR_FLAG_BOOL, AT(is_json), 0, 0, NULL},
    {"-n --n-ranks", "N", "ranks (default 1)", CHOIR_FLAG_INTEGER, AT(n_ranks), 1, 64, NULL},
    {"--temperature -tm", "X", "heat", CHOIR_FLAG_REAL, AT(temperature), 0, 100, NULL},
    {"--level", "L", "kernels", CHOIR_FLAG_STRING, AT(level), 0, 0, "ref avx2"},
    {"--logprobs", "[K]", "alternatives", CHOIR_FLAG_OPTIONAL, AT(logprobs), 0, 64, NULL},
    {"--stop", "TEXT", "ends the answer", CHOIR_FLAG_STRINGS, AT(stop), 0, 0, NULL},
    {"--tensor-split", "A,B,…", "shares", CHOIR_FLAG_REALS, AT(split), 0, 1e9, NULL},
};

static options taken;
static const choir_flag_group groups[] = {{"Options", flags, 7, &taken}};
static const choir_command command = {"choir test", "[FLAGS]", "A test.", "choir test", groups, 1};

enum { ARGV_MAX = 16 };
static char words[ARGV_MAX][128];
static char *argv[ARGV_MAX + 1];
static int n_rest;

/* Parses a line of words with one space between them. */
static choir_status parse(const char *line)
{
    bool is_help_shown;
    int argc = 1;
    memset(&taken, 0, sizeof taken);
    argv[0] = words[0];
    for (const char *at = line; *at != '\0' && argc < ARGV_MAX; argc++) {
        const size_t length = strcspn(at, " ");
        (void)snprintf(words[argc], sizeof words[argc], "%.*s", (int)length, at);
        argv[argc] = words[argc];
        at += length + (at[length] == ' ');
    }
    argv[argc] = NULL;
    return choir_flags_parse(&command, argc, argv, &n_rest, &is_help_shown);
}

static void refuse(const char *line, const char *words_of_error)
{
    assert_int_equal(parse(line), CHOIR_EUSAGE);
    if (strstr(choir_error(), words_of_error) == NULL)
        fail_msg("\"%s\" gave: %s", line, choir_error());
}

static void test_every_spelling(void **state)
{
    (void)state;
    assert_int_equal(parse("-n 4"), CHOIR_OK);
    assert_int_equal(taken.n_ranks, 4);
    assert_int_equal(parse("-n=5"), CHOIR_OK);
    assert_int_equal(taken.n_ranks, 5);
    assert_int_equal(parse("--n-ranks 64"), CHOIR_OK);
    assert_int_equal(taken.n_ranks, 64);
    assert_int_equal(parse("--n-ranks=7 --json"), CHOIR_OK);
    assert_int_equal(taken.n_ranks, 7);
    assert_true(taken.is_json);
    assert_int_equal(parse("-tm 0.5"), CHOIR_OK);
    assert_true(taken.temperature == 0.5);
    assert_int_equal(parse("--level avx2"), CHOIR_OK);
    assert_string_equal(taken.level, "avx2");
}

static void test_lists(void **state)
{
    (void)state;
    assert_int_equal(parse("--stop a --stop=b=c --tensor-split 5,3,0.5"), CHOIR_OK);
    assert_int_equal(taken.stop.n_items, 2);
    assert_string_equal(taken.stop.items[0], "a");
    assert_string_equal(taken.stop.items[1], "b=c");
    assert_int_equal(taken.split.n_items, 3);
    assert_true(taken.split.items[0] == 5 && taken.split.items[2] == 0.5);
    refuse("--tensor-split 5,,3", "--tensor-split: \"\" is not a number");
    refuse("--tensor-split 5,3,", "--tensor-split: \"\" is not a number");
    refuse("--tensor-split 1,-1", "--tensor-split: \"-1\" is not a number");
}

static void test_value_that_may_be_left_out(void **state)
{
    (void)state;
    assert_int_equal(parse("--logprobs 5 text"), CHOIR_OK);
    assert_int_equal(taken.logprobs, 5);
    assert_int_equal(n_rest, 1);
    assert_int_equal(parse("--logprobs text"), CHOIR_OK);
    assert_int_equal(taken.logprobs, 0);
    assert_int_equal(n_rest, 1);
    assert_int_equal(parse("--logprobs=64"), CHOIR_OK);
    assert_int_equal(taken.logprobs, 64);
    assert_int_equal(parse("--logprobs"), CHOIR_OK);
    refuse("--logprobs 65", "--logprobs: \"65\" is not an integer from 0 to 64");
    refuse("--logprobs=x", "is not an integer");
}

static void test_rest_keeps_its_order(void **state)
{
    (void)state;
    assert_int_equal(parse("one --json - -- --level -n"), CHOIR_OK);
    assert_int_equal(n_rest, 4);
    assert_string_equal(argv[0], "one");
    assert_string_equal(argv[1], "-");
    assert_string_equal(argv[2], "--level");
    assert_string_equal(argv[3], "-n");
    assert_true(taken.is_json);
}

static void test_values_out_of_range(void **state)
{
    (void)state;
    refuse("-n 0", "-n: \"0\" is not an integer from 1 to 64");
    refuse("-n 65", "from 1 to 64");
    refuse("-n 99999999999999999999", "from 1 to 64");
    refuse("-n 4x", "\"4x\"");
    refuse("-n= --json", "\"\"");
    refuse("--temperature nan", "is not a number from 0 to 100");
    refuse("--temperature inf", "is not a number from 0 to 100");
    refuse("--temperature -1", "\"-1\"");
    refuse("--level neon", "--level: \"neon\" is none of: ref avx2");
    refuse("--level=", "is none of");
}

static void test_wrong_flags(void **state)
{
    (void)state;
    refuse("--jsn", "unknown flag --jsn; did you mean --json?");
    refuse("--tempreature 1", "did you mean --temperature?");
    refuse("--flux", "unknown flag --flux; `choir test --help` lists the flags");
    refuse("-n", "-n needs a value (N)");
    refuse("--json=1", "--json takes no value");
    refuse("--this-flag-is-longer-than-any-flag-that-there-is=5", "unknown flag --this-flag");
}

static void test_nearest(void **state)
{
    (void)state;
    const char *const candidates[] = {"serve", "score", "status"};
    assert_string_equal(choir_flags_nearest("sevre", candidates, 3), "serve");
    assert_string_equal(choir_flags_nearest("scor", candidates, 3), "score");
    assert_null(choir_flags_nearest("inspect", candidates, 3));
    assert_null(choir_flags_nearest("", candidates, 3));
}

static void test_help_text(void **state)
{
    (void)state;
    char *text = NULL;
    size_t length = 0;
    FILE *file = open_memstream(&text, &length);
    assert_non_null(file);
    choir_flags_print_help(&command, file);
    (void)fclose(file);
    assert_non_null(strstr(text, "usage: choir test [FLAGS]\n\nA test.\n"));
    assert_non_null(strstr(text, "\nOptions:\n"));
    assert_non_null(strstr(text, "  -n, --n-ranks N                 ranks (default 1)\n"));
    assert_non_null(strstr(text, "  --tensor-split A,B,…            shares\n"));
    assert_non_null(strstr(text, "\nExample:\n  choir test\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_spelling),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_value_that_may_be_left_out),
        cmocka_unit_test(test_rest_keeps_its_order),
        cmocka_unit_test(test_values_out_of_range),
        cmocka_unit_test(test_wrong_flags),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_help_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
