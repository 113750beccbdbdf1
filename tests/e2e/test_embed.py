#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Embeddings: what the vocabulary matrix makes of one are the log-probabilities of a Score; the same bits on
every layout, in chunks, together, from the cache and after being put back; their flags and their JSON."""
import concurrent.futures
import json
import math
import os
import signal
import struct
import subprocess

import cli
import gguf
import streams
from choir_client import pb
from service import Home, Serve

IDS = [(7919 * i + 5) % 1000 + 8 for i in range(300)]
LENGTHS = 1, 2, 63, 64, 65, 130, 300


def bits(vector):
    return struct.pack(f"<{len(vector)}f", *vector)


def all_vectors(client, **options):
    return [bits(client.embed(token_ids=IDS[:n], **options).values) for n in LENGTHS]


def check_meaning(home):
    """With float weights and activations: logits are the matrix times the state, whoever multiplies."""
    model = os.path.join(home.folder, "float.gguf")
    subprocess.run([os.path.join(cli.BUILD, "tests", "make_model"), "--shape", "tiny", "--type", "F32",
                    "--output", model], check=True)
    places = gguf.Places(model)
    name = "output.weight" if "output.weight" in places.tensors else "token_embd.weight"
    serve = Serve(home, "-n", 1, "--activations", "f32", model=model)
    client = streams.connect(home)
    for n in 3, 70:
        state = client.embed(token_ids=IDS[:n], normalize=False).values
        D = len(state)
        V = client.call(client.request, list_models=pb.ListModels()).models[0].vocabulary
        matrix = struct.unpack_from(f"<{V * D}f", places.data, places.tensors[name])
        logits = [sum(w * x for w, x in zip(matrix[v * D:], state)) for v in range(V)]
        most = max(logits)
        lse = most + math.log(sum(math.exp(z - most) for z in logits))
        token = client.score(token_ids=IDS[:n + 1], top=64).tokens[n]
        for other in [token, *token.top]:
            cli.check(abs(logits[other.token_id] - lse - other.logprob) < 1e-4, f"log-probability of {other}")
        normed = client.embed(token_ids=IDS[:n]).values
        length = math.sqrt(sum(x * x for x in state))
        cli.check(all(abs(a * length - b) < 1e-5 for a, b in zip(normed, state)), "a vector of length 1")
    prefixes = [client.embed(token_ids=IDS[:k + 1], normalize=False).values for k in range(70)]
    mean = client.embed(token_ids=IDS[:70], pooling="mean", normalize=False).values
    for i, value in enumerate(mean):
        cli.check(abs(sum(vector[i] for vector in prefixes) / 70 - value) < 1e-5, f"dimension {i} of a mean")
    client.close()
    serve.kill(signal.SIGTERM)
    serve.check_end(cli.OK, "stopping")


def check_bits(home, alone, *args):
    """The same twice (the second time from the cache), then many at once beside streams."""
    serve = Serve(home, *args, model=home.model)
    clients = [streams.connect(home) for _ in range(8)]
    for _ in range(2):
        for pooling, vectors in alone.items():
            cli.equal(all_vectors(clients[0], pooling=pooling) == vectors, True, f"{pooling} of {args}")
    with concurrent.futures.ThreadPoolExecutor(len(clients)) as pool:
        talks = [pool.submit(streams.ask, client, token_ids=IDS[:50], max_tokens=250, ignore_eos=True)
                 for client in clients[:3]]
        futures = [(pooling, pool.submit(all_vectors, client, pooling=pooling))
                   for client, pooling in zip(clients[3:], ["last", "mean", "mean", "last", "mean"])]
        for pooling, future in futures:
            cli.equal(future.result() == alone[pooling], True, f"{pooling} of {args}, together")
        for talk in talks:
            talk.result()
    counters = clients[0].status().counters
    cli.equal(counters.kv_pages_used, 0, "pages in use at the end")
    for client in clients:
        client.close()
    serve.kill(signal.SIGTERM)
    serve.check_end(cli.OK, "stopping")
    return counters


def check_verb(home):
    serve = Serve(home, "-n", 1, model=home.model)
    flags = {"env": home.environment}
    comma = ",".join(map(str, IDS[:5]))
    found = json.loads(cli.succeed("embed", "--json", "--ids", comma, **flags))
    cli.equal(list(found), ["embedding", "usage"], "keys")
    cli.equal(found["usage"]["prompt_tokens"], 5, "tokens")
    client = streams.connect(home)
    cli.equal(bits(found["embedding"]), bits(client.embed(token_ids=IDS[:5]).values), "the verb's vector")
    words = cli.succeed("embed", "--ids", comma, "--pooling", "mean", "--no-normalize", **flags).split()
    cli.equal(bits([float(word) for word in words]),
              bits(client.embed(token_ids=IDS[:5], pooling="mean", normalize=False).values), "the verb's numbers")
    lines = [{"token_ids": IDS[:5]}, {"text": "Plants"}, {"token_ids": [1023 + 1]}]
    answers = [json.loads(line) for line in cli.run("embed", "--jsonl", "-", **flags,
                                                    stdin="\n".join(map(json.dumps, lines))).stdout.splitlines()]
    cli.equal(answers[0], found, "a line")
    cli.equal(["error" in answer for answer in answers], [False, False, True], "errors of lines")
    cli.refuse(cli.EUSAGE, "--pooling", "embed", "--pooling", "middle", "a", **flags)
    try:
        client.call(client.request, embed=pb.Embed(request_id="r", text="a", pooling=7))
        cli.fail("pooling 7 was taken")
    except streams.ChoirError as error:
        cli.equal((error.error.code, error.error.param), (3, "pooling"), "pooling 7")
    client.close()
    serve.kill(signal.SIGTERM)
    serve.check_end(cli.OK, "stopping")


with Home() as its_home:
    check_meaning(its_home)
    first = Serve(its_home, "-n", 1, "--threads", 1, "--max-num-seqs", 1, "--no-enable-prefix-caching",
                  model=its_home.model)
    solo = streams.connect(its_home)
    wanted = {pooling: all_vectors(solo, pooling=pooling) for pooling in ("last", "mean")}
    cli.equal(wanted["last"][0], wanted["mean"][0], "one token")
    cli.check(len(set(wanted["last"] + wanted["mean"])) == 2 * len(LENGTHS) - 1, "vectors are alike")
    solo.close()
    first.kill(signal.SIGTERM)
    first.check_end(cli.OK, "stopping")
    few = "--kv-cache-memory", 10 * 64 * 32 * 2 * 2 * 8  # of a rank with half the heads or layers: 10 pages
    check_bits(its_home, wanted, "-n", 4, "-tp", 2, "-pp", 2)
    counts = check_bits(its_home, wanted, "-n", 3, "-tp", 3, "--max-num-batched-tokens", 7)
    cli.check(counts.prefix_cache_hits_total > 0, "nothing was reused")
    counts = check_bits(its_home, wanted, "-n", 2, "-pp", 2, *few)
    cli.check(counts.num_preemptions_total > 0, "nothing was put back")
    check_verb(its_home)
