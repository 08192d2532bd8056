"""A task whose training needs no runtime, large enough to be cut in the middle of a transfer.

The recogniser of `tests/device_runtime/tiny.py`, with a ballast of 250,000 parameters that drift:
1 MB of weights and 1 MB an update, four chunks each.
"""

from __future__ import annotations

import os
import sys
import time
import types
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from fedvoice.protocol.codec import digest_of
from fedvoice.protocol.engine import Batch
from fedvoice.protocol.parameters import FlatVector, ParameterTable
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import (
    WEIGHTS_FILE,
    Bucket,
    FeatureSettings,
    TaskManifest,
    TaskPackage,
    load_package,
    save_weights,
    write_package,
)
from fedvoice.protocol.utterances import Utterance, write_manifest
from fedvoice.protocol.vocabulary import Vocabulary
from tests.device_runtime.tiny import BINS, CLASSES, WORDS, TinyEngine, some_weights
from tests.shared import once

if TYPE_CHECKING:
    import pytest

BALLAST = 250_000
PROGRAM = b"a program" * 30_000
STEP_SECS_VARIABLE = "TINY_STEP_SECS"


class HeavyEngine(TinyEngine):
    """Every step takes as long as the environment says."""

    def __init__(self, manifest: TaskManifest) -> None:
        super().__init__(manifest)
        self._step_secs = float(os.environ.get(STEP_SECS_VARIABLE, "0"))

    def step(self, bucket: Bucket, weights: FlatVector, batch: Batch) -> tuple[float, FlatVector]:
        time.sleep(self._step_secs)
        table = self.manifest.parameters
        weight, bias, ballast = table.views(weights)
        grad_weight, grad_bias, grad_ballast = table.views(self._gradient)
        means = batch.features.sum(axis=1) / batch.frame_counts[:, None]
        error = means @ weight + bias
        error -= np.eye(CLASSES, dtype=np.float32)[batch.targets[:, 0]]
        error *= batch.example_weights[:, None]
        grad_weight[...] = means.T @ error
        grad_bias[...] = error.sum(axis=0)
        grad_ballast[...] = ballast * np.float32(0.01) + error.sum() * np.float32(0.001)
        return float(np.square(error).sum()), self._gradient


def package(factory: pytest.TempPathFactory) -> TaskPackage:
    """The task."""
    return load_package(once(factory, "heavy", _write))


def _write(directory: Path) -> None:
    table = ParameterTable.from_shapes(
        [("weight", (BINS, CLASSES)), ("bias", (CLASSES,)), ("ballast", (BALLAST,))]
    )
    manifest = TaskManifest(
        name="heavy",
        model_kind="softmax",
        model={},
        parameters=table,
        features=FeatureSettings(mel_bins=BINS, stack=1),
        buckets=(Bucket(name="t16", frames=16, labels=1, batch=2, step_arena_bytes=1000),),
        vocabulary=Vocabulary.from_words(WORDS),
        plan=TrainingPlan(local_epochs=3, batch_size=2, clip_norm=0, client_momentum=0.9),
        program_digest=digest_of(PROGRAM),
        weights_digest="0" * 64,
    )
    directory.mkdir()
    save_weights(directory / WEIGHTS_FILE, some_weights(manifest), table)
    digest = digest_of((directory / WEIGHTS_FILE).read_bytes())
    manifest = manifest.model_copy(update={"weights_digest": digest})
    write_package(directory, manifest, PROGRAM)


def make_corpus(directory: Path, speakers: tuple[str, ...]) -> None:
    """Four utterances each."""
    directory.mkdir(parents=True, exist_ok=True)
    utterances = []
    for i in range(4 * len(speakers)):
        path = directory / f"{i}.wav"
        soundfile.write(path, np.random.default_rng(i).normal(size=2000) * 0.1, 16000)
        utterances.append(Utterance(path, WORDS[i % 2], 0.125, speakers[i // 4], "train"))
    write_manifest(directory / "manifest.jsonl", utterances)


def install() -> None:
    """Let this process's `fedvoice device` train it."""
    module = types.ModuleType("fedvoice.device_runtime.executorch_engine")
    module.ExecuTorchEngine = lambda package, threads: HeavyEngine(package.manifest)  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
