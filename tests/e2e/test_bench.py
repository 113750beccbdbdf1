#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""choir bench: every test that was asked for has its row, on one rank, shards and stages."""
import json
import math

import cli
from service import Home

KEYS = ["model", "model_name", "model_type", "model_size", "model_n_params", "test", "n_prompt",
        "n_gen", "batch", "depth", "ranks", "tp", "pp", "threads", "level", "activations",
        "cache_type_k", "cache_type_v", "avg_ts", "stddev_ts", "samples_ts"]


def bench(home, *args):
    verb = ["bench", args[0]] if args[0] in ("latency", "throughput", "serve") else ["bench"]
    done = cli.run(*verb, "--model", home.model, *args[len(verb) - 1:], env=home.environment)
    if done.returncode != 0 or done.stderr:
        cli.fail(f"bench {args}: exit {done.returncode}, said: {done.stderr}")
    home.check_clean()
    return done.stdout


def check_row(row, repetitions):
    cli.equal(list(row), KEYS, "keys")
    samples = row["samples_ts"]
    cli.equal(len(samples), repetitions, "samples")
    cli.check(all(speed > 0 for speed in samples), f"speeds: {samples}")
    mean = sum(samples) / len(samples)
    spread = math.sqrt(sum((s - mean) ** 2 for s in samples) / (len(samples) - 1))
    cli.check(math.isclose(row["avg_ts"], mean, rel_tol=1e-9), f"mean of {samples}: {row}")
    cli.check(math.isclose(row["stddev_ts"], spread, rel_tol=1e-6, abs_tol=1e-9),
              f"deviation of {samples}: {row}")


with Home() as home:
    # The limits of the engine follow from the tests: more positions and sequences than by default,
    # and more sequences than tokens of a step.
    for layout in ((1, 1), (1, 2), (2, 1)):
        pp, tp = layout
        out = bench(home, "--json", "-n", pp * tp, "-pp", pp, "-tp", tp, "-t", 1, "-r", 3, "-p",
                    "5,20", "-g", 3, "-b", "1,40", "-d", "0,70", "--max-num-batched-tokens", 8)
        rows = [json.loads(line) for line in out.splitlines()]
        cli.equal([row["test"] for row in rows],
                  ["pp5", "pp20", "tg3", "tg3x40", "pp5@70", "pp20@70", "tg3@70", "tg3x40@70"],
                  "tests")
        for row in rows:
            check_row(row, 3)
            cli.equal((row["ranks"], row["pp"], row["tp"], row["threads"]), (pp * tp, pp, tp, 1),
                      "layout")
        cli.equal([(row["n_prompt"], row["n_gen"], row["batch"], row["depth"])
                   for row in rows[1::6]], [(20, 0, 1, 0), (0, 3, 40, 70)], "sizes")

    row = json.loads(bench(home, "--json", "-n", 2, "-tp", 2, "-t", 2, "-p", 20, "-g", 0, "-r", 2,
                           "--breakdown", "--max-num-batched-tokens", 5))
    breakdown = row["breakdown"]
    cli.equal(breakdown["steps"], 2 * 4, "steps of two samples of four chunks")
    operations = {o["operation"]: o for o in breakdown["operations"]}
    done = [name for name, o in operations.items() if o["work_us"] > 0]
    # Two shards: each operation is there, also the exchange between them.
    cli.equal(done, ["outside", "norm", "qkv", "store", "attention", "attn_output", "gate_up",
                     "swiglu", "down", "exchange", "logits", "record"], "operations")
    cli.check(all(o["most_work_us"] >= o["work_us"] for o in operations.values()), "most is most")
    cli.equal([(t["rank"], t["thread"]) for t in breakdown["threads"]],
              [(0, 0), (0, 1), (1, 0), (1, 1)], "threads")

    table = bench(home, "-r", 2, "-p", 4, "-g", 2, "-t", 1).splitlines()
    cli.equal(len(table), 6, "lines of the table")
    cli.equal(len({len(line) for line in table[2:]}), 1, f"width of the table: {table}")
    cli.check("| pp4 " in table[4] and "| tg2 " in table[5], f"rows: {table}")
    cli.equal(len(json.loads(bench(home, "--json", "-p", 0, "-g", 1, "-r", 1))["samples_ts"]), 1,
              "only decode")

    home.refuse(cli.EUSAGE, "both -p and -g are 0", "bench", "--model", home.model, "-p", 0, "-g", 0)
    home.refuse(cli.EUSAGE, "are more than 64", "bench", "--model", home.model, "-p",
                ",".join(map(str, range(1, 66))))
    home.refuse(cli.EUSAGE, "no model", "bench")
    home.refuse(cli.EUSAGE, "pp100000 needs more than the", "bench", "--model", home.model, "-p", 100000)
    home.refuse(cli.EUSAGE, "pp65 needs more than the 64 positions of --max-model-len", "bench", "--model",
                home.model, "-p", 65, "--max-model-len", 64)
    home.refuse(cli.EUSAGE, "unexpected argument pp512", "bench", "--model", home.model, "pp512")

    # A load test: every request ends, the figures agree with the lists, the picture is one.
    result, picture = home.folder + "/load.json", home.folder + "/load.svg"
    out = bench(home, "serve", "--num-prompts", 20, "--request-rate", 200, "--max-concurrency", 7,
                "--random-prefix-len", 128, "--random-input-len", 10, "--random-output-len", 6, "--json",
                "--goodput", "ttft:60000", "--save-result", result, "--plot", picture)
    figures, saved = json.loads(out), json.load(open(result, encoding="utf-8"))
    for key, value in (("completed", 20), ("failed", 0), ("total_input_tokens", 20 * 138),
                       ("total_output_tokens", 20 * 6)):
        cli.equal((figures[key], saved[key]), (value, value), key)
    cli.check(figures["total_cached_tokens"] >= 13 * 128, f"reused: {figures['total_cached_tokens']}")
    cli.equal((saved["input_lens"], saved["output_lens"]), ([138] * 20, [6] * 20), "lengths")
    cli.check(math.isclose(saved["mean_ttft_ms"], sum(saved["ttfts"]) / 20 * 1e3, rel_tol=1e-6), "mean of the ttfts")
    cli.check(saved["request_goodput"] == saved["request_throughput"], "goodput")
    svg = open(picture, encoding="utf-8").read()
    cli.check(svg.startswith("<svg ") and svg.count("<circle") == 20, "the picture")
    for wrong in (["--goodput", "x:1"], ["--request-rate", "0"], ["--dataset", "/nowhere"], ["extra"]):
        done = cli.run("bench", "serve", "--model", home.model, *wrong, env=home.environment)
        cli.check(done.returncode != 0 and done.stderr.count("\n") == 1, f"{wrong}: {done.stderr}")

    # The engine alone: a batch that runs together, and all requests at once. No prompt comes twice, so
    # that nothing is found in the cache; every answer has its length.
    for verb in ("latency", "throughput", "serve"):
        cli.check(f"choir bench {verb}" in cli.succeed("bench", "--help").replace("\n", " ").replace("  ", " "), verb)
        cli.check(f"choir bench {verb} --model model.gguf" in cli.succeed("bench", verb, "--help"), f"{verb} --help")
    for pp, tp in ((1, 1), (1, 2)):
        out = bench(home, "latency", "-n", pp * tp, "-tp", tp, "-t", 1, "--input-len", 70, "--output-len", 5,
                    "--batch-size", 3, "--num-iters-warmup", 1, "--num-iters", 4, "--json", "--save-result", result)
        figures = json.loads(out)
        cli.equal(list(figures), ["avg_latency", "latencies", "percentiles"], "keys of latency")
        cli.equal(json.load(open(result, encoding="utf-8")), figures, "the saved figures")
        latencies = figures["latencies"]
        cli.equal(len(latencies), 4, "latencies")
        cli.check(min(latencies) > 0, f"latencies: {latencies}")
        cli.check(math.isclose(figures["avg_latency"], sum(latencies) / 4, rel_tol=1e-9), f"average: {figures}")
        cli.equal(list(figures["percentiles"]), ["10", "25", "50", "75", "90", "99"], "percentiles")
        cli.check(math.isclose(figures["percentiles"]["50"], sum(sorted(latencies)[1:3]) / 2, rel_tol=1e-9),
                  f"median: {figures}")
    out = bench(home, "latency", "--batch-size", 1, "--num-iters", 1, "--num-iters-warmup", 0, "--output-len", 2)
    cli.equal([line.split(":")[0] for line in out.splitlines()],
              ["avg latency"] + [f"{p}% percentile latency" for p in (10, 25, 50, 75, 90, 99)], "lines of latency")

    out = bench(home, "throughput", "-n", 2, "-tp", 2, "-t", 1, "--num-prompts", 11, "--input-len", 70, "--output-len",
                6, "--max-num-seqs", 4, "--seed", 3, "--json", "--output-json", result)
    figures = json.loads(out)
    cli.equal(list(figures), ["elapsed_time", "num_requests", "total_num_tokens", "requests_per_second",
                              "tokens_per_second", "output_tokens_per_second"], "keys of throughput")
    cli.equal(json.load(open(result, encoding="utf-8")), figures, "the saved figures")
    cli.equal((figures["num_requests"], figures["total_num_tokens"]), (11, 11 * (70 + 6)), "requests and tokens")
    for key, count in (("requests_per_second", 11), ("tokens_per_second", 11 * 76),
                       ("output_tokens_per_second", 11 * 6)):
        cli.check(math.isclose(figures[key] * figures["elapsed_time"], count, rel_tol=1e-6), f"{key}: {figures}")
    dataset = home.folder + "/requests.jsonl"
    with open(dataset, "w", encoding="utf-8") as file:
        for i in range(5):
            print(json.dumps({"token_ids": [5] * (i + 1), "max_tokens": 3, "ignore_eos": True}), file=file)
    figures = json.loads(bench(home, "throughput", "--dataset", dataset, "--json"))
    cli.equal((figures["num_requests"], figures["total_num_tokens"]), (5, 15 + 15), "tokens of a dataset")
    figures = json.loads(bench(home, "throughput", "--dataset", dataset, "--num-prompts", 2, "--json"))
    cli.equal((figures["num_requests"], figures["total_num_tokens"]), (2, 3 + 6), "the first two of a dataset")
    cli.check(" total tokens/s, " in bench(home, "throughput", "--num-prompts", 1, "--output-len", 1), "words")

    for verb in ("latency", "throughput"):
        home.refuse(cli.EUSAGE, "no model", "bench", verb)
        home.refuse(cli.EUSAGE, "unexpected argument extra", "bench", verb, "--model", home.model, "extra")
        home.refuse(cli.EUSAGE, "longer than the 64 positions", "bench", verb, "--model", home.model,
                    "--input-len", 60, "--output-len", 5, "--max-model-len", 64)
        home.refuse(cli.EUSAGE, "--connection-file", "bench", verb, "--connection-file", "/nowhere")
    home.refuse(cli.EUSAGE, "raise --max-num-seqs", "bench", "latency", "--model", home.model, "--batch-size", 9,
                "--max-num-seqs", 8)
    home.refuse(cli.EIO, "/nowhere", "bench", "throughput", "--model", home.model, "--dataset", "/nowhere")
