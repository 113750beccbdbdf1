#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What tests/bench/serving makes of the bytes of llama-server and of samples: times, figures, medians, the bar."""
import importlib.machinery
import importlib.util
import json
import pathlib
import socket
import sys
import threading
import types

sys.dont_write_bytecode = True


def load_serving():
    path = str(pathlib.Path(__file__).with_name("serving"))
    loader = importlib.machinery.SourceFileLoader("serving", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("serving", loader))
    loader.exec_module(module)
    return module


serving = load_serving()
OPTIONS = types.SimpleNamespace(seed=3, vocabulary=1000, input_len=5, output_len=4, num_prompts=6, users=2)


def http_chunk(message):
    line = b"data: " + json.dumps(message).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(line), line)


def answer_bytes(n_in=5):
    """Three tokens in two messages, then the end."""
    return b"".join([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                     http_chunk({"content": "{\"a\": ", "tokens": [7], "stop": False}),
                     http_chunk({"content": "}", "tokens": [8, 9], "stop": False}),
                     http_chunk({"content": "", "tokens": [], "stop": True, "tokens_evaluated": n_in,
                                 "tokens_predicted": 3}), b"0\r\n\r\n"])


def cut(data, sent, size, seconds):
    """An Answer whose bytes came in pieces of `size`, one each `seconds`."""
    answer = serving.Answer(sent)
    answer.pieces = [(sent + seconds * (i + 1), data[at:at + size]) for i, at in enumerate(range(0, len(data), size))]
    return answer


def test_times_are_those_of_the_piece_that_completes_a_message():
    data = answer_bytes()
    whole = serving.Answer(10.0)
    whole.pieces = [(11.0, data)]
    events, last = whole.events()
    assert events == [(11.0, 1), (11.0, 2)] and last["tokens_predicted"] == 3, (events, last)
    for size in range(1, 60):
        events, last = cut(data, 0.0, size, 1.0).events()
        ends = [data.index(b"}\n\n") + 1, data.index(b"}\n\n", data.index(b"}\n\n") + 1) + 1]
        assert events == [(float(-(-end // size)), n) for end, n in zip(ends, (1, 2))], (size, events)
        assert last["tokens_evaluated"] == 5


def test_an_answer_without_an_end_is_refused():
    answer = serving.Answer(0.0)
    answer.pieces = [(1.0, answer_bytes()[:150])]
    try:
        answer.events()
    except SystemExit as error:
        assert "without an end" in str(error)
    else:
        raise AssertionError("it was taken")


def test_figures():
    data = answer_bytes()
    answers = [serving.Answer(0.0), serving.Answer(1.0)]
    first_end = data.index(b"}\n\n") + 3
    answers[0].pieces = [(0.5, data[:first_end]), (0.8, data[first_end:])]
    answers[1].pieces = [(2.5, data[:first_end]), (2.6, data[first_end:])]
    figures, counts = serving.figures_of(answers, 2.0)
    assert counts == [(5, 3), (5, 3)]
    assert figures["output_throughput"] == 3.0 and figures["total_token_throughput"] == 8.0
    assert abs(figures["median_ttft_ms"] - 1000) < 1e-6 and abs(figures["p99_ttft_ms"] - 1490) < 1e-6
    assert abs(figures["median_itl_ms"] - 200) < 1e-6
    assert serving.percentile([3.0, 1.0, 2.0, 4.0], 0.5) == 2.5 and serving.percentile([7.0], 0.99) == 7.0


def test_no_more_than_so_many_are_open():
    """Against a server that answers nothing before so many have come."""
    listener, most, n_open, lock = socket.create_server(("127.0.0.1", 0)), [0], [0], threading.Lock()

    def answer(connection, is_full):
        request = connection.recv(1 << 16)
        is_full.wait(10)
        assert b"POST /completion" in request
        connection.sendall(answer_bytes())
        with lock:
            n_open[0] -= 1
        connection.close()

    def serve():
        is_full = threading.Event()
        for number in range(OPTIONS.num_prompts):
            connection, _ = listener.accept()
            with lock:
                n_open[0] += 1
                most[0] = max(most[0], n_open[0])
            threading.Thread(target=answer, args=(connection, is_full)).start()
            if number + 1 >= OPTIONS.users:
                is_full.set()

    server = threading.Thread(target=serve)
    server.start()
    requests = [serving.http_request_of(prompt, OPTIONS) for prompt in serving.prompts_of(OPTIONS)]
    answers, seconds = serving.drive(listener.getsockname()[1], requests, OPTIONS.users)
    server.join()
    listener.close()
    assert most[0] == OPTIONS.users and len(answers) == OPTIONS.num_prompts and seconds > 0
    assert all(answer.events()[1]["tokens_predicted"] == 3 for answer in answers)


def test_both_sides_get_the_same_prompts():
    prompts = serving.prompts_of(OPTIONS)
    assert prompts == serving.prompts_of(OPTIONS) and len({tuple(prompt) for prompt in prompts}) == 6
    lines = [json.loads(line) for line in serving.dataset_of(prompts, OPTIONS).splitlines()]
    bodies = [json.loads(serving.http_request_of(prompt, OPTIONS).split(b"\r\n\r\n", 1)[1]) for prompt in prompts]
    assert [line["token_ids"] for line in lines] == [body["prompt"] for body in bodies] == prompts
    assert all(line["max_tokens"] == body["n_predict"] == 4 for line, body in zip(lines, bodies))


def test_wrong_counts_are_refused():
    serving.check_counts("x", [(5, 4)] * 6, OPTIONS)
    for counts in ([(5, 4)] * 5, [(5, 4)] * 5 + [(5, 3)], [(4, 4)] * 6):
        try:
            serving.check_counts("x", counts, OPTIONS)
        except SystemExit:
            continue
        raise AssertionError(counts)


def test_the_bar_takes_the_better_layout():
    def rounds(*speeds):
        return [{"output_throughput": speed} for speed in speeds]
    samples = {"choir tp2": rounds(100.0, 900.0, 190.0), "choir pp2": rounds(200.0, 10.0, 210.0),
               "llama-server": rounds(100.0, 100.0, 1.0), "batched-bench": rounds(500.0, 500.0, 500.0)}
    assert serving.bar_of(samples) == ("choir pp2", 2.0, True)
    samples["llama-server"] = rounds(101.0, 101.0, 101.0)
    assert serving.bar_of(samples)[2] is False


def main():
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print(f"{name}: ok")


if __name__ == "__main__":
    main()
