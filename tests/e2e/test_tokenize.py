#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""choir tokenize and detokenize: equal to the golden tokenizations, in every way to give a text."""
import json
import os
import tempfile

import cli

GOLDEN = os.path.join(cli.REFERENCE, "smollm2", "tokenize.jsonl")
M = ("--model", cli.MODEL)

with open(GOLDEN, encoding="utf-8") as file:
    golden = [json.loads(line) for line in file]
for flags, key in (((), "ids"), (("--special",), "ids_with_control")):
    found = cli.lines_of_json("tokenize", *M, "--jsonl", GOLDEN, *flags)
    cli.equal(len(found), len(golden), "answers")
    for case, answer in zip(golden, found):
        cli.equal(answer, {"token_ids": case[key]}, f"{case['text']!r} {flags}")

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "ids.jsonl")
    with open(path, "w", encoding="utf-8") as file:
        for case in golden:
            file.write(json.dumps({"token_ids": case["ids"]}) + "\n")
    texts = cli.lines_of_json("detokenize", *M, "--jsonl", path)
for case, answer in zip(golden, texts):
    cli.equal(answer, {"text": case["text"]}, "text of its ids")

TEXT, IDS = "Hello, world!", [19556, 28, 905, 17]
cli.equal(cli.succeed("tokenize", *M, TEXT), "19556,28,905,17\n", "argument")
cli.equal(cli.succeed("tokenize", *M, stdin=TEXT), "19556,28,905,17\n", "standard input")
cli.equal(cli.lines_of_json("tokenize", *M, "--json", TEXT), [{"token_ids": IDS}], "--json")
cli.equal(cli.lines_of_json("tokenize", *M, "--jsonl", "-", stdin='{"text": ""}\n'),
          [{"token_ids": []}], "--jsonl -")
cli.equal(cli.lines_of_json("tokenize", *M, "--json", "--", "--json"),
          cli.lines_of_json("tokenize", *M, "--json", stdin="--json"), "a text like a flag")
cli.equal(cli.succeed("detokenize", *M, "19556,28", "905", "17"), TEXT, "ids as arguments")
cli.equal(cli.succeed("detokenize", *M, stdin="[19556, 28,905\n17]"), TEXT, "ids from input")
cli.equal(cli.lines_of_json("detokenize", *M, "--json", "2"), [{"text": "<|im_end|>"}], "control")
cli.equal(cli.lines_of_json("detokenize", *M, "--json", stdin=""), [{"text": ""}], "no ids")

cli.refuse(cli.EUSAGE, "--model FILE", "tokenize", "text")
cli.refuse(cli.EUSAGE, "2 texts where one is wanted", "tokenize", *M, "Hello,", "world")
cli.refuse(cli.EUSAGE, "--file", "tokenize", *M, "--file", "x", "text")
cli.refuse(cli.EIO, "no-such", "tokenize", *M, "--file", "no-such")
cli.refuse(cli.EFORMAT, "- line 2: ", "tokenize", *M, "--jsonl", "-", stdin="\n{")
cli.refuse(cli.EINVALID, "- line 1: text: ", "tokenize", *M, "--jsonl", "-", stdin='{"text": 5}')
cli.refuse(cli.EINVALID, "\"x\" is no token id", "detokenize", *M, "1,x")
cli.refuse(cli.EINVALID, "49152", "detokenize", *M, "49152")
cli.refuse(cli.EINVALID, "line 1: token_ids[1]", "detokenize", *M, "--jsonl", "-",
           stdin='{"token_ids": [1, -1]}')
