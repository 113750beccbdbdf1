#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Killed processes, unequal ranks, scarce memory and signals under the real engine: T24, T30, T31, T36, T38,
T40, as far as the service goes without restarting its ranks."""
import os
import signal
import subprocess
import sys
import threading

import cli
import streams
from service import Home, Serve, wait_until
from streams import ChoirError

ENOMEM, EENGINE = 6, 11
UNAVAILABLE = 14  # gRPC's number
PAGE_BYTES = 8 * 2 * 32 * 64 * 2 * 2  # of the tiny model on one rank: layers, heads, S, positions, k and v, f16

KNOWN = {"token_ids": [5, 6, 7], "temperature": 0, "max_tokens": 600, "ignore_eos": True}
ENDLESS = dict(KNOWN, max_tokens=8000)
REQUESTS = [dict({"token_ids": [(37 * i + j) % 1000 + 8 for j in range(n)], "max_tokens": 60, "ignore_eos": True},
                 **sampling)
            for i, (n, sampling) in enumerate([
                (1, {"temperature": 0}), (3, {"seed": 1}), (64, {"temperature": 0}), (5, {"seed": 2, "top_k": 9}),
                (80, {"seed": 3, "min_p": 0.1}), (100, {"temperature": 0.5, "seed": 4}), (180, {"temperature": 0}),
                (196, {"seed": 5, "top_p": 0.9}), (20, {"temperature": 0}), (130, {"seed": 6})])]


def end(serve):
    serve.kill(signal.SIGTERM)
    serve.check_end(cli.OK, "stopping")


def files_of(home):
    """What the processes of a service have open or mapped in /tmp and /dev/shm, but for model and programs."""
    found = set()
    for pid in home.processes():
        try:
            paths = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
            with open(f"/proc/{pid}/maps", encoding="utf-8") as file:
                paths += [line.split(None, 5)[5].rstrip("\n") for line in file if line.count("/")]
        except OSError:
            continue
        found.update(path for path in paths if path.startswith(("/tmp/", "/dev/shm/")))
    return {path for path in found
            if os.path.exists(path) and path != home.model and not path.startswith(cli.BUILD)}


def check_known(ids, known, what):
    n = min(len(ids), len(known.token_ids))
    cli.equal(tuple(ids[:n]), known.token_ids[:n], f"{what}: tokens that came")


def read_to_the_end(client, chunks, ids):
    """Adds what comes; the code and the words of the end, which must be one for want of a service."""
    try:
        for chunk in chunks:
            ids += chunk.token_ids
    except ChoirError as error:
        return error.error.code, error.error.message
    except ConnectionError as error:
        return UNAVAILABLE, str(error)
    return cli.fail(f"the stream ended well after {len(ids)} tokens")


def test_t24_client_killed_in_mid_stream(home, known):
    serve = Serve(home, "-n", 2)
    client = streams.connect(home)
    chunks = client.generate(logprobs=0, **KNOWN)
    first = next(chunks)
    killed = subprocess.Popen([cli.CHOIR, "generate", "--ids", "9", "--max-tokens", "8000", "--ignore-eos"],
                              env=home.environment, stdout=subprocess.PIPE)
    gone = streams.connect(home)  # says nothing when it leaves either
    next(gone.generate(**ENDLESS))
    cli.check(killed.stdout.read(1), "its stream began")
    killed.kill()
    gone.close()
    killed.wait()
    found = streams.gather([first, *chunks])
    streams.check_same([found], [known], [KNOWN], "beside killed clients")
    wait_until(lambda: client.status().load.num_running_reqs == 0, "the end of the sequences")
    cli.equal(client.status().load.token_usage, 0, "pages in use")
    n_steps = client.status().n_steps
    cli.check(n_steps < 8000, f"the sequences of killed clients ran to their end: {n_steps} steps")
    client.close()
    end(serve)
    print(f"T24: two clients gone in mid-stream: cancelled, 0 running after {n_steps} steps; the other's 600 "
          "tokens are right")


def kill_engine(home, known, target, words, is_decoding):
    """kill -9 of a rank or of mpirun."""
    serve = Serve(home, "-n", 2)
    client = streams.connect(home)
    files = files_of(home)
    cli.check(any(path.startswith("/dev/shm/") for path in files), f"segments: {files}")
    ids = []
    if is_decoding:
        chunks = client.generate(**ENDLESS)
        ids += next(chunks).token_ids
    os.kill(serve.launcher() if target == "mpirun" else serve.ranks()[target], signal.SIGKILL)
    if is_decoding:
        code, message = read_to_the_end(client, chunks, ids)
        cli.equal(code, UNAVAILABLE, f"code for the client: {message}")
        check_known(ids, known, words)
    client.close()
    code, lines = serve.wait()
    cli.equal((code, len(lines)), (EENGINE, 1), f"end of choir serve: {lines}")
    cli.check(words in lines[0], f"words: {lines}")
    home.check_clean()
    cli.equal([path for path in files if os.path.exists(path)], [], "files that are left")
    home.refuse(cli.EUNAVAILABLE, "no such connection file", "generate", "text")
    return f"{'in decode, ' + str(len(ids)) + ' right tokens' if is_decoding else 'idle'}: \"{lines[0]}\""


def test_t30_rank_killed(home, known):
    for is_decoding in (False, True):
        said = kill_engine(home, known, 1, "a rank was killed by signal 9", is_decoding)
        print(f"T30: kill -9 of rank 1, {said}")


def test_t31_lead_and_mpirun_killed(home, known):
    for is_decoding in (False, True):
        said = kill_engine(home, known, 0, "a rank was killed by signal 9", is_decoding)
        print(f"T31: kill -9 of the lead, {said}")
        said = kill_engine(home, known, "mpirun", "mpirun was killed by signal 9", is_decoding)
        print(f"T31: kill -9 of mpirun, {said}")


def test_t31_service_killed(home, known):
    """The ranks end by themselves; what lies there is cleared by the next service."""
    for is_decoding in (False, True):
        serve = Serve(home, "-n", 2)
        files = files_of(home)
        process = None
        if is_decoding:
            process = subprocess.Popen([cli.CHOIR, "generate", "--ids", "5,6,7", "--temperature", "0", "--max-tokens",
                                        "8000", "--ignore-eos"], env=home.environment, text=True, bufsize=0,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, errors="replace")
            start = process.stdout.read(1)
        serve.kill(signal.SIGKILL)
        serve.process.wait(60)
        if process:
            rest, words = process.communicate(timeout=120)
            cli.equal((process.returncode, words.count("\n")), (cli.EUNAVAILABLE, 1), f"the client: {words}")
            text = start + rest.rstrip("\n")
            n = min(len(text), len(known.text)) - 4  # a character may be broken at the end
            cli.check(n > -4 and text[:max(n, 0)] == known.text[:max(n, 0)], f"text that came: {text!r}")
        home.wait_for_no_process()
        home_words = cli.run("status", env=home.environment)
        cli.equal(home_words.returncode, cli.EUNAVAILABLE, f"status: {home_words}")
        end(Serve(home))
        cli.equal([path for path in files if os.path.exists(path)], [], "files that are left")
        print(f"T31: kill -9 of choir serve, {'in decode' if is_decoding else 'idle'}: its ranks ended, the next one "
              f"cleared up{', the client: ' + repr(words.strip()) if process else ''}")


def test_t36_unequal_ranks(home, alone):
    """Levels and threads differ between the ranks of one job; what must not differ is refused."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        cpu = file.read()
    kinds = [("ref", 1), ("avx2" if " avx2 " in cpu else "ref", 2), ("avx512" if "avx512_vnni" in cpu else "ref", 1)]
    file = os.path.join(home.runtime, "choir", "choir.json")
    os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
    common = ("--model", home.model, "--listen", f"ipc://{home.folder}/clients", "--connection-file", file)
    for layout in (("-tp", 3), ("-pp", 3)):
        job = streams.mpirun(home, *[(*common, *layout, "--level", level, "--threads", threads)
                                     for level, threads in kinds])
        guard = threading.Timer(60, job.kill)
        guard.start()
        lines = []
        while not lines or (lines[-1] and not lines[-1].startswith("READY in ")):
            lines.append(job.stdout.readline())
        cli.check(lines[-1], f"not ready: {lines} {job.poll()}")
        for level, _ in kinds:
            cli.check(any(level in line for line in lines), f"no rank with {level}: {lines}")
        found = streams.ask_together(home, REQUESTS)
        streams.check_same(found, alone, REQUESTS, f"unequal ranks {layout}")
        job.send_signal(signal.SIGUSR1)
        out, errors = job.communicate()
        guard.cancel()
        cli.equal(job.returncode, 0, f"exit code of mpirun: {out} {errors}")
        home.wait_for_no_process()
        print(f"T36: ranks with {kinds}, {' '.join(map(str, layout))}: {len(found)} streams are right")
    for flags in (("--activations", "f32"), ("--cache-type-k", "f32"), ("--max-num-batched-tokens", 7)):
        done = streams.mpirun(home, common, (*common, *flags)).communicate(timeout=120)
        lines = [line for line in done[1].splitlines() if line.startswith("choir: ")]
        cli.check(len(lines) == 1 and flags[0] in lines[0], f"one rank with {flags}: {done}")
        home.wait_for_no_process()
        print(f"T36: {lines[0]}")


def test_t38_pages_run_out(home, alone):
    """Pages for one of the larger requests at a time: all wait their turn and end well."""
    few = ("--kv-cache-memory", 4 * PAGE_BYTES)
    home.refuse(ENOMEM, "--max-model-len", "serve", "--model", home.model, "--max-model-len", 257, *few)
    serve = Serve(home, "--max-model-len", 256, "--max-num-seqs", len(REQUESTS), *few)
    client = streams.connect(home)
    n_pages = [-(-(stream.n_prompt + 60) // 64) for stream in alone]
    found = streams.ask_together(home, REQUESTS)
    streams.check_same(found, alone, REQUESTS, "with few pages")
    status = client.status()
    # A step uses at most the 4 pages there are, so their work takes at least this long.
    least = sum(60 * pages for pages in n_pages) // 4
    cli.check(status.n_steps >= least, f"{status.n_steps} steps, at least {least}: it was not short of pages")
    cli.equal(status.load.token_usage, 0, "pages in use")
    client.close()
    end(serve)
    print(f"T38: {len(found)} requests of {min(n_pages)} to {max(n_pages)} pages with 4 pages: all right, in "
          f"{status.n_steps} steps")


def test_t40_sigterm(home, known):
    """Once: a clean end, also in mid-stream. Twice: the ranks are killed."""
    serve = Serve(home, "-n", 2)
    client = streams.connect(home)
    files = files_of(home)
    chunks = client.generate(**ENDLESS)
    ids = list(next(chunks).token_ids)
    serve.kill(signal.SIGTERM)
    code, message = read_to_the_end(client, chunks, ids)
    cli.equal(code, UNAVAILABLE, message)
    check_known(ids, known, "SIGTERM")
    client.close()
    serve.check_end(cli.OK, "stopping")
    cli.equal([path for path in files if os.path.exists(path)], [], "files that are left")
    print(f"T40: SIGTERM in decode: exit 0; the client, after {len(ids)} right tokens: \"{message}\"")
    serve = Serve(home, "-n", 2)
    files = files_of(home)
    os.kill(serve.ranks()[1], signal.SIGSTOP)
    serve.kill(signal.SIGTERM)
    cli.check("stopping" in serve.process.stderr.readline(), "no word on stopping")
    serve.kill(signal.SIGTERM)
    serve.check_end(EENGINE, "killed as asked")
    cli.equal([path for path in files if os.path.exists(path)], [], "files that are left")
    print("T40: SIGTERM twice with a stopped rank: killed, exit 11")


def main():
    with Home() as home:
        serve = Serve(home, "-n", 1, "--threads", 1)
        known, *alone = streams.ask_in_turn(home, [KNOWN, *REQUESTS])
        end(serve)
        test_t24_client_killed_in_mid_stream(home, known)
        test_t30_rank_killed(home, known)
        test_t31_lead_and_mpirun_killed(home, known)
        test_t31_service_killed(home, known)
        test_t36_unequal_ranks(home, alone)
        test_t38_pages_run_out(home, alone)
        test_t40_sigterm(home, known)


sys.stdout.reconfigure(line_buffering=True)
main()
