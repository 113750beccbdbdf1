/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/launch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const worker_arguments[] = {"--model", "a file.gguf", NULL};

static choir_launch *launch_for(int n_ranks, int n_threads, choir_machine machine)
{
    const choir_launch_wish wish = {
        .launcher = "/usr/bin/mpirun",
        .worker = "/opt/my choir/choir-worker",
        .worker_arguments = worker_arguments,
        .n_ranks = n_ranks,
        .n_threads = n_threads,
        .folder = "/run/choir/job-1",
        .shared_folder = "/dev/shm/choir-1",
    };
    choir_launch *launch;
    assert_int_equal(choir_launch_create(&wish, &machine, &launch), CHOIR_OK);
    return launch;
}

static choir_machine eight_cores(void)
{
    return (choir_machine){.n_cpus = 16, .n_cores = 8, .is_whole = true, .mpi = "Open MPI 4.1.4"};
}

/* Where `words` (NULL-terminated) stand in a row in argv; -1 if they do not. */
static int find(char *const *argv, const char *const *words)
{
    for (int at = 0; argv[at]; at++) {
        int n = 0;
        while (words[n] && argv[at + n] && strcmp(words[n], argv[at + n]) == 0)
            n++;
        if (!words[n])
            return at;
    }
    return -1;
}

#define HAS(argv, ...) (find(argv, (const char *const[]){__VA_ARGS__, NULL}) >= 0)

static void test_command_line(void **state)
{
    (void)state;
    choir_launch *launch = launch_for(3, 1, eight_cores());
    char **argv = launch->argv;
    assert_string_equal(argv[0], "/usr/bin/mpirun");
    assert_true(HAS(argv, "-np", "3"));
    assert_true(HAS(argv, "--mca", "odls_base_sigkill_timeout", "0"));
    assert_true(HAS(argv, "--mca", "btl", "self,vader"));
    assert_true(HAS(argv, "--mca", "btl_vader_single_copy_mechanism", "none"));
    assert_true(HAS(argv, "--mca", "btl_vader_eager_limit", "66000"));
    assert_true(HAS(argv, "--mca", "orte_tmpdir_base", "/run/choir/job-1"));
    assert_true(HAS(argv, "--mca", "btl_vader_backing_directory", "/dev/shm/choir-1"));
    assert_true(HAS(argv, "-x", "OMP_NUM_THREADS=1"));
    /* The worker's own words come last and whole, spaces and all. */
    const char *const end[] = {"/opt/my choir/choir-worker", "--model", "a file.gguf", NULL};
    const int at = find(argv, end);
    assert_true(at > 0);
    assert_null(argv[at + 3]);
    choir_launch_destroy(&launch);
    assert_null(launch);
    choir_launch_destroy(&launch);
}

/* Ranks are bound if and only if they need more than half of the cores and fit on them. */
static void test_binding(void **state)
{
    (void)state;
    const struct {
        int n_ranks, n_threads;
        bool is_bound;
    } cases[] = {
        {1, 1, false}, {4, 1, false}, {5, 1, true},   {1, 8, true},  {2, 4, true},
        {3, 3, false}, {2, 8, false}, {17, 1, false}, {2, 9, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        choir_launch *launch = launch_for(cases[i].n_ranks, cases[i].n_threads, eight_cores());
        char **argv = launch->argv;
        assert_int_equal(HAS(argv, "--bind-to", "core"), cases[i].is_bound);
        assert_int_equal(HAS(argv, "--oversubscribe", "--bind-to", "none"), !cases[i].is_bound);
        assert_true(HAS(argv, "--mca", "mpi_yield_when_idle", "1"));
        choir_launch_destroy(&launch);
    }
    choir_launch *launch = launch_for(2, 4, eight_cores());
    assert_true(HAS(launch->argv, "--map-by", "slot:PE=4"));
    choir_launch_destroy(&launch);
}

/* MPI counts cores that a part of the machine (taskset, cgroup) may not have: no binding there. */
static void test_part_of_a_machine_is_not_bound(void **state)
{
    (void)state;
    choir_machine machine = eight_cores();
    machine.is_whole = false;
    choir_launch *launch = launch_for(2, 4, machine);
    assert_false(HAS(launch->argv, "--bind-to", "core"));
    choir_launch_destroy(&launch);
}

static void test_root_is_allowed_only_for_root(void **state)
{
    (void)state;
    choir_machine machine = eight_cores();
    choir_launch *launch = launch_for(1, 1, machine);
    assert_false(HAS(launch->variables, "OMPI_ALLOW_RUN_AS_ROOT=1"));
    assert_null(strstr(launch->summary, "root"));
    choir_launch_destroy(&launch);
    machine.is_root = true;
    launch = launch_for(1, 1, machine);
    assert_true(HAS(launch->variables, "OMPI_ALLOW_RUN_AS_ROOT=1"));
    assert_true(HAS(launch->variables, "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"));
    assert_non_null(strstr(launch->summary, "as root"));
    choir_launch_destroy(&launch);
}

static void test_summary(void **state)
{
    (void)state;
    choir_launch *launch = launch_for(2, 1, eight_cores());
    assert_string_equal(launch->summary,
                        "Open MPI 4.1.4, 2 ranks x 1 thread on 8 cores; not bound");
    const char *const told[] = {
        "CHOIR_LAUNCH=Open MPI 4.1.4, 2 ranks x 1 thread on 8 cores; not bound", NULL};
    assert_true(find(launch->variables, told) >= 0);
    choir_launch_destroy(&launch);
}

static void test_another_mpi_gets_only_what_all_know(void **state)
{
    (void)state;
    choir_machine machine = eight_cores();
    strcpy(machine.mpi, "unknown MPI");
    machine.is_root = true;
    choir_launch *launch = launch_for(2, 4, machine);
    const char *const all[] = {"/usr/bin/mpirun", "-np",         "2", "/opt/my choir/choir-worker",
                               "--model",         "a file.gguf", NULL};
    assert_int_equal(find(launch->argv, all), 0);
    assert_null(launch->argv[6]);
    choir_launch_destroy(&launch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_command_line),
        cmocka_unit_test(test_binding),
        cmocka_unit_test(test_part_of_a_machine_is_not_bound),
        cmocka_unit_test(test_root_is_allowed_only_for_root),
        cmocka_unit_test(test_summary),
        cmocka_unit_test(test_another_mpi_gets_only_what_all_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
