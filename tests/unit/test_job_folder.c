/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/job_folder.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
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

static char base[] = "/tmp/choir-test-XXXXXX";

static int set_up(void **state)
{
    (void)state;
    strcpy(base + strlen(base) - 6, "XXXXXX");
    return mkdtemp(base) && setenv("XDG_RUNTIME_DIR", base, 1) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return rmdir(base); /* fails if a test left something */
}

static void put_file(const char *folder, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.1024s/%s", folder, name);
    const int file = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(file >= 0);
    close(file);
}

static void assert_gone(const char *path)
{
    assert_int_equal(access(path, F_OK), -1);
}

static void test_folders_are_private(void **state)
{
    (void)state;
    choir_job_folder *job;
    struct stat info;
    assert_int_equal(choir_job_folder_create(&job), CHOIR_OK);
    assert_int_equal(stat(job->path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0700);
    assert_int_equal(stat(job->shared_path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0700);
    assert_int_equal(strncmp(job->path, base, strlen(base)), 0);
    choir_job_folder_destroy(&job);
    assert_null(job);
    choir_job_folder_destroy(&job);
}

static void test_destroy_removes_everything(void **state)
{
    (void)state;
    choir_job_folder *job;
    char deep[PATH_MAX], shared[PATH_MAX];
    assert_int_equal(choir_job_folder_create(&job), CHOIR_OK);
    snprintf(shared, sizeof shared, "%s", job->shared_path);
    put_file(job->path, "socket");
    put_file(job->shared_path, "vader_segment");
    snprintf(deep, sizeof deep, "%s/a", job->path);
    assert_int_equal(mkdir(deep, 0700), 0);
    put_file(deep, "file");
    choir_job_folder_destroy(&job);
    assert_gone(deep);
    assert_gone(shared);
}

/* A link inside a job's folder is removed itself; what it points at stays. */
static void test_links_are_not_followed(void **state)
{
    (void)state;
    choir_job_folder *job;
    char outside[PATH_MAX], link_path[PATH_MAX];
    snprintf(outside, sizeof outside, "%s/outside", base);
    assert_int_equal(mkdir(outside, 0700), 0);
    put_file(outside, "kept");
    assert_int_equal(choir_job_folder_create(&job), CHOIR_OK);
    snprintf(link_path, sizeof link_path, "%s/link", job->path);
    assert_int_equal(symlink(outside, link_path), 0);
    choir_job_folder_destroy(&job);
    snprintf(link_path, sizeof link_path, "%s/outside/kept", base);
    assert_int_equal(unlink(link_path), 0);
    assert_int_equal(rmdir(outside), 0);
}

static void test_live_jobs_stay_dead_ones_go(void **state)
{
    (void)state;
    choir_job_folder *mine, *next;
    int told[2];
    assert_int_equal(choir_job_folder_create(&mine), CHOIR_OK);
    assert_int_equal(pipe(told), 0);
    const pid_t child = fork();
    if (child == 0) {
        /* Ends without cleaning up, like a process that was killed. */
        choir_job_folder *left;
        _exit(choir_job_folder_create(&left) == CHOIR_OK &&
                      write(told[1], left, sizeof *left) == sizeof *left
                  ? 0
                  : 1);
    }
    int end;
    assert_int_equal(waitpid(child, &end, 0), child);
    assert_int_equal(end, 0);
    choir_job_folder dead;
    assert_int_equal(read(told[0], &dead, sizeof dead), sizeof dead);
    close(told[0]);
    close(told[1]);
    assert_int_equal(access(dead.path, F_OK), 0);
    assert_int_equal(choir_job_folder_create(&next), CHOIR_OK);
    assert_gone(dead.path);
    assert_gone(dead.shared_path);
    assert_int_equal(access(mine->path, F_OK), 0);
    assert_int_equal(access(mine->shared_path, F_OK), 0);
    choir_job_folder_destroy(&next);
    choir_job_folder_destroy(&mine);
}

static void test_foreign_folders_are_refused(void **state)
{
    (void)state;
    char path[PATH_MAX];
    choir_job_folder *folder;
    snprintf(path, sizeof path, "%s/choir", base);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_not_equal(choir_job_folder_create(&folder), CHOIR_OK);
    assert_null(folder);
    assert_non_null(strstr(choir_error(), "0700"));
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(symlink("/tmp", path), 0);
    assert_int_not_equal(choir_job_folder_create(&folder), CHOIR_OK);
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_folders_are_private, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_destroy_removes_everything, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_links_are_not_followed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_live_jobs_stay_dead_ones_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_foreign_folders_are_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
