/* SPDX-License-Identifier: Apache-2.0 */
/* A DEALER tells of a connection that was lost, also when it is there again. */
#include "common/clock.h"
#include "proto/socket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_US = 30000000 };

static choir_socket *open_router(const char *endpoint)
{
    choir_socket *router;
    assert_int_equal(choir_socket_create(CHOIR_SOCKET_ROUTER, 1000, &router), CHOIR_OK);
    if (choir_socket_bind(router, endpoint) != CHOIR_OK)
        fail_msg("%s", choir_error());
    return router;
}

/* One message through: then the connection stands, and both ends know of it. */
static void pass_message(choir_socket *dealer, choir_socket *router, choir_message *message)
{
    const int64_t deadline = choir_clock_us() + PATIENCE_US;
    const choir_part part = {"hello", 5};
    choir_poll_item item = {.socket = router};
    assert_int_equal(choir_socket_send(dealer, &part, 1), CHOIR_DELIVERED);
    while (!choir_socket_receive(router, message)) {
        assert_true(choir_clock_us() < deadline);
        assert_int_equal(choir_socket_poll(&item, 1, 100), CHOIR_OK);
    }
}

static void lost_connection_is_told_after_the_next_one(void **state)
{
    char folder[] = "/tmp/choir-test-XXXXXX", endpoint[64];
    choir_socket *dealer;
    choir_message *message;
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(endpoint, sizeof endpoint, "ipc://%s/s", folder);
    choir_socket *router = open_router(endpoint);
    assert_int_equal(choir_message_create(&message), CHOIR_OK);
    assert_int_equal(choir_socket_create(CHOIR_SOCKET_DEALER, 1000, &dealer), CHOIR_OK);
    assert_int_equal(choir_socket_connect(dealer, endpoint), CHOIR_OK);
    pass_message(dealer, router, message);
    assert_int_equal(choir_socket_n_lost(dealer), 0);
    assert_true(choir_socket_is_up(dealer));
    choir_socket_destroy(&router);
    router = open_router(endpoint);
    /* Until it is seen, a message could still go to the old connection. */
    for (const int64_t deadline = choir_clock_us() + PATIENCE_US;
         choir_socket_n_lost(dealer) == 0;) {
        assert_true(choir_clock_us() < deadline);
        usleep(1000);
    }
    pass_message(dealer, router, message);
    assert_true(choir_socket_is_up(dealer)); /* which says nothing of the loss */
    assert_int_equal(choir_socket_n_lost(dealer), 1);
    choir_message_destroy(&message);
    choir_socket_destroy(&dealer);
    choir_socket_destroy(&router);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lost_connection_is_told_after_the_next_one),
    };
    return cmocka_run_group_tests_name("socket", tests, NULL, NULL);
}
