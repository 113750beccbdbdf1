/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One automaton of Knuth, Morris and Pratt for each string: `matched` is the length of its longest
 * beginning that the text so far ends with. What has to be held back is the longest of these, for
 * only there can a stop string have begun. Each byte costs a constant number of steps on average.
 */
#include "coordinator/stop_strings.h"

#include "common/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct stop_automaton {
    char *text;
    size_t length;
    size_t *shorter; /* [length] of text[0..i]: its longest proper end that is also its beginning */
    size_t matched;
} stop_automaton;

struct choir_stop_strings {
    stop_automaton *automata;
    size_t n;
    char *held; /* what was added and not yet shown */
    size_t n_held, held_capacity;
    size_t n_shown; /* of held, by the last call: removed by the next one */
};

static void step(stop_automaton *stop, char byte)
{
    while (stop->matched > 0 && stop->text[stop->matched] != byte)
        stop->matched = stop->shorter[stop->matched - 1];
    if (stop->text[stop->matched] == byte)
        stop->matched++;
}

/* The table is the automaton run over its own text, one byte behind. */
static choir_status prepare(stop_automaton *stop, const char *text)
{
    stop->length = strlen(text);
    choir_status status = choir_copy_string(text, stop->length, &stop->text);
    if (status == CHOIR_OK)
        status = choir_alloc(stop->length, sizeof *stop->shorter, (void **)&stop->shorter);
    for (size_t i = 1; status == CHOIR_OK && i < stop->length; i++) {
        step(stop, stop->text[i]);
        stop->shorter[i] = stop->matched;
    }
    stop->matched = 0;
    return status;
}

choir_status choir_stop_strings_create(const char *const *strings, size_t n,
                                       choir_stop_strings **result)
{
    choir_status status = choir_alloc(1, sizeof **result, (void **)result);
    if (status != CHOIR_OK)
        return status;
    status = choir_alloc(n, sizeof *(*result)->automata, (void **)&(*result)->automata);
    (*result)->n = status == CHOIR_OK ? n : 0;
    for (size_t i = 0; i < n && status == CHOIR_OK; i++)
        status = prepare(&(*result)->automata[i], strings[i]);
    if (status != CHOIR_OK)
        choir_stop_strings_destroy(result);
    return status;
}

void choir_stop_strings_destroy(choir_stop_strings **stops)
{
    if (!*stops)
        return;
    for (size_t i = 0; i < (*stops)->n; i++) {
        free((*stops)->automata[i].text);
        free((*stops)->automata[i].shorter);
    }
    free((*stops)->automata);
    free((*stops)->held);
    free(*stops);
    *stops = NULL;
}

static void forget_shown(choir_stop_strings *stops)
{
    stops->n_held -= stops->n_shown;
    if (stops->n_shown > 0 && stops->n_held > 0)
        memmove(stops->held, stops->held + stops->n_shown, stops->n_held);
    stops->n_shown = 0;
}

/* Feeds one byte: the longest stop string that is complete now, or NULL; *n_begun what to hold. */
static const stop_automaton *feed(choir_stop_strings *stops, char byte, size_t *n_begun)
{
    const stop_automaton *found = NULL;
    *n_begun = 0;
    for (size_t i = 0; i < stops->n; i++) {
        stop_automaton *stop = &stops->automata[i];
        step(stop, byte);
        if (stop->matched == stop->length && (!found || stop->length > found->length))
            found = stop;
        if (stop->matched > *n_begun)
            *n_begun = stop->matched;
    }
    return found;
}

choir_status choir_stop_strings_add(choir_stop_strings *stops, const char *text, size_t length,
                                    const char **shown, size_t *n_shown, const char **matched)
{
    size_t wanted, n_begun = 0;
    forget_shown(stops);
    *matched = NULL;
    if (!choir_size_add(stops->n_held, length, &wanted))
        return choir_fail(CHOIR_ENOMEM, "text too long");
    /* At least a byte, so that what is shown is never NULL. */
    const choir_status status =
        choir_grow((void **)&stops->held, &stops->held_capacity, wanted ? wanted : 1, 1);
    if (status != CHOIR_OK)
        return status;
    for (size_t i = 0; i < stops->n; i++)
        if (stops->automata[i].matched > n_begun)
            n_begun = stops->automata[i].matched;
    for (size_t i = 0; i < length && !*matched; i++) {
        stops->held[stops->n_held++] = text[i];
        const stop_automaton *found = feed(stops, text[i], &n_begun);
        if (found) {
            *matched = found->text;
            n_begun = found->length;
        }
    }
    *shown = stops->held;
    *n_shown = stops->n_shown = stops->n_held - n_begun;
    return CHOIR_OK;
}

void choir_stop_strings_flush(choir_stop_strings *stops, const char **shown, size_t *n_shown)
{
    forget_shown(stops);
    *shown = stops->held ? stops->held : "";
    *n_shown = stops->n_shown = stops->n_held;
}
