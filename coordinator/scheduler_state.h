/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the scheduler share: scheduler.c (requests and results), scheduler_rooms.c
 * (slots and pages: who gets them, who gives them back), scheduler_step.c (what goes into a step).
 */
#ifndef CHOIR_COORDINATOR_SCHEDULER_STATE_H
#define CHOIR_COORDINATOR_SCHEDULER_STATE_H

#include "coordinator/fair_queue.h"
#include "coordinator/page_pool.h"
#include "coordinator/scheduler.h"
#include "coordinator/sequence.h"
#include "coordinator/step_cost.h"

/* One sequence's part of a step in flight. */
typedef struct choir_flight_part {
    choir_sequence *sequence;
    int32_t n_wanted;
    bool is_reading; /* what is wanted tells of the prompt itself */
} choir_flight_part;

typedef struct choir_flight {
    uint64_t step_id;
    choir_flight_part *parts; /* [max_num_seqs] */
    int n_parts;
    int64_t n_wanted;
    choir_step_size size;
    int64_t begun_us;
    bool has_prompt; /* rows of one, beside what is decoded */
} choir_flight;

struct choir_scheduler {
    choir_scheduler_options options;
    choir_sampler *sampler;
    choir_fair_queue *queue;               /* those that wait */
    choir_sequence_list prefills, decodes; /* those that run; decodes: in the order of their turn */
    choir_sequence_list ended;             /* in a step in flight, nothing else */
    choir_page_pool *pages;
    int32_t *free_slots; /* [max_num_seqs], n_free_slots of them: a stack */
    int n_free_slots;
    choir_sequence *starved; /* found no pages in the last step; NULL: nobody */
    choir_sequence **turns;  /* [max_num_seqs] */
    int32_t *turn_rows;      /* [max_num_seqs] */
    choir_flight *flights;   /* [n_stages], a ring */
    int first_flight, n_flights;
    choir_step_cost cost; /* of all steps */
    double decode_us;     /* what steps without prompts take, of this size; 0: none yet */
    choir_step_size decode_size;
    double prompt_ratio;      /* what steps with prompts took of what was predicted, smoothed */
    int64_t now_us;           /* for the visits of the queue */
    int64_t completed_us;     /* when the last step did */
    int64_t next_deadline_us; /* no request's is earlier */
    int64_t admission_us;     /* the time between two admissions, smoothed; 0: not known */
    int64_t last_admission_us;
    choir_output_token *out_tokens; /* [max_num_batched_tokens + 1] */
    choir_top_token *out_top;       /* [max_num_batched_tokens + 1][CHOIR_STEP_MAX_TOP] */
    choir_scheduler_load count;     /* the counters since the start */
};

static inline int64_t choir_scheduler_n_running(const choir_scheduler *scheduler)
{
    return scheduler->prefills.n + scheduler->decodes.n;
}

/* Moves from the queue to the running ones while there is room for whose turn it is. */
void choir_scheduler_admit(choir_scheduler *scheduler, int64_t now_us);
/*
 * Pages for all positions below `end`; where there are not enough, others of the running ones that
 * yield and are not in the step being made are put back. False: there are too few, and none that
 * could be put back.
 */
bool choir_scheduler_secure_pages(choir_scheduler *scheduler, choir_sequence *sequence,
                                  int64_t end) CHOIR_MUST_CHECK;
/* Takes from the cache what is there of a prefill that stands at the beginning of a page. */
void choir_scheduler_reuse_pages(choir_scheduler *scheduler, choir_sequence *sequence);
/* Whether its next page is being computed by a prefill before it in the list. */
bool choir_scheduler_waits_for_page(const choir_scheduler *scheduler, choir_sequence *sequence);
/* Tells the pool the names of the pages that are full, now that they are in steps. */
void choir_scheduler_publish_pages(choir_scheduler *scheduler, choir_sequence *sequence);
/* Gives back slot and pages of a running one; its list is the caller's. */
void choir_scheduler_vacate(choir_scheduler *scheduler, choir_sequence *sequence);

/* What decodes of that size take alone; 0: not known. */
double choir_scheduler_decode_us(const choir_scheduler *scheduler, choir_step_size size);
/* Tells a request's end and forgets it, or keeps it until no step in flight knows it. */
void choir_scheduler_end(choir_scheduler *scheduler, choir_sequence *sequence, int n_tokens,
                         choir_finish finish, choir_status status, int64_t now_us);

#endif
