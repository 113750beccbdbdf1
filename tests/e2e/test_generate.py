#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""choir generate: its JSON field by field, the ways to give a prompt, and what it refuses."""
import json
import signal
import subprocess

import cli

PROMPT = "Plants need light and water because"
GREEDY = ("--temperature", 0, "--max-tokens", 8)


def check_answer(answer, n_top, what):
    """The stable form, field by field."""
    cli.equal(list(answer), ["token_ids", "text", "finish_reason", "logprobs", "usage", "timings"], what)
    cli.equal(list(answer["usage"]), ["prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens"], what)
    cli.equal(list(answer["timings"]), ["queue_us", "prefill_us", "decode_us", "ttft_us"], what)
    cli.check(answer["finish_reason"] in ("stop", "length"), f"{what}: {answer['finish_reason']}")
    cli.equal(answer["usage"]["completion_tokens"], len(answer["token_ids"]), what)
    cli.equal([token["token_id"] for token in answer["logprobs"]], answer["token_ids"], what)
    for token in answer["logprobs"]:
        cli.check_logprob(token, n_top, what)


# A private service, two ranks.
alone = cli.lines_of_json("generate", "--model", cli.MODEL, "-n", 2, *GREEDY, "--json", PROMPT)[0]
check_answer(alone, 0, "a private service")
cli.equal(alone["finish_reason"], "length", "finish_reason")
cli.equal(len(alone["token_ids"]), 8, "tokens")
cli.equal(alone["usage"]["prompt_tokens"],
          len(cli.succeed("tokenize", "--model", cli.MODEL, PROMPT).split(",")), "prompt_tokens")
cli.equal(alone["text"], cli.succeed("detokenize", "--model", cli.MODEL, *alone["token_ids"]), "text")
cli.check_nothing_left()

with cli.Service("-n", 1) as service:
    S = service.flags

    # The same answer from another layout and in every way to give the prompt.
    cli.equal(cli.succeed("generate", *S, *GREEDY, PROMPT), alone["text"] + "\n", "text")
    cli.equal(cli.succeed("generate", *S, *GREEDY, stdin=PROMPT), alone["text"] + "\n", "stdin")
    ids = cli.succeed("tokenize", "--model", cli.MODEL, PROMPT).strip()
    by_ids = cli.lines_of_json("generate", *S, *GREEDY, "--json", "--ids", ids, "--logprobs", 3)[0]
    check_answer(by_ids, 3, "--logprobs 3")
    bits = [token["logprob_bits"] for token in alone["logprobs"]]
    cli.equal([token["logprob_bits"] for token in by_ids["logprobs"]], bits, "bits of another layout")
    for token in by_ids["logprobs"]:
        cli.equal(token["top"][0]["token_id"], token["token_id"], "greedy takes the likeliest")

    # Settings.
    stopped = cli.lines_of_json("generate", *S, *GREEDY, "--json", "--stop", alone["text"][4:8], PROMPT)[0]
    cli.equal((stopped["finish_reason"], stopped["text"]), ("stop", alone["text"][:4]), "--stop")
    seeded = ["generate", *S, "--temperature", "1.5", "--seed", 7, "--max-tokens", 12, "--ignore-eos"]
    first = cli.succeed(*seeded, PROMPT)
    cli.equal(cli.succeed(*seeded, PROMPT), first, "the same seed")
    cli.check(cli.succeed(*seeded[:5], "--seed", 8, *seeded[7:], PROMPT) != first, "another seed")
    table = cli.succeed("generate", *S, *GREEDY, "--logprobs", 2, PROMPT)
    cli.check(bits[0] in table and "log-probability" in table, f"--logprobs for people: {table}")
    done = cli.run("generate", *S, *GREEDY, "--verbose", PROMPT)
    cli.check("tokens/s" in done.stderr and "\033" not in done.stderr, f"--verbose: {done.stderr}")

    # Many at once: in order, each as alone, a refused one among them.
    lines = [{"prompt": PROMPT, "temperature": 0, "max_tokens": 8},
             {"messages": [{"role": "user", "content": "What do plants need to grow?"}],
              "temperature": 0, "max_tokens": 5},
             {"token_ids": [int(i) for i in ids.split(",")], "temperature": 0, "max_tokens": 3},
             {"prompt": PROMPT, "temperature": 1e30},
             {"prompt": PROMPT, "seed": 7, "temperature": 1.5, "max_tokens": 12, "ignore_eos": True,
              "logprobs": 1}]
    done = cli.run("generate", *S, "--jsonl", "-", stdin="\n".join(map(json.dumps, lines)))
    answers = [json.loads(line) for line in done.stdout.split("\n")[:-1]]
    cli.equal(len(answers), len(lines), f"answers of --jsonl; it said {done.stderr}")
    cli.equal(answers[3]["error"]["status"], "EINVALID", "a refused line")
    cli.equal(answers[3]["error"]["param"], "temperature", "the field of a refused line")
    cli.equal(done.returncode, cli.EINVALID, "exit code with a refused line")
    cli.check("temperature" in done.stderr and done.stderr.count("\n") == 1, done.stderr)
    for i, n_top in ((0, 0), (1, 0), (2, 0), (4, 1)):
        check_answer(answers[i], n_top, f"line {i}")
    cli.equal([token["logprob_bits"] for token in answers[0]["logprobs"]], bits, "bits among others")
    cli.equal(answers[2]["token_ids"], alone["token_ids"][:3], "token_ids among others")
    cli.equal(answers[4]["text"] + "\n", first, "a seed among others")

    # Ctrl-C: the partial answer stays, exit code 10.
    process = subprocess.Popen([cli.CHOIR, "generate", *S, "--ignore-eos", "--max-tokens", "4000", PROMPT],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    start = process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    rest, words = process.communicate(timeout=60)
    cli.equal((process.returncode, words), (cli.ECANCELLED, b"choir: interrupted\n"), "Ctrl-C")
    cli.check(start and rest.endswith(b"\n"), "the partial answer ends its line")

    # What the service refuses.
    cli.refuse(cli.EINVALID, "outside of the vocabulary", "generate", *S, "--ids", "1,49152")
    cli.refuse(cli.EINVALID, "", "generate", *S, "--max-tokens", 3, "")
    cli.refuse(cli.EUSAGE, "is for a private service", "generate", *S, "-n", 2, PROMPT)
    cli.refuse(cli.EUSAGE, "--max-num-batched-tokens 1000000: a step of this model has at most 932067",
               "generate", "--model", cli.MODEL, "--max-num-batched-tokens", 1000000, PROMPT)
    cli.refuse(cli.EUSAGE, "--connection-file: give one", "generate", *S, "--model", cli.MODEL, PROMPT)

# What is refused before anything is started.
M = ("--model", cli.MODEL)
cli.refuse(cli.EUSAGE, "--temperature: \"-1\" is not a number from 0 to 100", "generate", *M,
           "--temperature", -1, PROMPT)
cli.refuse(cli.EUSAGE, "--top-p", "generate", *M, "--top-p", 1.5, PROMPT)
cli.refuse(cli.EUSAGE, "--max-tokens", "generate", *M, "--max-tokens", 0, PROMPT)
cli.refuse(cli.EUSAGE, "quote a text", "generate", *M, "two", "prompts")
cli.refuse(cli.EINVALID, "\"x\" is no token id", "generate", *M, "--ids", "1,x")
cli.refuse(cli.EINVALID, "- line 2: temprature: unknown field", "generate", *M, "--jsonl", "-",
           stdin='{"prompt": "a"}\n{"prompt": "a", "temprature": 1}')
cli.refuse(cli.EFORMAT, "- line 1: ", "generate", *M, "--jsonl", "-", stdin="{")
cli.refuse(cli.EIO, "no-such.gguf", "generate", "--model", "no-such.gguf", PROMPT)
cli.refuse(cli.EFORMAT, "test_generate.py", "generate", "--model", __file__, PROMPT)
cli.refuse(cli.EUNAVAILABLE, "no-such.json", "generate", "--connection-file", "no-such.json", PROMPT)
cli.refuse(cli.EUSAGE, "-tp", "generate", *M, "-n", 4, "-tp", 3, PROMPT)
cli.check_nothing_left()
