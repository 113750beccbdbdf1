/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/machine.h"

#include "common/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { PATH_CAP = 4096, VERSION_CAP = 1024 };

choir_status choir_launcher_find(const char *launcher, char **path)
{
    *path = NULL;
    if (launcher) {
        if (access(launcher, X_OK) != 0)
            return choir_fail(CHOIR_EUNAVAILABLE, "%s: %s", launcher, strerror(errno));
        return choir_copy_string(launcher, strlen(launcher), path);
    }
    const char *rest = getenv("PATH");
    while (rest && *rest) {
        const size_t length = strcspn(rest, ":");
        char candidate[PATH_CAP];
        if (length > 0 && length < sizeof candidate - sizeof "/mpirun") {
            snprintf(candidate, sizeof candidate, "%.*s/mpirun", (int)length, rest);
            if (access(candidate, X_OK) == 0)
                return choir_copy_string(candidate, strlen(candidate), path);
        }
        rest += length + (rest[length] == ':');
    }
    return choir_fail(
        CHOIR_EUNAVAILABLE,
        "mpirun is not in PATH: install Open MPI (Debian: apt-get install openmpi-bin) "
        "or load its module");
}

/* The number of the first hardware thread of cpu's core; cpu itself where the system does not say.
 */
static int first_sibling(int cpu)
{
    char path[128];
    int first = cpu;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    FILE *file = fopen(path, "re");
    if (file) {
        if (fscanf(file, "%d", &first) != 1 || first < 0 || first >= CPU_SETSIZE)
            first = cpu;
        fclose(file);
    }
    return first;
}

static void count_cores(choir_machine *machine)
{
    cpu_set_t allowed, cores;
    CPU_ZERO(&allowed);
    CPU_ZERO(&cores);
    /* It fails on machines with more than CPU_SETSIZE (1,024) hardware threads: then all count. */
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        for (long cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN) && cpu < CPU_SETSIZE; cpu++)
            CPU_SET((size_t)cpu, &allowed);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET((size_t)cpu, &allowed))
            CPU_SET((size_t)first_sibling(cpu), &cores);
    machine->n_cpus = CPU_COUNT(&allowed);
    machine->n_cores = CPU_COUNT(&cores);
    machine->is_whole = machine->n_cpus == sysconf(_SC_NPROCESSORS_ONLN);
}

void choir_machine_parse_version(const char *text, char mpi[64])
{
    const size_t line = strcspn(text, "\r\n");
    const char *bracket = memchr(text, '(', line);
    const char *closing = bracket ? memchr(bracket, ')', line - (size_t)(bracket - text)) : NULL;
    if (!closing)
        snprintf(mpi, 64, "unknown MPI");
    else
        snprintf(mpi, 64, "%.*s%.*s", (int)(closing - bracket - 1), bracket + 1,
                 (int)(line - (size_t)(closing + 1 - text)), closing + 1);
}

/* Reads to the end of the pipe; keeps the first bytes. */
static void read_all(int from, char text[VERSION_CAP])
{
    char rest[512];
    size_t used = 0;
    ssize_t n;
    while ((n = read(from, rest, sizeof rest)) > 0 || (n < 0 && errno == EINTR)) {
        const size_t fits = n < 0                                ? 0
                            : (size_t)n < VERSION_CAP - 1 - used ? (size_t)n
                                                                 : VERSION_CAP - 1 - used;
        memcpy(text + used, rest, fits);
        used += fits;
    }
    text[used] = '\0';
}

static choir_status ask_version(const char *launcher, char text[VERSION_CAP])
{
    char *const argv[] = {(char *)launcher, "--version", NULL};
    posix_spawn_file_actions_t actions;
    int ends[2], code = 0;
    pid_t child;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return choir_fail(CHOIR_ENOMEM, "cannot make a pipe: %s", strerror(errno));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    const int error = posix_spawn(&child, launcher, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    if (error == 0)
        read_all(ends[0], text);
    close(ends[0]);
    if (error != 0)
        return choir_fail(CHOIR_EUNAVAILABLE, "%s: cannot be run: %s", launcher, strerror(error));
    while (waitpid(child, &code, 0) < 0 && errno == EINTR)
        ;
    if (code != 0)
        return choir_fail(CHOIR_EUNAVAILABLE, "%s --version failed: is MPI installed completely?",
                          launcher);
    return CHOIR_OK;
}

choir_status choir_machine_probe(const char *launcher, choir_machine *machine)
{
    char text[VERSION_CAP];
    *machine = (choir_machine){.is_root = geteuid() == 0};
    count_cores(machine);
    choir_status status = ask_version(launcher, text);
    if (status == CHOIR_OK)
        choir_machine_parse_version(text, machine->mpi);
    return status;
}
