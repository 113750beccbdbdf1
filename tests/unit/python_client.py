# SPDX-License-Identifier: Apache-2.0
"""What tests/unit/test_python_client.c runs against its made-up engine, which echoes prompts."""
import struct
import sys

from choir_client import ChoirError, Client

client = Client(connection_file=sys.argv[1])


def collect(stream):
    chunks = list(stream)
    return ("".join(chunk.text for chunk in chunks), [id for chunk in chunks for id in chunk.token_ids],
            [entry for chunk in chunks for entry in chunk.logprobs], chunks[-1].finish)


assert client.welcome.model == "tiny" and client.welcome.max_requests == 256

# Two at once on one client, read one after the other.
first = client.generate(text="Plants need", max_tokens=30, logprobs=2)
second = client.generate(text="äöü ", max_tokens=25, seed=7)
text, ids, logprobs, finish = collect(second)
assert text.startswith("äöü ") and len(ids) == 25 and finish.usage.completion == 25
text, ids, logprobs, finish = collect(first)
assert text.startswith("Plants needPlants need") and finish.reason == 2 and len(ids) == 30
assert [entry.token_id for entry in logprobs] == ids and len(logprobs[0].top) == 2
for index, entry in enumerate(logprobs):  # the bits that the engine gave
    assert struct.unpack("<I", struct.pack("<f", entry.logprob))[0] == 0xBF000000 + entry.token_id * 64 + index

# Stop strings, a chat, scores.
text, _, _, finish = collect(client.generate(text="one two three", stop=["two"]))
assert text == "one " and finish.str == "two" and finish.reason == 1
text, _, _, _ = collect(client.generate(messages=[{"role": "user", "content": "Hi"}], max_tokens=40))
assert text == "user\nHi", text  # up to <|im_end|>
scores = client.score(token_ids=[300, 5, 300], top=1)
assert [entry.token_id for entry in scores.tokens] == [300, 5, 300]
assert not scores.tokens[0].HasField("logprob") and scores.tokens[1].HasField("logprob")

# Text and ids, status.
ids = client.tokenize("Plants <|im_end|>")
assert 2 not in ids and 2 in client.tokenize("Plants <|im_end|>", special=True)
assert client.detokenize(ids) == "Plants <|im_end|>"
assert client.status().ranks[0].host == "here"

# Cancel, from the control socket; and of what is not there.
stream = client.generate(text="on and on ", request_id="mine")
next(stream)
client.cancel("mine", "not there")
assert list(stream)[-1].finish.reason == 4

# A request that is refused harms no other.
for wrong, param in (({"text": "a", "temperature": -1.0}, "temperature"), ({"text": ""}, "text"),
                     ({"token_ids": [1024]}, "token_ids"), ({"text": "a", "top_k": -1}, "top_k")):
    try:
        collect(client.generate(**wrong))
        raise SystemExit(f"{wrong} was accepted")
    except ChoirError as error:
        assert error.error.param == param and error.error.code == 3, error
client.close()
