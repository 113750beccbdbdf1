#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""choir score and eval: their JSON field by field, equal to what generate reports, and the
perplexity of the reference."""
import json
import math
import os
import subprocess
import tempfile

import cli

PROMPT = "Plants need light and water because"
TEXT = "/usr/share/common-licenses/Artistic"
EXPECTED_PERPLEXITY = 18.8869  # int8 activations, tests/fixtures/reference/README.md

with cli.Service("-n", 2) as service:
    S = service.flags
    ids = cli.lines_of_json("tokenize", "--model", cli.MODEL, "--json", PROMPT)[0]["token_ids"]
    comma = ",".join(map(str, ids))

    # The form.
    found = cli.lines_of_json("score", *S, "--json", PROMPT)[0]
    cli.equal(list(found), ["tokens"], "keys")
    cli.equal([token["token_id"] for token in found["tokens"]], ids, "tokens of a text")
    cli.equal(found["tokens"][0], {"token_id": ids[0], "logprob": None, "logprob_bits": None, "top": []},
              "the first token")
    for token in found["tokens"][1:]:
        cli.check_logprob(token, 0, "score")
    with_top = cli.lines_of_json("score", *S, "--json", "--ids", comma, "--top", 4)[0]
    for token, same in zip(with_top["tokens"][1:], found["tokens"][1:]):
        cli.check_logprob(token, 4, "--top 4")
        cli.equal(token["logprob_bits"], same["logprob_bits"], "text and ids")

    # Prefill scores what decode generated, bit for bit.
    answer = cli.lines_of_json("generate", *S, "--json", "--temperature", 0, "--max-tokens", 6,
                               "--ignore-eos", "--ids", comma)[0]
    longer = ids + answer["token_ids"]
    lines = [{"token_ids": longer}, {"text": PROMPT, "top": 1}, {"token_ids": [5]}, {"token_ids": [-1]}]
    cli.refuse(cli.EINVALID, "- line 4: token_ids[0]", "score", *S, "--jsonl", "-",
               stdin="\n".join(map(json.dumps, lines)))
    scored = cli.lines_of_json("score", *S, "--jsonl", "-", stdin="\n".join(map(json.dumps, lines[:3])))
    cli.equal([token["logprob_bits"] for token in scored[0]["tokens"][len(ids):]],
              [token["logprob_bits"] for token in answer["logprobs"]], "score of generated tokens")
    cli.equal(len(scored[1]["tokens"][1]["top"]), 1, "top of a line")
    cli.equal([token["logprob"] for token in scored[2]["tokens"]], [None], "one token")
    table = cli.succeed("score", *S, PROMPT)
    cli.check(found["tokens"][1]["logprob_bits"] in table, f"score for people: {table}")
    cli.refuse(cli.EINVALID, "outside of the vocabulary", "score", *S, "--ids", "1,49152")
    cli.refuse(cli.EUSAGE, "--ids and a text", "score", *S, "--ids", "1", "text")

    # Perplexity: the definition over windows, then the reference.
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("The quick brown fox jumps over the lazy dog. " * 6)
        file.flush()
        result = cli.lines_of_json("eval", "perplexity", *S, "--file", file.name, "--window", 16,
                                   "--json")[0]
        words = cli.succeed("eval", "perplexity", *S, "--file", file.name, "--window", 16)
        cli.refuse(cli.EINVALID, "fewer than one window", "eval", "perplexity", *S, "--file", file.name,
                   "--window", 4096)
        tokens = cli.lines_of_json("tokenize", "--model", cli.MODEL, "--json", "--file", file.name)[0]
    n = len(tokens["token_ids"]) // 16
    windows = [{"token_ids": tokens["token_ids"][16 * i:16 * i + 16]} for i in range(n)]
    scores = cli.lines_of_json("score", *S, "--jsonl", "-", stdin="\n".join(map(json.dumps, windows)))
    logprobs = [token["logprob"] for window in scores for token in window["tokens"][1:]]
    cli.equal((result["tokens"], result["windows"], result["window"]), (15 * n, n, 16), "counts")
    wanted = math.exp(-sum(logprobs) / len(logprobs))
    cli.check(abs(result["perplexity"] / wanted - 1) < 1e-9, f"{result['perplexity']}, not {wanted}")
    cli.check(f"perplexity      {wanted:.4f}\n" in words, words)

    if os.path.exists(TEXT):
        result = cli.lines_of_json("eval", "perplexity", *S, "--file", TEXT, "--json")[0]
        cli.equal(result["tokens"], 1022, "tokens of the reference")
        print(f"perplexity of {TEXT}: {result['perplexity']:.4f}, reference {EXPECTED_PERPLEXITY}")
        cli.check(abs(result["perplexity"] / EXPECTED_PERPLEXITY - 1) < 0.01, "not within 1 %")

cli.refuse(cli.EUSAGE, "one measure is wanted", "eval", "--file", TEXT)
cli.refuse(cli.EUSAGE, "--file FILE", "eval", "perplexity")
cli.refuse(cli.EUSAGE, "--window", "eval", "perplexity", "--file", TEXT, "--window", 1)
cli.check_nothing_left()

# A service that is asked to end while it computes ends at once, with code 0; its client says so.
with cli.Service("-n", 2) as service, tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
    file.write("The quick brown fox jumps over the lazy dog. " * 20000)
    file.flush()
    busy = subprocess.Popen([cli.CHOIR, "eval", "perplexity", *service.flags, "--file", file.name],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while True:
        state = cli.lines_of_json("status", *service.flags, "--json")[0]
        if state["load"]["num_running_reqs"] > 0:
            break
        cli.equal(busy.poll(), None, "eval on a service")
words = busy.communicate(timeout=60)
cli.equal(busy.returncode, cli.EUNAVAILABLE, f"exit code of a client whose service ends: {words}")
cli.check(words[1].count("\n") == 1 and words[1].startswith("choir: "), f"its words: {words}")
cli.check_nothing_left()
