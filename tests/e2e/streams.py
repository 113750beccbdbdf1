# SPDX-License-Identifier: Apache-2.0
"""What clients get for their requests, to the last bit."""
import concurrent.futures
import os
import struct
import subprocess
import sys
import typing

import cli

sys.path[:0] = [os.path.join("client", "python"), os.path.join(cli.BUILD, "python")]
from choir_client import ChoirError, Client  # noqa: E402 (found by the line above)

PATIENCE_MS = 120000
STOP, LENGTH = 1, 2  # of FinishReason


class Stream(typing.NamedTuple):
    token_ids: tuple
    logprob_bits: tuple  # 8 hex digits a token
    top: tuple  # a token's alternatives: pairs of id and bits
    text: str
    finish: int
    matched_stop: object  # a token id, a string or None
    n_prompt: int


def bits(logprob):
    return struct.pack(">f", logprob).hex()


def gather(chunks):
    """A whole stream; its tokens must come in order, without a gap or a repetition."""
    ids, logprobs, top, text = [], [], [], ""
    for chunk in chunks:
        cli.equal(chunk.first_token_index, len(ids), "index of a chunk's first token")
        cli.equal(len(chunk.logprobs), len(chunk.token_ids), "log-probabilities of a chunk")
        ids += chunk.token_ids
        text += chunk.text
        for token in chunk.logprobs:
            logprobs.append(bits(token.logprob))
            top.append(tuple((other.token_id, bits(other.logprob)) for other in token.top))
    finish = chunk.finish
    cli.equal(finish.usage.completion, len(ids), "completion tokens in usage")
    matched = finish.WhichOneof("matched_stop")
    return Stream(tuple(ids), tuple(logprobs), tuple(top), text, finish.reason,
                  matched and getattr(finish, matched), finish.usage.prompt)


def connect(home):
    return Client(os.path.join(home.runtime, "choir", "choir.json"), PATIENCE_MS)


def ask(client, **request):
    """Its Stream; the words of what is in `request` are those of Client.generate()."""
    return gather(client.generate(**dict({"logprobs": 0}, **request)))


def ask_in_turn(home, requests):
    client = connect(home)
    try:
        return [ask(client, **request) for request in requests]
    finally:
        client.close()


def ask_together(home, requests):
    """Each from a client of its own, all at once."""
    clients = [connect(home) for _ in requests]
    try:
        with concurrent.futures.ThreadPoolExecutor(len(requests)) as pool:
            futures = [pool.submit(ask, client, **request)
                       for client, request in zip(clients, requests)]
            return [future.result() for future in futures]
    finally:
        for client in clients:
            client.close()


def check_same(found, alone, requests, what):
    for stream, other, request in zip(found, alone, requests):
        for field in Stream._fields:
            if getattr(stream, field) != getattr(other, field):
                cli.fail(f"{what}: {str(request)[:200]}: {field}: {getattr(stream, field)!r}, "
                         f"alone {getattr(other, field)!r}")
    cli.equal(len(found), len(alone), f"{what}: streams")


def mpirun(home, *contexts):
    """choir-worker without a supervisor: one rank for each tuple of its flags."""
    command = ["mpirun", "--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1",
               "--mca", "orte_tmpdir_base", home.folder, "--mca", "btl_vader_backing_directory", home.folder]
    for flags in contexts:
        command += ["-np", "1", os.path.join(cli.BUILD, "choir-worker"), *map(str, flags), ":"]
    environment = dict(home.environment, OMPI_ALLOW_RUN_AS_ROOT="1", OMP_WAIT_POLICY="passive",
                       OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", TMPDIR=home.folder)
    return subprocess.Popen(command[:-1], env=environment, stdin=subprocess.DEVNULL, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
