/* SPDX-License-Identifier: Apache-2.0 */
/* What waits between the front end's threads stays small, whatever clients send. */
#include "common/mem.h"
#include "coordinator/frontend_shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint8_t session[CHOIR_SESSION_BYTES] = {7};

static void put(choir_frontend_shared *shared, char **ids, size_t n)
{
    Choir__Client__Cancel cancel = CHOIR__CLIENT__CANCEL__INIT;
    cancel.request_ids = ids;
    cancel.n_request_ids = n;
    cancel.session = (ProtobufCBinaryData){sizeof session, session};
    choir_frontend_put_cancel(shared, &cancel);
}

static void ids_that_no_request_can_have_are_not_kept(void **state)
{
    choir_frontend_shared shared = {0};
    char *id, short_id[] = "a", longest[CHOIR_REQUEST_ID_BYTES_MAX + 1];
    (void)state;
    assert_int_equal(choir_frontend_shared_open(&shared), CHOIR_OK);
    assert_int_equal(choir_alloc(1 << 20, 1, (void **)&id), CHOIR_OK);
    memset(id, 'x', (1 << 20) - 1);
    memset(longest, 'y', sizeof longest);
    longest[sizeof longest - 1] = 0;
    char *ids[] = {id, short_id, id, longest};
    put(&shared, ids, 4);
    choir_cancel *list = choir_frontend_take_cancels(&shared);
    assert_non_null(list);
    assert_null(list->next);
    assert_int_equal(list->n_ids, 2);
    assert_string_equal(list->ids[0], "a");
    assert_string_equal(list->ids[1], longest);
    assert_memory_equal(list->session, session, sizeof session);
    choir_cancel_destroy(&list);
    free(id);
    choir_frontend_shared_close(&shared);
}

static void waiting_cancels_have_a_limit(void **state)
{
    static char *ids[CHOIR_CANCEL_IDS_MAX];
    static char id[] = "a";
    choir_frontend_shared shared = {0};
    (void)state;
    assert_int_equal(choir_frontend_shared_open(&shared), CHOIR_OK);
    for (size_t i = 0; i < CHOIR_CANCEL_IDS_MAX; i++)
        ids[i] = id;
    for (int round = 0; round < 2; round++) { /* taken, there is room again */
        size_t n_ids = 0, n = 0;
        for (int i = 0; i < 100; i++)
            put(&shared, ids, CHOIR_CANCEL_IDS_MAX);
        choir_cancel *list = choir_frontend_take_cancels(&shared);
        for (const choir_cancel *item = list; item; item = item->next, n++)
            n_ids += item->n_ids;
        assert_true(n > 10 && n < 100);
        assert_true(n_ids <= 65536);
        choir_cancel_destroy(&list);
    }
    choir_frontend_shared_close(&shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_that_no_request_can_have_are_not_kept),
        cmocka_unit_test(waiting_cancels_have_a_limit),
    };
    return cmocka_run_group_tests_name("frontend_shared", tests, NULL, NULL);
}
