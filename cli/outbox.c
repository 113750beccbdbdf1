/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protoc-c's messages hold arrays of pointers. The structs stand in growing arrays, and the
 * pointers are set only when everything is there, since growing moves the structs.
 */
#include "cli/outbox.h"

#include "common/mem.h"

#include <stdlib.h>
#include <string.h>

/* A growing array of structs, and of pointers to them. */
typedef struct pool {
    void *items, *pointers;
    size_t n, items_capacity, pointers_capacity;
} pool;

struct choir_outbox {
    pool outputs, timings, tokens, tops;
    float *floats; /* of all embeddings, in the order of taking */
    size_t n_floats, floats_capacity;
    choir_status status; /* the first failure since the last send */
};

choir_status choir_outbox_create(choir_outbox **outbox)
{
    return choir_alloc(1, sizeof **outbox, (void **)outbox);
}

static void release(pool *p)
{
    free(p->items);
    free(p->pointers);
}

void choir_outbox_destroy(choir_outbox **outbox)
{
    if (!*outbox)
        return;
    release(&(*outbox)->outputs);
    release(&(*outbox)->timings);
    release(&(*outbox)->tokens);
    release(&(*outbox)->tops);
    free((*outbox)->floats);
    free(*outbox);
    *outbox = NULL;
}

/* Room for `more` structs of `size` bytes and their pointers. */
static void reserve(choir_outbox *outbox, pool *p, size_t more, size_t size)
{
    if (outbox->status == CHOIR_OK)
        outbox->status = choir_grow(&p->items, &p->items_capacity, p->n + more, size);
    if (outbox->status == CHOIR_OK)
        outbox->status =
            choir_grow(&p->pointers, &p->pointers_capacity, p->n + more, sizeof(void *));
}

static void take_token(choir_outbox *outbox, const choir_output_token *token)
{
    Choir__Engine__Token *copy = (Choir__Engine__Token *)outbox->tokens.items + outbox->tokens.n++;
    choir__engine__token__init(copy);
    copy->token_id = token->id;
    copy->logprob = token->logprob;
    copy->n_top = (size_t)token->n_top;
    for (int i = 0; i < token->n_top; i++) {
        Choir__Engine__TopToken *top =
            (Choir__Engine__TopToken *)outbox->tops.items + outbox->tops.n++;
        choir__engine__top_token__init(top);
        top->token_id = token->top[i].id;
        top->logprob = token->top[i].logprob;
    }
}

static void take_timings(choir_outbox *outbox, const choir_timings *timings)
{
    Choir__Engine__Timings *copy =
        (Choir__Engine__Timings *)outbox->timings.items + outbox->timings.n++;
    choir__engine__timings__init(copy);
    copy->queue_us = (uint64_t)timings->queue_us;
    copy->prefill_us = (uint64_t)timings->prefill_us;
    copy->decode_us = (uint64_t)timings->decode_us;
    copy->ttft_us = (uint64_t)timings->ttft_us;
}

void choir_outbox_take(void *context, const choir_output *output)
{
    choir_outbox *outbox = context;
    size_t n_tops = 0;
    for (int i = 0; i < output->n_tokens; i++)
        n_tops += (size_t)output->tokens[i].n_top;
    reserve(outbox, &outbox->outputs, 1, sizeof(Choir__Engine__Output));
    reserve(outbox, &outbox->timings, 1, sizeof(Choir__Engine__Timings));
    reserve(outbox, &outbox->tokens, (size_t)output->n_tokens, sizeof(Choir__Engine__Token));
    reserve(outbox, &outbox->tops, n_tops, sizeof(Choir__Engine__TopToken));
    if (outbox->status == CHOIR_OK)
        outbox->status =
            choir_grow((void **)&outbox->floats, &outbox->floats_capacity,
                       outbox->n_floats + (size_t)output->n_embedding, sizeof *outbox->floats);
    if (outbox->status != CHOIR_OK)
        return;
    Choir__Engine__Output *copy =
        (Choir__Engine__Output *)outbox->outputs.items + outbox->outputs.n++;
    choir__engine__output__init(copy);
    copy->id = output->id;
    copy->n_tokens = (size_t)output->n_tokens;
    copy->is_prompt = output->is_prompt;
    copy->finish = (Choir__Engine__FinishReason)output->finish;
    copy->error_status = (uint32_t)output->status;
    copy->error = (char *)(uintptr_t)output->error; /* a fixed text; packing only reads it */
    copy->n_cached = (uint32_t)output->n_cached;
    copy->n_embedding = (size_t)output->n_embedding;
    if (output->n_embedding > 0)
        memcpy(outbox->floats + outbox->n_floats, output->embedding,
               (size_t)output->n_embedding * sizeof *outbox->floats);
    outbox->n_floats += (size_t)output->n_embedding;
    copy->retry_after_ms = (uint32_t)(output->retry_after_us / 1000);
    for (int i = 0; i < output->n_tokens; i++)
        take_token(outbox, &output->tokens[i]);
    take_timings(outbox, &output->timings);
}

/* Points outputs to their tokens and tokens to their alternatives, all in the order of taking. */
static void join(choir_outbox *outbox)
{
    Choir__Engine__Token *tokens = outbox->tokens.items;
    Choir__Engine__TopToken *tops = outbox->tops.items;
    Choir__Engine__Token **token_pointers = outbox->tokens.pointers;
    Choir__Engine__TopToken **top_pointers = outbox->tops.pointers;
    Choir__Engine__Output **output_pointers = outbox->outputs.pointers;
    float *floats = outbox->floats;
    for (size_t i = 0; i < outbox->outputs.n; i++) {
        Choir__Engine__Output *output = (Choir__Engine__Output *)outbox->outputs.items + i;
        output_pointers[i] = output;
        output->tokens = token_pointers;
        output->embedding = floats;
        floats += output->n_embedding;
        if (output->finish != CHOIR__ENGINE__FINISH_REASON__FINISH_UNSPECIFIED)
            output->timings = (Choir__Engine__Timings *)outbox->timings.items + i;
        for (size_t t = 0; t < output->n_tokens; t++, tokens++) {
            *token_pointers++ = tokens;
            tokens->top = top_pointers;
            for (size_t k = 0; k < tokens->n_top; k++)
                *top_pointers++ = tops++;
        }
    }
}

choir_status choir_outbox_send(choir_outbox *outbox, choir_engine_link *link)
{
    Choir__Engine__FromEngine message = CHOIR__ENGINE__FROM_ENGINE__INIT;
    Choir__Engine__Outputs outputs = CHOIR__ENGINE__OUTPUTS__INIT;
    choir_status status = outbox->status;
    if (status == CHOIR_OK && outbox->outputs.n > 0) {
        join(outbox);
        outputs.n_outputs = outbox->outputs.n;
        outputs.outputs = outbox->outputs.pointers;
        message.body_case = CHOIR__ENGINE__FROM_ENGINE__BODY_OUTPUTS;
        message.outputs = &outputs;
        status = choir_engine_link_send(link, &message);
    }
    outbox->outputs.n = outbox->timings.n = outbox->tokens.n = outbox->tops.n = 0;
    outbox->n_floats = 0;
    outbox->status = CHOIR_OK;
    return status;
}
