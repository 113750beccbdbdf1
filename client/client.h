/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The C client library: talks to a running service over the protocol of proto/PROTOCOL.md.
 *
 * A client has one thread. Generate and score requests are started, several at once if wanted, and
 * their answers come as events in the order of arrival:
 *
 *     choir_client_generate(client, &request, id);
 *     do {
 *         status = choir_client_next_event(client, -1, &event);
 *         if (status == CHOIR_OK && event.kind == CHOIR_EVENT_CHUNK)
 *             fwrite(event.text, 1, event.text_length, stdout);
 *     } while (status == CHOIR_OK && !choir_event_is_last(&event));
 *
 * A request ends with a FINISH for each of its answers, with SCORES, EMBEDDING or an ERROR; its
 * last event says so (is_last). More requests may be started than the service takes from one client
 * at a time: the rest waits here and follows as others end. The other calls wait for their answer;
 * events that come meanwhile are kept for next_event.
 *
 * Errors of all calls: EUNAVAILABLE (no service there, gone, or silent for 15 s), ETIMEOUT,
 * EINVALID (a field the service refuses; the words name it), ENOMEM.
 */
#ifndef CHOIR_CLIENT_CLIENT_H
#define CHOIR_CLIENT_CLIENT_H

#include "common/status.h"
#include "proto/metrics.h"
#include "proto/report.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct choir_client choir_client;

enum { CHOIR_REQUEST_ID_SIZE = 65 }; /* 1 to 64 bytes and a NUL */

/*
 * Connects and waits up to timeout_ms for the service's welcome. control_endpoint NULL: the one
 * that belongs to `endpoint` (proto/endpoint.h).
 */
choir_status choir_client_connect(const char *endpoint, const char *control_endpoint,
                                  int timeout_ms, choir_client **client) CHOIR_MUST_CHECK;
/*
 * The same with the endpoints of a connection file; path NULL: the default one. EUNAVAILABLE,
 * saying what to do, if there is no such file or its service is launching, has failed, or is gone.
 */
choir_status choir_client_connect_file(const char *path, int timeout_ms,
                                       choir_client **client) CHOIR_MUST_CHECK;
/* Open requests are cancelled by the service, since their client is gone. */
void choir_client_destroy(choir_client **client);

/* How long the calls wait that wait for their answer; a minute at first. */
void choir_client_set_call_timeout(choir_client *client, int timeout_ms);

/* What the service said in its welcome; borrowed, as long as the client lives. */
const char *choir_client_model(const choir_client *client);
uint32_t choir_client_max_model_len(const choir_client *client);

/* ---- generate and score ---- */

typedef struct choir_token_bias {
    int32_t token_id;
    float bias; /* added to its logit, -100 to 100 */
} choir_token_bias;

/* A field counts only where its flag is set; the service's (and model's) defaults otherwise. */
typedef struct choir_sampling_params {
    bool has_temperature, has_top_k, has_top_p, has_min_p, has_typical_p, has_seed, has_max_tokens;
    bool has_repetition_penalty, has_truncate_prompt_tokens;
    float temperature, top_p, min_p, typical_p; /* temperature 0: always the likeliest token */
    float repetition_penalty;
    float presence_penalty, frequency_penalty; /* 0: off */
    int64_t top_k, max_tokens;
    int64_t min_tokens;             /* no end or stop token before so many */
    int64_t truncate_prompt_tokens; /* of the prompt only its last so many */
    int64_t n;                      /* answers, each with an index; 0: one */
    uint64_t seed;
    const char *const *stop; /* [n_stop] strings that end the answer and are not part of it */
    size_t n_stop;
    const int32_t *stop_token_ids;
    size_t n_stop_token_ids;
    const char *const *bad_words; /* [n_bad_words] never in the answer */
    size_t n_bad_words;
    const int32_t *allowed_token_ids; /* nothing else; none: all */
    size_t n_allowed_token_ids;
    const choir_token_bias *logit_bias; /* no token twice */
    size_t n_logit_bias;
    bool ignore_eos;
    bool include_stop_str_in_output;
} choir_sampling_params;

/* Zero it, set exactly one of text, messages_json and token_ids. All pointers are only read. */
typedef struct choir_generate_request {
    const char *request_id; /* NULL: one is made */
    const char *text;       /* UTF-8, [text_length] */
    size_t text_length;
    const char *messages_json; /* [{"role": "user", "content": "…"}, …], NUL-terminated */
    const int32_t *token_ids;  /* [n_token_ids], taken as they stand */
    size_t n_token_ids;
    choir_sampling_params sampling;
    bool wants_logprobs;
    int64_t n_top; /* alternatives for each token, with wants_logprobs */
    bool wants_prompt_logprobs;
    int64_t n_prompt_top; /* the same of the prompt's tokens */
    bool return_token_ids;
    bool is_unstreamed; /* one CHUNK at the end of each answer */
    bool has_credit;    /* so many chunks may come before choir_client_credit() */
    uint32_t credit;
    bool keep_special_tokens; /* control words appear in the text */
    int32_t priority;         /* lower goes first; -1000 to 1000 */
    uint64_t timeout_ms;      /* ends with ETIMEOUT then; 0: never */
    const char *cache_salt;   /* shares kept prefixes with all that give the same; NULL: nobody */
} choir_generate_request;

typedef struct choir_score_request {
    const char *request_id; /* NULL: one is made */
    const char *text;       /* or token_ids */
    size_t text_length;
    const int32_t *token_ids;
    size_t n_token_ids;
    int64_t n_top;
} choir_score_request;

typedef struct choir_embed_request {
    const char *request_id; /* NULL: one is made */
    const char *text;       /* or token_ids */
    size_t text_length;
    const int32_t *token_ids;
    size_t n_token_ids;
    bool is_mean;         /* of all tokens; else the last one's */
    bool is_unnormalized; /* else of length 1 */
} choir_embed_request;

/* Starts a request; writes its id. Only sends: what the service refuses comes as an ERROR event. */
choir_status choir_client_generate(choir_client *client, const choir_generate_request *request,
                                   char request_id[CHOIR_REQUEST_ID_SIZE]) CHOIR_MUST_CHECK;
choir_status choir_client_score(choir_client *client, const choir_score_request *request,
                                char request_id[CHOIR_REQUEST_ID_SIZE]) CHOIR_MUST_CHECK;
choir_status choir_client_embed(choir_client *client, const choir_embed_request *request,
                                char request_id[CHOIR_REQUEST_ID_SIZE]) CHOIR_MUST_CHECK;
/*
 * So many more chunks of a request that has_credit may come; its last one counts, too. EINVALID for
 * 0, and for a request that waits here, of which no ACCEPTED has come.
 */
choir_status choir_client_credit(choir_client *client, const char *request_id,
                                 uint32_t n_chunks) CHOIR_MUST_CHECK;
/* Asks for the end of a request: it still ends with an event, FINISH with reason ABORT if it was
 * running. */
choir_status choir_client_cancel(choir_client *client, const char *request_id) CHOIR_MUST_CHECK;

typedef struct choir_top_logprob {
    int32_t token_id;
    float logprob;
} choir_top_logprob;

typedef struct choir_token_logprob {
    int32_t token_id;
    bool has_logprob;  /* false for the first scored token */
    float logprob;     /* natural; its bits are the engine's */
    const char *bytes; /* [n_bytes] what the token stands for; may be half a character */
    size_t n_bytes;
    const choir_top_logprob *top; /* [n_top], likeliest first */
    size_t n_top;
} choir_token_logprob;

typedef enum choir_event_kind {
    CHOIR_EVENT_ACCEPTED,
    CHOIR_EVENT_CHUNK,
    CHOIR_EVENT_FINISH, /* of one answer */
    CHOIR_EVENT_SCORES,
    CHOIR_EVENT_EMBEDDING,
    CHOIR_EVENT_ERROR,
} choir_event_kind;

typedef enum choir_finish_reason {
    CHOIR_FINISH_UNSPECIFIED,
    CHOIR_FINISH_STOP,
    CHOIR_FINISH_LENGTH,
    CHOIR_FINISH_ABORT,
} choir_finish_reason;

typedef struct choir_usage {
    uint64_t prompt_tokens, completion_tokens;
    uint64_t cached_tokens; /* of the prompt: not computed, since the service had them */
} choir_usage;

typedef struct choir_timings {
    uint64_t queue_us, prefill_us, decode_us, ttft_us; /* ttft: from the request's arrival */
} choir_timings;

/* Pointers live until the next choir_client_next_event() on this client. Fields of other kinds are
 * 0. */
typedef struct choir_event {
    choir_event_kind kind;
    char request_id[CHOIR_REQUEST_ID_SIZE];
    bool is_last; /* the request has ended */
    /* ACCEPTED */
    uint64_t prompt_tokens;
    uint64_t seed; /* the request's, or the random one it was given */
    /* CHUNK */
    uint32_t index;   /* of the answer, below n; also of FINISH */
    const char *text; /* [text_length] whole UTF-8 characters */
    size_t text_length;
    const int32_t *token_ids; /* with return_token_ids */
    size_t n_token_ids;
    uint64_t first_token_index;          /* of this chunk in the answer */
    const choir_token_logprob *logprobs; /* CHUNK with wants_logprobs, and SCORES */
    size_t n_logprobs;
    const choir_token_logprob *prompt_logprobs; /* CHUNK: the prompt's next ones */
    size_t n_prompt_logprobs;
    const float *embedding; /* EMBEDDING */
    size_t n_embedding;
    /* FINISH */
    choir_finish_reason reason;
    bool has_stop_token; /* STOP by a token ... */
    int32_t stop_token_id;
    const char *stop_string; /* ... or by this string, else NULL */
    choir_usage usage;       /* FINISH, SCORES and EMBEDDING */
    choir_timings timings;
    /* ERROR */
    choir_status status;
    uint32_t code;       /* gRPC's number */
    const char *message; /* what was wrong and what to do */
    const char *param;   /* the field's name, or "" */
    bool is_retryable;
    uint32_t retry_after_ms;
} choir_event;

/*
 * The next event, waiting up to timeout_ms (-1: until something happens). ETIMEOUT: none came.
 * EUNAVAILABLE: the service said goodbye or went silent; every open request has ended with that.
 * Without open requests and kept events: EINTERNAL, since it would wait for ever.
 */
choir_status choir_client_next_event(choir_client *client, int timeout_ms,
                                     choir_event *event) CHOIR_MUST_CHECK;
static inline bool choir_event_is_last(const choir_event *event)
{
    return event->is_last;
}
const char *choir_finish_reason_name(choir_finish_reason reason); /* "stop", "length", "abort" */

/* ---- text, models, status ---- */

/* Tokens of a text, no bos added; `special`: control words are recognised. free(*token_ids). */
choir_status choir_client_tokenize(choir_client *client, const char *text, size_t length,
                                   bool special, int32_t **token_ids,
                                   size_t *n_token_ids) CHOIR_MUST_CHECK;
/* The text of tokens, control words included; invalid UTF-8 becomes U+FFFD. free(*text). */
choir_status choir_client_detokenize(choir_client *client, const int32_t *token_ids,
                                     size_t n_token_ids, char **text,
                                     size_t *length) CHOIR_MUST_CHECK;

typedef struct choir_model_info {
    char name[128];
    char architecture[32];
    uint32_t max_model_len;
    uint32_t vocabulary;
    bool has_chat_template;
} choir_model_info;

choir_status choir_client_list_models(choir_client *client, choir_model_info **models,
                                      size_t *n_models) CHOIR_MUST_CHECK; /* free(*models) */

typedef struct choir_service_status {
    char state[16]; /* LAUNCHING, READY, DRAINING, FAILED, SHUTDOWN */
    char model[128];
    char version[32];
    uint64_t uptime_us;
    uint32_t num_running_reqs, num_waiting_reqs;
    float token_usage;    /* share of KV pages in use */
    float gen_throughput; /* tokens/s over the last seconds */
    float cache_hit_rate; /* share of the prompts' tokens that were in kept pages */
    uint32_t n_clients;
    uint64_t n_bad_frames; /* dropped since the start */
    uint64_t n_steps, step_us_p50, step_us_p99;
    choir_engine_counters counters; /* since the start of the ranks */
    choir_request_metrics metrics;  /* since the start of the service */
    choir_engine_report engine;
} choir_service_status;

choir_status choir_client_status(choir_client *client,
                                 choir_service_status *status) CHOIR_MUST_CHECK;
void choir_service_status_destroy(choir_service_status *status);

#endif
