#!/usr/bin/env bash
# torch 2.14.1, onnx 1.23.2, onnxscript 0.7.2, onnxruntime 1.32.0.
#
# Expected: torch.onnx.export(dynamo=True) of the same model with the same dynamic_shapes gives the same
# file each time: rows and frames that were declared free with Dim are free, or the export says why not.
# Happens: for a model with an nn.LSTM the first export in a process has free frames; later ones have
# the example's number of frames, without error or warning, and onnxruntime refuses other lengths.
# Matters: a script that exports several recognisers, or a test suite, writes files that take speech of
# one length only. Look at the axes of the file that was written; Dim.AUTO kept them free here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check \
    torch==2.14.1 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0
"$folder/env/bin/python" - <<'PY'
import logging
import warnings

import onnxruntime
import torch
from torch.export import Dim

logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")


class Tagger(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = torch.nn.LSTM(4, 5, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0]


def exported(rows, frames):
    """The axes of the file's input, and the shape of what it gives for 9 frames."""
    program = torch.onnx.export(
        Tagger().eval(),
        (torch.randn(2, 6, 4),),
        dynamo=True,
        verbose=False,
        dynamic_shapes=({0: rows, 1: frames},),
    )
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    axes = [str(size) for size in program.model.graph.inputs[0].shape]
    try:
        (given,) = session.run(None, {session.get_inputs()[0].name: torch.randn(2, 9, 4).numpy()})
    except Exception as error:
        return axes, type(error).__name__
    return axes, given.shape


first, second = (exported(Dim("rows"), Dim("frames")) for _ in range(2))
auto = exported(Dim.AUTO, Dim.AUTO)
print(f"first: {first}\nsecond: {second}\nDim.AUTO: {auto}")
assert first == (["rows", "frames", "4"], (2, 9, 5)), "the behaviour has changed"
assert second == (["rows", "6", "4"], "InvalidArgument"), "the behaviour has changed"
assert auto[1] == (2, 9, 5), "the behaviour has changed"
PY
