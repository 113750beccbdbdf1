/* SPDX-License-Identifier: Apache-2.0 */
/* Streams of random numbers: 1 the common prefix, 2 + i prompt i. */
#include "cli/load_prompts.h"

#include "cli/inquiry.h"
#include "common/mem.h"
#include "common/philox.h"

#include <assert.h>
#include <stdlib.h>

enum { USUAL_PROMPTS = 100 };

struct choir_load_prompts {
    choir_load_prompts_options options;
    choir_inquiry *inquiries; /* [n] of a dataset, else NULL */
    size_t n, n_capacity;
    int32_t *ids; /* [prefix_len + input_len] the random prompt of the last call */
    uint32_t vocabulary;
};

uint32_t choir_load_draw(uint64_t seed, uint64_t stream, uint32_t index)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {index / 4, (uint32_t)stream, (uint32_t)(stream >> 32), 0x6c6f6164};
    uint32_t words[4];
    choir_philox(key, counter, words);
    return words[index % 4];
}

static void draw_ids(const choir_load_prompts *p, uint64_t stream, int32_t *ids, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const uint64_t bits = choir_load_draw(p->options.seed, stream, (uint32_t)i);
        ids[i] = (int32_t)((bits * p->vocabulary) >> 32);
    }
}

/* Takes the object over. */
static choir_status add_inquiry(choir_load_prompts *p, choir_json *object)
{
    const choir_sampling_options usual = choir_sampling_options_default();
    choir_status status =
        choir_grow((void **)&p->inquiries, &p->n_capacity, p->n + 1, sizeof *p->inquiries);
    if (status == CHOIR_OK)
        status = choir_inquiry_create(&usual, &p->inquiries[p->n]);
    if (status == CHOIR_OK)
        return choir_inquiry_add_json(&p->inquiries[p->n++], object);
    choir_json_destroy(&object);
    return status;
}

static choir_status read_dataset(choir_load_prompts *p)
{
    const int64_t most = p->options.n_prompts;
    choir_jsonl lines;
    choir_json *object = NULL;
    choir_status status = choir_jsonl_open(&lines, p->options.dataset);
    while (status == CHOIR_OK && (most == 0 || (int64_t)p->n < most)) {
        status = choir_jsonl_next(&lines, &object);
        if (status != CHOIR_OK || object == NULL)
            break;
        status = add_inquiry(p, object);
        if (status != CHOIR_OK)
            status = choir_jsonl_fail(&lines, status);
    }
    choir_jsonl_close(&lines);
    if (status == CHOIR_OK && p->n == 0)
        status = choir_fail(CHOIR_EINVALID, "%s: no requests in it", p->options.dataset);
    return status;
}

choir_status choir_load_prompts_create(const choir_load_prompts_options *options,
                                       choir_load_prompts **prompts)
{
    choir_status status = choir_alloc(1, sizeof **prompts, (void **)prompts);
    if (status != CHOIR_OK)
        return status;
    choir_load_prompts *p = *prompts;
    p->options = *options;
    if (options->dataset)
        status = read_dataset(p);
    else
        p->n = options->n_prompts > 0 ? (size_t)options->n_prompts : USUAL_PROMPTS;
    if (status == CHOIR_OK)
        status = choir_alloc((size_t)(options->prefix_len + options->input_len), sizeof *p->ids,
                             (void **)&p->ids);
    if (status != CHOIR_OK)
        choir_load_prompts_destroy(prompts);
    return status;
}

void choir_load_prompts_destroy(choir_load_prompts **prompts)
{
    choir_load_prompts *p = *prompts;
    if (p == NULL)
        return;
    for (size_t i = 0; p->inquiries && i < p->n; i++)
        choir_inquiry_destroy(&p->inquiries[i]);
    free(p->inquiries);
    free(p->ids);
    free(p);
    *prompts = NULL;
}

size_t choir_load_prompts_count(const choir_load_prompts *prompts)
{
    return prompts->n;
}

choir_status choir_load_prompts_fit(choir_load_prompts *prompts, uint32_t vocabulary,
                                    uint32_t max_model_len)
{
    const choir_load_prompts_options *o = &prompts->options;
    const int64_t n_input = o->prefix_len + o->input_len;
    if (!o->dataset && n_input + o->output_len > (int64_t)max_model_len)
        return choir_fail(CHOIR_EUSAGE,
                          "prompts of %lld tokens with answers of %lld are longer than the %u "
                          "positions of a sequence: shorten them or raise --max-model-len",
                          (long long)n_input, (long long)o->output_len, (unsigned)max_model_len);
    prompts->vocabulary = vocabulary;
    draw_ids(prompts, 1, prompts->ids, o->prefix_len);
    return CHOIR_OK;
}

choir_generate_request choir_load_prompts_get(choir_load_prompts *prompts, size_t index)
{
    const choir_load_prompts_options *o = &prompts->options;
    choir_generate_request request = {
        .token_ids = prompts->ids,
        .n_token_ids = (size_t)(o->prefix_len + o->input_len),
        .sampling = {.has_temperature = true,
                     .ignore_eos = true,
                     .has_max_tokens = true,
                     .max_tokens = o->output_len},
    };
    assert(index < prompts->n);
    if (prompts->inquiries)
        request = prompts->inquiries[index].generate;
    else
        draw_ids(prompts, 2 + index, prompts->ids + o->prefix_len, o->input_len);
    request.return_token_ids = true;
    return request;
}
