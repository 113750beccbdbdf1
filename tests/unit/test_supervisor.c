/* SPDX-License-Identifier: Apache-2.0 */
/* The launcher is a shell script here: it prints, fails, hangs, leaves children behind. */
#include "coordinator/session.h"
#include "coordinator/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/choir-test-XXXXXX";
static char log_path[64], fifo_path[64];

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(log_path, sizeof log_path, "%s/log", folder);
    snprintf(fifo_path, sizeof fifo_path, "%s/fifo", folder);
    /* A test that waits for ever is ended here, not by a time of its own. */
    alarm(60);
    return mkfifo(fifo_path, 0600);
}

static int tear_down(void **state)
{
    (void)state;
    unlink(log_path);
    unlink(fifo_path);
    return rmdir(folder);
}

typedef struct ending {
    int n;
    choir_job_end end;
} ending;

static void take_end(void *context, const choir_job_end *end)
{
    ending *it = context;
    it->n++;
    it->end = *end;
}

/* Starts `script`, which finds the fifo's path in $FIFO, with its output in the log. */
static choir_supervisor *start(const char *script, ending *told)
{
    char fifo[80];
    snprintf(fifo, sizeof fifo, "FIFO=%s", fifo_path);
    char *argv[] = {(char *)"/bin/sh", (char *)"-c", (char *)script, NULL};
    char *variables[] = {fifo, (char *)"REPLACED=new", NULL};
    const choir_launch launch = {.argv = argv, .variables = variables};
    const choir_supervisor_options options = {
        .launch = &launch, .log_file = log_path, .on_end = told ? take_end : NULL, .context = told};
    choir_supervisor *supervisor;
    unlink(log_path);
    assert_int_equal(choir_supervisor_start(&options, &supervisor), CHOIR_OK);
    return supervisor;
}

static void read_log(char text[1024])
{
    const int file = open(log_path, O_RDONLY);
    assert_true(file >= 0);
    const ssize_t n = read(file, text, 1023);
    assert_true(n >= 0);
    text[n] = '\0';
    close(file);
}

/* Runs a script to its end; its words and what it printed. */
static choir_job_end run_script(const char *script, char log[1024])
{
    ending told = {0};
    choir_job_end end;
    choir_supervisor *supervisor = start(script, &told);
    assert_int_equal(choir_supervisor_wait(supervisor, -1, &end), CHOIR_OK);
    choir_supervisor_destroy(&supervisor);
    assert_null(supervisor);
    assert_int_equal(told.n, 1);
    assert_int_equal(told.end.status, end.status);
    assert_string_equal(told.end.words, end.words);
    read_log(log);
    return end;
}

static void test_end_and_words(void **state)
{
    (void)state;
    char log[1024];
    choir_job_end end = run_script("echo noise; echo more >&2", log);
    assert_int_equal(end.status, CHOIR_OK);
    assert_string_equal(log, "noise\nmore\n");
    end = run_script("echo noise; echo 'choir: model.gguf: wrong magic' >&2; exit 4", log);
    assert_int_equal(end.status, CHOIR_EFORMAT);
    assert_string_equal(end.words, "model.gguf: wrong magic");
    end = run_script("echo 'choir: rank 0: error: odd'; exit 99", log);
    assert_int_equal(end.status, CHOIR_EENGINE);
    end = run_script("echo 'not enough slots'; exit 4", log);
    assert_int_equal(end.status, CHOIR_EENGINE);
    assert_non_null(strstr(end.words, "not enough slots"));
    end = run_script("kill -9 $$", log);
    assert_int_equal(end.status, CHOIR_EENGINE);
    assert_non_null(strstr(end.words, "signal 9"));
}

/* More than a pipe holds, with no newline at the end. */
static void test_much_output(void **state)
{
    (void)state;
    char log[1024];
    const choir_job_end end =
        run_script("head -c 1000000 /dev/zero | tr '\\0' x; printf '\\nchoir: told'; exit 5", log);
    assert_int_equal(end.status, CHOIR_EUNSUPPORTED);
    assert_string_equal(end.words, "told");
    struct stat info;
    assert_int_equal(stat(log_path, &info), 0);
    assert_int_equal(info.st_size, 1000000 + strlen("\nchoir: told"));
}

static void test_what_the_job_inherits(void **state)
{
    (void)state;
    char log[1024], script[512];
    const int open_file = open("/dev/null", O_RDONLY);
    assert_true(open_file > 2);
    setenv("REPLACED", "old", 1);
    setenv("REPLACED_NOT", "kept", 1);
    snprintf(script, sizeof script,
             "read line; echo \"$? [$line] $REPLACED $REPLACED_NOT\"; "
             "tr '\\0' '\\n' </proc/$$/environ | grep -c ^REPLACED=; "
             "test -e /proc/self/fd/%d && echo leaked; "
             "set -- $(cat /proc/$$/stat); test $6 = $$ && echo session",
             open_file);
    run_script(script, log);
    close(open_file);
    assert_string_equal(log, "1 [] new kept\n1\nsession\n");
}

static void assert_gone(const char *pid)
{
    assert_true(atoi(pid) > 1);
    assert_int_equal(kill(atoi(pid), 0), -1);
    assert_int_equal(errno, ESRCH);
}

static void test_children_left_behind_are_killed(void **state)
{
    (void)state;
    char log[1024];
    /* setsid is not used: what leaves its session is not mpirun's child. */
    const choir_job_end end = run_script("sleep 1000 & echo $!; exit 0", log);
    assert_int_equal(end.status, CHOIR_OK);
    assert_gone(log);
}

/* Opens the fifo and reads: returns once the script has opened it too. */
static int meet(char *text, size_t size)
{
    const int fifo = open(fifo_path, O_RDONLY);
    assert_true(fifo >= 0);
    const ssize_t n = read(fifo, text, size - 1);
    assert_true(n > 0);
    text[n] = '\0';
    return fifo;
}

static void wait_for_end_of(int fifo)
{
    char byte;
    while (read(fifo, &byte, 1) > 0)
        ;
    close(fifo);
}

static void test_wait_has_a_time(void **state)
{
    (void)state;
    char text[64];
    choir_supervisor *supervisor = start("exec 3>$FIFO; echo $$ >&3; exec sleep 1000", NULL);
    const int fifo = meet(text, sizeof text);
    assert_int_equal(choir_supervisor_wait(supervisor, 0, NULL), CHOIR_ETIMEOUT);
    assert_int_equal(choir_supervisor_wait(supervisor, 1, NULL), CHOIR_ETIMEOUT);
    choir_supervisor_kill(supervisor);
    assert_int_equal(choir_supervisor_wait(supervisor, -1, NULL), CHOIR_OK);
    assert_int_equal(choir_supervisor_wait(supervisor, 0, NULL), CHOIR_OK);
    wait_for_end_of(fifo);
    assert_gone(text);
    choir_supervisor_destroy(&supervisor);
}

/* A launcher that ignores SIGTERM, with a child in a process group of its own, as ranks have. */
static void test_kill_of_a_stubborn_job(void **state)
{
    (void)state;
    char text[64];
    ending told = {0};
    choir_supervisor *supervisor =
        start("trap '' TERM; set -m; (exec 3>$FIFO; echo $$ >&3; sleep 1000) & "
              "while true; do wait; done",
              &told);
    const int fifo = meet(text, sizeof text);
    choir_supervisor_kill(supervisor);
    choir_supervisor_kill(supervisor);
    choir_job_end end;
    assert_int_equal(choir_supervisor_wait(supervisor, -1, &end), CHOIR_OK);
    assert_int_equal(end.status, CHOIR_EENGINE);
    wait_for_end_of(fifo);
    assert_gone(text);
    assert_int_equal(choir_session_signal(atoi(text), 0, 0), 0);
    choir_supervisor_destroy(&supervisor);
    assert_int_equal(told.n, 1);
}

static void test_destroy_kills(void **state)
{
    (void)state;
    char text[64];
    choir_supervisor *supervisor = start("exec 3>$FIFO; echo $$ >&3; exec sleep 1000", NULL);
    const int fifo = meet(text, sizeof text);
    choir_supervisor_destroy(&supervisor);
    wait_for_end_of(fifo);
    assert_gone(text);
    choir_supervisor_destroy(&supervisor);
}

static void test_job_ends_with_its_parent(void **state)
{
    (void)state;
    char text[64];
    const pid_t child = fork();
    if (child == 0) {
        start("trap 'kill $!; echo term >&3; exit' TERM; exec 3>$FIFO; "
              "sleep 1000 3>&- & echo $$ >&3; wait",
              NULL);
        for (;;)
            pause();
    }
    const int fifo = meet(text, sizeof text);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_true(read(fifo, text, sizeof text) >= 4);
    assert_int_equal(strncmp(text, "term", 4), 0);
    wait_for_end_of(fifo);
}

static void test_what_cannot_start(void **state)
{
    (void)state;
    char *argv[] = {(char *)"/nowhere/mpirun", NULL};
    char *variables[] = {NULL};
    const choir_launch launch = {.argv = argv, .variables = variables};
    choir_supervisor_options options = {.launch = &launch};
    choir_supervisor *supervisor;
    assert_int_equal(choir_supervisor_start(&options, &supervisor), CHOIR_EUNAVAILABLE);
    assert_null(supervisor);
    assert_string_equal(choir_error(), "/nowhere/mpirun: cannot be run: No such file or directory");
    options.log_file = "/nowhere/log";
    assert_int_equal(choir_supervisor_start(&options, &supervisor), CHOIR_EIO);
    assert_null(supervisor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_end_and_words),
        cmocka_unit_test(test_much_output),
        cmocka_unit_test(test_what_the_job_inherits),
        cmocka_unit_test(test_children_left_behind_are_killed),
        cmocka_unit_test(test_wait_has_a_time),
        cmocka_unit_test(test_kill_of_a_stubborn_job),
        cmocka_unit_test(test_destroy_kills),
        cmocka_unit_test(test_job_ends_with_its_parent),
        cmocka_unit_test(test_what_cannot_start),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
