/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/comm.h"

#include "common/clock.h"
#include "common/mem.h"

#include <assert.h>
#include <limits.h>
#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct choir_comm {
    MPI_Comm mpi;
    int rank, size;
};

static_assert(sizeof(MPI_Request) <= sizeof(uint64_t), "a request fits its opaque word");

static choir_status wrap(MPI_Comm mpi, choir_comm **result)
{
    choir_status status = choir_alloc(1, sizeof **result, (void **)result);
    if (status != CHOIR_OK)
        return status;
    (*result)->mpi = mpi;
    MPI_Comm_rank(mpi, &(*result)->rank);
    MPI_Comm_size(mpi, &(*result)->size);
    return CHOIR_OK;
}

/* MPI counts are ints; what we send is bounded far below that by the step's limits. */
static int count_of(size_t n)
{
    assert(n <= INT_MAX);
    return (int)n;
}

choir_status choir_comm_start(choir_comm **world)
{
    int provided = 0;
    *world = NULL;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
        return choir_fail(CHOIR_EENGINE, "MPI did not start");
    if (provided < MPI_THREAD_FUNNELED)
        return choir_fail(CHOIR_EENGINE, "this MPI library allows no threads in a rank");
    return wrap(MPI_COMM_WORLD, world);
}

void choir_comm_finish(void)
{
    MPI_Finalize();
}

void choir_comm_destroy(choir_comm **comm)
{
    if (*comm && (*comm)->mpi != MPI_COMM_WORLD)
        MPI_Comm_free(&(*comm)->mpi);
    free(*comm);
    *comm = NULL;
}

int choir_comm_rank(const choir_comm *comm)
{
    return comm->rank;
}

int choir_comm_size(const choir_comm *comm)
{
    return comm->size;
}

const char *choir_comm_library(void)
{
    static char words[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    MPI_Get_library_version(words, &length);
    words[strcspn(words, ",\n")] = '\0';
    return words;
}

choir_status choir_comm_split(const choir_comm *comm, int colour, int key, choir_comm **result)
{
    MPI_Comm part;
    *result = NULL;
    MPI_Comm_split(comm->mpi, colour < 0 ? MPI_UNDEFINED : colour, key, &part);
    return part == MPI_COMM_NULL ? CHOIR_OK : wrap(part, result);
}

choir_status choir_comm_split_node(const choir_comm *comm, choir_comm **result)
{
    MPI_Comm part;
    *result = NULL;
    MPI_Comm_split_type(comm->mpi, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &part);
    return wrap(part, result);
}

_Noreturn void choir_comm_abort(int exit_code)
{
    MPI_Abort(MPI_COMM_WORLD, exit_code);
    abort();
}

void choir_comm_barrier(const choir_comm *comm)
{
    MPI_Barrier(comm->mpi);
}

void choir_comm_broadcast(const choir_comm *comm, void *bytes, size_t n, int root)
{
    /* In pieces: a rotary table of a long context passes what an int counts. */
    const size_t piece = (size_t)1 << 30;
    for (size_t at = 0; at < n; at += piece)
        MPI_Bcast((char *)bytes + at, count_of(n - at < piece ? n - at : piece), MPI_BYTE, root,
                  comm->mpi);
}

int64_t choir_comm_min(const choir_comm *comm, int64_t value)
{
    int64_t least = value;
    MPI_Allreduce(&value, &least, 1, MPI_INT64_T, MPI_MIN, comm->mpi);
    return least;
}

void choir_comm_allgather(const choir_comm *comm, const void *mine, size_t n, void *all)
{
    MPI_Allgather(mine, count_of(n), MPI_BYTE, all, count_of(n), MPI_BYTE, comm->mpi);
}

choir_status choir_comm_agree(const choir_comm *comm, choir_status status)
{
    struct {
        int status;
        char words[1024];
    } verdict = {.status = (int)status};
    const int64_t failed = choir_comm_min(comm, status != CHOIR_OK ? comm->rank : INT_MAX);
    if (failed == INT_MAX)
        return CHOIR_OK;
    snprintf(verdict.words, sizeof verdict.words, "%s", choir_error());
    choir_comm_broadcast(comm, &verdict, sizeof verdict, (int)failed);
    return choir_fail((choir_status)verdict.status, "%s", verdict.words);
}

void choir_comm_allgatherv(const choir_comm *comm, const float *mine, float *all, const int *counts,
                           const int *offsets)
{
    MPI_Allgatherv(mine, counts[comm->rank], MPI_FLOAT, all, counts, offsets, MPI_FLOAT, comm->mpi);
}

void choir_comm_alltoallv(const choir_comm *comm, const float *mine, const int *send_counts,
                          const int *send_offsets, float *all, const int *receive_counts,
                          const int *receive_offsets)
{
    MPI_Alltoallv(mine, send_counts, send_offsets, MPI_FLOAT, all, receive_counts, receive_offsets,
                  MPI_FLOAT, comm->mpi);
}

void choir_comm_send_begin(const choir_comm *comm, const void *bytes, size_t n, int to,
                           choir_comm_tag tag, choir_comm_request *request)
{
    MPI_Request mpi;
    assert(!request->is_active);
    MPI_Isend(bytes, count_of(n), MPI_BYTE, to, (int)tag, comm->mpi, &mpi);
    memcpy(&request->opaque, &mpi, sizeof mpi);
    request->is_active = true;
}

void choir_comm_wait(choir_comm_request *request)
{
    MPI_Request mpi;
    if (!request->is_active)
        return;
    memcpy(&mpi, &request->opaque, sizeof mpi);
    MPI_Wait(&mpi, MPI_STATUS_IGNORE);
    request->is_active = false;
}

bool choir_comm_is_sent(choir_comm_request *request)
{
    MPI_Request mpi;
    int is_done = 1;
    if (!request->is_active)
        return true;
    memcpy(&mpi, &request->opaque, sizeof mpi);
    MPI_Test(&mpi, &is_done, MPI_STATUS_IGNORE);
    request->is_active = !is_done;
    return is_done;
}

void choir_comm_send(const choir_comm *comm, const void *bytes, size_t n, int to,
                     choir_comm_tag tag)
{
    MPI_Send(bytes, count_of(n), MPI_BYTE, to, (int)tag, comm->mpi);
}

void choir_comm_receive(const choir_comm *comm, void *bytes, size_t n, int from, choir_comm_tag tag)
{
    MPI_Status status;
    int got = 0;
    MPI_Recv(bytes, count_of(n), MPI_BYTE, from, (int)tag, comm->mpi, &status);
    MPI_Get_count(&status, MPI_BYTE, &got);
    assert((size_t)got == n);
}

void choir_comm_await(const choir_comm *comm, int from, choir_comm_tag tag)
{
    MPI_Probe(from, (int)tag, comm->mpi, MPI_STATUS_IGNORE);
}

int choir_comm_receive_any(const choir_comm *comm, void *bytes, size_t n, choir_comm_tag tag,
                           bool is_waiting)
{
    MPI_Status status;
    int is_there = 1;
    if (is_waiting)
        MPI_Probe(MPI_ANY_SOURCE, (int)tag, comm->mpi, &status);
    else
        MPI_Iprobe(MPI_ANY_SOURCE, (int)tag, comm->mpi, &is_there, &status);
    if (!is_there)
        return -1;
    choir_comm_receive(comm, bytes, n, status.MPI_SOURCE, tag);
    return status.MPI_SOURCE;
}

size_t choir_comm_receive_parked(const choir_comm *comm, void *bytes, size_t limit, int from,
                                 choir_comm_tag tag)
{
    enum { POLL_US = 2000, LONGEST_SLEEP_US = 1000 };
    const int64_t start = choir_clock_us();
    int64_t sleep_us = 20;
    MPI_Status status;
    int arrived = 0, got = 0;
    for (;;) {
        MPI_Iprobe(from, (int)tag, comm->mpi, &arrived, &status);
        if (arrived)
            break;
        if (choir_clock_us() - start < POLL_US) {
            sched_yield();
            continue;
        }
        choir_clock_sleep_us(sleep_us);
        sleep_us = sleep_us * 2 < LONGEST_SLEEP_US ? sleep_us * 2 : LONGEST_SLEEP_US;
    }
    MPI_Get_count(&status, MPI_BYTE, &got);
    assert((size_t)got <= limit);
    MPI_Recv(bytes, got, MPI_BYTE, from, (int)tag, comm->mpi, MPI_STATUS_IGNORE);
    return (size_t)got;
}
