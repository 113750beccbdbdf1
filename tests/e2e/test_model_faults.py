#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Damaged, changed and unequal model files under the real engine: T10, T11, T13, T15."""
import json
import os
import shutil
import signal
import subprocess
import sys

import cli
import streams
from gguf import Places, write_at
from service import Home, Serve
from streams import ChoirError

EUNSUPPORTED, EFILECHANGED = 5, 12
INTERNAL, UNAVAILABLE, FAILED_PRECONDITION = 13, 14, 9  # gRPC's numbers
BLOCK_BYTES, ROW_BYTES = 34, 8 * 34  # of Q8_0, and of a row of 256
NAN, INFINITY = b"\x00\x7e", b"\x00\xfc"  # as halves
N_LONG = 1500

REQUESTS = [
    {"token_ids": [5, 6, 7], "temperature": 0, "max_tokens": 16, "ignore_eos": True},
    {"token_ids": list(range(100, 180)), "temperature": 0, "max_tokens": 16, "ignore_eos": True},
    {"token_ids": [9], "temperature": 1, "seed": 3, "max_tokens": 16, "ignore_eos": True},
    {"text": "plants need", "temperature": 0.8, "top_k": 20, "seed": 4, "max_tokens": 16, "ignore_eos": True},
]
LONG = {"token_ids": [5, 6, 7], "temperature": 0, "max_tokens": N_LONG, "ignore_eos": True}


def make_model(path, *args):
    subprocess.run([os.path.join(cli.BUILD, "tests", "make_model"), "--shape", "tiny", "--type", "Q8_0",
                    "--output", path, *args], check=True)


def end(serve):
    serve.kill(signal.SIGTERM)
    serve.check_end(cli.OK, "stopping")


def healthy(home, model, *more):
    """The streams of the requests from this model, each alone."""
    serve = Serve(home, "-n", 1, "--threads", 1, model=model)
    found = streams.ask_in_turn(home, [*REQUESTS, *more])
    end(serve)
    return found


def until_error(client, request):
    """The token ids that came, and the error; fails if none did."""
    ids = []
    try:
        for chunk in client.generate(**request):
            ids += chunk.token_ids
    except ChoirError as error:
        return ids, error.error
    return cli.fail(f"no error, but {len(ids)} tokens for {request}")


def error_of(call):
    try:
        call()
    except ChoirError as error:
        return error.error
    return cli.fail("it went well")


def test_t10_one_bad_embedding_row(home):
    """A NaN that two of the requests meet, one in its prompt and one when it has made that token."""
    model = os.path.join(home.folder, "row.gguf")
    make_model(model, "--separate-output")
    alone = healthy(home, model)
    others = {token for stream, request in zip(alone[1:], REQUESTS[1:])
              for token in (*stream.token_ids[:-1], *request.get("token_ids", []))}
    # A token in the middle of the first stream, which nobody else meets.
    bad, place = next((token, i) for i, token in enumerate(alone[0].token_ids)
                      if i > 0 and token not in others and token not in alone[0].token_ids[:i])
    write_at(model, Places(model).tensors["token_embd.weight"] + bad * ROW_BYTES, NAN)

    home.refuse(cli.EFORMAT, "token_embd.weight", "serve", "--model", model, "--verify")
    serve = Serve(home, "-n", 2, "-tp", 2, model=model)
    client = streams.connect(home)
    # In one batch with those that end well.
    in_prompt = client.generate(token_ids=[5, bad, 7], max_tokens=4)
    found = streams.ask_together(home, REQUESTS[1:])
    streams.check_same(found, alone[1:], REQUESTS[1:], "beside a bad request")
    ids, error = until_error(client, REQUESTS[0])
    cli.equal(tuple(ids), alone[0].token_ids[:place + 1], "tokens up to the bad one")
    cli.equal(error.code, INTERNAL, "code")
    cli.check("not finite" in error.message, error.message)
    for what in (lambda: list(in_prompt), lambda: client.score(token_ids=[5, bad, 7])):
        cli.equal(error_of(what).message, error.message, "words for a prompt with the bad token")
    # The bad ones' pages hold NaNs now, and are used again.
    streams.check_same(streams.ask_together(home, REQUESTS[1:]), alone[1:], REQUESTS[1:], "afterwards")
    cli.equal(client.status().load.num_running_reqs, 0, "running requests")
    client.close()
    end(serve)
    print(f"T10: a NaN in row {bad}: refused by --verify; 3 requests ended with \"{error.message}\", "
          f"6 beside and after them were right")


def test_t10_one_bad_block(home):
    """An infinity in a matrix: every request meets it, and the service stays."""
    model = os.path.join(home.folder, "block.gguf")
    shutil.copy(home.model, model)
    write_at(model, Places(model).tensors["blk.3.ffn_down.weight"] + 5 * BLOCK_BYTES, INFINITY)
    home.refuse(cli.EFORMAT, "blk.3.ffn_down.weight", "serve", "--model", model, "--verify")
    serve = Serve(home, "-n", 2, "-pp", 2, model=model)
    client = streams.connect(home)
    for request in REQUESTS:
        ids, error = until_error(client, request)
        cli.equal((ids, error.code), ([], INTERNAL), "a request through the bad block")
    cli.equal(error_of(lambda: client.score(token_ids=[1, 2, 3])).code, INTERNAL, "code of a score")
    cli.equal(client.status().state, 2, "READY")
    client.close()
    end(serve)
    print("T10: an infinity in blk.3.ffn_down.weight: refused by --verify; 5 requests ended, the service stayed")


def test_t11_truncated_before_load(home):
    model = os.path.join(home.folder, "short.gguf")
    shutil.copy(home.model, model)
    os.truncate(model, os.path.getsize(model) - 1)
    for verb in ("serve", "generate"):
        home.refuse(cli.EFORMAT, "short.gguf", verb, "--model", model, *["text"] * (verb == "generate"))
    print("T11: a truncated file is refused")


def change_while_loaded(home, name, change, alone):
    """Changes the file in the middle of a stream; what came of it is right, and how it all ended."""
    model = os.path.join(home.folder, "loaded.gguf")
    shutil.copy(home.model, model)
    serve = Serve(home, "-n", 2, "-tp", 2, model=model)
    client = streams.connect(home)
    chunks = client.generate(**LONG)
    ids = list(next(chunks).token_ids)
    change(model)
    error = None
    try:
        for chunk in chunks:
            ids += chunk.token_ids
        ids2, error = until_error(client, LONG)  # it was quick
        cli.equal(ids2, [], "tokens after the change")
    except ChoirError as failed:
        error = failed.error
    client.close()
    cli.equal(tuple(ids), alone.token_ids[:len(ids)], f"{name}: tokens up to the change")
    cli.equal(error.code, UNAVAILABLE, f"{name}: code")
    code, lines = serve.wait()
    cli.equal(code, EFILECHANGED, f"{name}: exit code; it said {lines}")
    cli.check(len(lines) == 1 and "while" in lines[0], f"{name}: one line: {lines}")
    home.check_clean()
    print(f"T11: {name} after {len(ids)} right tokens: {lines[0]}")


def test_t11_changed_while_loaded(home, alone):
    def replace(model):
        make_model(model + ".new", "--seed", "1")
        os.rename(model + ".new", model)
    def overwrite(model):
        write_at(model, Places(model).tensors["token_embd.weight"], bytes(1024 * ROW_BYTES))
    change_while_loaded(home, "truncated to its header", lambda model: os.truncate(model, 8192), alone)
    change_while_loaded(home, "truncated by a byte",
                        lambda model: os.truncate(model, os.path.getsize(model) - 1), alone)
    change_while_loaded(home, "overwritten in place", overwrite, alone)
    change_while_loaded(home, "replaced by another", replace, alone)


def test_t13_unknown_chat_template(home, alone):
    model = os.path.join(home.folder, "template.gguf")
    shutil.copy(home.model, model)
    places = Places(model)
    begin, finish = places.keys["tokenizer.chat_template"]
    write_at(model, begin, places.data[begin:finish].replace(b"<|im_start|>", b"<|xx_start|>"))
    serve = Serve(home, model=model)
    client = streams.connect(home)
    error = error_of(lambda: list(client.generate(messages=[{"role": "user", "content": "Hello"}])))
    cli.equal(error.code, FAILED_PRECONDITION, "code")
    cli.check("chat template" in error.message, error.message)
    client.close()
    cli.refuse(EUNSUPPORTED, "chat template", "chat", "Hello", env=home.environment)
    streams.check_same(streams.ask_together(home, REQUESTS), alone, REQUESTS, "without a template")
    end(serve)
    print(f"T13: chat: \"{error.message}\"; {len(REQUESTS)} completions are right")


def test_t15_different_files(home):
    other = os.path.join(home.folder, "other.gguf")
    make_model(other, "--seed", "1")
    identities = [json.loads(cli.succeed("inspect", model, "--json"))["identity"][:16]
                  for model in (home.model, other)]
    done = streams.mpirun(home, *[("--model", model, "--listen", f"ipc://{home.folder}/clients")
                                  for model in (home.model, home.model, other)]).communicate(timeout=120)
    lines = [line for line in done[1].splitlines() if line.startswith("choir: ")]
    cli.check(len(lines) == 1 and all(identity in lines[0] for identity in identities)
              and "rank 2" in lines[0], f"words: {done}")
    home.wait_for_no_process()
    print(f"T15: {lines[0]}")


def main():
    with Home() as home:
        alone = healthy(home, home.model, LONG)
        test_t10_one_bad_embedding_row(home)
        test_t10_one_bad_block(home)
        test_t11_truncated_before_load(home)
        test_t11_changed_while_loaded(home, alone[-1])
        test_t13_unknown_chat_template(home, alone[:-1])
        test_t15_different_files(home)


sys.stdout.reconfigure(line_buffering=True)
main()
