/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/input.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static choir_ids parse_ids(const char *text, choir_status expected)
{
    choir_ids list = {0};
    assert_int_equal(choir_ids_parse(&list, text), expected);
    return list;
}

static void test_ids_of_text(void **state)
{
    (void)state;
    choir_ids list = parse_ids("1,2, 3\n2147483647", CHOIR_OK);
    assert_int_equal(list.n_ids, 4);
    assert_int_equal(list.ids[1], 2);
    assert_int_equal(list.ids[3], INT32_MAX);
    free(list.ids);
    list = parse_ids(" \n", CHOIR_OK);
    assert_int_equal(list.n_ids, 0);
    free(list.ids);
    static const char *const bad[] = {"1,x", "-1", "2147483648", "1.5", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        list = parse_ids(bad[i], CHOIR_EINVALID);
        free(list.ids);
    }
    assert_non_null(strstr(choir_error(), "\"99999999999999999999\" is no token id"));
}

static void test_ids_of_json(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        choir_status status;
        size_t n_ids;
    } cases[] = {
        {"[]", CHOIR_OK, 0},
        {"[5, 0]", CHOIR_OK, 2},
        {"[1.0]", CHOIR_EINVALID, 0},
        {"[-1]", CHOIR_EINVALID, 0},
        {"7", CHOIR_EINVALID, 0},
        {"[\"1\"]", CHOIR_EINVALID, 0},
        {"[4294967296]", CHOIR_EINVALID, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        choir_json *json;
        choir_ids list = {0};
        assert_int_equal(choir_json_parse(cases[i].json, strlen(cases[i].json), &json), CHOIR_OK);
        assert_int_equal(choir_ids_from_json(&list, json, "token_ids"), cases[i].status);
        assert_int_equal(list.n_ids, cases[i].n_ids);
        free(list.ids);
        choir_json_destroy(&json);
    }
}

/* A file with this text, removed by the caller. */
static void write_file(char *path, const char *text)
{
    const int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    assert_int_equal(write(descriptor, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(close(descriptor), 0);
}

static void test_json_lines(void **state)
{
    (void)state;
    char path[] = "/tmp/choir-test-XXXXXX";
    choir_jsonl lines;
    choir_json *object;
    write_file(path, "{\"text\": \"a\"}\n\n  \n{\"text\": \"b\"}\n[1]\n{\"text\": }");
    assert_int_equal(choir_jsonl_open(&lines, path), CHOIR_OK);
    assert_int_equal(choir_jsonl_next(&lines, &object), CHOIR_OK);
    choir_json_destroy(&object);
    assert_int_equal(choir_jsonl_next(&lines, &object), CHOIR_OK);
    assert_string_equal(choir_json_string(choir_json_get(object, "text"), ""), "b");
    assert_int_equal(lines.number, 4);
    choir_json_destroy(&object);
    assert_int_equal(choir_jsonl_next(&lines, &object), CHOIR_EFORMAT);
    assert_non_null(strstr(choir_error(), " line 5: not a JSON object"));
    assert_int_equal(choir_jsonl_next(&lines, &object), CHOIR_EFORMAT);
    assert_non_null(strstr(choir_error(), " line 6: JSON, line 1 column "));
    assert_int_equal(choir_jsonl_next(&lines, &object), CHOIR_OK);
    assert_null(object);
    choir_jsonl_close(&lines);
    choir_jsonl_close(&lines);
    assert_int_equal(unlink(path), 0);
}

static void test_one_text(void **state)
{
    (void)state;
    char path[] = "/tmp/choir-test-XXXXXX";
    char first[] = "one", second[] = "two";
    char *arguments[] = {first, second};
    char *text;
    size_t length;
    write_file(path, "from a file\n");
    assert_int_equal(choir_input_text(arguments, 1, NULL, &text, &length), CHOIR_OK);
    assert_string_equal(text, "one");
    assert_int_equal(length, 3);
    free(text);
    assert_int_equal(choir_input_text(arguments, 0, path, &text, &length), CHOIR_OK);
    assert_string_equal(text, "from a file\n");
    assert_int_equal(length, 12);
    free(text);
    assert_int_equal(choir_input_text(arguments, 2, NULL, &text, &length), CHOIR_EUSAGE);
    assert_null(text);
    assert_int_equal(choir_input_text(arguments, 1, path, &text, &length), CHOIR_EUSAGE);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(choir_input_text(arguments, 0, path, &text, &length), CHOIR_EIO);
    assert_null(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids_of_text),
        cmocka_unit_test(test_ids_of_json),
        cmocka_unit_test(test_json_lines),
        cmocka_unit_test(test_one_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
