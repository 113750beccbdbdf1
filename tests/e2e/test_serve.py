#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""choir serve and status: the report, every way to end, and that nothing is left behind."""
import json
import os
import signal
import stat
import subprocess
import tempfile

import cli
from service import Home, Serve, wait_until

EUNSUPPORTED, EENGINE, EFILECHANGED = 5, 11, 12


def status(home, *args):
    return cli.succeed("status", *args, env=home.environment)


def test_report_and_status(home):
    log = os.path.join(home.folder, "log")
    serve = Serve(home, "-n", 2, "-tp", 2, "--threads", 1, "--log-file", log)
    shared = serve.shared_folder()
    words = [line.split()[0] for line in serve.report]
    for word in ("Choir", "model", "layout", "memory", "limit", "launch", "serving", "clients"):
        cli.check(word in words, f"no line `{word}` in {serve.report}")
    cli.check("2 ranks x 1 thread" in " ".join(serve.report), "how the ranks were launched")
    file = os.path.join(home.runtime, "choir", "choir.json")
    cli.equal(stat.S_IMODE(os.stat(file).st_mode), 0o600, "mode of the connection file")
    with open(file, encoding="utf-8") as connection:
        cli.equal(json.load(connection)["state"], "READY", "state in the connection file")
    found = json.loads(status(home, "--json"))
    cli.equal((found["state"], found["model"], found["tp"], found["pp"]), ("READY", "tiny", 2, 1),
              "status")
    cli.equal([rank["shard"] for rank in found["ranks"]], [0, 1], "ranks")
    cli.equal(found["load"]["num_running_reqs"], 0, "running requests")
    cli.equal(found["request_success_total"], {"stop": 0, "length": 0, "abort": 0, "error": 0}, "no request yet")
    cli.check("latency" not in status(home), "no latency without a request")
    cli.succeed("generate", "--ids", "5,6,7", "--max-tokens", 4, "--ignore-eos", env=home.environment)
    found = json.loads(status(home, "--json"))
    cli.equal(found["request_success_total"], {"stop": 0, "length": 1, "abort": 0, "error": 0}, "one request")
    for name, count in (("time_to_first_token_seconds", 1), ("inter_token_latency_seconds", 3),
                        ("e2e_request_latency_seconds", 1), ("request_queue_time_seconds", 1)):
        histogram = found[name]
        cli.equal((histogram["count"], sum(histogram["counts"])), (count, count), name)
        cli.equal(len(histogram["counts"]), len(histogram["bounds"]) + 1, f"buckets of {name}")
    cli.check(found["e2e_request_latency_seconds"]["sum"] >= found["time_to_first_token_seconds"]["sum"] > 0, "sums")
    people = status(home)
    cli.check("first token" in people and "whole answer" in people, f"status: {people}")
    cli.check("READY" in people and "0 running" in people, f"status: {people}")
    cli.equal(cli.run("status", "--connection-file", file, "--json").returncode, 0, "by file")
    serve.kill(signal.SIGINT)
    serve.check_end(0, "stopping")
    cli.check(not os.path.exists(shared), "the segments' folder is left")
    cli.check("mpirun" not in open(log, encoding="utf-8").read(), "mpirun complained in the log")
    home.refuse(cli.EUNAVAILABLE, "no such connection file", "status")


def test_second_service(home):
    first = Serve(home)
    cli.refuse(cli.EUNAVAILABLE, "choir.json", "serve", "--model", home.model,
               env=home.environment)
    other = os.path.join(home.folder, "other.json")
    second = Serve(home, "--connection-file", other)
    cli.equal(len(home.jobs()), 2, "jobs")
    second.kill(signal.SIGTERM)
    cli.equal(second.wait()[0], 0, "end of the second")
    cli.check(not os.path.exists(other), "the second's connection file is left")
    cli.equal(json.loads(status(home, "--json"))["state"], "READY", "the first")
    first.kill(signal.SIGTERM)
    first.check_end(0, "stopping")


def test_killed_service(home):
    """Its ranks end with it; the next service clears what it left."""
    killed = Serve(home, "-n", 2)
    job, shared = home.jobs()[0], killed.shared_folder()
    cli.check(os.path.isdir(shared), "the segments' folder is there")
    killed.kill(signal.SIGKILL)
    killed.wait()
    home.wait_for_no_process()
    cli.equal(home.jobs(), [job], "what a kill leaves")
    again = Serve(home)
    cli.check(job not in home.jobs(), "the folder of the killed job is still there")
    cli.check(not os.path.exists(shared), "its segments are still there")
    again.kill(signal.SIGTERM)
    again.check_end(0, "stopping")


def test_death_of_a_rank(home):
    for rank in (0, 1):
        serve = Serve(home, "-n", 2)
        shared = serve.shared_folder()
        os.kill(serve.ranks()[rank], signal.SIGKILL)
        serve.check_end(EENGINE, "a rank was killed by signal 9")
        cli.check(not os.path.exists(shared), "segments are left")


def test_death_of_mpirun(home):
    serve = Serve(home, "-n", 2)
    os.kill(serve.launcher(), signal.SIGKILL)
    serve.check_end(EENGINE, "mpirun was killed by signal 9")


def test_ranks_that_do_not_end(home):
    serve = Serve(home, "-n", 2, "--shutdown-timeout", 0.2)
    os.kill(serve.ranks()[1], signal.SIGSTOP)
    serve.kill(signal.SIGTERM)
    serve.check_end(EENGINE, "did not end in 0.2 s and were killed")
    serve = Serve(home, "-n", 2)
    os.kill(serve.ranks()[1], signal.SIGSTOP)
    serve.kill(signal.SIGINT)
    cli.check("stopping" in serve.process.stderr.readline(), "no word on stopping")
    serve.kill(signal.SIGINT)
    serve.check_end(EENGINE, "killed as asked")


def test_t11_model_file_shrinks(home):
    """T11: no wrong token; the service ends with the code of a changed file, its client is told."""
    generate = ("generate", "--ids", "1,2,3", "--max-tokens", 2, "--json")
    serve = Serve(home, "-n", 2)
    cli.succeed(*generate, env=home.environment)
    os.truncate(home.model, 4096)
    cli.refuse(cli.EUNAVAILABLE, "the engine has stopped", *generate, env=home.environment)
    code, lines = serve.wait()
    cli.equal(code, EFILECHANGED, f"exit code, with the words {lines}")
    cli.check("while" in lines[-1] and len(lines) == 1, f"words: {lines}")
    home.check_clean()


def test_signal_while_loading(home):
    serve = Serve(home, "-n", 2, is_waiting=False)
    wait_until(home.jobs, "the job's folder")
    serve.kill(signal.SIGINT)
    code, lines = serve.wait()
    cli.equal((code, lines), (0, []), "end while loading")
    home.check_clean()


def test_loopback(home):
    serve = Serve(home, "--listen", "tcp://127.0.0.1:*")
    cli.check(any("tcp://127.0.0.1:" in line for line in serve.report), "endpoint in the report")
    cli.equal(json.loads(status(home, "--json"))["state"], "READY", "status over TCP")
    serve.kill(signal.SIGTERM)
    code, lines = serve.wait()
    cli.equal(code, 0, "end")
    cli.check("warning" in lines[0], f"no warning: {lines}")
    home.check_clean()


def test_worker_without_supervisor(home):
    """mpirun alone: the same report and protocol; USR1 ends it."""
    file = os.path.join(home.folder, "bare.json")
    flags = ("--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1")
    environment = dict(home.environment, OMPI_ALLOW_RUN_AS_ROOT="1",
                       OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", TMPDIR=home.folder)
    process = subprocess.Popen(
        ["mpirun", "-np", "2", *flags, os.path.join(cli.BUILD, "choir-worker"), "--model",
         home.model, "--listen", f"ipc://{home.folder}/clients", "--connection-file", file],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL)
    lines = []
    while not lines or (lines[-1] and not lines[-1].startswith("READY in ")):
        lines.append(process.stdout.readline())
    for word in ("Choir", "model", "layout", "limit", "launch", "serving", "READY"):
        cli.check(any(line.startswith(word) for line in lines), f"no line `{word}` in {lines}")
    cli.equal(json.loads(status(home, "--json", "--connection-file", file))["tp"], 2, "status")
    process.send_signal(signal.SIGUSR1)
    cli.equal(process.wait(60), 0, "exit code of mpirun")
    cli.check(not os.path.exists(file), "the connection file is left")


def test_what_is_refused(home):
    model = ("--model", home.model)
    bad = os.path.join(home.folder, "bad.gguf")
    with open(bad, "wb") as file:
        file.write(b"GGUF\3\0\0\0" + b"\xff" * 100)
    home.refuse(cli.EIO, "/nowhere.gguf", "serve", "--model", "/nowhere.gguf")
    home.refuse(cli.EFORMAT, bad, "serve", "--model", bad)
    home.refuse(cli.EUSAGE, "no model", "serve")
    home.refuse(cli.EUSAGE, "3 ranks", "serve", *model, "-n", 3, "-tp", 2)
    home.refuse(EUNSUPPORTED, "no encryption", "serve", *model, "--listen", "tcp://0.0.0.0:5555")
    home.refuse(cli.EUSAGE, "tcp://127.0.0.1:PORT", "serve", *model, "--listen", "tcp://127.0.0.1")
    home.refuse(cli.EIO, "/nowhere/f", "serve", *model, "--connection-file", "/nowhere/f")
    home.refuse(cli.EIO, "/nowhere/l", "serve", *model, "--log-file", "/nowhere/l")


def test_words_of_the_ranks(home):
    """What only the ranks can see is told in their words, without mpirun's."""
    tensors = cli.lines_of_json("inspect", home.model, "--json")[0]["tensors"]
    with open(home.model, "r+b") as file:
        file.seek(next(t["offset"] for t in tensors if t["name"] == "blk.0.attn_q.weight"))
        file.write(b"\xff\xff")  # the first scale becomes a NaN
    for ranks in (1, 2):
        home.refuse(cli.EFORMAT, "blk.0.attn_q.weight", "serve", "--model", home.model, "--verify",
                    "-n", ranks)


def test_no_mpirun(home):
    with tempfile.TemporaryDirectory() as empty:
        environment = dict(home.environment, PATH=empty)
        cli.refuse(cli.EUNAVAILABLE, "install Open MPI", "serve", "--model", home.model,
                   env=environment)
    home.check_clean()


for name, test in list(globals().items()):
    if name.startswith("test_"):
        with Home() as its_home:
            test(its_home)
        print(f"{name}: ok", flush=True)
