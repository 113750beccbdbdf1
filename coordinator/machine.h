/* SPDX-License-Identifier: Apache-2.0 */
/* What a launch has to know of this machine: its cores and its mpirun. */
#ifndef CHOIR_COORDINATOR_MACHINE_H
#define CHOIR_COORDINATOR_MACHINE_H

#include "common/status.h"

#include <stdbool.h>

typedef struct choir_machine {
    int n_cpus;    /* hardware threads that this process may run on, at least 1 */
    int n_cores;   /* cores among them, at least 1 */
    bool is_whole; /* they are all that the machine has, so MPI's binding sees the same ones */
    bool is_root;  /* effective user 0 */
    char mpi[64];  /* such as "Open MPI 4.1.4"; "unknown MPI" if its version is in no known form */
} choir_machine;

/*
 * Finds mpirun in PATH; free() releases the path. EUNAVAILABLE says what to install. A `launcher`
 * that is not NULL is a path that is only checked.
 */
choir_status choir_launcher_find(const char *launcher, char **path) CHOIR_MUST_CHECK;

/* EUNAVAILABLE if `launcher --version` cannot be run or fails. */
choir_status choir_machine_probe(const char *launcher, choir_machine *machine) CHOIR_MUST_CHECK;

/* The text between "(" and the line's end of `mpirun --version`, without the bracket. */
void choir_machine_parse_version(const char *text, char mpi[64]);

#endif
