#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Pages of keys and values are shared between prompts that begin alike, taken away when they run out and
computed again: no stream changes by a bit, whatever the settings. And who may share with whom."""
import random
import signal

import cli
import streams
from service import Home, Serve

VOCABULARY = 1024
N_CLIENTS = 40


def requests_of(seed):
    """Prompts of up to 300 tokens, most of them with one of three beginnings; all kinds of settings."""
    rng = random.Random(seed)
    def ids(n):
        return [rng.randrange(8, VOCABULARY) for _ in range(n)]
    beginnings = [ids(200) for _ in range(3)]
    requests = []
    for number in range(N_CLIENTS):
        start = rng.choice(beginnings)[:rng.choice([0, 64, 65, 127, 128, 200])]
        request = {"token_ids": start + ids(rng.randrange(1, 100)), "max_tokens": rng.randrange(1, 250),
                   "ignore_eos": True, "seed": number, "temperature": rng.choice([0, 0.7, 1, 1.5]),
                   "cache_salt": rng.choice(["", "all", "all", "some"]), "priority": rng.choice([0, 0, 0, -1, 2])}
        request.update(rng.choice([
            {}, {"top_k": 20}, {"top_p": 0.9}, {"min_p": 0.02}, {"typical_p": 0.8},
            {"repetition_penalty": 1.3}, {"presence_penalty": 0.5, "frequency_penalty": 0.25},
            {"allowed_token_ids": ids(30)}, {"bad_words": ["the", "a"], "min_tokens": 3},
            {"logit_bias": [{"token_id": token, "bias": 3} for token in set(ids(5))]},
        ]))
        requests.append(request)
    return requests


def counters(home):
    client = streams.connect(home)
    found = client.status().counters
    client.close()
    return found


def check_together(home, alone, requests, *args):
    serve = Serve(home, *args, model=home.model)
    what = " ".join(map(str, args))
    for _ in range(2):  # the second time with what was kept
        streams.check_same(streams.ask_together(home, requests), alone, requests, what)
    counts = counters(home)
    cli.equal(counts.kv_pages_used, 0, f"{what}: pages in use at the end")
    serve.kill(signal.SIGTERM)
    serve.check_end(cli.OK, "stopping")
    print(f"  {what}: {counts.num_preemptions_total} put back, {counts.prefix_cache_hits_total} of "
          f"{counts.prefix_cache_queries_total} tokens reused", flush=True)
    return counts


def t28_two_users_share_no_pages_unasked(home):
    """200 tokens are three pages and a bit; the last position is always computed."""
    prompt = {"token_ids": list(range(8, 200 + 8)), "max_tokens": 1, "temperature": 0}
    def cached(client, **more):
        return list(client.generate(**prompt, **more))[-1].finish.usage.cached
    serve = Serve(home, "-n", 1, model=home.model)
    one, other = streams.connect(home), streams.connect(home)
    cli.equal([cached(one), cached(one), cached(other), cached(other)], [0, 192, 0, 192],
              "T28: cached tokens of two clients")
    cli.equal([cached(one, cache_salt="x"), cached(other, cache_salt="x"), cached(one, cache_salt="y")],
              [0, 192, 0], "cached tokens with salts")
    one.close()
    other.close()
    serve.kill(signal.SIGTERM)
    serve.check_end(cli.OK, "stopping")


def check_settings(home):
    """What settings must do, whatever they are worth."""
    serve = Serve(home, "-n", 1, "--max-num-seqs", 1, model=home.model)
    client = streams.connect(home)
    prompt = {"token_ids": list(range(50, 80)), "max_tokens": 40, "temperature": 0, "ignore_eos": True}
    plain = streams.ask(client, **prompt)
    allowed = sorted(set(plain.token_ids))[1:4]
    cli.check(set(streams.ask(client, **prompt, allowed_token_ids=allowed).token_ids) <= set(allowed), "allowed tokens")
    banned = plain.token_ids[0]
    cli.check(banned not in streams.ask(client, **prompt, logit_bias=[{"token_id": banned, "bias": -100}]).token_ids,
              "a token with a bias of -100")
    cli.equal(set(streams.ask(client, **prompt, logit_bias=[{"token_id": banned, "bias": 100}]).token_ids), {banned},
              "tokens with a bias of 100")
    cli.equal(len(set(streams.ask(client, **prompt, repetition_penalty=100).token_ids)), 40, "different tokens")
    stop = plain.token_ids[2]
    first = plain.token_ids.index(stop)
    cli.equal(len(streams.ask(client, **prompt, stop_token_ids=[stop]).token_ids), first + 1, "up to a stop token")
    longer = streams.ask(client, **prompt, stop_token_ids=[stop], min_tokens=first + 5)
    cli.check(stop not in longer.token_ids[:first + 5] and len(longer.token_ids) > first + 5, "min_tokens")
    cut = streams.ask(client, **prompt, truncate_prompt_tokens=7)
    cli.equal(cut, streams.ask(client, **dict(prompt, token_ids=prompt["token_ids"][-7:])), "a truncated prompt")
    for wrong, code, words in (({"timeout_ms": 20, "max_tokens": 400}, 4, "timeout_ms"),
                               ({"allowed_token_ids": [5], "stop_token_ids": [5], "min_tokens": 2}, 3,
                                "leave no token")):
        try:
            streams.ask(client, **dict(prompt, **wrong))
            cli.fail(f"{wrong} was answered")
        except streams.ChoirError as error:
            cli.equal(error.error.code, code, f"{wrong}")
            cli.check(words in error.error.message, f"{wrong}: {error.error.message}")
    cli.equal(counters(home).kv_pages_used, 0, "pages in use at the end")
    client.close()
    serve.kill(signal.SIGTERM)
    serve.check_end(cli.OK, "stopping")


def answers_of(client, **request):
    """The Streams of a request's answers, by their index."""
    chunks = {}
    for chunk in client.generate(logprobs=2, **request):
        chunks.setdefault(chunk.index, []).append(chunk)
    return [streams.gather(chunks[index]) for index in sorted(chunks)], chunks


def check_choices(home, *args):
    """Answers of one request share its prompt's pages, also without a cache; each is a sequence of its own."""
    serve = Serve(home, "-n", 2, "-tp", 2, *args, model=home.model)
    client = streams.connect(home)
    request = {"token_ids": list(range(40, 240)), "max_tokens": 30, "ignore_eos": True, "seed": 5}
    alone = streams.ask(client, logprobs=2, **dict(request, cache_salt="alone"))
    answers, chunks = answers_of(client, n=5, cache_salt="several", **request)
    cli.equal(answers[0], alone, "the first of five answers")
    cli.equal(len({answer.token_ids for answer in answers}), 5, "different answers")
    cli.equal(sorted(chunks[index][-1].finish.usage.cached for index in chunks), [0, 192, 192, 192, 192],
              "cached tokens of five answers")
    cli.equal(answers_of(client, n=5, cache_salt="again", **request)[0], answers, "five answers once more")
    scores = client.score(token_ids=request["token_ids"], top=2)
    told = [token for chunk in client.generate(prompt_logprobs=2, **request) for token in chunk.prompt_logprobs]
    cli.equal([token.SerializeToString() for token in told],
              [token.SerializeToString() for token in scores.tokens], "log-probabilities of the prompt")
    cli.equal(streams.ask(client, logprobs=2, prompt_logprobs=0, **request), alone, "an answer behind a scored prompt")
    cli.equal(counters(home).kv_pages_used, 0, "pages in use at the end")
    client.close()
    serve.kill(signal.SIGTERM)
    serve.check_end(cli.OK, "stopping")


with Home() as its_home:
    wanted = requests_of(1)
    first = Serve(its_home, "-n", 1, "--threads", 1, "--no-enable-prefix-caching", model=its_home.model)
    solo = streams.ask_in_turn(its_home, wanted)
    cli.equal(counters(its_home).prefix_cache_hits_total, 0, "tokens reused without a cache")
    first.kill(signal.SIGTERM)
    first.check_end(cli.OK, "stopping")
    cli.check(sum(len(set(stream.token_ids)) > 3 for stream in solo) > N_CLIENTS / 2, "streams are dull")
    few = "--kv-cache-memory", 12 * 64 * 32 * 2 * 2 * 8  # of a rank with half the heads or layers: 12 pages
    with_cache = check_together(its_home, solo, wanted, "-n", 4, "-tp", 2, "-pp", 2)
    cli.check(with_cache.prefix_cache_hits_total > 1000, "few tokens were reused")
    with_few = check_together(its_home, solo, wanted, "-n", 2, "-tp", 2, *few, "--max-num-seqs", 30)
    cli.check(with_few.num_preemptions_total > 5, f"{with_few.num_preemptions_total} were put back")
    without = check_together(its_home, solo, wanted, "-n", 2, "-pp", 2, *few, "--no-enable-prefix-caching",
                             "--max-num-batched-tokens", 37, "--max-step-ms", 3)
    cli.equal(without.prefix_cache_hits_total, 0, "tokens reused without a cache")
    t28_two_users_share_no_pages_unasked(its_home)
    check_settings(its_home)
    check_choices(its_home)
    check_choices(its_home, "--no-enable-prefix-caching", "--max-num-batched-tokens", 50)
