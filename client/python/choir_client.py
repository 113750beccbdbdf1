# SPDX-License-Identifier: Apache-2.0
"""A client of Choir in Python: proto/PROTOCOL.md made runnable, and what the end-to-end tests use.

Needs Debian's python3-zmq and python3-protobuf, and client_pb2.py, which the build makes in
build/python (put it on PYTHONPATH).

    client = Client()                       # the connection file of your running service
    for chunk in client.generate(text="Plants need", max_tokens=20):
        print(chunk.text, end="", flush=True)
"""
import json
import os
import uuid

import client_pb2 as pb
import zmq

TAG = b"CHO1\0"


class ChoirError(Exception):
    def __init__(self, error):
        super().__init__(f"{error.param}: {error.message}" if error.param else error.message)
        self.error = error


class Client:
    def __init__(self, connection_file=None, timeout_ms=15000):
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        folder = f"{runtime}/choir" if runtime else f"/tmp/choir-{os.getuid()}"
        with open(connection_file or f"{folder}/choir.json", encoding="utf-8") as file:
            endpoints = json.load(file)["endpoints"]
        self.context, self.seq, self.open = zmq.Context(), 0, {}
        self.request, self.control = (self.context.socket(zmq.DEALER) for _ in range(2))
        for socket, name in ((self.request, "request"), (self.control, "control")):
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.RCVTIMEO, timeout_ms)
            socket.connect(endpoints[name])
        self.welcome = self.call(self.request, hello=pb.Hello(protocol=1, client="choir_client.py"))

    def close(self):
        self.context.destroy(linger=0)

    def send(self, socket, **body):
        self.seq += 1
        socket.send_multipart([TAG, pb.ClientMessage(seq=self.seq, **body).SerializeToString()])
        return self.seq

    def receive(self, socket):
        """The next message that is no heartbeat; raises zmq.Again after the time-out."""
        while True:
            message = pb.ServerMessage.FromString(socket.recv_multipart()[1])
            if message.WhichOneof("body") != "pong" or message.seq:
                return message

    def call(self, socket, **body):
        """Sends and waits for the answer; what comes for running requests meanwhile is kept."""
        seq = self.send(socket, **body)
        while (message := self.receive(socket)).seq != seq:
            self.keep(message)
        answer = getattr(message, message.WhichOneof("body"))
        if isinstance(answer, pb.Error):
            raise ChoirError(answer)
        return answer

    def keep(self, message):
        body = getattr(message, message.WhichOneof("body"))
        if isinstance(body, pb.Goodbye):
            raise ConnectionError(body.reason)
        for item in body.chunks if isinstance(body, pb.Batch) else [body]:
            self.open.get(getattr(item, "request_id", ""), []).append(item)

    def events(self, request_id, n=1):
        """What comes for one request: Chunks, the last of each of its n answers with a finish; Scores; Embeddings."""
        while True:
            while not self.open[request_id]:
                self.keep(self.receive(self.request))
            item = self.open[request_id].pop(0)
            if isinstance(item, pb.Error):
                raise ChoirError(item)
            if isinstance(item, pb.Accepted):
                continue
            yield item
            n -= not isinstance(item, pb.Chunk) or item.HasField("finish")
            if n == 0:
                del self.open[request_id]
                return

    def generate(self, text=None, messages=None, token_ids=None, request_id=None, logprobs=None, prompt_logprobs=None,
                 priority=0, timeout_ms=0, cache_salt="", stream=None, credit=None, **sampling):
        """Starts at once and gives an iterator of Chunks; the last one of each answer has .finish."""
        what = pb.Generate(request_id=request_id or uuid.uuid4().hex, sampling=pb.SamplingParams(**sampling),
                           priority=priority, timeout_ms=timeout_ms, cache_salt=cache_salt, stream=stream,
                           credit=credit)
        what.output.MergeFrom(pb.OutputOptions(return_token_ids=True, logprobs=logprobs,
                                               prompt_logprobs=prompt_logprobs))
        if messages is not None:
            what.chat.messages_json = json.dumps(messages)
        elif token_ids is not None:
            what.token_ids.ids.extend(token_ids)
        else:
            what.text = text
        self.open[what.request_id] = []
        self.send(self.request, generate=what)
        return self.events(what.request_id, max(what.sampling.n, 1))

    def give_credit(self, request_id, chunks):
        self.send(self.request, credit=pb.Credit(request_id=request_id, chunks=chunks))

    def score(self, text=None, token_ids=None, top=0):
        what = pb.Score(request_id=uuid.uuid4().hex, top=top)
        if token_ids is not None:
            what.token_ids.ids.extend(token_ids)
        else:
            what.text = text
        self.open[what.request_id] = []
        self.send(self.request, score=what)
        scores, = self.events(what.request_id)
        return scores

    def embed(self, text=None, token_ids=None, pooling="last", normalize=True):
        """The vector of a text, as floats."""
        what = pb.Embed(request_id=uuid.uuid4().hex, pooling=pb.Pooling.Value(f"POOLING_{pooling.upper()}"),
                        normalize=normalize)
        if token_ids is not None:
            what.token_ids.ids.extend(token_ids)
        else:
            what.text = text
        self.open[what.request_id] = []
        self.send(self.request, embed=what)
        embeddings, = self.events(what.request_id)
        return embeddings

    def cancel(self, *request_ids):
        self.call(self.control, cancel=pb.Cancel(request_ids=request_ids, session=self.welcome.session))

    def tokenize(self, text, special=False):
        return list(self.call(self.request, tokenize=pb.Tokenize(text=text, special=special)).token_ids)

    def detokenize(self, token_ids):
        return self.call(self.request, detokenize=pb.Detokenize(token_ids=token_ids)).text

    def status(self):
        return self.call(self.control, status=pb.Status())
