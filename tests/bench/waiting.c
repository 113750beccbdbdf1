/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/waiting.h"

#include "coordinator/scheduler.h"
#include "tests/bench/steps.h"

#include <malloc.h>

enum { USERS = 64, WISHES = 8, WORDS = 4 };

size_t choir_bench_allocated(void)
{
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void take_nothing(void *context, const choir_output *output)
{
    (void)context;
    (void)output;
}

static choir_status submit(choir_scheduler *scheduler, int number, bool has_wishes)
{
    static const int32_t word_lengths[WORDS] = {1, 2, 2, 3};
    choir_logit_bias bias[WISHES];
    int32_t ids[CHOIR_BENCH_PROMPT];
    for (int i = 0; i < CHOIR_BENCH_PROMPT; i++)
        ids[i] = (number * 31 + i * 7) % CHOIR_BENCH_VOCABULARY;
    for (int i = 0; i < WISHES; i++)
        bias[i] = (choir_logit_bias){i, 1};
    choir_request request = {.id = (uint64_t)number + 1,
                             .user_id = (uint64_t)(number % USERS),
                             .token_ids = ids,
                             .n_token_ids = CHOIR_BENCH_PROMPT,
                             .sampling = {.temperature = 0.8f, .top_p = 0.9f},
                             .max_tokens = 1000};
    if (has_wishes) {
        request.wishes = (choir_token_wishes){.bias = bias,
                                              .n_bias = WISHES,
                                              .bad_ids = ids,
                                              .bad_lengths = word_lengths,
                                              .n_bad_words = WORDS};
        request.stop_token_ids = ids;
        request.n_stop_token_ids = WORDS;
    }
    return choir_scheduler_submit(scheduler, &request, 0);
}

choir_status choir_bench_waiting(int n, bool has_wishes, double *bytes)
{
    choir_scheduler_options options = {.limits = {.max_num_seqs = 64,
                                                  .max_num_batched_tokens = 512,
                                                  .max_model_len = 8192,
                                                  .n_pages = 8192,
                                                  .page_positions = 64,
                                                  .vocab_size = CHOIR_BENCH_VOCABULARY},
                                       .width = 576,
                                       .n_stages = 1,
                                       .max_waiting = n,
                                       .keeps_pages = true,
                                       .take = take_nothing};
    choir_scheduler *scheduler = NULL;
    choir_status status = choir_kernels_get(CHOIR_LEVEL_REF, &options.kernels);
    if (status == CHOIR_OK)
        status = choir_scheduler_create(&options, &scheduler);
    const size_t before = choir_bench_allocated();
    for (int i = 0; status == CHOIR_OK && i < n; i++)
        status = submit(scheduler, i, has_wishes);
    *bytes = (double)(choir_bench_allocated() - before) / n -
             CHOIR_BENCH_PROMPT * (double)sizeof(int32_t);
    choir_scheduler_destroy(&scheduler);
    return status;
}
