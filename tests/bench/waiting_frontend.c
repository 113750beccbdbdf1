/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What choir_requests_generate() leaves behind once the engine and the client were told: a
 * choir_request with its answer, and its slot.
 */
#include "tests/bench/waiting_frontend.h"

#include "common/mem.h"
#include "coordinator/frontend_table.h"
#include "tests/bench/steps.h"
#include "tests/bench/waiting.h"
#include "tests/fixtures/vocabulary.h"

#include <assert.h>
#include <stdlib.h>

enum { STOPS_MOST = 16 };

static choir_status make_tokenizer(choir_tokenizer **tokenizer)
{
    choir_gguf_writer writer;
    choir_gguf *gguf = NULL;
    uint8_t *header = NULL;
    size_t length = 0;
    choir_gguf_writer_init(&writer);
    choir_vocabulary_set(&writer, CHOIR_BENCH_VOCABULARY);
    choir_status status = choir_gguf_writer_finish(&writer, &header, &length);
    if (status == CHOIR_OK)
        status = choir_gguf_parse(header, length, "a vocabulary", CHOIR_GGUF_WHOLE, &gguf);
    if (status == CHOIR_OK)
        status = choir_tokenizer_create(gguf, tokenizer);
    choir_gguf_destroy(&gguf);
    free(header);
    choir_gguf_writer_clear(&writer);
    return status;
}

choir_status choir_bench_waiting_frontend(int n, int n_stop, double *bytes)
{
    const char *stops[STOPS_MOST];
    choir_tokenizer *tokenizer = NULL;
    assert(n_stop <= STOPS_MOST);
    for (int i = 0; i < n_stop; i++)
        stops[i] = "\n\nsixteen bytes.";
    choir_status status = make_tokenizer(&tokenizer);
    const choir_request_plan plan = {.request_id = "0123456789abcdef0123456789abcdef",
                                     .answer = {.tokenizer = tokenizer,
                                                .has_text = true,
                                                .has_token_ids = true,
                                                .stop = stops,
                                                .n_stop = (size_t)n_stop},
                                     .n_choices = 1};
    const choir_frontend_setup setup = {.max_requests = (uint32_t)n};
    choir_requests requests = {.setup = &setup};
    choir_peer peer = {0};
    const size_t before = choir_bench_allocated();
    if (status == CHOIR_OK)
        status = choir_requests_open(&requests);
    for (int i = 0; status == CHOIR_OK && i < n; i++)
        if (!choir_requests_add(&requests, &peer, &plan))
            status = CHOIR_ENOMEM;
    *bytes = (double)(choir_bench_allocated() - before) / n;
    choir_requests_close(&requests);
    choir_tokenizer_destroy(&tokenizer);
    return status;
}
