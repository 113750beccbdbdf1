/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A piece is a doubly linked list of tokens, and a binary heap holds the merges that are possible
 * now, as rank << 32 | position of the left token: the smallest number is the lowest rank and,
 * among equals, the leftmost. Taking a merge shortens the list and puts the (at most two) new
 * neighbours into the heap. Nothing is ever searched in the heap: an entry whose tokens have
 * meanwhile merged with others is noticed when it comes up, since its tokens no longer are those of
 * its rank.
 *
 * n tokens give n - 1 entries at first and each merge takes one and adds at most two, so there are
 * never more than 2n, and all of it costs O(n log n).
 */
#include "model/bpe.h"

#include "common/hash.h"
#include "common/mem.h"

#include <stdbool.h>
#include <stdlib.h>

#define NO_RANK UINT32_MAX
#define NO_NODE UINT32_MAX

typedef struct pair_slot {
    int32_t left, right;
    uint32_t rank; /* NO_RANK: free */
} pair_slot;

struct choir_bpe {
    choir_bpe_merge *merges; /* by rank */
    pair_slot *slots;        /* open addressing, linear probing, at most half full */
    size_t mask;             /* slots - 1, a power of two less one */
    choir_hash_key key;      /* random, so that no file can crowd the table */
};

typedef struct bpe_node {
    int32_t id; /* -1 also once it went into its left neighbour */
    uint32_t previous, next;
} bpe_node;

/* The slot of the pair, or the free one where it belongs. */
static pair_slot *find_slot(const choir_bpe *bpe, int32_t left, int32_t right)
{
    const int32_t pair[] = {left, right};
    for (size_t i = choir_hash_keyed(&bpe->key, pair, sizeof pair);; i++) {
        pair_slot *slot = &bpe->slots[i & bpe->mask];
        if (slot->rank == NO_RANK || (slot->left == left && slot->right == right))
            return slot;
    }
}

static uint32_t rank_of(const choir_bpe *bpe, int32_t left, int32_t right)
{
    return find_slot(bpe, left, right)->rank;
}

static choir_status fill_table(choir_bpe *bpe, size_t n_merges)
{
    size_t n_slots = 16;
    while (n_slots < 2 * n_merges)
        n_slots *= 2;
    choir_status status = choir_alloc(n_slots, sizeof *bpe->slots, (void **)&bpe->slots);
    if (status != CHOIR_OK)
        return status;
    bpe->mask = n_slots - 1;
    choir_hash_key_make(&bpe->key);
    for (size_t i = 0; i < n_slots; i++)
        bpe->slots[i].rank = NO_RANK;
    for (size_t rank = 0; rank < n_merges; rank++) {
        const choir_bpe_merge *merge = &bpe->merges[rank];
        pair_slot *slot = find_slot(bpe, merge->left, merge->right);
        if (slot->rank == NO_RANK)
            *slot = (pair_slot){merge->left, merge->right, (uint32_t)rank};
    }
    return CHOIR_OK;
}

choir_status choir_bpe_create(choir_bpe_merge **merges, size_t n_merges, choir_bpe **result)
{
    choir_bpe_merge *taken = *merges;
    *merges = NULL;
    *result = NULL;
    if (n_merges > INT32_MAX) {
        free(taken);
        return choir_fail(CHOIR_EFORMAT, "tokenizer.ggml.merges: %zu merges", n_merges);
    }
    choir_bpe *bpe = NULL;
    choir_status status = choir_alloc(1, sizeof *bpe, (void **)&bpe);
    if (status != CHOIR_OK) {
        free(taken);
        return status;
    }
    bpe->merges = taken;
    status = fill_table(bpe, n_merges);
    if (status != CHOIR_OK)
        choir_bpe_destroy(&bpe);
    *result = bpe;
    return status;
}

void choir_bpe_destroy(choir_bpe **bpe)
{
    if (*bpe) {
        free((*bpe)->merges);
        free((*bpe)->slots);
    }
    free(*bpe);
    *bpe = NULL;
}

/* Lets heap[at] sink among heap[0..n) until no child is smaller. */
static void sift_down(choir_bpe_scratch *scratch, size_t at, size_t n)
{
    uint64_t *heap = scratch->heap;
    const uint64_t entry = heap[at];
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= entry)
            break;
        heap[at] = heap[child];
        scratch->steps++;
    }
    heap[at] = entry;
}

static void push(choir_bpe_scratch *scratch, size_t *n, uint64_t entry)
{
    uint64_t *heap = scratch->heap;
    size_t at = (*n)++;
    for (; at > 0 && heap[(at - 1) / 2] > entry; at = (at - 1) / 2) {
        heap[at] = heap[(at - 1) / 2];
        scratch->steps++;
    }
    heap[at] = entry;
}

static uint64_t pop(choir_bpe_scratch *scratch, size_t *n)
{
    const uint64_t top = scratch->heap[0];
    scratch->heap[0] = scratch->heap[--*n];
    if (*n > 0)
        sift_down(scratch, 0, *n);
    return top;
}

/* The heap entry of node `left` and the one behind it; false if they do not merge. */
static bool entry_of(const choir_bpe *bpe, const bpe_node *nodes, uint32_t left, uint64_t *entry)
{
    if (left == NO_NODE || nodes[left].next == NO_NODE)
        return false;
    const uint32_t rank = rank_of(bpe, nodes[left].id, nodes[nodes[left].next].id);
    *entry = (uint64_t)rank << 32 | left;
    return rank != NO_RANK;
}

/* Makes the list of ids[0..n) and the heap of the merges that are possible in it. */
static size_t start(const choir_bpe *bpe, choir_bpe_scratch *scratch, const int32_t *ids,
                    uint32_t n)
{
    bpe_node *nodes = scratch->nodes;
    for (uint32_t i = 0; i < n; i++)
        nodes[i] = (bpe_node){ids[i], i > 0 ? i - 1 : NO_NODE, i + 1 < n ? i + 1 : NO_NODE};
    size_t n_heap = 0;
    for (uint32_t i = 0; i < n; i++)
        n_heap += entry_of(bpe, nodes, i, &scratch->heap[n_heap]);
    for (size_t i = n_heap / 2; i-- > 0;)
        sift_down(scratch, i, n_heap);
    return n_heap;
}

/* Puts the result of `merge` into node `left` and takes the node behind it out of the list. */
static void join(bpe_node *nodes, uint32_t left, const choir_bpe_merge *merge)
{
    const uint32_t right = nodes[left].next;
    nodes[left].id = merge->result;
    nodes[left].next = nodes[right].next;
    if (nodes[right].next != NO_NODE)
        nodes[nodes[right].next].previous = left;
    nodes[right].id = -1;
}

choir_status choir_bpe_apply(const choir_bpe *bpe, choir_bpe_scratch *scratch, int32_t *ids,
                             size_t *n_ids)
{
    const size_t n = *n_ids;
    choir_status status =
        choir_grow((void **)&scratch->nodes, &scratch->node_capacity, n, sizeof *scratch->nodes);
    if (status == CHOIR_OK)
        status = choir_grow((void **)&scratch->heap, &scratch->heap_capacity, 2 * n + 1,
                            sizeof *scratch->heap);
    if (status != CHOIR_OK)
        return status;
    bpe_node *nodes = scratch->nodes;
    size_t n_heap = start(bpe, scratch, ids, (uint32_t)n);
    while (n_heap > 0) {
        const uint64_t top = pop(scratch, &n_heap);
        const uint32_t left = (uint32_t)top;
        const choir_bpe_merge *merge = &bpe->merges[top >> 32];
        if (nodes[left].id != merge->left || nodes[left].next == NO_NODE ||
            nodes[nodes[left].next].id != merge->right)
            continue;
        join(nodes, left, merge);
        uint64_t entry;
        if (entry_of(bpe, nodes, nodes[left].previous, &entry))
            push(scratch, &n_heap, entry);
        if (entry_of(bpe, nodes, left, &entry))
            push(scratch, &n_heap, entry);
    }
    *n_ids = 0;
    for (size_t i = 0; i < n; i++)
        if (nodes[i].id >= 0)
            ids[(*n_ids)++] = nodes[i].id;
    return CHOIR_OK;
}

void choir_bpe_scratch_release(choir_bpe_scratch *scratch)
{
    free(scratch->nodes);
    free(scratch->heap);
    *scratch = (choir_bpe_scratch){0};
}
