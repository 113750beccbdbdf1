/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/page_pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { PAGES = 37, NAMES = 90, EVENTS = 200000 };

static choir_page_pool *create(int32_t n_pages)
{
    choir_page_pool *pool = NULL;
    assert_int_equal(choir_page_pool_create(n_pages, &pool), CHOIR_OK);
    return pool;
}

static choir_page_name name_of(int32_t number)
{
    const choir_page_name root = choir_page_name_root(1, NULL, 0);
    return choir_page_name_next(&root, &number, 1);
}

static void test_names_depend_on_all_that_is_in_them(void **state)
{
    static const int32_t ids[] = {1, 2, 3, 4};
    choir_page_name names[9];
    (void)state;
    names[0] = choir_page_name_root(1, NULL, 0);
    names[1] = choir_page_name_root(2, NULL, 0);
    names[2] = choir_page_name_root(1, "a", 1);
    names[3] = choir_page_name_root(1, "ab", 2);
    names[4] = choir_page_name_next(&names[0], ids, 4);
    names[5] = choir_page_name_next(&names[1], ids, 4);
    names[6] = choir_page_name_next(&names[0], ids, 3);
    names[7] = choir_page_name_next(&names[6], ids + 3, 1);
    names[8] = choir_page_name_next(&names[0], ids + 1, 3);
    for (int i = 0; i < 9; i++)
        for (int j = 0; j < 9; j++)
            assert_int_equal(choir_page_name_equal(&names[i], &names[j]), i == j);
    const choir_page_name again = choir_page_name_next(&names[0], ids, 4);
    assert_true(choir_page_name_equal(&again, &names[4]));
}

static void test_the_oldest_kept_page_goes_first(void **state)
{
    choir_page_pool *pool = create(3);
    (void)state;
    for (int32_t i = 0; i < 3; i++) {
        const choir_page_name name = name_of(i);
        assert_int_equal(choir_page_pool_take(pool), i);
        choir_page_pool_name(pool, i, &name);
    }
    assert_int_equal(choir_page_pool_take(pool), -1);
    choir_page_pool_drop(pool, 1, true);
    choir_page_pool_drop(pool, 0, true);
    choir_page_pool_drop(pool, 2, true);
    assert_int_equal(choir_page_pool_available(pool), 3);
    assert_int_equal(choir_page_pool_kept(pool), 3);
    const choir_page_name first = name_of(1), second = name_of(0);
    choir_page_pool_use(pool, choir_page_pool_find(pool, &first)); /* now used last */
    choir_page_pool_drop(pool, 1, true);
    assert_int_equal(choir_page_pool_take(pool), 0);
    assert_int_equal(choir_page_pool_find(pool, &second), -1);
    assert_int_equal(choir_page_pool_take(pool), 2);
    assert_int_equal(choir_page_pool_find(pool, &first), 1);
    assert_int_equal(choir_page_pool_take(pool), 1);
    assert_int_equal(choir_page_pool_find(pool, &first), -1);
    choir_page_pool_destroy(&pool);
    assert_null(pool);
    choir_page_pool_destroy(&pool);
}

static void test_a_page_is_free_when_its_last_user_leaves(void **state)
{
    choir_page_pool *pool = create(2);
    const choir_page_name name = name_of(5);
    (void)state;
    const int32_t page = choir_page_pool_take(pool);
    choir_page_pool_name(pool, page, &name);
    choir_page_pool_use(pool, page);
    choir_page_pool_drop(pool, page, false);
    assert_int_equal(choir_page_pool_used(pool), 1);
    assert_int_equal(choir_page_pool_find(pool, &name), page);
    choir_page_pool_drop(pool, page, false);
    assert_int_equal(choir_page_pool_used(pool), 0);
    assert_int_equal(choir_page_pool_kept(pool), 0);
    assert_int_equal(choir_page_pool_find(pool, &name), -1);
    choir_page_pool_destroy(&pool);
}

static void test_the_first_page_of_a_name_keeps_it(void **state)
{
    choir_page_pool *pool = create(2);
    const choir_page_name name = name_of(5);
    (void)state;
    assert_int_equal(choir_page_pool_take(pool), 0);
    assert_int_equal(choir_page_pool_take(pool), 1);
    choir_page_pool_name(pool, 1, &name);
    choir_page_pool_name(pool, 0, &name);
    assert_int_equal(choir_page_pool_find(pool, &name), 1);
    choir_page_pool_drop(pool, 0, true); /* it has no name */
    assert_int_equal(choir_page_pool_kept(pool), 0);
    choir_page_pool_destroy(&pool);
}

static uint64_t random_state = 1;

static int random_below(int n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (int)((random_state >> 33) % (uint64_t)n);
}

/* What the pool must hold, written the simple way. */
typedef struct model {
    int n_users[PAGES], name[PAGES], dropped[PAGES]; /* name -1: none; dropped: when */
} model;

static int model_find(const model *m, int name)
{
    for (int page = 0; page < PAGES; page++)
        if (m->name[page] == name)
            return page;
    return -1;
}

static void check_all(const choir_page_pool *pool, const model *m)
{
    int n_used = 0, n_kept = 0;
    for (int page = 0; page < PAGES; page++) {
        n_used += m->n_users[page] > 0;
        n_kept += m->n_users[page] == 0 && m->name[page] >= 0;
    }
    assert_int_equal(choir_page_pool_used(pool), n_used);
    assert_int_equal(choir_page_pool_kept(pool), n_kept);
    assert_int_equal(choir_page_pool_available(pool), PAGES - n_used);
    for (int name = 0; name < NAMES; name++) {
        const choir_page_name wanted = name_of(name);
        assert_int_equal(choir_page_pool_find(pool, &wanted), model_find(m, name));
    }
}

static void take_one(choir_page_pool *pool, model *m)
{
    const int page = choir_page_pool_take(pool);
    int n_free = 0, oldest = -1;
    for (int i = 0; i < PAGES; i++) {
        n_free += m->n_users[i] == 0 && m->name[i] < 0;
        if (m->n_users[i] == 0 && m->name[i] >= 0 &&
            (oldest < 0 || m->dropped[i] < m->dropped[oldest]))
            oldest = i;
    }
    if (page < 0) {
        assert_true(n_free == 0 && oldest < 0);
        return;
    }
    assert_int_equal(m->n_users[page], 0);
    if (n_free)
        assert_int_equal(m->name[page], -1);
    else
        assert_int_equal(page, oldest);
    m->n_users[page] = 1;
    m->name[page] = -1;
}

static void use_one(choir_page_pool *pool, model *m, int name)
{
    const choir_page_name wanted = name_of(name);
    const int page = choir_page_pool_find(pool, &wanted);
    assert_int_equal(page, model_find(m, name));
    if (page < 0)
        return;
    choir_page_pool_use(pool, page);
    m->n_users[page]++;
}

static void drop_one(choir_page_pool *pool, model *m, int page, int when)
{
    const bool is_kept = random_below(4);
    if (!m->n_users[page])
        return;
    choir_page_pool_drop(pool, page, is_kept);
    m->dropped[page] = when;
    if (--m->n_users[page] == 0 && !is_kept)
        m->name[page] = -1;
}

static void name_one(choir_page_pool *pool, model *m, int page, int name)
{
    const choir_page_name given = name_of(name);
    if (!m->n_users[page] || m->name[page] >= 0)
        return;
    choir_page_pool_name(pool, page, &given);
    if (model_find(m, name) < 0)
        m->name[page] = name;
}

static void test_random_histories(void **state)
{
    choir_page_pool *pool = create(PAGES);
    static model m;
    (void)state;
    for (int page = 0; page < PAGES; page++)
        m.name[page] = -1;
    for (int event = 0; event < EVENTS; event++) {
        const int kind = random_below(10), page = random_below(PAGES), name = random_below(NAMES);
        if (kind < 3)
            take_one(pool, &m);
        else if (kind < 5)
            use_one(pool, &m, name);
        else if (kind < 8)
            drop_one(pool, &m, page, event);
        else
            name_one(pool, &m, page, name);
        if (event % 97 == 0)
            check_all(pool, &m);
    }
    choir_page_pool_destroy(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_depend_on_all_that_is_in_them),
        cmocka_unit_test(test_the_oldest_kept_page_goes_first),
        cmocka_unit_test(test_a_page_is_free_when_its_last_user_leaves),
        cmocka_unit_test(test_the_first_page_of_a_name_keeps_it),
        cmocka_unit_test(test_random_histories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
