/* SPDX-License-Identifier: Apache-2.0 */
#include "common/runtime.h"

#include "common/mem.h"

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
enum { SUFFIX_CHARS = 6, PATH_CAP = 512, LONGEST_FOLDER = 60, DEEPEST_TREE = 16 };

static choir_status make_private_folder(const char *path)
{
    struct stat info;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return choir_fail(CHOIR_EIO, "%s: cannot make the folder: %s", path, strerror(errno));
    if (lstat(path, &info) != 0)
        return choir_fail(CHOIR_EIO, "%s: %s", path, strerror(errno));
    if (!S_ISDIR(info.st_mode) || info.st_uid != geteuid() || (info.st_mode & 077) != 0)
        return choir_fail(CHOIR_EIO,
                          "%s: must be a folder of user %u with mode 0700; remove it or set "
                          "XDG_RUNTIME_DIR to a folder of yours",
                          path, (unsigned)geteuid());
    return CHOIR_OK;
}

choir_status choir_runtime_folder(char **path)
{
    const char *base = getenv("XDG_RUNTIME_DIR");
    char text[PATH_CAP];
    *path = NULL;
    /* A longer base would leave no room for a socket's name (108 bytes in all). */
    if (base && base[0] == '/' && strlen(base) < LONGEST_FOLDER && access(base, W_OK) == 0)
        snprintf(text, sizeof text, "%s/choir", base);
    else
        snprintf(text, sizeof text, "/tmp/choir-%u", (unsigned)geteuid());
    choir_status status = make_private_folder(text);
    return status == CHOIR_OK ? choir_copy_string(text, strlen(text), path) : status;
}

choir_status choir_runtime_connection_file(char **path)
{
    char *folder;
    char text[PATH_CAP];
    *path = NULL;
    choir_status status = choir_runtime_folder(&folder);
    if (status != CHOIR_OK)
        return status;
    snprintf(text, sizeof text, "%s/choir.json", folder);
    free(folder);
    return choir_copy_string(text, strlen(text), path);
}

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

static void shared_folder_name(const char *suffix, char path[PATH_CAP])
{
    snprintf(path, PATH_CAP, SHARED "/choir-%u-%s", (unsigned)geteuid(), suffix);
}

/* Removes the pair of folders whose process is gone: nobody holds its lock. */
static void remove_if_dead(int runtime, const char *name)
{
    char path[PATH_CAP];
    snprintf(path, sizeof path, "%.64s/" LOCK_NAME, name);
    const int lock = openat(runtime, path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0) {
        shared_folder_name(name + strlen(JOB_PREFIX), path);
        remove_tree(AT_FDCWD, path, 0);
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
    snprintf(temporary, sizeof temporary, "%.256s/lock.new", folder);
    snprintf(path, sizeof path, "%.256s/" LOCK_NAME, folder);
    *lock = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (*lock < 0 || flock(*lock, LOCK_EX | LOCK_NB) != 0 || rename(temporary, path) != 0)
        return choir_fail(CHOIR_EIO, "%s: cannot make a lock: %s", folder, strerror(errno));
    return CHOIR_OK;
}

static choir_status make_job_folders(choir_runtime_job *job, const char *runtime_folder)
{
    char path[PATH_CAP];
    snprintf(path, sizeof path, "%.256s/" JOB_PREFIX "XXXXXX", runtime_folder);
    if (!mkdtemp(path))
        return choir_fail(CHOIR_EIO, "%s: cannot make a folder: %s", runtime_folder,
                          strerror(errno));
    choir_status status = choir_copy_string(path, strlen(path), &job->folder);
    if (status != CHOIR_OK) {
        rmdir(path);
        return status;
    }
    status = take_lock(job->folder, &job->lock);
    if (status != CHOIR_OK)
        return status;
    char shared[PATH_CAP];
    shared_folder_name(path + strlen(path) - SUFFIX_CHARS, shared);
    status = make_private_folder(shared);
    return status == CHOIR_OK ? choir_copy_string(shared, strlen(shared), &job->shared_folder)
                              : status;
}

/* Another process may remove the empty runtime folder between its making and ours in it: try again.
 */
static choir_status make_in_runtime_folder(choir_runtime_job *job)
{
    choir_status status = CHOIR_EINTERNAL;
    for (int attempt = 0; attempt < 3 && status != CHOIR_OK && !job->folder; attempt++) {
        char *runtime_folder;
        status = choir_runtime_folder(&runtime_folder);
        if (status != CHOIR_OK)
            return status;
        sweep(runtime_folder);
        status = make_job_folders(job, runtime_folder);
        free(runtime_folder);
    }
    return status;
}

choir_status choir_runtime_job_create(choir_runtime_job **job)
{
    *job = NULL;
    choir_runtime_job *created;
    choir_status status = choir_alloc(1, sizeof *created, (void **)&created);
    if (status != CHOIR_OK)
        return status;
    created->lock = -1;
    status = make_in_runtime_folder(created);
    if (status != CHOIR_OK)
        choir_runtime_job_destroy(&created);
    *job = created;
    return status;
}

void choir_runtime_job_destroy(choir_runtime_job **job)
{
    choir_runtime_job *it = *job;
    *job = NULL;
    if (!it)
        return;
    if (it->shared_folder)
        remove_tree(AT_FDCWD, it->shared_folder, 0);
    if (it->folder) {
        remove_tree(AT_FDCWD, it->folder, 0);
        *strrchr(it->folder, '/') = '\0';
        rmdir(it->folder); /* the runtime folder, if nothing else is in it */
    }
    if (it->lock >= 0)
        close(it->lock);
    free(it->shared_folder);
    free(it->folder);
    free(it);
}
