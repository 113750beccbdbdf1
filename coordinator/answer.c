/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/answer.h"

#include "common/mem.h"
#include "coordinator/stop_strings.h"
#include "model/detokenizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A token of the chunk; its alternatives are tops[first_top .. the next one's first_top). */
typedef struct answer_token {
    int32_t id;
    float logprob;
    size_t first_top;
} answer_token;

typedef struct answer_top {
    int32_t id;
    float logprob;
} answer_top;

struct choir_answer {
    const choir_tokenizer *tokenizer;
    bool has_text, has_token_ids, has_logprobs, has_stop_string;
    choir_detokenizer *detokenizer;
    choir_stop_strings *stops;
    const char *matched;
    size_t n_tokens, n_before; /* since the start; of them before this chunk */
    /* the chunk */
    char *text;
    size_t n_text, text_capacity;
    int32_t *ids;
    size_t n_ids, ids_capacity;
    answer_token *tokens;
    size_t n_logprobs, tokens_capacity;
    answer_top *tops;
    size_t n_tops, tops_capacity;
    void *view; /* what the last view points to */
};

choir_status choir_answer_create(const choir_answer_options *options, choir_answer **result)
{
    const unsigned control = options->keeps_control ? 0 : CHOIR_DETOKENIZE_SKIP_CONTROL;
    const unsigned flags = control | CHOIR_DETOKENIZE_REPLACE_NUL;
    choir_status status = choir_alloc(1, sizeof **result, (void **)result);
    if (status != CHOIR_OK)
        return status;
    (*result)->tokenizer = options->tokenizer;
    (*result)->has_text = options->has_text;
    (*result)->has_token_ids = options->has_token_ids;
    (*result)->has_logprobs = options->has_logprobs;
    (*result)->has_stop_string = options->has_stop_string;
    status = choir_stop_strings_create(options->stop, options->n_stop, &(*result)->stops);
    if (status == CHOIR_OK)
        status = choir_detokenizer_create(options->tokenizer, flags, &(*result)->detokenizer);
    if (status != CHOIR_OK)
        choir_answer_destroy(result);
    return status;
}

void choir_answer_destroy(choir_answer **answer)
{
    if (!*answer)
        return;
    choir_stop_strings_destroy(&(*answer)->stops);
    choir_detokenizer_destroy(&(*answer)->detokenizer);
    free((*answer)->text);
    free((*answer)->ids);
    free((*answer)->tokens);
    free((*answer)->tops);
    free((*answer)->view);
    free(*answer);
    *answer = NULL;
}

/* One more byte than the text is kept, for the NUL of the view. */
static choir_status append_text(choir_answer *answer, const char *text, size_t length)
{
    size_t wanted;
    if (!choir_size_add(answer->n_text, length, &wanted) || !choir_size_add(wanted, 1, &wanted))
        return choir_fail(CHOIR_ENOMEM, "answer too long");
    const choir_status status =
        choir_grow((void **)&answer->text, &answer->text_capacity, wanted, 1);
    if (status != CHOIR_OK)
        return status;
    memcpy(answer->text + answer->n_text, text, length);
    answer->n_text += length;
    answer->text[answer->n_text] = 0;
    return CHOIR_OK;
}

static choir_status pass_text(choir_answer *answer, const char *text, size_t length)
{
    const char *shown;
    size_t n_shown;
    choir_status status =
        choir_stop_strings_add(answer->stops, text, length, &shown, &n_shown, &answer->matched);
    if (status == CHOIR_OK)
        status = append_text(answer, shown, n_shown);
    if (status == CHOIR_OK && answer->matched && answer->has_stop_string)
        status = append_text(answer, answer->matched, strlen(answer->matched));
    return status;
}

static choir_status append_logprob(choir_answer *answer, const Choir__Engine__Token *token)
{
    choir_status status = choir_grow((void **)&answer->tokens, &answer->tokens_capacity,
                                     answer->n_logprobs + 1, sizeof *answer->tokens);
    if (status == CHOIR_OK)
        status = choir_grow((void **)&answer->tops, &answer->tops_capacity,
                            answer->n_tops + token->n_top, sizeof *answer->tops);
    if (status != CHOIR_OK)
        return status;
    answer->tokens[answer->n_logprobs++] =
        (answer_token){token->token_id, token->logprob, answer->n_tops};
    for (size_t i = 0; i < token->n_top; i++)
        answer->tops[answer->n_tops++] =
            (answer_top){token->top[i]->token_id, token->top[i]->logprob};
    return CHOIR_OK;
}

static choir_status append_id(choir_answer *answer, int32_t id)
{
    const choir_status status = choir_grow((void **)&answer->ids, &answer->ids_capacity,
                                           answer->n_ids + 1, sizeof *answer->ids);
    if (status == CHOIR_OK)
        answer->ids[answer->n_ids++] = id;
    return status;
}

static choir_status append_token_text(choir_answer *answer, int32_t id)
{
    const char *text;
    size_t length;
    const choir_status status = choir_detokenizer_add(answer->detokenizer, id, &text, &length);
    return status == CHOIR_OK ? pass_text(answer, text, length) : status;
}

static bool is_in_vocabulary(const choir_answer *answer, int32_t id)
{
    return id >= 0 && id < choir_tokenizer_size(answer->tokenizer);
}

choir_status choir_answer_add(choir_answer *answer, const Choir__Engine__Token *token, bool is_end)
{
    bool is_known = is_in_vocabulary(answer, token->token_id);
    for (size_t i = 0; i < token->n_top; i++)
        is_known = is_known && is_in_vocabulary(answer, token->top[i]->token_id);
    if (!is_known)
        return choir_fail(CHOIR_EINVALID, "the engine gave a token outside of the vocabulary");
    choir_status status = CHOIR_OK;
    if (answer->has_text && !is_end)
        status = append_token_text(answer, token->token_id);
    if (status == CHOIR_OK && answer->has_token_ids)
        status = append_id(answer, token->token_id);
    if (status == CHOIR_OK && answer->has_logprobs)
        status = append_logprob(answer, token);
    answer->n_tokens += status == CHOIR_OK;
    return status;
}

choir_status choir_answer_end(choir_answer *answer)
{
    const char *text;
    size_t length;
    if (!answer->has_text || answer->matched)
        return CHOIR_OK;
    choir_status status = choir_detokenizer_flush(answer->detokenizer, &text, &length);
    if (status == CHOIR_OK)
        status = pass_text(answer, text, length);
    if (status != CHOIR_OK || answer->matched)
        return status;
    choir_stop_strings_flush(answer->stops, &text, &length);
    return append_text(answer, text, length);
}

const char *choir_answer_matched(const choir_answer *answer)
{
    return answer->matched;
}

size_t choir_answer_n_tokens(const choir_answer *answer)
{
    return answer->n_tokens;
}

bool choir_answer_has_chunk(const choir_answer *answer)
{
    return answer->n_text > 0 || answer->n_ids > 0 || answer->n_logprobs > 0;
}

size_t choir_answer_bytes(const choir_answer *answer)
{
    const size_t token_bytes = sizeof *answer->tokens + sizeof(Choir__Client__TokenLogprob);
    const size_t top_bytes = sizeof *answer->tops + sizeof(Choir__Client__TopLogprob);
    return answer->n_text + answer->n_ids * sizeof *answer->ids +
           answer->n_logprobs * (token_bytes + sizeof(void *)) +
           answer->n_tops * (top_bytes + sizeof(void *));
}

/* What the messages of all log-probabilities are made of, in one block. */
typedef struct logprob_block {
    Choir__Client__TokenLogprob **token_list, *tokens;
    Choir__Client__TopLogprob **top_list, *tops;
} logprob_block;

static choir_status make_block(choir_answer *answer, logprob_block *block)
{
    const size_t n = answer->n_logprobs, m = answer->n_tops;
    size_t bytes, more;
    choir_answer_drop_view(answer);
    if (!choir_size_mul(n, sizeof *block->tokens + sizeof *block->token_list, &bytes) ||
        !choir_size_mul(m, sizeof *block->tops + sizeof *block->top_list, &more) ||
        !choir_size_add(bytes, more, &bytes))
        return choir_fail(CHOIR_ENOMEM, "answer too long");
    const choir_status status = choir_alloc(bytes, 1, &answer->view);
    if (status != CHOIR_OK)
        return status;
    block->tokens = answer->view;
    block->tops = (Choir__Client__TopLogprob *)(block->tokens + n);
    block->token_list = (Choir__Client__TokenLogprob **)(block->tops + m);
    block->top_list = (Choir__Client__TopLogprob **)(block->token_list + n);
    return CHOIR_OK;
}

static void fill_token(const choir_answer *answer, size_t index, const logprob_block *block)
{
    const answer_token *token = &answer->tokens[index];
    const size_t end = index + 1 < answer->n_logprobs ? token[1].first_top : answer->n_tops;
    Choir__Client__TokenLogprob *message = &block->tokens[index];
    const char *bytes;
    block->token_list[index] = message;
    *message = (Choir__Client__TokenLogprob)CHOIR__CLIENT__TOKEN_LOGPROB__INIT;
    message->token_id = token->id;
    if (!isnan(token->logprob)) {
        message->logprob_presence_case = CHOIR__CLIENT__TOKEN_LOGPROB__LOGPROB_PRESENCE_LOGPROB;
        message->logprob = token->logprob;
    }
    choir_tokenizer_piece(answer->tokenizer, token->id, &bytes, &message->bytes.len);
    message->bytes.data = (uint8_t *)bytes; /* only read */
    message->top = block->top_list + token->first_top;
    message->n_top = end - token->first_top;
    for (size_t i = token->first_top; i < end; i++) {
        Choir__Client__TopLogprob *top = &block->tops[i];
        block->top_list[i] = top;
        *top = (Choir__Client__TopLogprob)CHOIR__CLIENT__TOP_LOGPROB__INIT;
        top->token_id = answer->tops[i].id;
        top->logprob_presence_case = CHOIR__CLIENT__TOP_LOGPROB__LOGPROB_PRESENCE_LOGPROB;
        top->logprob = answer->tops[i].logprob;
    }
}

choir_status choir_answer_view_chunk(choir_answer *answer, choir_answer_view *view)
{
    logprob_block block = {0};
    const choir_status status = make_block(answer, &block);
    if (status != CHOIR_OK)
        return status;
    for (size_t i = 0; i < answer->n_logprobs; i++)
        fill_token(answer, i, &block);
    *view = (choir_answer_view){
        .first_token_index = (uint32_t)answer->n_before,
        .text = answer->n_text > 0 ? answer->text : "",
        .token_ids = answer->ids,
        .n_token_ids = answer->n_ids,
        .logprobs = block.token_list,
        .n_logprobs = answer->n_logprobs,
    };
    return CHOIR_OK;
}

void choir_answer_drop_view(choir_answer *answer)
{
    free(answer->view);
    answer->view = NULL;
}

void choir_answer_clear_chunk(choir_answer *answer)
{
    answer->n_before = answer->n_tokens;
    answer->n_text = answer->n_ids = answer->n_logprobs = answer->n_tops = 0;
    choir_answer_drop_view(answer);
}
