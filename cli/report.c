/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/report.h"

#include "cli/print.h"
#include "common/clock.h"
#include "model/model.h"

#include <errno.h>
#include <string.h>

enum { CELL_BYTES = 80 };

void choir_report_types(const choir_gguf *gguf, char text[CHOIR_REPORT_TYPES_BYTES])
{
    int n_types;
    const choir_type_info *types = choir_type_all(&n_types);
    uint64_t bytes[64] = {0}, sum = 0;
    size_t used = 0;
    for (size_t i = 0; i < choir_gguf_n_tensors(gguf); i++) {
        const choir_gguf_tensor *tensor = choir_gguf_tensor_at(gguf, i);
        const size_t place = (size_t)(choir_type_info_of(tensor->type) - types);
        if (place < 64)
            bytes[place] += tensor->bytes;
        sum += tensor->bytes;
    }
    text[0] = '\0';
    for (;;) {
        size_t most = 0;
        for (size_t i = 1; i < 64; i++)
            if (bytes[i] > bytes[most])
                most = i;
        const int percent = sum > 0 ? (int)((double)bytes[most] * 100 / (double)sum + 0.5) : 0;
        if (percent == 0 || used >= CHOIR_REPORT_TYPES_BYTES - CELL_BYTES)
            return;
        used += (size_t)snprintf(text + used, CHOIR_REPORT_TYPES_BYTES - used, "%s%s %d %%",
                                 used ? ", " : "", types[most].name, percent);
        bytes[most] = 0;
    }
}

static choir_status print_model(FILE *file, const char *path)
{
    choir_model *model;
    char types[CHOIR_REPORT_TYPES_BYTES], count[CHOIR_NUMBER_BYTES], bytes[CHOIR_NUMBER_BYTES];
    choir_status status = choir_model_open_header(path, &model);
    if (status != CHOIR_OK)
        return status;
    const choir_hparams *hparams = choir_model_hparams(model);
    choir_report_types(choir_model_gguf(model), types);
    fprintf(file, "model     %s%s%s, %s parameters, %s (%s)\n", hparams->name,
            hparams->name[0] ? ", " : "", hparams->architecture,
            choir_number_count((uint64_t)hparams->n_parameters, count),
            choir_number_bytes(choir_model_file_bytes(model), bytes), types);
    fprintf(file, "          %s\n", path);
    choir_model_destroy(&model);
    return CHOIR_OK;
}

static const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

/* "0-14" or "-"; what a rank holds of things that are counted from 0. */
static const char *write_range(uint32_t first, uint32_t n, char text[CELL_BYTES])
{
    if (n == 0)
        snprintf(text, CELL_BYTES, "-");
    else if (n == 1)
        snprintf(text, CELL_BYTES, "%u", (unsigned)first);
    else
        snprintf(text, CELL_BYTES, "%u-%u", (unsigned)first, (unsigned)(first + n - 1));
    return text;
}

static const char *write_bandwidth(uint64_t bytes_per_second, char text[CELL_BYTES])
{
    if (bytes_per_second == 0)
        snprintf(text, CELL_BYTES, "-");
    else
        snprintf(text, CELL_BYTES, "%.1f GB/s", (double)bytes_per_second / 1e9);
    return text;
}

enum { N_COLUMNS = 13 };

/* A table: the heading is row 0; columns are as wide as their widest cell. */
static void write_row(const choir_rank_report *rank, char cells[N_COLUMNS][CELL_BYTES])
{
    snprintf(cells[0], CELL_BYTES, "%u", (unsigned)rank->rank);
    snprintf(cells[1], CELL_BYTES, "%.40s", rank->host);
    snprintf(cells[2], CELL_BYTES, "%u", (unsigned)rank->stage);
    snprintf(cells[3], CELL_BYTES, "%u", (unsigned)rank->shard);
    snprintf(cells[4], CELL_BYTES, "%u", (unsigned)rank->threads);
    snprintf(cells[5], CELL_BYTES, "%.40s", rank->bound_cpus[0] ? rank->bound_cpus : "-");
    snprintf(cells[6], CELL_BYTES, "%s", rank->level);
    write_range(rank->first_layer, rank->n_layers, cells[7]);
    write_range(rank->first_head, rank->n_heads, cells[8]);
    choir_number_bytes(rank->weights_bytes, cells[9]);
    choir_number_bytes(rank->kv_bytes, cells[10]);
    choir_number_bytes(rank->memory_free, cells[11]);
    write_bandwidth(rank->read_bandwidth, cells[12]);
}

static void print_row(FILE *file, char (*cells)[CELL_BYTES], const size_t *widths, size_t n)
{
    fputs("   ", file);
    for (size_t i = 0; i < n; i++)
        fprintf(file, " %*s", (int)widths[i] + 1, cells[i]);
    fputc('\n', file);
}

static void widen(char (*cells)[CELL_BYTES], size_t *widths, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(cells[i]) > widths[i])
            widths[i] = strlen(cells[i]);
}

void choir_report_print_ranks(FILE *file, const choir_engine_report *report)
{
    char heading[N_COLUMNS][CELL_BYTES] = {"rank", "host",      "stage",  "shard", "threads",
                                           "cpus", "kernels",   "layers", "heads", "weights",
                                           "KV",   "node free", "reads"};
    char cells[N_COLUMNS][CELL_BYTES];
    size_t widths[N_COLUMNS] = {0};
    widen(heading, widths, N_COLUMNS);
    for (size_t i = 0; i < report->n_ranks; i++) {
        write_row(&report->ranks[i], cells);
        widen(cells, widths, N_COLUMNS);
    }
    print_row(file, heading, widths, N_COLUMNS);
    for (size_t i = 0; i < report->n_ranks; i++) {
        write_row(&report->ranks[i], cells);
        print_row(file, cells, widths, N_COLUMNS);
    }
}

enum { N_ACTIVITY_COLUMNS = 8 };

static bool has_steps(const choir_rank_report *rank)
{
    return rank->step_us_p99 > 0;
}

static void write_activity(const choir_rank_report *rank,
                           char cells[N_ACTIVITY_COLUMNS][CELL_BYTES])
{
    const double shares[] = {(double)rank->compute_share, (double)rank->wait_share,
                             (double)rank->exchange_share};
    char time[CHOIR_NUMBER_BYTES];
    snprintf(cells[0], CELL_BYTES, "%u", (unsigned)rank->rank);
    for (int i = 0; i < 3; i++)
        snprintf(cells[1 + i], CELL_BYTES, "%.1f %%", 100 * shares[i]);
    snprintf(cells[4], CELL_BYTES, "%s", choir_number_time(rank->step_us_p50, time));
    snprintf(cells[5], CELL_BYTES, "%s", choir_number_time(rank->step_us_p99, time));
    write_bandwidth(rank->bandwidth, cells[6]);
    choir_number_bytes(rank->rss, cells[7]);
}

void choir_report_print_activity(FILE *file, const choir_engine_report *report)
{
    char heading[N_ACTIVITY_COLUMNS][CELL_BYTES] = {"rank",          "computes", "waits",
                                                    "exchanges",     "step",     "99 % of them",
                                                    "read in steps", "memory"};
    char cells[N_ACTIVITY_COLUMNS][CELL_BYTES];
    size_t widths[N_ACTIVITY_COLUMNS] = {0};
    bool is_any = false;
    widen(heading, widths, N_ACTIVITY_COLUMNS);
    for (size_t i = 0; i < report->n_ranks; i++) {
        write_activity(&report->ranks[i], cells);
        widen(cells, widths, N_ACTIVITY_COLUMNS);
        is_any = is_any || has_steps(&report->ranks[i]);
    }
    if (is_any)
        print_row(file, heading, widths, N_ACTIVITY_COLUMNS);
    for (size_t i = 0; is_any && i < report->n_ranks; i++) {
        write_activity(&report->ranks[i], cells);
        print_row(file, cells, widths, N_ACTIVITY_COLUMNS);
    }
}

choir_json *choir_report_rank_to_json(const choir_rank_report *rank)
{
    choir_json *json = choir_json_make_object();
    choir_json_set_integer(json, "rank", rank->rank);
    choir_json_set_text(json, "host", rank->host);
    choir_json_set_integer(json, "stage", rank->stage);
    choir_json_set_integer(json, "shard", rank->shard);
    choir_json_set_integer(json, "threads", rank->threads);
    choir_json_set_text(json, "bound_cpus", rank->bound_cpus);
    choir_json_set_text(json, "level", rank->level);
    choir_json_set_integer(json, "first_layer", rank->first_layer);
    choir_json_set_integer(json, "n_layers", rank->n_layers);
    choir_json_set_integer(json, "first_head", rank->first_head);
    choir_json_set_integer(json, "n_heads", rank->n_heads);
    choir_json_set_integer(json, "weights_bytes", (int64_t)rank->weights_bytes);
    choir_json_set_integer(json, "kv_bytes", (int64_t)rank->kv_bytes);
    choir_json_set_integer(json, "rss", (int64_t)rank->rss);
    choir_json_set_integer(json, "memory_free", (int64_t)rank->memory_free);
    choir_json_set_integer(json, "read_bandwidth", (int64_t)rank->read_bandwidth);
    choir_json_set_integer(json, "step_us_p50", (int64_t)rank->step_us_p50);
    choir_json_set_integer(json, "step_us_p99", (int64_t)rank->step_us_p99);
    choir_json_set_real(json, "compute_share", (double)rank->compute_share);
    choir_json_set_real(json, "wait_share", (double)rank->wait_share);
    choir_json_set_real(json, "exchange_share", (double)rank->exchange_share);
    choir_json_set_integer(json, "bandwidth", (int64_t)rank->bandwidth);
    return json;
}

double choir_report_read_seconds(const choir_engine_report *report)
{
    double sum = 0;
    for (uint32_t stage = 0; stage < report->n_stages; stage++) {
        double slowest = 0;
        for (size_t i = 0; i < report->n_ranks; i++) {
            const choir_rank_report *rank = &report->ranks[i];
            if (rank->stage != stage)
                continue;
            if (rank->read_bandwidth == 0)
                return 0;
            const double seconds = (double)rank->weights_bytes / (double)rank->read_bandwidth;
            slowest = seconds > slowest ? seconds : slowest;
        }
        sum += slowest;
    }
    return sum;
}

static void print_memory(FILE *file, const choir_engine_report *report)
{
    uint64_t weights = 0, kv = 0, huge = 0;
    char texts[3][CHOIR_NUMBER_BYTES];
    for (size_t i = 0; i < report->n_ranks; i++) {
        weights += report->ranks[i].weights_bytes;
        kv += report->ranks[i].kv_bytes;
        huge += report->ranks[i].huge_bytes;
    }
    fprintf(file,
            "memory    %s of weights (%s in huge pages), %s for keys (%s) and values (%s); %u "
            "sequences of up to "
            "%u positions\n",
            choir_number_bytes(weights, texts[0]), choir_number_bytes(huge, texts[2]),
            choir_number_bytes(kv, texts[1]), report->cache_type_k, report->cache_type_v,
            (unsigned)report->max_num_seqs, (unsigned)report->max_model_len);
}

static void print_speed(FILE *file, const choir_engine_report *report)
{
    const double seconds = choir_report_read_seconds(report);
    char bytes[CHOIR_NUMBER_BYTES];
    if (seconds <= 0)
        return;
    fprintf(file,
            "limit     a token reads %s of weights; at the bandwidth measured that allows %.1f "
            "tokens/s to one sequence\n",
            choir_number_bytes(report->weights_bytes, bytes), 1 / seconds);
}

choir_status choir_report_print_ready(FILE *file, const char *model_path,
                                      const choir_engine_report *report, const char *endpoint,
                                      const char *connection_file, int64_t start_us)
{
    char identity[CHOIR_SHA256_HEX];
    choir_sha256_hex(report->model_identity, identity);
    fprintf(file, "Choir %s, %s kernels, %s activations\n", CHOIR_VERSION,
            report->n_ranks > 0 ? report->ranks[0].level : "no", report->activations);
    choir_status status = print_model(file, model_path);
    if (status != CHOIR_OK)
        return status;
    fprintf(file, "          identity %s\n", identity);
    fprintf(file, "layout    %zu rank%s: %u stage%s x %u shard%s\n", report->n_ranks,
            plural(report->n_ranks), (unsigned)report->n_stages, plural(report->n_stages),
            (unsigned)report->n_shards, plural(report->n_shards));
    choir_report_print_ranks(file, report);
    print_memory(file, report);
    print_speed(file, report);
    fprintf(file, "launch    %s\n", report->launch);
    fprintf(file, "serving   %s\n", endpoint);
    if (connection_file)
        fprintf(file, "clients   find it by %s\n", connection_file);
    fprintf(file, "READY in %.1f s\n", (double)(choir_clock_us() - start_us) / 1e6);
    if (fflush(file) != 0 || ferror(file))
        return choir_fail(CHOIR_EIO, "the report cannot be written: %s", strerror(errno));
    return CHOIR_OK;
}
