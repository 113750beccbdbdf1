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


class Part:
    """A stream as far as it has come; its tokens must come in order, without a gap or a repetition."""

    def __init__(self):
        self.ids, self.logprobs, self.top, self.text, self.finish = [], [], [], "", None

    def add(self, chunk):
        cli.equal(chunk.first_token_index, len(self.ids), "index of a chunk's first token")
        cli.equal(len(chunk.logprobs), len(chunk.token_ids), "log-probabilities of a chunk")
        self.ids += chunk.token_ids
        self.text += chunk.text
        for token in chunk.logprobs:
            self.logprobs.append(bits(token.logprob))
            self.top.append(tuple((other.token_id, bits(other.logprob)) for other in token.top))
        if chunk.HasField("finish"):
            self.finish = chunk.finish
            cli.equal(chunk.finish.usage.completion, len(self.ids), "completion tokens in usage")

    def stream(self):
        matched = self.finish.WhichOneof("matched_stop")
        return Stream(tuple(self.ids), tuple(self.logprobs), tuple(self.top), self.text, self.finish.reason,
                      matched and getattr(self.finish, matched), self.finish.usage.prompt)


def gather(chunks):
    """A whole stream."""
    part = Part()
    for chunk in chunks:
        part.add(chunk)
    return part.stream()


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
