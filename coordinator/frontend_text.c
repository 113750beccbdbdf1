/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/frontend_text.h"

#include "model/detokenizer.h"

#include <stdlib.h>
#include <string.h>

void choir_frontend_tokenize(choir_clients *clients, const choir_frontend_setup *setup,
                             choir_peer *peer, uint64_t seq, const Choir__Client__Tokenize *what,
                             int64_t now_us)
{
    Choir__Client__Tokens tokens = CHOIR__CLIENT__TOKENS__INIT;
    Choir__Client__ServerMessage message = CHOIR__CLIENT__SERVER_MESSAGE__INIT;
    const size_t length = strlen(what->text);
    if (length > CHOIR_INPUT_BYTES_MAX) {
        choir_clients_refuse(clients, peer, seq, CHOIR_ERROR_INPUT_BYTES, "", "text", "", now_us);
        return;
    }
    if (choir_tokenizer_encode(setup->tokenizer, what->text, length, what->special,
                               &tokens.token_ids, &tokens.n_token_ids) != CHOIR_OK) {
        choir_clients_refuse(clients, peer, seq, CHOIR_ERROR_MEMORY, "", "", "", now_us);
        return;
    }
    message.body_case = CHOIR__CLIENT__SERVER_MESSAGE__BODY_TOKENS;
    message.tokens = &tokens;
    message.seq = seq;
    choir_clients_send(clients, peer, &message, now_us);
    free(tokens.token_ids);
}

void choir_frontend_detokenize(choir_clients *clients, const choir_frontend_setup *setup,
                               choir_peer *peer, uint64_t seq,
                               const Choir__Client__Detokenize *what, int64_t now_us)
{
    Choir__Client__Text text = CHOIR__CLIENT__TEXT__INIT;
    Choir__Client__ServerMessage message = CHOIR__CLIENT__SERVER_MESSAGE__INIT;
    const char *param = "";
    char *made = NULL;
    size_t length;
    choir_error_kind kind =
        choir_request_check_detokenize(what, setup->tokenizer, setup->limits.n_vocab, &param);
    if (kind == CHOIR_ERROR_NONE &&
        choir_detokenize(setup->tokenizer, what->token_ids, what->n_token_ids,
                         CHOIR_DETOKENIZE_REPLACE_NUL, &made, &length) != CHOIR_OK)
        kind = CHOIR_ERROR_MEMORY;
    if (kind != CHOIR_ERROR_NONE) {
        choir_clients_refuse(clients, peer, seq, kind, "", param, "", now_us);
        return;
    }
    text.text = made;
    message.body_case = CHOIR__CLIENT__SERVER_MESSAGE__BODY_TEXT;
    message.text = &text;
    message.seq = seq;
    choir_clients_send(clients, peer, &message, now_us);
    free(made);
}
