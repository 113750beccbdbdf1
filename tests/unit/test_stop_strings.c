/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/stop_strings.h"

#include "common/philox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What was shown of a text that was given in pieces, and which stop string was found. */
typedef struct outcome {
    char shown[256];
    size_t n_shown;
    char matched[32];
} outcome;

static void show(outcome *result, const char *text, size_t length)
{
    assert_true(result->n_shown + length < sizeof result->shown);
    memcpy(result->shown + result->n_shown, text, length);
    result->n_shown += length;
}

/* Feeds a text in pieces of these lengths, over and over. */
static outcome feed(const char *const *stops, size_t n_stops, const char *text,
                    const size_t *pieces, size_t n_pieces)
{
    choir_stop_strings *finder;
    outcome result = {0};
    const char *shown, *matched = NULL;
    size_t n_shown, at = 0;
    const size_t length = strlen(text);
    assert_int_equal(choir_stop_strings_create(stops, n_stops, &finder), CHOIR_OK);
    for (size_t i = 0; at < length && !matched; i++) {
        const size_t left = length - at;
        const size_t n = pieces[i % n_pieces] < left ? pieces[i % n_pieces] : left;
        assert_int_equal(choir_stop_strings_add(finder, text + at, n, &shown, &n_shown, &matched),
                         CHOIR_OK);
        show(&result, shown, n_shown);
        at += n;
    }
    if (matched) {
        strcpy(result.matched, matched);
    } else {
        choir_stop_strings_flush(finder, &shown, &n_shown);
        show(&result, shown, n_shown);
    }
    choir_stop_strings_destroy(&finder);
    assert_null(finder);
    return result;
}

static void expect(const char *const *stops, size_t n_stops, const char *text, const char *shown,
                   const char *matched)
{
    for (size_t piece = 1; piece < 8; piece++) {
        const outcome found = feed(stops, n_stops, text, &piece, 1);
        assert_string_equal(found.shown, shown);
        assert_string_equal(found.matched, matched);
    }
}

static void known_cases(void **state)
{
    static const char *const end[] = {"END"}, *const nested[] = {"b", "abc"};
    static const char *const same_end[] = {"ef", "def", "f"}, *const own_prefix[] = {"aab"};
    (void)state;
    expect(NULL, 0, "anything", "anything", "");
    expect(end, 1, "the END of it", "the ", "END");
    expect(end, 1, "EN", "EN", "");
    expect(end, 1, "EENENDEND", "EEN", "END");
    expect(nested, 2, "xabc", "xa", "b");        /* complete first */
    expect(same_end, 3, "abcdef", "abc", "def"); /* of those that end together the longest */
    expect(own_prefix, 1, "aaaab", "aa", "aab"); /* the search goes on inside of itself */
}

static void held_back_text_is_a_beginning(void **state)
{
    static const char *const stops[] = {"<|end|>"};
    choir_stop_strings *finder;
    const char *shown, *matched;
    size_t n_shown;
    (void)state;
    assert_int_equal(choir_stop_strings_create(stops, 1, &finder), CHOIR_OK);
    assert_int_equal(choir_stop_strings_add(finder, "a <|en", 6, &shown, &n_shown, &matched),
                     CHOIR_OK);
    assert_int_equal(n_shown, 2);
    assert_int_equal(choir_stop_strings_add(finder, "", 0, &shown, &n_shown, &matched), CHOIR_OK);
    assert_int_equal(n_shown, 0);
    assert_int_equal(choir_stop_strings_add(finder, "t", 1, &shown, &n_shown, &matched), CHOIR_OK);
    assert_int_equal(n_shown, 5);
    assert_memory_equal(shown, "<|ent", 5);
    assert_null(matched);
    choir_stop_strings_destroy(&finder);
}

/* The longest stop string that text[0..end) ends with; "" if it ends with none. */
static const char *ends_with(const char *const *stops, size_t n_stops, const char *text, size_t end)
{
    const char *longest = "";
    for (size_t i = 0; i < n_stops; i++) {
        const size_t length = strlen(stops[i]);
        if (length <= end && length > strlen(longest) &&
            memcmp(text + end - length, stops[i], length) == 0)
            longest = stops[i];
    }
    return longest;
}

/* The header's rule, without thinking of pieces. */
static outcome by_rule(const char *const *stops, size_t n_stops, const char *text)
{
    outcome result = {0};
    for (size_t end = 1; end <= strlen(text); end++) {
        const char *found = ends_with(stops, n_stops, text, end);
        if (found[0]) {
            show(&result, text, end - strlen(found));
            strcpy(result.matched, found);
            return result;
        }
    }
    show(&result, text, strlen(text));
    return result;
}

static uint32_t draw(uint32_t *n_drawn)
{
    const uint32_t key[2] = {7, 9}, counter[4] = {(*n_drawn)++, 0, 0, 0};
    uint32_t words[4];
    choir_philox(key, counter, words);
    return words[0];
}

static void random_texts_in_random_pieces(void **state)
{
    uint32_t n_drawn = 0;
    size_t n_matched = 0;
    (void)state;
    for (int round = 0; round < 20000; round++) {
        char text[33], words[3][6];
        const char *stops[3] = {words[0], words[1], words[2]};
        size_t pieces[4];
        const size_t length = draw(&n_drawn) % 32, n_stops = 1 + draw(&n_drawn) % 3;
        for (size_t i = 0; i < length; i++)
            text[i] = (char)('a' + draw(&n_drawn) % 2);
        text[length] = 0;
        for (size_t i = 0; i < n_stops; i++) {
            const size_t n = 1 + draw(&n_drawn) % 5;
            for (size_t j = 0; j < n; j++)
                words[i][j] = (char)('a' + draw(&n_drawn) % 2);
            words[i][n] = 0;
        }
        for (size_t i = 0; i < 4; i++)
            pieces[i] = 1 + draw(&n_drawn) % 6;
        const outcome found = feed(stops, n_stops, text, pieces, 4);
        const outcome wanted = by_rule(stops, n_stops, text);
        assert_string_equal(found.shown, wanted.shown);
        assert_string_equal(found.matched, wanted.matched);
        n_matched += found.matched[0] != 0;
    }
    assert_in_range(n_matched, 1000, 19000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_cases),
        cmocka_unit_test(held_back_text_is_a_beginning),
        cmocka_unit_test(random_texts_in_random_pieces),
    };
    return cmocka_run_group_tests_name("stop_strings", tests, NULL, NULL);
}
