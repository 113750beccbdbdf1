# SPDX-License-Identifier: Apache-2.0
"""Where things lie in a (good) GGUF file, to damage them."""
import struct

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY = 8, 9


class Places:
    """.keys: the bounds of each key's value; .tensors: the first byte of each tensor's data."""

    def __init__(self, path):
        self.keys, self.tensors = {}, {}
        with open(path, "rb") as file:
            self.data = file.read()
        self.at = 8
        n_tensors, n_keys = self.number("<Q"), self.number("<Q")
        for _ in range(n_keys):
            name, kind = self.string(), self.number("<I")
            begin = self.at
            self.skip(kind)
            self.keys[name] = (begin, self.at)
        for _ in range(n_tensors):
            name, n_dims = self.string(), self.number("<I")
            self.at += 8 * n_dims + 4
            self.tensors[name] = self.number("<Q")
        first = -(-self.at // 32) * 32
        self.tensors = {name: first + offset for name, offset in self.tensors.items()}

    def number(self, form):
        value, = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def string(self):
        length = self.number("<Q")
        self.at += length
        return self.data[self.at - length:self.at].decode()

    def skip(self, kind):
        if kind == STRING:
            self.string()
        elif kind == ARRAY:
            element, n = self.number("<I"), self.number("<Q")
            for _ in range(n if element == STRING else 0):
                self.string()
            self.at += n * SIZES.get(element, 0)
        else:
            self.at += SIZES[kind]


def write_at(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)
