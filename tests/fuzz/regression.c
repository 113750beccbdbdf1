/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage: fuzz_<stem> FOLDER: a fuzz target over a folder of files, without libFuzzer. Each file is
 * given whole and cut at 16 places, in a buffer of its own size so that a sanitizer sees reads
 * beyond it.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CUTS = 16 };

static void give(const uint8_t *bytes, size_t length)
{
    uint8_t *copy = malloc(length ? length : 1);
    if (!copy)
        abort();
    memcpy(copy, bytes, length);
    LLVMFuzzerTestOneInput(copy, length);
    free(copy);
}

static int give_file(const char *path)
{
    static uint8_t bytes[1 << 20];
    FILE *file = fopen(path, "rb");
    if (!file)
        return 0;
    const size_t length = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    for (size_t i = 0; i <= CUTS; i++)
        give(bytes, length * i / CUTS);
    return 1;
}

int main(int argc, char **argv)
{
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    if (!folder) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    int n_files = 0;
    for (const struct dirent *entry; (entry = readdir(folder));) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
        if (entry->d_name[0] != '.')
            n_files += give_file(path);
    }
    closedir(folder);
    printf("%d files\n", n_files);
    return n_files > 0 ? 0 : 1;
}
