/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All processes of a job. The job's first process leads a session, and the session is what its
 * descendants keep: mpirun gives each rank a process group of its own. Linux only (/proc).
 */
#ifndef CHOIR_COORDINATOR_SESSION_H
#define CHOIR_COORDINATOR_SESSION_H

#include <sys/types.h>

/*
 * Sends the signal to each living process of the session but `except` (0: to all); returns how many
 * there are. A signal of 0 only counts.
 */
int choir_session_signal(pid_t session, pid_t except, int signal);

/*
 * Kills what is left of a session and reaps those that are our children (all of them are, once this
 * process has called choir_session_adopt_orphans() and their parents are gone). Returns when
 * nothing is left, at the latest after timeout_ms; the number that then still lives.
 */
int choir_session_end(pid_t session, int timeout_ms);

/* From now on orphaned descendants become children of this process, not of init. */
void choir_session_adopt_orphans(void);

#endif
