/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/probe.h"

#include "common/clock.h"
#include "common/mem.h"
#include "worker/team.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int64_t choir_probe_memory_available(void)
{
    FILE *file = fopen("/proc/meminfo", "re");
    char line[128];
    long long kib = 0;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %lld kB", &kib) == 1)
            break;
    if (file)
        fclose(file);
    return kib * 1024;
}

int64_t choir_probe_memory_resident(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    long long pages = 0;
    if (!file)
        return 0;
    if (fscanf(file, "%*s %lld", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

int64_t choir_probe_huge_bytes(const void *region, size_t bytes)
{
    FILE *file = fopen("/proc/self/smaps", "re");
    const uintptr_t first = (uintptr_t)region, last = first + bytes;
    bool is_inside = false;
    long long total_kib = 0;
    char line[512];
    while (file && fgets(line, sizeof line, file)) {
        unsigned long long begin, end;
        long long kib;
        if (sscanf(line, "%llx-%llx ", &begin, &end) == 2)
            is_inside = begin < last && end > first;
        else if (is_inside && sscanf(line, "AnonHugePages: %lld kB", &kib) == 1)
            total_kib += kib;
    }
    if (file)
        fclose(file);
    return total_kib * 1024;
}

int choir_probe_cpus(char *text, size_t size)
{
    cpu_set_t set;
    size_t used = 0;
    text[0] = '\0';
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &set))
            continue;
        const int first = cpu;
        while (cpu + 1 < CPU_SETSIZE && CPU_ISSET(cpu + 1, &set))
            cpu++;
        char range[32];
        snprintf(range, sizeof range, first == cpu ? "%s%d" : "%s%d-%d", used ? "," : "", first,
                 cpu);
        if (used + strlen(range) < size)
            used += (size_t)snprintf(text + used, size - used, "%s", range);
    }
    return CPU_COUNT(&set);
}

double choir_probe_read_bandwidth(int n_threads)
{
    const size_t n_words = (size_t)96 << 17; /* of 8 bytes: 96 MiB */
    void *region;
    uint64_t total = 0;
    double best = 0;
    if (choir_pages_map(n_words * sizeof(uint64_t), &region) != CHOIR_OK)
        return 0;
    uint64_t *words = region;
    for (int pass = 0; pass < 4; pass++) {
        const int64_t start = choir_clock_us();
#pragma omp parallel num_threads(n_threads) reduction(+ : total)
        {
            const choir_team team = choir_team_here(NULL);
            const choir_range mine = choir_team_share(&team, (int64_t)n_words / 8);
            uint64_t sums[8] = {0};
            if (pass == 0) /* gives every page its memory, near the thread that reads it */
                memset(words + mine.begin * 8, 1,
                       (size_t)choir_range_size(mine) * 8 * sizeof *words);
            for (int64_t i = mine.begin; i < mine.end; i++)
                for (int lane = 0; lane < 8; lane++)
                    sums[lane] += words[i * 8 + lane];
            for (int lane = 0; lane < 8; lane++)
                total += sums[lane];
        }
        const int64_t us = choir_clock_us() - start;
        const double rate = (double)n_words * sizeof(uint64_t) * 1e6 / (double)(us > 0 ? us : 1);
        if (pass > 0 && rate > best)
            best = rate;
    }
    choir_pages_unmap(&region, n_words * sizeof(uint64_t));
    return total != 0 ? best : 0; /* the sums are used, so that the loads are not removed */
}
