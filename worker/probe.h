/* SPDX-License-Identifier: Apache-2.0 */
/* What the machine under a rank is and can do. All of it is Local. */
#ifndef CHOIR_WORKER_PROBE_H
#define CHOIR_WORKER_PROBE_H

#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

/* Bytes of memory that new work may take on this node (MemAvailable); 0 if unknown. */
int64_t choir_probe_memory_available(void);
/* Resident bytes of this process; 0 if unknown. */
int64_t choir_probe_memory_resident(void);
/* Bytes of a region that stand in huge pages now, and its neighbours' where they are one mapping.
 */
int64_t choir_probe_huge_bytes(const void *region, size_t bytes);
/* CPUs that this process may run on, and as text such as "0-3,8"; cut to fit. */
int choir_probe_cpus(char *text, size_t size);

/*
 * Bytes a second that n_threads threads read together from memory in a load-only loop, the best of
 * three passes over 96 MiB: more than the caches hold, little enough to take well under a second.
 * 0 where that memory is not to be had. All ranks of a node should measure at the same time, since
 * they share its memory.
 */
double choir_probe_read_bandwidth(int n_threads);

#endif
