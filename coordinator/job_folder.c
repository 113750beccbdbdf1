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

/* Removes a folder of ours whose process is gone: it has a lock that nobody holds. */
static void remove_if_dead(int parent, const char *name)
{
    struct stat info;
    const int folder = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    const int lock = folder < 0 ? -1 : openat(folder, LOCK_NAME, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    /* Others may write to SHARED too. */
    if (lock >= 0 && fstat(folder, &info) == 0 && info.st_uid == geteuid() &&
        flock(lock, LOCK_EX | LOCK_NB) == 0)
        remove_tree(parent, name, 0);
    if (lock >= 0)
        close(lock);
    if (folder >= 0)
        close(folder);
}

/* Looks at all folders in `parent` whose names are `prefix` and a suffix of mkdtemp(). */
static void sweep(const char *parent, const char *prefix)
{
    DIR *entries = opendir(parent);
    const struct dirent *entry;
    if (!entries)
        return;
    while ((entry = readdir(entries)))
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0 &&
            strlen(entry->d_name) == strlen(prefix) + SUFFIX_CHARS)
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

/* Clears `parent` of dead folders and makes a new one in it; path is "" if it could not. */
static choir_status make_folder(const char *parent, const char *prefix,
                                char path[CHOIR_JOB_PATH_BYTES], int *lock)
{
    char pattern[CHOIR_JOB_PATH_BYTES];
    sweep(parent, prefix);
    if ((size_t)snprintf(pattern, sizeof pattern, "%s/%sXXXXXX", parent, prefix) >= sizeof pattern)
        return choir_fail(CHOIR_EIO,
                          "%s: too long for sockets in it; set XDG_RUNTIME_DIR to a shorter folder",
                          parent);
    if (!mkdtemp(pattern))
        return choir_fail(CHOIR_EIO, "%s: cannot make a folder in it: %s", parent, strerror(errno));
    snprintf(path, CHOIR_JOB_PATH_BYTES, "%s", pattern);
    return take_lock(path, lock);
}

static choir_status make_both(choir_job_folder *folder)
{
    char runtime[CHOIR_PATH_BYTES], prefix[32];
    choir_status status = CHOIR_EINTERNAL;
    /* Another process may remove the empty runtime folder before ours is in it: then try again. */
    for (int attempt = 0; attempt < 3 && !folder->path[0]; attempt++) {
        status = choir_runtime_folder(runtime);
        if (status != CHOIR_OK)
            return status;
        status = make_folder(runtime, "job-", folder->path, &folder->lock);
    }
    if (status != CHOIR_OK)
        return status;
    snprintf(prefix, sizeof prefix, "choir-%u-", (unsigned)geteuid());
    return make_folder(SHARED, prefix, folder->shared_path, &folder->shared_lock);
}

choir_status choir_job_folder_create(choir_job_folder **folder)
{
    choir_job_folder *created;
    *folder = NULL;
    choir_status status = choir_alloc(1, sizeof *created, (void **)&created);
    if (status != CHOIR_OK)
        return status;
    created->lock = created->shared_lock = -1;
    status = make_both(created);
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
    if (it->shared_lock >= 0)
        close(it->shared_lock);
    free(it);
}
