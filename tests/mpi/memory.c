/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What loading weights costs in resident memory: each rank prints the bytes of its slice in the
 * file, packed, of what it holds more than before after loading and at the worst moment of it.
 *
 *     mpirun -np N mpi_memory MODEL SHARDS THREADS
 */
#include "common/log.h"
#include "model/footprint.h"
#include "worker/comm.h"
#include "worker/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A line of /proc/self/status in bytes, such as "VmHWM:". */
static long long status_bytes(const char *key)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    long long kib = -1;
    while (file && kib < 0 && fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0)
            sscanf(line + strlen(key), "%lld kB", &kib);
    if (file)
        fclose(file);
    return kib * 1024;
}

/* From now on VmHWM is the most since now. */
static choir_status reset_peak(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "we");
    if (!file || fputs("5", file) < 0 || fclose(file) != 0)
        return choir_fail(CHOIR_EIO, "/proc/self/clear_refs cannot be written");
    return CHOIR_OK;
}

static choir_status load(const choir_model *model, const choir_layout *layout, int rank,
                         int n_threads)
{
    choir_footprint footprint;
    choir_weights *weights = NULL;
    choir_status status =
        choir_footprint_of(model, layout, rank, &(choir_footprint_options){0}, &footprint);
    if (status == CHOIR_OK)
        status = reset_peak();
    const long long before = status_bytes("VmRSS:");
    if (status == CHOIR_OK)
        status = choir_weights_load(model, &layout->slices[rank], CHOIR_ACTIVATIONS_Q8, n_threads,
                                    &weights);
    if (status == CHOIR_OK)
        printf("rank %d file %llu packed %llu after %lld peak %lld huge %llu\n", rank,
               (unsigned long long)footprint.file_bytes, (unsigned long long)weights->bytes,
               status_bytes("VmRSS:") - before, status_bytes("VmHWM:") - before,
               (unsigned long long)choir_weights_huge_bytes(weights));
    choir_weights_destroy(&weights);
    return status;
}

int main(int argc, char **argv)
{
    choir_comm *world;
    choir_model *model = NULL;
    choir_layout *layout = NULL;
    choir_status status = choir_comm_start(&world);
    if (argc != 4 || status != CHOIR_OK)
        return CHOIR_EUSAGE;
    const choir_layout_options options = {.n_ranks = choir_comm_size(world),
                                          .n_shards = atoi(argv[2])};
    status = choir_model_open(argv[1], &model);
    if (status == CHOIR_OK)
        status = choir_layout_create(choir_model_hparams(model), &options, &layout);
    if (status == CHOIR_OK)
        status = load(model, layout, choir_comm_rank(world), atoi(argv[3]));
    if (status != CHOIR_OK)
        choir_log(CHOIR_LOG_ERROR, "%s", choir_error());
    choir_layout_destroy(&layout);
    choir_model_destroy(&model);
    choir_comm_destroy(&world);
    choir_comm_finish();
    return (int)status;
}
