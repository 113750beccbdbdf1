/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user's runtime folder (sockets, connection files): $XDG_RUNTIME_DIR/choir, else
 * /tmp/choir-UID; mode 0700, ours, no symbolic link. Each running job has a folder of its own in it
 * and a second one in /dev/shm; a lock held by the job's process tells live folders from those of a
 * process that was killed.
 */
#ifndef CHOIR_COMMON_RUNTIME_H
#define CHOIR_COMMON_RUNTIME_H

#include "common/status.h"

/* The folder, made if missing; free() releases the path. EIO if it is not only ours. */
choir_status choir_runtime_folder(char **path) CHOIR_MUST_CHECK;
/* Where a service writes its connection file and clients look for one unless told: .../choir.json.
 */
choir_status choir_runtime_connection_file(char **path) CHOIR_MUST_CHECK;

typedef struct choir_runtime_job {
    char *folder;        /* 0700, in the runtime folder; short enough for ipc:// names in it */
    char *shared_folder; /* 0700, in /dev/shm */
    int lock;            /* descriptor */
} choir_runtime_job;

/* Makes both folders, after removing those of dead processes. */
choir_status choir_runtime_job_create(choir_runtime_job **job) CHOIR_MUST_CHECK;
/*
 * Removes both with all that is in them, and the runtime folder if that leaves it empty. Accepts
 * NULL, nulls the pointer.
 */
void choir_runtime_job_destroy(choir_runtime_job **job);

#endif
