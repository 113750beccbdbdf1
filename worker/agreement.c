/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/agreement.h"

#include "common/hash.h"
#include "common/mem.h"

#include <stdlib.h>
#include <string.h>

enum { N_SETTINGS = 11 };

static const char *const names[N_SETTINGS] = {
    "-tp",
    "-pp",
    "--tensor-split",
    "--layer-split",
    "--activations",
    "--cache-type-k",
    "--cache-type-v",
    "--max-model-len",
    "--max-num-seqs",
    "--max-num-batched-tokens",
    "--verify",
};

/* What one rank has; every rank sees the claims of all. */
typedef struct claim {
    uint8_t identity[CHOIR_SHA256_BYTES];
    int64_t settings[N_SETTINGS]; /* in the order of names */
} claim;

/* A number for a list of shares: 0 for none. */
static int64_t digest_of(const double *shares, int n)
{
    uint8_t digest[CHOIR_SHA256_BYTES];
    int64_t value;
    choir_sha256 hash;
    if (n == 0)
        return 0;
    choir_sha256_init(&hash);
    choir_sha256_update(&hash, shares, (size_t)n * sizeof *shares);
    choir_sha256_final(&hash, digest);
    memcpy(&value, digest, sizeof value);
    return value;
}

static claim make_claim(const choir_model *model, const choir_worker_options *o)
{
    claim made = {
        .settings =
            {
                o->layout.n_shards,
                o->layout.n_stages,
                digest_of(o->layout.tensor_split, o->layout.n_tensor_split),
                digest_of(o->layout.layer_split, o->layout.n_layer_split),
                o->activations,
                o->key_type,
                o->value_type,
                o->max_model_len,
                o->max_num_seqs,
                o->max_num_batched_tokens,
                o->is_verified,
            },
    };
    /* Of all bytes of the file where they are read anyway. */
    if (o->is_verified)
        choir_model_hash(model, made.identity);
    else
        choir_model_identity(model, made.identity);
    return made;
}

/* Whether rank r says the same as rank 0. */
static choir_status compare(const claim *first, const claim *other, int r)
{
    char mine[CHOIR_SHA256_HEX], its[CHOIR_SHA256_HEX];
    for (int i = 0; i < N_SETTINGS; i++)
        if (first->settings[i] != other->settings[i])
            return choir_fail(CHOIR_EUSAGE,
                              "%s: rank 0 and rank %d were given different values; only --threads "
                              "and --level may differ between ranks",
                              names[i], r);
    if (memcmp(first->identity, other->identity, sizeof first->identity) == 0)
        return CHOIR_OK;
    choir_sha256_hex(first->identity, mine);
    choir_sha256_hex(other->identity, its);
    return choir_fail(CHOIR_EFORMAT,
                      "ranks see different model files: rank 0 has %.16s, rank %d has %.16s", mine,
                      r, its);
}

choir_status choir_agreement_check(const choir_comm *comm, const choir_model *model,
                                   const choir_worker_options *options)
{
    const int n = choir_comm_size(comm);
    const claim mine = make_claim(model, options);
    claim *all = NULL;
    choir_status status = choir_alloc((size_t)n, sizeof *all, (void **)&all);
    status = choir_comm_agree(comm, status);
    if (status == CHOIR_OK)
        choir_comm_allgather(comm, &mine, sizeof mine, all);
    for (int r = 1; status == CHOIR_OK && r < n; r++)
        status = compare(&all[0], &all[r], r);
    free(all);
    return status;
}
