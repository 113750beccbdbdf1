/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every option of mpirun that Choir sets, by MPI version, with its reason.
 *
 * Binding: a rank gets as many cores of its own as it has threads, when the job uses more than half
 * of a machine that is all ours. A smaller job is left to the system's scheduler, since Open MPI
 * counts cores from the first one for each job, and two small jobs would share the same core while
 * others idle. When threads outnumber the cores nothing is bound, and threads that wait for others
 * of their rank sleep at once instead of spinning first.
 */
#include "coordinator/launch.h"

#include "common/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_CAP = 512 };

/* Words with one space between them. %n ranks, %t threads of a rank, %f folder, %s shared folder.
 */
typedef struct mpi_dialect {
    const char *mpi;     /* how the version begins */
    const char *root;    /* variables for user 0 */
    const char *always;  /* arguments */
    const char *bound;   /* ranks get cores of their own ... */
    const char *unbound; /* ... or run anywhere */
} mpi_dialect;

static const mpi_dialect dialects[] = {
    {
        .mpi = "Open MPI 4.",
        .root = "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
        .always =
            "-np %n -x CHOIR_LAUNCH -x OMP_NUM_THREADS=%t"
            /* When one rank has died the others are killed at once, not after a second. */
            " --mca odls_base_sigkill_timeout 0"
            /* One host: no search for networks; shared memory as it is fastest for 4-64 KiB. */
            " --mca pml ob1 --mca btl self,vader"
            " --mca btl_vader_single_copy_mechanism none --mca btl_vader_eager_limit 66000"
            /* A rank that waits gives its core away. On an idle machine that costs nothing (choir
               fingerprint of the tiny test model, 2 ranks on 2 cores: 0.93 s without, 0.95 s with
               it); on a busy one ranks that spin wait for each other's time slices. */
            " --mca mpi_yield_when_idle 1"
            /* Files lie where they are found and removed after a kill. */
            " --mca orte_tmpdir_base %f --mca btl_vader_backing_directory %s"
            " --mca osc_sm_backing_directory %s",
        .bound = "--map-by slot:PE=%t --bind-to core",
        .unbound = "--oversubscribe --bind-to none",
    },
    /* Another MPI: what every mpirun knows. */
    {.mpi = "", .root = "", .always = "-np %n", .bound = "", .unbound = ""},
};

typedef enum binding { BOUND, UNBOUND, CROWDED } binding;

static const mpi_dialect *find_dialect(const char *mpi)
{
    const mpi_dialect *dialect = dialects;
    while (strncmp(mpi, dialect->mpi, strlen(dialect->mpi)) != 0)
        dialect++;
    return dialect;
}

static binding choose_binding(const choir_launch_wish *wish, const choir_machine *machine)
{
    const int64_t n_threads = (int64_t)wish->n_ranks * wish->n_threads;
    if (n_threads > machine->n_cpus)
        return CROWDED;
    if (machine->is_whole && n_threads <= machine->n_cores && n_threads > machine->n_cores / 2)
        return BOUND;
    return UNBOUND;
}

/* A list of strings that grows; what went wrong once is kept. */
typedef struct list {
    char **items; /* NULL-terminated */
    size_t n_items, capacity;
    choir_status status;
} list;

static void append(list *to, const char *text, size_t length)
{
    if (to->status == CHOIR_OK)
        to->status =
            choir_grow((void **)&to->items, &to->capacity, to->n_items + 2, sizeof *to->items);
    if (to->status == CHOIR_OK)
        to->status = choir_copy_string(text, length, &to->items[to->n_items]);
    if (to->status == CHOIR_OK)
        to->items[++to->n_items] = NULL;
}

/* One word, its last two bytes replaced if they are a %letter. */
static void append_word(list *to, const char *word, size_t length, const choir_launch_wish *wish)
{
    char text[WORD_CAP];
    const bool is_open = length >= 2 && word[length - 2] == '%';
    const int fixed = (int)(is_open ? length - 2 : length);
    switch (is_open ? word[length - 1] : '\0') {
    case 'n':
        snprintf(text, sizeof text, "%.*s%d", fixed, word, wish->n_ranks);
        break;
    case 't':
        snprintf(text, sizeof text, "%.*s%d", fixed, word, wish->n_threads);
        break;
    case 'f':
        snprintf(text, sizeof text, "%.*s%s", fixed, word, wish->folder);
        break;
    case 's':
        snprintf(text, sizeof text, "%.*s%s", fixed, word, wish->shared_folder);
        break;
    default:
        snprintf(text, sizeof text, "%.*s", fixed, word);
    }
    append(to, text, strlen(text));
}

static void append_words(list *to, const char *words, const choir_launch_wish *wish)
{
    while (*words) {
        const size_t length = strcspn(words, " ");
        append_word(to, words, length, wish);
        words += length + (words[length] == ' ');
    }
}

static const char *plural(int n)
{
    return n == 1 ? "" : "s";
}

static void write_summary(char summary[256], const choir_launch_wish *wish,
                          const choir_machine *machine, const mpi_dialect *dialect, binding bind)
{
    static const char *const words[] = {
        [BOUND] = "each rank bound to its own cores",
        [UNBOUND] = "not bound",
        [CROWDED] = "more threads than cores: not bound",
    };
    snprintf(summary, 256, "%s, %d rank%s x %d thread%s on %d core%s; %s%s", machine->mpi,
             wish->n_ranks, plural(wish->n_ranks), wish->n_threads, plural(wish->n_threads),
             machine->n_cores, plural(machine->n_cores),
             dialect->mpi[0] ? words[bind] : "bound as this MPI does by itself",
             machine->is_root ? "; as root" : "");
}

static choir_status fill(choir_launch *launch, const choir_launch_wish *wish,
                         const choir_machine *machine)
{
    const mpi_dialect *dialect = find_dialect(machine->mpi);
    const binding bind = choose_binding(wish, machine);
    list argv = {0}, variables = {0};
    char summary[WORD_CAP];
    write_summary(launch->summary, wish, machine, dialect, bind);
    append(&argv, wish->launcher, strlen(wish->launcher));
    append_words(&argv, dialect->always, wish);
    append_words(&argv, bind == BOUND ? dialect->bound : dialect->unbound, wish);
    append(&argv, wish->worker, strlen(wish->worker));
    for (size_t i = 0; wish->worker_arguments[i]; i++)
        append(&argv, wish->worker_arguments[i], strlen(wish->worker_arguments[i]));
    if (machine->is_root)
        append_words(&variables, dialect->root, wish);
    append_words(&variables, "OMP_NUM_THREADS=%t", wish);
    snprintf(summary, sizeof summary, "CHOIR_LAUNCH=%s", launch->summary);
    append(&variables, summary, strlen(summary));
    launch->argv = argv.items;
    launch->variables = variables.items;
    return argv.status != CHOIR_OK ? argv.status : variables.status;
}

choir_status choir_launch_create(const choir_launch_wish *wish, const choir_machine *machine,
                                 choir_launch **launch)
{
    *launch = NULL;
    choir_launch *created;
    choir_status status = choir_alloc(1, sizeof *created, (void **)&created);
    if (status != CHOIR_OK)
        return status;
    status = fill(created, wish, machine);
    if (status != CHOIR_OK)
        choir_launch_destroy(&created);
    *launch = created;
    return status;
}

static void free_strings(char **strings)
{
    for (size_t i = 0; strings && strings[i]; i++)
        free(strings[i]);
    free(strings);
}

void choir_launch_destroy(choir_launch **launch)
{
    choir_launch *it = *launch;
    *launch = NULL;
    if (!it)
        return;
    free_strings(it->argv);
    free_strings(it->variables);
    free(it);
}
