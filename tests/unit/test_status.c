/* SPDX-License-Identifier: Apache-2.0 */
#include "common/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static void words_may_quote_earlier_words(void **state)
{
    (void)state;
    assert_int_equal(choir_fail(CHOIR_EIO, "read %d", 7), CHOIR_EIO);
    assert_int_equal(choir_fail(CHOIR_EFORMAT, "model: %s", choir_error()), CHOIR_EFORMAT);
    assert_string_equal(choir_error(), "model: read 7");
}

static void words_are_one_line_without_control_characters(void **state)
{
    (void)state;
    (void)!choir_fail(CHOIR_EFORMAT, "%s", "a\x1b[2Jb\nc\x7f \xc3\xa9");
    assert_string_equal(choir_error(), "a?[2Jb?c? \xc3\xa9");
}

static void long_words_are_cut(void **state)
{
    (void)state;
    char words[3000];
    memset(words, 'x', sizeof words - 1);
    words[sizeof words - 1] = '\0';
    (void)!choir_fail(CHOIR_EFORMAT, "%s", words);
    assert_int_equal(strlen(choir_error()), 1023);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_may_quote_earlier_words),
        cmocka_unit_test(words_are_one_line_without_control_characters),
        cmocka_unit_test(long_words_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
