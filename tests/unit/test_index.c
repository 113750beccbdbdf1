/* SPDX-License-Identifier: Apache-2.0 */
#include "common/index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

static void every_string_is_found_and_no_other(void **state)
{
    (void)state;
    enum { N = 5000 };
    static char names[2 * N][16];
    choir_index *index;
    assert_int_equal(choir_index_create(N, &index), CHOIR_OK);
    for (int i = 0; i < 2 * N; i++)
        snprintf(names[i], sizeof names[i], "name %d", i);
    for (int i = 0; i < N; i++)
        assert_int_equal(choir_index_insert(index, names[i], strlen(names[i]), i), -1);
    for (int i = 0; i < 2 * N; i++)
        assert_int_equal(choir_index_find(index, names[i], strlen(names[i])), i < N ? i : -1);
    choir_index_destroy(&index);
    assert_null(index);
}

static void a_second_insert_changes_nothing(void **state)
{
    (void)state;
    choir_index *index;
    assert_int_equal(choir_index_create(2, &index), CHOIR_OK);
    assert_int_equal(choir_index_insert(index, "one", 3, 7), -1);
    assert_int_equal(choir_index_insert(index, "one", 3, 8), 7);
    assert_int_equal(choir_index_find(index, "one", 3), 7);
    choir_index_destroy(&index);
}

static void strings_are_bytes_with_a_length(void **state)
{
    (void)state;
    choir_index *index;
    assert_int_equal(choir_index_create(3, &index), CHOIR_OK);
    assert_int_equal(choir_index_insert(index, "", 0, 0), -1);
    assert_int_equal(choir_index_insert(index, "a\0b", 3, 1), -1);
    assert_int_equal(choir_index_insert(index, "a\0c", 3, 2), -1);
    assert_int_equal(choir_index_find(index, "", 0), 0);
    assert_int_equal(choir_index_find(index, "a\0c", 3), 2);
    assert_int_equal(choir_index_find(index, "a", 1), -1);
    choir_index_destroy(&index);
    choir_index_destroy(&index);
}

static void an_impossible_capacity_is_refused(void **state)
{
    (void)state;
    choir_index *index;
    assert_int_equal(choir_index_create(SIZE_MAX, &index), CHOIR_ENOMEM);
    assert_null(index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_string_is_found_and_no_other),
        cmocka_unit_test(a_second_insert_changes_nothing),
        cmocka_unit_test(strings_are_bytes_with_a_length),
        cmocka_unit_test(an_impossible_capacity_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
