/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/telemetry_post.h"

#include "common/clock.h"
#include "common/mem.h"
#include "worker/probe.h"

#include <assert.h>
#include <stdlib.h>

struct choir_telemetry_post {
    const choir_comm *comm;
    choir_rank_figures mine; /* the send's, until it is over */
    choir_comm_request send;
    choir_rank_figures *latest; /* [size], on the lead */
};

choir_status choir_telemetry_post_create(const choir_comm *comm, choir_telemetry_post **result)
{
    choir_telemetry_post *post = NULL;
    choir_status status = choir_alloc(1, sizeof *post, (void **)&post);
    if (status == CHOIR_OK) {
        post->comm = comm;
        if (choir_comm_rank(comm) == 0)
            status = choir_alloc((size_t)choir_comm_size(comm), sizeof *post->latest,
                                 (void **)&post->latest);
    }
    if (status != CHOIR_OK)
        choir_telemetry_post_destroy(&post);
    *result = post;
    return status;
}

void choir_telemetry_post_destroy(choir_telemetry_post **post)
{
    if (!*post)
        return;
    assert(!(*post)->send.is_active);
    free((*post)->latest);
    free(*post);
    *post = NULL;
}

/* Messages of ranks that have left are no news. */
static bool take_one(choir_telemetry_post *post, bool is_waiting, bool *is_last)
{
    choir_rank_figures figures;
    const int rank = choir_comm_receive_any(post->comm, &figures, sizeof figures,
                                            CHOIR_COMM_TELEMETRY, is_waiting);
    *is_last = rank >= 0 && figures.is_last;
    if (rank >= 0 && !*is_last)
        post->latest[rank] = figures;
    return rank >= 0;
}

void choir_telemetry_post_step(choir_telemetry_post *post, choir_telemetry *telemetry)
{
    const int64_t now_ns = telemetry->last_ns; /* the end of the step */
    const bool is_lead = post->latest;
    if (!choir_telemetry_is_due(telemetry, now_ns) || !choir_comm_is_sent(&post->send))
        return;
    choir_telemetry_take(telemetry, now_ns, &post->mine);
    post->mine.rss = choir_probe_memory_resident();
    post->mine.memory_free = choir_probe_memory_available();
    if (is_lead)
        post->latest[0] = post->mine;
    else
        choir_comm_send_begin(post->comm, &post->mine, sizeof post->mine, 0, CHOIR_COMM_TELEMETRY,
                              &post->send);
    if (is_lead) /* so that they do not pile up while nobody asks */
        (void)choir_telemetry_post_latest(post);
}

const choir_rank_figures *choir_telemetry_post_latest(choir_telemetry_post *post)
{
    bool is_last = false;
    while (take_one(post, false, &is_last))
        assert(!is_last); /* nobody leaves while the lead still asks */
    return post->latest;
}

void choir_telemetry_post_end(choir_telemetry_post *post)
{
    if (!post->latest) {
        choir_comm_wait(&post->send);
        post->mine = (choir_rank_figures){.is_last = true};
        choir_comm_send(post->comm, &post->mine, sizeof post->mine, 0, CHOIR_COMM_TELEMETRY);
        return;
    }
    for (int n_open = choir_comm_size(post->comm) - 1; n_open > 0;) {
        bool is_last;
        (void)take_one(post, true, &is_last);
        n_open -= is_last;
    }
}
