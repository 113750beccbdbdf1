/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line that starts the ranks: a pure function of what is wanted and of the machine.
 * What each MPI wants for root, binding, oversubscription and shared memory stands in one table in
 * launch.c.
 */
#ifndef CHOIR_COORDINATOR_LAUNCH_H
#define CHOIR_COORDINATOR_LAUNCH_H

#include "common/status.h"
#include "coordinator/machine.h"

typedef struct choir_launch_wish {
    const char *launcher;                /* path of mpirun, choir_launcher_find() */
    const char *worker;                  /* path of choir-worker */
    const char *const *worker_arguments; /* NULL-terminated */
    int n_ranks;                         /* > 0 */
    int n_threads;                       /* of a rank, > 0 */
    const char *folder;                  /* for the files of mpirun; choir_job_folder */
    const char *shared_folder;           /* for the segments of the transport */
} choir_launch_wish;

typedef struct choir_launch {
    char **argv;       /* NULL-terminated; argv[0] is the launcher */
    char **variables;  /* "NAME=VALUE", NULL-terminated: to be added to the environment */
    char summary[256]; /* one line: how ranks are bound and why */
} choir_launch;

/* Fails only with ENOMEM. The strings are copies; destroy accepts NULL and nulls the pointer. */
choir_status choir_launch_create(const choir_launch_wish *wish, const choir_machine *machine,
                                 choir_launch **launch) CHOIR_MUST_CHECK;
void choir_launch_destroy(choir_launch **launch);

#endif
