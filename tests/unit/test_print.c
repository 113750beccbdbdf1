/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/print.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_bytes(void **state)
{
    char text[CHOIR_NUMBER_BYTES];
    (void)state;
    assert_string_equal(choir_number_bytes(0, text), "0 B");
    assert_string_equal(choir_number_bytes(1023, text), "1023 B");
    assert_string_equal(choir_number_bytes(1024, text), "1.00 KiB");
    assert_string_equal(choir_number_bytes(98362432, text), "93.8 MiB");
    assert_string_equal(choir_number_bytes(4700000000, text), "4.38 GiB");
    assert_string_equal(choir_number_bytes(UINT64_MAX, text), "16.0 EiB");
}

static void test_counts(void **state)
{
    char text[CHOIR_NUMBER_BYTES];
    (void)state;
    assert_string_equal(choir_number_count(999, text), "999");
    assert_string_equal(choir_number_count(49152, text), "49.2 K");
    assert_string_equal(choir_number_count(134515008, text), "134.5 M");
    assert_string_equal(choir_number_count(999999999, text), "1.00 B");
    assert_string_equal(choir_number_count(70553706496, text), "70.6 B");
}

static void test_times(void **state)
{
    char text[CHOIR_NUMBER_BYTES];
    (void)state;
    assert_string_equal(choir_number_time(830, text), "830 us");
    assert_string_equal(choir_number_time(12400, text), "12.4 ms");
    assert_string_equal(choir_number_time(3210000, text), "3.21 s");
    assert_string_equal(choir_number_time(125000000, text), "2 min 5 s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
