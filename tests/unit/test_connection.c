/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/connection.h"

#include "client/client.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], path[96];
static const choir_connection example = {.state = CHOIR_CONNECTION_READY,
                                         .request = "ipc:///nowhere/s",
                                         .control = "ipc:///nowhere/s.control",
                                         .model = "m \"quoted\" \xc3\xa4"};

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/choir-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/choir.json", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder); /* fails if anything else was left */
}

static void write_text(const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(chmod(path, 0600), 0);
}

static void what_is_written_is_read(void **state)
{
    choir_connection read;
    struct stat info;
    (void)state;
    assert_int_equal(choir_connection_write(path, &example), CHOIR_OK);
    assert_int_equal(choir_connection_write(path, &example), CHOIR_OK); /* in place of the first */
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(choir_connection_read(path, &read), CHOIR_OK);
    assert_int_equal(read.state, CHOIR_CONNECTION_READY);
    assert_string_equal(read.request, example.request);
    assert_string_equal(read.control, example.control);
    assert_string_equal(read.model, example.model);
    assert_int_equal(read.pid, getpid());
    choir_connection_remove(path);
    assert_int_equal(access(path, F_OK), -1);
    choir_connection_remove(path);
}

static void what_is_not_one_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "{}",
        "null",
        "{\"state\": \"READY\", \"pid\": 1, \"host\": \"h\", \"model\": \"m\", \"version\": \"v\"}",
        "{\"endpoints\": {\"request\": \"r\", \"control\": \"c\"}, \"state\": \"GONE\", \"pid\": "
        "1, "
        "\"host\": \"h\", \"model\": \"m\", \"version\": \"v\"}",
        "{\"endpoints\": {\"request\": \"r\", \"control\": 5}, \"state\": \"READY\", \"pid\": 1, "
        "\"host\": \"h\", \"model\": \"m\", \"version\": \"v\"}",
        "{\"endpoints\": {\"request\": \"r\", \"control\": \"c\"}, \"state\": \"READY\", \"pid\": "
        "-1, "
        "\"host\": \"h\", \"model\": \"m\", \"version\": \"v\"}",
    };
    choir_connection read;
    (void)state;
    assert_int_equal(choir_connection_read(path, &read), CHOIR_EUNAVAILABLE);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        write_text(texts[i]);
        assert_int_equal(choir_connection_read(path, &read), CHOIR_EFORMAT);
    }
    /* A good one with blanks up to over 64 KiB. */
    assert_int_equal(choir_connection_write(path, &example), CHOIR_OK);
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    fprintf(file, "%70000s", "");
    fclose(file);
    assert_int_equal(choir_connection_read(path, &read), CHOIR_EFORMAT);
    assert_int_equal(choir_connection_write(path, &example), CHOIR_OK);
    assert_int_equal(chmod(path, 0666), 0); /* anybody could send our clients anywhere */
    assert_int_equal(choir_connection_read(path, &read), CHOIR_EFORMAT);
    assert_int_equal(chmod(path, 0600), 0);
}

/* Writes the file from a process of its own; gives that process's id. */
static pid_t write_in_child(bool lives_on)
{
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* if the test fails */
        const choir_status status = choir_connection_write(path, &example);
        if (status == CHOIR_OK && lives_on)
            pause();
        _exit(status == CHOIR_OK ? 0 : 1);
    }
    return child;
}

static void living_service_keeps_its_file(void **state)
{
    choir_client *client;
    (void)state;
    assert_int_equal(choir_connection_check_free(path), CHOIR_OK);
    const pid_t child = write_in_child(true);
    while (access(path, F_OK) != 0)
        usleep(1000);
    assert_int_equal(choir_connection_check_free(path), CHOIR_EUNAVAILABLE);
    choir_connection_remove(path); /* not ours */
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(choir_connection_check_free(path), CHOIR_OK);
    assert_int_equal(choir_client_connect_file(path, 1000, &client), CHOIR_EUNAVAILABLE);
    assert_non_null(strstr(choir_error(), "is gone"));
    assert_null(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_written_is_read, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(what_is_not_one_is_refused, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(living_service_keeps_its_file, make_folder, remove_folder),
    };
    return cmocka_run_group_tests_name("connection", tests, NULL, NULL);
}
