/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/fair_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { QUANTUM = 100, MANY = 400, DEBT = 16 }; /* DEBT: rounds, as fair_queue.c has it */

typedef struct bench {
    choir_fair_queue *queue;
    choir_sequence all[MANY];
    int n;
} bench;

static bench *create(void)
{
    bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    assert_int_equal(choir_fair_queue_create(QUANTUM, &b->queue), CHOIR_OK);
    return b;
}

static choir_sequence *add(bench *b, uint64_t user_id, int64_t cost, int32_t priority, int64_t at)
{
    choir_sequence *made = &b->all[b->n];
    assert_true(b->n < MANY);
    made->id = (uint64_t)b->n++;
    made->user_id = user_id;
    made->n_tokens = cost;
    made->is_generating = true;
    made->priority = priority;
    made->arrival_us = at;
    assert_int_equal(choir_fair_queue_enter(b->queue, made), CHOIR_OK);
    choir_fair_queue_push(b->queue, made);
    return made;
}

/* Admits the next one, which ends at once; its number, or -1. */
static int take(bench *b, int64_t now_us)
{
    choir_sequence *first = choir_fair_queue_first(b->queue, now_us);
    if (!first)
        return -1;
    assert_ptr_equal(choir_fair_queue_first(b->queue, now_us), first); /* asking changes nothing */
    choir_fair_queue_take(b->queue, first);
    choir_fair_queue_leave(b->queue, first);
    return (int)first->id;
}

static void finish(bench *b)
{
    while (take(b, 0) >= 0)
        ;
    assert_int_equal(choir_fair_queue_n_waiting(b->queue), 0);
    choir_fair_queue_destroy(&b->queue);
    choir_fair_queue_destroy(&b->queue);
    free(b);
}

static void test_one_user_is_first_come_first_served(void **state)
{
    bench *b = create();
    (void)state;
    assert_int_equal(take(b, 0), -1);
    for (int i = 0; i < 20; i++)
        add(b, 1, 1 + i * 37 % 500, 0, i);
    for (int i = 0; i < 20; i++)
        assert_int_equal(take(b, 100), i);
    finish(b);
}

static void test_users_get_the_same_tokens(void **state)
{
    bench *b = create();
    int64_t served[4] = {0};
    (void)state;
    for (int i = 0; i < 100; i++) /* of very unequal requests */
        for (uint64_t user = 1; user <= 3; user++)
            add(b, user, user == 1 ? 5 : user == 2 ? 60 : 150, 0, i);
    while (served[1] < 490) {
        const choir_sequence *taken = &b->all[take(b, 100)];
        served[taken->user_id] += taken->n_tokens;
        for (int user = 2; user <= 3; user++)
            assert_true(llabs(served[user] - served[1]) <= QUANTUM + 150);
    }
    finish(b);
}

static void test_a_newcomer_does_not_stand_behind_a_flood(void **state)
{
    bench *b = create();
    (void)state;
    for (int i = 0; i < 200; i++)
        add(b, 1, 50, 0, i);
    for (int i = 0; i < 10; i++)
        take(b, 1000);
    const choir_sequence *newcomer = add(b, 2, 50, 0, 1000000000); /* the flood has waited long */
    int n = 0;
    while (take(b, 1000000000) != (int)newcomer->id)
        n++;
    assert_true(n <= 2);
    finish(b);
}

static void test_lower_numbers_go_first_until_others_have_aged(void **state)
{
    bench *b = create();
    (void)state;
    add(b, 1, 10, 3, 0);
    add(b, 2, 10, 0, 0);
    add(b, 3, 10, -2, 0);
    add(b, 1, 10, -2, 1); /* before its user's other one */
    assert_int_equal(take(b, 10), 3);
    assert_int_equal(take(b, 10), 2);
    assert_int_equal(take(b, 10), 1);
    add(b, 2, 10, 0, 2 * CHOIR_AGEING_US);
    assert_int_equal(take(b, 2 * CHOIR_AGEING_US), 4); /* 3 - 2 is still more than 0 */
    add(b, 2, 10, 0, 3 * CHOIR_AGEING_US);
    assert_int_equal(take(b, 3 * CHOIR_AGEING_US), 0); /* its turn in the ring */
    finish(b);
}

static void test_what_is_generated_is_charged(void **state)
{
    bench *b = create();
    (void)state;
    const choir_sequence *first = add(b, 1, 10, 0, 0);
    for (int i = 0; i < 60; i++) {
        add(b, 1, 10, 0, 0);
        add(b, 2, 10, 0, 0);
    }
    choir_fair_queue_charge(b->queue, first, 3 * QUANTUM); /* three rounds too many */
    int n_other = 0;
    while (b->all[take(b, 0)].user_id == 2)
        n_other++;
    assert_true(n_other >= 30 && n_other <= 41);
    finish(b);
}

static void test_debt_is_bounded(void **state)
{
    bench *b = create();
    (void)state;
    const choir_sequence *first = add(b, 1, 10, 0, 0);
    for (int i = 0; i < 300; i++)
        add(b, 2, 10, 0, 0);
    choir_fair_queue_charge(b->queue, first, INT64_MAX / 2);
    int n_other = 0;
    while (b->all[take(b, 0)].user_id == 2)
        n_other++;
    assert_true(n_other >= DEBT * QUANTUM / 10 && n_other <= (DEBT + 2) * QUANTUM / 10);
    finish(b);
}

static void test_removing(void **state)
{
    bench *b = create();
    (void)state;
    choir_sequence *only = add(b, 1, 10, 0, 0), *other = add(b, 2, 10, 0, 0);
    assert_int_equal(choir_fair_queue_n_running(only), 0);
    choir_fair_queue_take(b->queue, only);
    assert_int_equal(choir_fair_queue_n_running(only), 1);
    choir_fair_queue_push(b->queue, only); /* put back */
    assert_int_equal(choir_fair_queue_n_waiting(b->queue), 2);
    choir_fair_queue_remove(b->queue, other);
    choir_fair_queue_leave(b->queue, other);
    assert_int_equal(take(b, 0), 0);
    assert_int_equal(take(b, 0), -1);
    finish(b);
}

static uint64_t random_state = 5;

static int random_below(int n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (int)((random_state >> 33) % (uint64_t)n);
}

/*
 * The bound on waiting: while a user's first sequence waits, no other user gets more tokens than
 * the rounds that this one needs at most (its cost and its debt), one round more, and one sequence.
 */
static void test_nobody_waits_beyond_the_bound(void **state)
{
    enum { USERS = 5, MOST = 300 };
    (void)state;
    for (int history = 0; history < 300; history++) {
        bench *b = create();
        int64_t served[USERS][USERS] = {{0}}; /* [who waits][who got] */
        int n_waiting[USERS] = {0};
        while (b->n < MANY) {
            if (random_below(2)) {
                const int user = random_below(1 + random_below(USERS));
                add(b, (uint64_t)user, 1 + random_below(MOST), 0, b->n);
                if (n_waiting[user]++ == 0)
                    memset(served[user], 0, sizeof served[user]);
                continue;
            }
            const int number = take(b, b->n);
            if (number < 0)
                continue;
            const int got = (int)b->all[number].user_id;
            n_waiting[got]--;
            memset(served[got], 0, sizeof served[got]);
            for (int user = 0; user < USERS; user++) {
                served[user][got] += user == got ? 0 : b->all[number].n_tokens;
                if (n_waiting[user])
                    assert_true(served[user][got] <=
                                (MOST / QUANTUM + 1 + DEBT + 1) * QUANTUM + MOST);
            }
        }
        finish(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_user_is_first_come_first_served),
        cmocka_unit_test(test_users_get_the_same_tokens),
        cmocka_unit_test(test_a_newcomer_does_not_stand_behind_a_flood),
        cmocka_unit_test(test_lower_numbers_go_first_until_others_have_aged),
        cmocka_unit_test(test_what_is_generated_is_charged),
        cmocka_unit_test(test_debt_is_bounded),
        cmocka_unit_test(test_removing),
        cmocka_unit_test(test_nobody_waits_beyond_the_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
