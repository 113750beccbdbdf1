/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `choir VERB …`: finds the verb, runs it, prints its error. Nothing else of the program prints
 * errors or exits. SIGPIPE is ignored so that a closed pipe is an error like others and what a verb
 * has started is ended.
 */
#include "cli/flags.h"
#include "cli/verbs.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

typedef struct verb {
    const char *name;
    const char *help;
    choir_status (*run)(int argc, char **argv);
} verb;

static choir_status run_help(int argc, char **argv);

static const verb verbs[] = {
    {"serve", "runs a service in the foreground", choir_verb_serve},
    {"generate", "continues a prompt; text streams as it comes", choir_verb_generate},
    {"chat", "answers a question, or talks", choir_verb_chat},
    {"score", "tells the log-probability of each token of a text", choir_verb_score},
    {"embed", "turns a text into a vector", choir_verb_embed},
    {"eval", "measures the perplexity of a text", choir_verb_eval},
    {"tokenize", "prints the token ids of a text", choir_verb_tokenize},
    {"detokenize", "prints the text of token ids", choir_verb_detokenize},
    {"inspect", "shows a model file's parameters and tensors", choir_verb_inspect},
    {"plan", "shows which rank would hold what", choir_verb_plan},
    {"status", "asks a running service for its load and its ranks", choir_verb_status},
    {"top", "shows a running service live: load, speed, ranks", choir_verb_top},
    {"fingerprint", "prints the hash that every layout must have", choir_verb_fingerprint},
    {"bench", "measures the speed of prefill and decode", choir_verb_bench},
    {"help", "tells the flags of a verb", run_help},
};

enum { N_VERBS = sizeof verbs / sizeof verbs[0] };

static const verb *find_verb(const char *name)
{
    for (size_t i = 0; i < N_VERBS; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static choir_status fail_unknown_verb(const char *name)
{
    const char *names[N_VERBS];
    for (size_t i = 0; i < N_VERBS; i++)
        names[i] = verbs[i].name;
    const char *nearest = choir_flags_nearest(name, names, N_VERBS);
    if (nearest != NULL)
        return choir_fail(CHOIR_EUSAGE, "unknown verb %.40s; did you mean `choir %s`?", name,
                          nearest);
    return choir_fail(CHOIR_EUSAGE, "unknown verb %.40s; `choir --help` lists the verbs", name);
}

static void print_help(void)
{
    (void)printf("usage: choir VERB [FLAGS] …\n\n"
                 "Choir serves a large language model from the CPUs of many nodes.\n\nVerbs:\n");
    for (size_t i = 0; i < N_VERBS; i++)
        (void)printf("  %-12s %s\n", verbs[i].name, verbs[i].help);
    (void)printf(
        "\n`choir VERB --help` tells the flags of a verb, with examples.\n"
        "`choir --version` tells the version.\n\n"
        "Exit codes: 0 done, 1 a bug, 2 wrong flag or argument, 3 file or socket failed, 4 "
        "damaged\nfile, 5 not supported, 6 out of memory, 7 refused request, 8 no service, "
        "9 no answer in\ntime, 10 interrupted, 11 the ranks failed, 12 the model file "
        "changed.\n\nExample:\n"
        "  choir generate --model model.gguf \"Once upon a time\"\n");
}

static choir_status run_verb(int argc, char **argv)
{
    const verb *found = find_verb(argv[0]);
    return found == NULL ? fail_unknown_verb(argv[0]) : found->run(argc, argv);
}

/* `choir help VERB` is `choir VERB --help`. */
static choir_status run_help(int argc, char **argv)
{
    char flag[] = "--help";
    char *help_argv[] = {argc > 1 ? argv[1] : NULL, flag, NULL};
    if (argc > 1 && argv[1][0] != '-' && strcmp(argv[1], "help") != 0)
        return run_verb(2, help_argv);
    print_help();
    return CHOIR_OK;
}

static choir_status run(int argc, char **argv)
{
    if (argc < 2)
        return choir_fail(CHOIR_EUSAGE, "no verb; `choir --help` lists the verbs");
    if (strcmp(argv[1], "--version") == 0) {
        (void)printf("choir %s\n", CHOIR_VERSION);
        return CHOIR_OK;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return run_help(1, argv);
    if (argv[1][0] == '-')
        return choir_fail(CHOIR_EUSAGE,
                          "the verb comes first: `choir VERB %.40s …`; `choir --help`"
                          " lists the verbs",
                          argv[1]);
    return run_verb(argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
    (void)signal(SIGPIPE, SIG_IGN);
    choir_status status = run(argc, argv);
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == CHOIR_OK)
        status = choir_fail(CHOIR_EIO, "standard output could not be written");
    if (status != CHOIR_OK)
        (void)fprintf(stderr, "choir: %s\n", choir_error());
    return (int)status;
}
