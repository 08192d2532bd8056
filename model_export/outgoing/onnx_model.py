"""A model as ONNX files over the task's own features, and their transcripts by onnxruntime."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedvoice.model_export.models.ctc import CtcModel
from fedvoice.model_export.models.greedy import State, greedy_ctc, greedy_rnnt
from fedvoice.model_export.models.module import ModuleModel, greedy_of
from fedvoice.model_export.models.rnnt import RnntModel
from fedvoice.model_export.outgoing.graphs import (
    CtcGraph,
    ModuleGraph,
    RnntDecoder,
    RnntEncoder,
    RnntJoiner,
)
from fedvoice.model_export.outgoing.onnx_file import OnnxSource, Session, write_onnx
from fedvoice.model_export.outgoing.recurrent import exportable_recurrence
from fedvoice.model_export.outgoing.trained import Trained
from fedvoice.protocol.errors import ErrorCode, FedvoiceError

MODEL_FILE = "model.onnx"
PARTS = ("encoder", "decoder", "joiner")
"""Files of a transducer."""


def write_onnx_model(trained: Trained, folder: Path) -> list[Path]:
    """`model.onnx`, or `encoder.onnx`, `decoder.onnx` and `joiner.onnx` of a transducer.

    Features are the task's: stacked and normalised, float32 [B, T, I], with lengths int64 [B].

    Raises:
        FedvoiceError: `bad-config` for a model that cannot be exported so; `missing-extra`.
    """
    size = trained.manifest.features.stack * trained.manifest.features.mel_bins
    brought = isinstance(trained.model, ModuleModel)
    # Around the export, not inside `forward`: what only the compiler can trace stays traceable.
    with exportable_recurrence() if brought else nullcontext():
        return [
            write_onnx(source, folder / f"{name}.onnx")
            for name, source in onnx_sources(trained, size).items()
        ]


def onnx_sources(trained: Trained, size: int) -> dict[str, OnnxSource]:
    """Graphs by the names of their files, without the ending."""
    model, tokens = trained.model, trained.manifest.vocabulary.size
    bucket = trained.manifest.buckets[-1]
    frames = max(3, bucket.frames)
    # Three rows: what has two of something itself would be taken for the batch's.
    lengths = torch.tensor([frames, frames - 1, frames])
    inputs = {"features": torch.randn(3, frames, size), "lengths": lengths}
    taken: dict[str, tuple[int | str, ...]] = {"features": ("B", "T", size), "lengths": ("B",)}
    if isinstance(model, CtcModel):
        axes = {**taken, "logits": ("B", "T", tokens), "counts": ("B",)}
        return {"model": OnnxSource(CtcGraph(model), inputs, axes)}
    if isinstance(model, ModuleModel) and model.predicts is not None:
        logits = ("B", tokens) if model.predicts == "label" else ("B", "frames", tokens)
        axes = {**taken, "logits": logits, "counts": ("B",)}
        return {"model": OnnxSource(ModuleGraph(model), inputs, axes)}
    if isinstance(model, RnntModel):
        joint, hidden = model.config.joint_size, model.config.predictor_size
        state = torch.zeros(1, 2, hidden)
        before = {"tokens": torch.zeros(2, dtype=torch.int64), "hidden": state, "cell": state + 0}
        states: dict[str, tuple[int | str, ...]] = {
            "hidden": (1, "B", hidden),
            "cell": (1, "B", hidden),
        }
        after = {f"next_{name}": shape for name, shape in states.items()}
        pair = {"encoded": torch.zeros(2, joint), "predicted": torch.zeros(2, joint)}
        row: tuple[int | str, ...] = ("B", joint)
        return {
            "encoder": OnnxSource(
                RnntEncoder(model),
                inputs,
                {**taken, "encoded": ("B", "T", joint), "counts": ("B",)},
            ),
            "decoder": OnnxSource(
                RnntDecoder(model), before, {"tokens": ("B",), **states, "predicted": row, **after}
            ),
            "joiner": OnnxSource(
                RnntJoiner(model), pair, {"encoded": row, "predicted": row, "logits": ("B", tokens)}
            ),
        }
    raise FedvoiceError(
        ErrorCode.BAD_CONFIG,
        where=f"release, model {trained.manifest.model_kind}",
        got="a model without `predict`, or of a kind that gives no ONNX",
        wanted="a transducer, a CTC model, or a module that has `predict`",
        next_step="Release it as weights: --formats weights.",
    )


class OnnxRecogniser:
    """What `write_onnx_model` wrote, in onnxruntime.

    Raises:
        FedvoiceError: `missing-extra`.
    """

    def __init__(self, trained: Trained, folder: Path) -> None:
        self._model = trained.model
        names = PARTS if isinstance(trained.model, RnntModel) else ("model",)
        self._sessions = {name: Session(folder / f"{name}.onnx") for name in names}

    def transcribe(self, features: Tensor, lengths: Tensor) -> list[list[int]]:
        """Greedy token ids of features float32 [B, T, I], lengths int64 [B]."""
        first = self._sessions["encoder" if isinstance(self._model, RnntModel) else "model"]
        inputs = {"features": features.numpy(), "lengths": lengths.numpy()}
        outputs, counts = (torch.from_numpy(array) for array in first.run(inputs))
        if isinstance(self._model, RnntModel):
            symbols = self._model.config.max_symbols_per_frame
            found = greedy_rnnt(outputs, counts, self._predict, self._join, symbols)
        elif isinstance(self._model, ModuleModel):
            assert self._model.predicts is not None
            found = greedy_of(self._model.predicts, outputs, counts)
        else:
            found = greedy_ctc(outputs, counts)
        return [hypothesis.tokens for hypothesis in found]

    def _predict(self, tokens: Tensor, state: State | None) -> tuple[Tensor, State]:
        assert isinstance(self._model, RnntModel)
        zeros = torch.zeros(1, len(tokens), self._model.config.predictor_size)
        hidden, cell = state or (zeros, zeros)
        inputs = {"tokens": tokens.numpy(), "hidden": hidden.numpy(), "cell": cell.numpy()}
        predicted, *after = (
            torch.from_numpy(array) for array in self._sessions["decoder"].run(inputs)
        )
        return predicted, (after[0], after[1])

    def _join(self, encoded: Tensor, predicted: Tensor) -> Tensor:
        inputs = {"encoded": np.asarray(encoded), "predicted": predicted.numpy()}
        return torch.from_numpy(self._sessions["joiner"].run(inputs)[0])
