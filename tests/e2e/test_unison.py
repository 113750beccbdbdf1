#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""16 clients at once, each with its own prompt, settings and seed: every stream (token ids, bits of
log-probabilities, text, how it ended) is the one that it is alone on one rank with one thread."""
import json
import signal

import cli
import streams
from service import Home, Serve

N_TOKENS = 24


def requests_of(n_vocabulary):
    """Prompts of 1 to about 300 tokens as text, messages and ids; every sampling setting."""
    with open("LICENSE", encoding="utf-8") as file:
        license_text = file.read()
    def ids(n):
        return [(7919 * i + 12345) % (n_vocabulary - 8) + 8 for i in range(n)]
    def user(text):
        return {"role": "user", "content": text}
    greedy = {"temperature": 0, "max_tokens": N_TOKENS}
    drawn = {"max_tokens": N_TOKENS, "ignore_eos": True}
    return [
        {"text": "A", **greedy},
        {"messages": [user("What do plants need to grow?")], "logprobs": 3, **greedy},
        {"messages": [user("Hello!"), {"role": "assistant", "content": "Hello, how can I help?"},
                      user("Name three colours.")], "temperature": 0.7, "seed": 1, **drawn},
        {"token_ids": ids(64), **greedy, "ignore_eos": True},
        {"token_ids": ids(65), "temperature": 1, "top_k": 40, "seed": 2, **drawn},
        {"token_ids": ids(200), "temperature": 0.8, "top_p": 0.9, "seed": 3, **drawn},
        {"text": license_text[:1400], "stop": [","], **greedy},
        {"text": license_text[1400:2000], "temperature": 1.2, "min_p": 0.05, "seed": 4, **drawn},
        {"text": "Once upon a time", "seed": 5, "logprobs": 5, **drawn},
        {"text": "Once upon a time", "seed": 6, **drawn},
        {"text": "The quick brown fox", "temperature": 1.5, "top_k": 50, "top_p": 0.95,
         "min_p": 0.02, "seed": 7, **drawn},
        {"text": "Žluťoučký kůň — 東京 🙂", "temperature": 1, "top_k": 5, "seed": 8, **drawn},
        {"text": "Water is", "stop": [" the", "."], **greedy},
        {"token_ids": ids(1), "temperature": 2, "seed": 2**63 - 1, **drawn},
        {"text": "Light and water", "logprobs": 20, "temperature": 0, "max_tokens": 1},
        {"messages": [{"role": "system", "content": "Answer in one sentence."}, user("Why is the sky blue?")],
         "temperature": 0.6, "top_p": 0.95, "stop_token_ids": [30], "seed": 9, **drawn},
    ]


def check_variety(alone, requests):
    """That the requests test what they are there for."""
    lengths = [stream.n_prompt for stream in alone]
    cli.check(min(lengths) == 1 and max(lengths) >= 250, f"lengths of prompts: {lengths}")
    ends = [stream.finish for stream in alone]
    cli.check(streams.STOP in ends and streams.LENGTH in ends, f"ends: {ends}")
    cli.check(any(isinstance(stream.matched_stop, str) for stream in alone), "no stop string was met")
    cli.check(alone[8].token_ids != alone[9].token_ids, "two seeds gave the same tokens")
    for stream, request in zip(alone, requests):
        tops = {len(top) for top in stream.top}
        cli.equal(tops, {request.get("logprobs", 0)}, "alternatives")


def line_of_json(request):
    line = dict(request)
    if "text" in line:
        line["prompt"] = line.pop("text")
    return json.dumps(line)


def check_jsonl(home, alone, requests, what):
    """`choir generate --jsonl`, which starts all its lines at once."""
    lines = "\n".join(map(line_of_json, requests))
    done = cli.run("generate", "--jsonl", "-", stdin=lines, env=home.environment, timeout=300)
    cli.equal((done.returncode, done.stderr), (cli.OK, ""), f"{what}: --jsonl")
    answers = [json.loads(line) for line in done.stdout.split("\n")[:-1]]
    cli.equal(len(answers), len(requests), f"{what}: answers of --jsonl")
    for answer, stream in zip(answers, alone):
        cli.equal((tuple(answer["token_ids"]), answer["text"],
                   tuple(token["logprob_bits"] for token in answer["logprobs"])),
                  (stream.token_ids, stream.text, stream.logprob_bits), f"{what}: a line of --jsonl")


def check_together(home, alone, requests, model, *args):
    """A service with these flags; all clients at once, then the lines of a file at once."""
    serve = Serve(home, *args, model=model)
    what = " ".join(map(str, args))
    client = streams.connect(home)
    n_before = client.status().n_steps
    found = streams.ask_together(home, requests)
    n_steps = client.status().n_steps - n_before
    client.close()
    streams.check_same(found, alone, requests, what)
    if "ref" not in args:  # it is slow
        check_jsonl(home, alone, requests, what)
    serve.kill(signal.SIGTERM)
    serve.check_end(cli.OK, "stopping")
    n_tokens = sum(len(stream.token_ids) for stream in found)
    n_prompt = sum(stream.n_prompt for stream in found)
    print(f"  {what}: {len(found)} clients, {n_prompt} + {n_tokens} tokens in {n_steps} steps"
          f"{'' if 'ref' in args else f'; then {len(found)} lines of --jsonl'}: equal", flush=True)
    return n_steps, n_tokens


def check_model(home, model, n_vocabulary, layouts):
    requests = requests_of(n_vocabulary)
    serve = Serve(home, "-n", 1, "--threads", 1, model=model)
    alone = streams.ask_in_turn(home, requests)
    serve.kill(signal.SIGTERM)
    serve.check_end(cli.OK, "stopping")
    check_variety(alone, requests)
    print(f"{model}: {len(alone)} requests one after the other", flush=True)
    n_streams = 0
    for args in layouts:
        n_steps, n_tokens = check_together(home, alone, requests, model, *args)
        n_streams += (1 if "ref" in args else 2) * len(requests)
        # Without company each token takes a step; a prompt in chunks of 7 takes more.
        if "--max-num-batched-tokens" not in args:
            cli.check(n_steps < n_tokens, f"{n_steps} steps for {n_tokens} tokens: not at once")
    print(f"unison: {n_streams} streams of {len(requests)} clients, {len(layouts)} services: all "
          "equal to the bit to those alone", flush=True)


with Home() as its_home:
    check_model(its_home, cli.MODEL, 49152, [
        ("-n", 2, "-tp", 2),
        ("-n", 2, "-pp", 2, "--max-num-batched-tokens", 64, "--max-num-seqs", 5),
    ])
    check_model(its_home, its_home.model, 1024, [
        ("-n", 3, "-tp", 3, "--max-num-seqs", 3),
        ("-n", 4, "-tp", 2, "-pp", 2, "--max-num-batched-tokens", 7, "--threads", 1),
        ("-n", 2, "-pp", 2, "--level", "ref", "--threads", 3, "--max-num-batched-tokens", 1),
    ])
