#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""choir plan: slices that cover the model without gap, bytes that add up, and a 70b header."""
import os
import subprocess
import tempfile

import cli

M = ("--model", cli.MODEL)


def plan(*flags, model=cli.MODEL):
    return cli.lines_of_json("plan", "--model", model, "--json", *flags)[0]


def check_cover(ranks, key, end, what):
    """The ranges [begin, end) of these ranks follow each other from 0 to end."""
    at = 0
    for rank in ranks:
        begin, rank_end = rank[key]
        if rank_end > begin:
            cli.equal(begin, at, f"{what}: begin of {key} of rank {rank['rank']}")
            at = rank_end
    cli.equal(at, end, f"{what}: end of {key}")


def check_plan(found, what, layers, heads, columns, rows):
    cli.equal(found["n"], found["tp"] * found["pp"], f"{what}: ranks")
    cli.equal(len(found["ranks"]), found["n"], f"{what}: list of ranks")
    for stage in range(found["pp"]):
        shards = [rank for rank in found["ranks"] if rank["stage"] == stage]
        cli.equal([rank["shard"] for rank in shards], list(range(found["tp"])), f"{what}: shards")
        check_cover(shards, "heads", heads, what)
        check_cover(shards, "ff_columns", columns, what)
        if stage == found["pp"] - 1:
            check_cover(shards, "vocab_rows", rows, what)
    check_cover(found["ranks"][::found["tp"]], "layers", layers, what)
    for key in ("weights_bytes", "kv_bytes", "exchange_bytes_per_token"):
        cli.equal(sum(rank[key] for rank in found["ranks"]), found["total"][key], f"{what}: {key}")


one = plan()
cli.equal((one["n"], one["tp"], one["pp"], one["context"]), (1, 1, 1, 8192), "one rank")
# 30 layers, keys and values of 3 heads of 64 halves.
cli.equal(one["total"]["kv_bytes_per_position"], 30 * 2 * 3 * 64 * 2, "bytes of one position")
cli.equal(one["total"]["kv_bytes"], 8192 * 30 * 2 * 3 * 64 * 2, "bytes of a sequence")
cli.equal(plan("--max-model-len", 64)["total"]["kv_bytes"], 64 * 23040, "a shorter context")
cli.equal(plan("--cache-type-k", "f32")["total"]["kv_bytes_per_position"], 23040 * 3 // 2, "f32 keys")
# Two all-reduces a layer of 576 floats; rank 1 adds its candidates and pairs of 24 chunks.
sent = [rank["exchange_bytes_per_token"] for rank in plan("-n", 2)["ranks"]]
cli.equal(sent[0], 30 * 2 * 576 * 4, "bytes that rank 0 of 2 gets for a token")
cli.check(24 * 8 <= sent[1] - sent[0] < 1024, f"bytes of results: {sent[1] - sent[0]}")
stages = [rank["exchange_bytes_per_token"] for rank in plan("-n", 2, "-pp", 2)["ranks"]]
cli.check(stages[0] == 0 and 576 * 4 < stages[1] < 576 * 4 + 1024, f"bytes of stages: {stages}")
# All matrices are packed without loss: Q4_1 and the shared Q8_0 embedding.
cli.equal(one["total"]["weights_bytes"], 66355200 + 30081024, "bytes of the weights")
cli.equal(one["ranks"][0]["layers"], [0, 30], "layers of one rank")

for flags in (("-n", 2), ("-n", 3), ("-n", 5), ("-n", 8), ("-n", 4, "-tp", 2), ("-n", 6, "-pp", 3),
              ("-n", 3, "--tensor-split", "5,3,1"), ("-n", 2, "-pp", 2, "--layer-split", "2,1")):
    check_plan(plan(*flags), f"plan {flags}", 30, 9, 1536, 49152)
uneven = plan("-n", 2, "-pp", 2, "--layer-split", "2,1")
cli.equal([rank["layers"] for rank in uneven["ranks"]], [[0, 20], [20, 30]], "--layer-split 2,1")

text = cli.succeed("plan", *M, "-n", 2)
cli.check("2 ranks = 1 stages x 2 shards" in text and "0-24575" in text, text)

cli.refuse(cli.EUSAGE, "--model FILE", "plan", "-n", 2)
cli.refuse(cli.EUSAGE, "what is it?", "plan", cli.MODEL)
cli.refuse(cli.EUSAGE, "-n: \"0\"", "plan", *M, "-n", 0)
cli.refuse(cli.EUSAGE, "", "plan", *M, "-n", 4, "-tp", 3)
cli.refuse(cli.EUSAGE, "", "plan", *M, "-n", 2, "--tensor-split", "1,2,3")

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "70b.gguf")
    subprocess.run([os.path.join(cli.BUILD, "tests", "make_model"), "--shape", "70b", "--type", "Q4_K",
                    "--header-only", "--output", path], check=True)
    check_plan(plan("-n", 16, model=path), "70b on 16", 80, 64, 28672, 128256)
    check_plan(plan("-n", 16, "-pp", 4, model=path), "70b in 4 stages", 80, 64, 28672, 128256)
    cli.check(30e9 < plan(model=path)["total"]["weights_bytes"] < 50e9, "weights of a 70b model")
