#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""choir inspect: the default model's figures, and files that are none."""
import os
import tempfile

import cli

model = cli.lines_of_json("inspect", cli.MODEL, "--json")[0]
cli.equal(model["hyperparameters"], {
    "n_layers": 30, "width": 576, "n_heads": 9, "n_kv_heads": 3, "head_size": 64, "ff_width": 1536,
    "vocab_size": 49152, "context_length": 8192, "n_rot": 64, "rms_eps": 9.9999997473787516e-06,
    "rope_base": 100000.0, "has_rope_factors": False, "output_is_shared": True,
    "n_parameters": 134515008}, "hyperparameters")
cli.equal(model["architecture"], "llama", "architecture")
cli.equal(model["file_bytes"], os.path.getsize(cli.MODEL), "file_bytes")
cli.equal(model["metadata"]["tokenizer.ggml.pre"], "smollm", "a string of the metadata")
cli.equal(model["metadata"]["llama.block_count"], 30, "a number of the metadata")
cli.equal(model["metadata"]["tokenizer.ggml.add_bos_token"], False, "a boolean of the metadata")

tensors = {tensor["name"]: tensor for tensor in model["tensors"]}
cli.equal(len(tensors), 272, "tensors")
cli.equal(tensors["blk.0.ffn_down.weight"]["shape"], [576, 1536], "shape, rows first")
cli.equal(tensors["blk.0.ffn_down.weight"]["type"], "Q4_1", "type")
cli.equal(tensors["blk.0.ffn_down.weight"]["bytes"], 576 * 1536 // 32 * 20, "bytes")
cli.equal(sum(t["bytes"] for t in model["types"]), sum(t["bytes"] for t in model["tensors"]),
          "sum over types")

text = cli.succeed("inspect", "--model", cli.MODEL)
for words in ("parameters     134.5 M, 93.8 MiB", "9 query, 3 key/value, 64 elements each",
              "Q4_1      210 tensors     63.3 MiB", "blk.29.ffn_up.weight"):
    cli.check(words in text, f"\"{words}\" is not in: {text[:800]}")

cli.refuse(cli.EUSAGE, "one model file is wanted", "inspect")
cli.refuse(cli.EUSAGE, "one model file is wanted", "inspect", "a", "b")
cli.refuse(cli.EIO, "no-such-file", "inspect", "no-such-file")
cli.refuse(cli.EIO, "regular file", "inspect", "tests")
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "cut.gguf")
    with open(cli.MODEL, "rb") as whole, open(path, "wb") as cut:
        cut.write(whole.read(40_000_000))
    cli.refuse(cli.EFORMAT, path, "inspect", path)
    with open(path, "wb") as empty:
        empty.truncate(0)
    cli.refuse(cli.EFORMAT, path, "inspect", path)
