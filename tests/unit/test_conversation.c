/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/conversation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void add(choir_conversation *conversation, const char *text, size_t n_tokens)
{
    assert_int_equal(choir_conversation_add(conversation, text, strlen(text), n_tokens), CHOIR_OK);
}

static void expect_json(const choir_conversation *conversation, const char *expected)
{
    char *json;
    assert_int_equal(choir_conversation_to_json(conversation, &json), CHOIR_OK);
    assert_string_equal(json, expected);
    free(json);
}

static void test_roles(void **state)
{
    (void)state;
    choir_conversation talk = {0};
    add(&talk, "Hello \"you\"", 3);
    expect_json(&talk, "[{\"role\": \"user\", \"content\": \"Hello \\\"you\\\"\"}]");
    add(&talk, "Hi.", 2);
    add(&talk, "Bye.", 2);
    assert_int_equal(choir_conversation_set_system(&talk, "Be brief.", 9, 3), CHOIR_OK);
    expect_json(&talk, "[{\"role\": \"system\", \"content\": \"Be brief.\"}, "
                       "{\"role\": \"user\", \"content\": \"Hello \\\"you\\\"\"}, "
                       "{\"role\": \"assistant\", \"content\": \"Hi.\"}, "
                       "{\"role\": \"user\", \"content\": \"Bye.\"}]");
    choir_conversation_drop_last(&talk);
    choir_conversation_drop_last(&talk);
    assert_int_equal(talk.n_messages, 1);
    choir_conversation_destroy(&talk);
    choir_conversation_destroy(&talk);
}

static void test_trim_forgets_the_oldest(void **state)
{
    (void)state;
    choir_conversation talk = {0};
    assert_int_equal(choir_conversation_set_system(&talk, "S", 1, 10), CHOIR_OK);
    for (int i = 0; i < 4; i++) {
        add(&talk, "question", 100);
        add(&talk, "answer", 100);
    }
    add(&talk, "last", 100);
    assert_int_equal(choir_conversation_trim(&talk, 2000, 500), 0);
    assert_int_equal(talk.n_messages, 9);
    /* 5 messages and the system message leave 500 of 1,130, 7 would not. */
    assert_int_equal(choir_conversation_trim(&talk, 1130, 500), 2);
    assert_int_equal(talk.n_messages, 5);
    assert_non_null(talk.system.content);
    /* The last question stays, however small the context is. */
    assert_int_equal(choir_conversation_trim(&talk, 10, 5), 2);
    expect_json(&talk, "[{\"role\": \"system\", \"content\": \"S\"}, "
                       "{\"role\": \"user\", \"content\": \"last\"}]");
    choir_conversation_destroy(&talk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_roles),
        cmocka_unit_test(test_trim_forgets_the_oldest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
