/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/job_folder.h"

#include "common/mem.h"
#include "proto/endpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Job folders are RUNTIME/job-XXXXXX and SHARED/choir-UID-XXXXXX with the same six characters. */
#define JOB_PREFIX "job-"
#define LOCK_NAME "lock"
#define SHARED "/dev/shm"
enum { SUFFIX_CHARS = 6, PATH_CAP = 512, DEEPEST_TREE = 16 };

/* Removes what lies in `name` (relative to `at`) and itself; never follows a symbolic link. */
static void remove_tree(int at, const char *name, int depth)
{
    const int folder = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *entries = folder < 0 ? NULL : fdopendir(folder);
    if (!entries) {
        if (folder >= 0)
            close(folder);
        return;
    }
    const struct dirent *entry;
    while ((entry = readdir(entries))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(folder, entry->d_name, 0) != 0 && depth < DEEPEST_TREE)
            remove_tree(folder, entry->d_name, depth + 1);
    }
    closedir(entries);
    unlinkat(at, name, AT_REMOVEDIR);
}

static void shared_folder_name(const char *suffix, char path[CHOIR_JOB_PATH_BYTES])
{
    snprintf(path, CHOIR_JOB_PATH_BYTES, SHARED "/choir-%u-%s", (unsigned)geteuid(), suffix);
}

/* Removes the pair of folders whose process is gone: nobody holds its lock. */
static void remove_if_dead(int runtime, const char *name)
{
    char path[PATH_CAP], shared[CHOIR_JOB_PATH_BYTES];
    snprintf(path, sizeof path, "%.64s/" LOCK_NAME, name);
    const int lock = openat(runtime, path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0) {
        shared_folder_name(name + strlen(JOB_PREFIX), shared);
        remove_tree(AT_FDCWD, shared, 0);
        remove_tree(runtime, name, 0);
    }
    if (lock >= 0)
        close(lock);
}

static void sweep(const char *runtime_folder)
{
    DIR *entries = opendir(runtime_folder);
    const struct dirent *entry;
    if (!entries)
        return;
    while ((entry = readdir(entries)))
        if (strncmp(entry->d_name, JOB_PREFIX, strlen(JOB_PREFIX)) == 0 &&
            strlen(entry->d_name) == strlen(JOB_PREFIX) + SUFFIX_CHARS)
            remove_if_dead(dirfd(entries), entry->d_name);
    closedir(entries);
}

/* The lock is taken before the file has its name, so that no sweep sees it free. */
static choir_status take_lock(const char *folder, int *lock)
{
    char temporary[PATH_CAP], path[PATH_CAP];
    snprintf(temporary, sizeof temporary, "%.90s/lock.new", folder);
    snprintf(path, sizeof path, "%.90s/" LOCK_NAME, folder);
    *lock = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (*lock < 0 || flock(*lock, LOCK_EX | LOCK_NB) != 0 || rename(temporary, path) != 0)
        return choir_fail(CHOIR_EIO, "%s: cannot make a lock: %s", folder, strerror(errno));
    return CHOIR_OK;
}

static choir_status make_folders(choir_job_folder *folder, const char *runtime)
{
    char path[CHOIR_JOB_PATH_BYTES];
    if ((size_t)snprintf(path, sizeof path, "%s/" JOB_PREFIX "XXXXXX", runtime) >= sizeof path)
        return choir_fail(CHOIR_EIO,
                          "%s: too long for sockets in it; set XDG_RUNTIME_DIR to a shorter folder",
                          runtime);
    if (!mkdtemp(path))
        return choir_fail(CHOIR_EIO, "%s: cannot make a folder in it: %s", runtime,
                          strerror(errno));
    snprintf(folder->path, sizeof folder->path, "%s", path);
    choir_status status = take_lock(folder->path, &folder->lock);
    if (status != CHOIR_OK)
        return status;
    shared_folder_name(path + strlen(path) - SUFFIX_CHARS, folder->shared_path);
    if (mkdir(folder->shared_path, 0700) != 0)
        return choir_fail(CHOIR_EIO, "%s: cannot make the folder: %s", folder->shared_path,
                          strerror(errno));
    return CHOIR_OK;
}

choir_status choir_job_folder_create(choir_job_folder **folder)
{
    char runtime[CHOIR_PATH_BYTES];
    choir_job_folder *created;
    *folder = NULL;
    choir_status status = choir_alloc(1, sizeof *created, (void **)&created);
    if (status != CHOIR_OK)
        return status;
    created->lock = -1;
    /* Another process may remove the empty runtime folder before ours is in it: then try again. */
    for (int attempt = 0; attempt < 3 && !created->path[0]; attempt++) {
        status = choir_runtime_folder(runtime);
        if (status != CHOIR_OK)
            break;
        sweep(runtime);
        status = make_folders(created, runtime);
    }
    if (status != CHOIR_OK)
        choir_job_folder_destroy(&created);
    *folder = created;
    return status;
}

void choir_job_folder_destroy(choir_job_folder **folder)
{
    choir_job_folder *it = *folder;
    *folder = NULL;
    if (!it)
        return;
    if (it->shared_path[0])
        remove_tree(AT_FDCWD, it->shared_path, 0);
    if (it->path[0]) {
        remove_tree(AT_FDCWD, it->path, 0);
        *strrchr(it->path, '/') = '\0';
        rmdir(it->path); /* the runtime folder, if nothing else is in it */
    }
    if (it->lock >= 0)
        close(it->lock);
    free(it);
}
