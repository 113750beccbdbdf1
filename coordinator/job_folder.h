/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A place of its own for each running MPI job: a folder in the user's runtime folder (sockets, what
 * mpirun keeps in a file) and one in /dev/shm (the transport's segments). The process that made
 * them holds a lock in each, which tells them from those of a process that was killed: these are
 * removed when the next job starts.
 */
#ifndef CHOIR_COORDINATOR_JOB_FOLDER_H
#define CHOIR_COORDINATOR_JOB_FOLDER_H

#include "common/status.h"

enum { CHOIR_JOB_PATH_BYTES = 96 }; /* leaves room for the name of a socket (108 in all) */

typedef struct choir_job_folder {
    char path[CHOIR_JOB_PATH_BYTES];        /* 0700, in the runtime folder */
    char shared_path[CHOIR_JOB_PATH_BYTES]; /* 0700, in /dev/shm */
    int lock, shared_lock;                  /* descriptors */
} choir_job_folder;

/* Makes both folders, after removing those of dead processes. */
choir_status choir_job_folder_create(choir_job_folder **folder) CHOIR_MUST_CHECK;
/*
 * Removes both with all that is in them, and the runtime folder if that leaves it empty. Accepts
 * NULL, nulls the pointer.
 */
void choir_job_folder_destroy(choir_job_folder **folder);

#endif
