/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/endpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char base[64];

static int make_base(void **state)
{
    (void)state;
    snprintf(base, sizeof base, "/tmp/choir-test-XXXXXX");
    assert_non_null(mkdtemp(base));
    return setenv("XDG_RUNTIME_DIR", base, 1);
}

static int remove_base(void **state)
{
    char folder[96];
    (void)state;
    snprintf(folder, sizeof folder, "%s/choir", base);
    if (unlink(folder) != 0)
        rmdir(folder);
    return rmdir(base);
}

static void folder_is_made_closed_to_others(void **state)
{
    char folder[CHOIR_PATH_BYTES], path[CHOIR_PATH_BYTES];
    struct stat info;
    (void)state;
    umask(0);
    assert_int_equal(choir_runtime_folder(folder), CHOIR_OK);
    assert_int_equal(stat(folder, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0700);
    assert_int_equal(choir_connection_path(path), CHOIR_OK);
    assert_int_equal(strncmp(path, folder, strlen(folder)), 0);
}

static void open_folder_and_link_are_refused(void **state)
{
    char folder[CHOIR_PATH_BYTES];
    (void)state;
    assert_int_equal(choir_runtime_folder(folder), CHOIR_OK);
    assert_int_equal(chmod(folder, 0750), 0);
    assert_int_equal(choir_runtime_folder(folder), CHOIR_EUSAGE);
    assert_int_equal(rmdir(folder), 0);
    assert_int_equal(symlink("/", folder), 0);
    assert_int_equal(choir_runtime_folder(folder), CHOIR_EUSAGE);
}

static void made_endpoints_differ_and_can_be_served(void **state)
{
    char first[CHOIR_ENDPOINT_BYTES], second[CHOIR_ENDPOINT_BYTES];
    (void)state;
    assert_int_equal(choir_endpoint_make("engine", first), CHOIR_OK);
    assert_int_equal(choir_endpoint_make("engine", second), CHOIR_OK);
    assert_string_not_equal(first, second);
    assert_int_equal(choir_endpoint_check(first), CHOIR_OK);
}

static void only_loopback_is_served_without_encryption(void **state)
{
    static const struct {
        const char *endpoint;
        choir_status status;
    } cases[] = {
        {"tcp://127.0.0.1:5555", CHOIR_OK},
        {"tcp://127.9.9.9:1", CHOIR_OK},
        {"tcp://localhost:*", CHOIR_OK},
        {"tcp://[::1]:5555", CHOIR_OK},
        {"inproc://a", CHOIR_OK},
        {"ipc:///tmp/a", CHOIR_OK},
        {"tcp://0.0.0.0:5555", CHOIR_EUNSUPPORTED},
        {"tcp://*:5555", CHOIR_EUNSUPPORTED},
        {"tcp://10.0.0.1:5555", CHOIR_EUNSUPPORTED},
        {"tcp://127.0.0.1.evil.org:5555", CHOIR_EUNSUPPORTED},
        {"tcp://127.1:5555", CHOIR_EUNSUPPORTED},
        {"tcp://localhostess:5555", CHOIR_EUNSUPPORTED},
        {"tcp://127.0.0.1", CHOIR_EUSAGE},
        {"tcp://127.0.0.1:0", CHOIR_EUSAGE},
        {"tcp://127.0.0.1:65535", CHOIR_EUSAGE}, /* no port is left for control */
        {"tcp://127.0.0.1:+5", CHOIR_EUSAGE},
        {"tcp://127.0.0.1:5x", CHOIR_EUSAGE},
        {"tcp://:5", CHOIR_EUSAGE},
        {"ipc://relative", CHOIR_EUSAGE},
        {"ipc://*", CHOIR_EUSAGE},
        {"inproc://", CHOIR_EUSAGE},
        {"pgm://127.0.0.1:5", CHOIR_EUSAGE},
        {"ipc:///a\nb", CHOIR_EUSAGE},
        {"", CHOIR_EUSAGE},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (choir_endpoint_check(cases[i].endpoint) != cases[i].status)
            fail_msg("%s", cases[i].endpoint);
}

static void path_of_a_socket_has_a_limit(void **state)
{
    char endpoint[200] = "ipc:///";
    (void)state;
    memset(endpoint + 7, 'a', 98); /* 99 bytes with the slash, 107 with ".control" */
    assert_int_equal(choir_endpoint_check(endpoint), CHOIR_OK);
    endpoint[7 + 98] = 'a';
    assert_int_equal(choir_endpoint_check(endpoint), CHOIR_EUSAGE);
}

static void control_endpoint_follows(void **state)
{
    char control[CHOIR_ENDPOINT_BYTES];
    (void)state;
    assert_int_equal(choir_endpoint_control("ipc:///tmp/a", control), CHOIR_OK);
    assert_string_equal(control, "ipc:///tmp/a.control");
    assert_int_equal(choir_endpoint_control("tcp://[::1]:5555", control), CHOIR_OK);
    assert_string_equal(control, "tcp://[::1]:5556");
    assert_int_equal(choir_endpoint_control("tcp://127.0.0.1:*", control), CHOIR_OK);
    assert_string_equal(control, "tcp://127.0.0.1:*");
    assert_int_equal(choir_endpoint_control("tcp://1.2.3.4:5", control), CHOIR_EUNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(folder_is_made_closed_to_others, make_base, remove_base),
        cmocka_unit_test_setup_teardown(open_folder_and_link_are_refused, make_base, remove_base),
        cmocka_unit_test_setup_teardown(made_endpoints_differ_and_can_be_served, make_base,
                                        remove_base),
        cmocka_unit_test(only_loopback_is_served_without_encryption),
        cmocka_unit_test(path_of_a_socket_has_a_limit),
        cmocka_unit_test(control_endpoint_follows),
    };
    return cmocka_run_group_tests_name("endpoint", tests, NULL, NULL);
}
