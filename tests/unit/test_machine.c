/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void test_versions(void **state)
{
    (void)state;
    char mpi[64];
    choir_machine_parse_version("mpirun (Open MPI) 4.1.4\n\nReport bugs to …", mpi);
    assert_string_equal(mpi, "Open MPI 4.1.4");
    choir_machine_parse_version("HYDRA build details:\n (x) y\n", mpi);
    assert_string_equal(mpi, "unknown MPI");
    choir_machine_parse_version("(\n)", mpi);
    assert_string_equal(mpi, "unknown MPI");
    choir_machine_parse_version("", mpi);
    assert_string_equal(mpi, "unknown MPI");
    char longest[400] = "(";
    memset(longest + 1, 'x', 300);
    strcpy(longest + 301, ")");
    choir_machine_parse_version(longest, mpi);
    assert_int_equal(strlen(mpi), 63);
}

static void test_probe_counts_cores(void **state)
{
    (void)state;
    choir_machine machine;
    /* Any program with a version will do as a launcher here: "true (GNU coreutils) 9.1". */
    assert_int_equal(choir_machine_probe("/bin/true", &machine), CHOIR_OK);
    assert_int_equal(strncmp(machine.mpi, "GNU coreutils ", 14), 0);
    assert_in_range(machine.n_cpus, 1, 1024);
    assert_in_range(machine.n_cores, 1, machine.n_cpus);
    assert_int_equal(machine.is_root, geteuid() == 0);
}

static void test_a_broken_launcher_is_told(void **state)
{
    (void)state;
    choir_machine machine;
    char *path;
    assert_int_equal(choir_machine_probe("/bin/false", &machine), CHOIR_EUNAVAILABLE);
    assert_int_equal(choir_machine_probe("/nowhere/mpirun", &machine), CHOIR_EUNAVAILABLE);
    assert_int_equal(choir_launcher_find("/nowhere/mpirun", &path), CHOIR_EUNAVAILABLE);
    assert_null(path);
}

static void test_search_in_path(void **state)
{
    (void)state;
    char folder[] = "/tmp/choir-test-XXXXXX", link_path[64], search[128];
    char *path;
    assert_non_null(mkdtemp(folder));
    snprintf(link_path, sizeof link_path, "%s/mpirun", folder);
    snprintf(search, sizeof search, "/nowhere::%s:/elsewhere", folder);
    char *before = strdup(getenv("PATH"));
    assert_int_equal(setenv("PATH", search, 1), 0);
    assert_int_equal(choir_launcher_find(NULL, &path), CHOIR_EUNAVAILABLE);
    assert_non_null(strstr(choir_error(), "install"));
    assert_int_equal(symlink("/bin/true", link_path), 0);
    assert_int_equal(choir_launcher_find(NULL, &path), CHOIR_OK);
    assert_string_equal(path, link_path);
    assert_int_equal(setenv("PATH", before, 1), 0);
    free(path);
    free(before);
    unlink(link_path);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_probe_counts_cores),
        cmocka_unit_test(test_a_broken_launcher_is_told),
        cmocka_unit_test(test_search_in_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
