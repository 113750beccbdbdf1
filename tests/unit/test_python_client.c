/* SPDX-License-Identifier: Apache-2.0 */
/* The Python client of client/python/ against a real front end and a made-up engine. */
#include "tests/unit/echo_engine.h"

#include <sys/wait.h>

static void python_client_speaks_the_protocol(void **state)
{
    const echo_service *service = *state;
    const char *build = getenv("CHOIR_BUILD");
    char command[1024];
    snprintf(command, sizeof command,
             "PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=client/python:%s/python "
             "timeout 120 /usr/bin/python3 tests/unit/python_client.py %s",
             build ? build : "build", service->connection_file);
    const int ended = system(command);
    assert_true(WIFEXITED(ended));
    assert_int_equal(WEXITSTATUS(ended), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(python_client_speaks_the_protocol, echo_setup,
                                        echo_teardown),
    };
    return cmocka_run_group_tests_name("python_client", tests, NULL, NULL);
}
