"""The model on disk: weights of past rounds, the latest weights, the optimiser's state.

rounds/0003.safetensors     weights after round 3; 0000 is the initial model
optimizer/0003.safetensors  server optimiser after round 3 (the latest one is kept)
weights.safetensors         the latest weights

`server.config.KeepSettings` says which past rounds' weights stay.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from safetensors.numpy import load_file, save_file

from fedvoice.algorithm.federated import AlgorithmState, FederatedAlgorithm
from fedvoice.algorithm.optimizers import OptimizerState
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.parameters import FlatVector, ParameterTable
from fedvoice.protocol.task import WEIGHTS_FILE, load_weights, save_weights
from fedvoice.server.store.blobs import BlobStore
from fedvoice.server.store.files import replace_file
from fedvoice.server.store.retention import surplus_weights


class ModelFiles:
    """Reads and writes the algorithm's states below a store directory."""

    def __init__(self, directory: Path, table: ParameterTable) -> None:
        self._directory, self.table = directory, table
        for name in ("rounds", "optimizer"):
            (directory / name).mkdir(parents=True, exist_ok=True)

    def save(self, model: AlgorithmState) -> None:
        """Write a round's files durably; `weights.safetensors` stays until `publish`.

        Raises:
            FedvoiceError: `store-full`.
        """
        slots = dict(model.optimizer.slots)
        replace_file(self._optimizer_path(model.number), lambda path: save_file(slots, path))
        replace_file(
            self._round_path(model.number),
            lambda path: save_weights(path, model.weights, self.table),
        )

    def publish(self, model: AlgorithmState) -> None:
        """Make a saved model the latest one and delete the optimiser states of earlier rounds."""
        replace_file(
            self._directory / WEIGHTS_FILE,
            lambda path: _same_content(self._round_path(model.number), path),
        )
        for path in (self._directory / "optimizer").glob("*.safetensors"):
            if path != self._optimizer_path(model.number):
                path.unlink(missing_ok=True)

    def drop_past(self, kept: int, best: int | None) -> None:
        """Delete weights of past rounds but for those that `retention.surplus_weights` leaves."""
        there = {int(p.stem): p for p in (self._directory / "rounds").glob("[0-9]*.safetensors")}
        for number in surplus_weights(there, kept, best):
            there[number].unlink(missing_ok=True)

    def load(self, number: int) -> AlgorithmState:
        """A saved model.

        Raises:
            FedvoiceError: as `protocol.task.load_weights`.
        """
        weights = load_weights(self._round_path(number), self.table)
        optimizer = OptimizerState(load_file(self._optimizer_path(number)))
        return AlgorithmState(weights, optimizer, number)

    def _round_path(self, number: int) -> Path:
        return self._directory / "rounds" / f"{number:04d}.safetensors"

    def _optimizer_path(self, number: int) -> Path:
        return self._directory / "optimizer" / f"{number:04d}.safetensors"


class CurrentModel:
    """The model: in memory and on disk as float32, and as the blob that clients are given.

    The blob is the reference of the float32 weights (`algorithm.reference`) and is made of them
    again after a restart, to the bit: they hold what its rounding left out.
    """

    def __init__(self, files: ModelFiles, blobs: BlobStore, algorithm: FederatedAlgorithm) -> None:
        self._files, self._blobs, self._algorithm = files, blobs, algorithm
        self._past_digest = ""

    def load(self, number: int) -> None:
        """Load the model after round `number` from its files."""
        self._install(self._files.load(number))
        self.publish()

    def advance(self, delta: FlatVector, number: int) -> str:
        """Apply the delta [P] of round `number`; all files but the latest weights are
        written durably. Returns the new weights' digest.

        Raises:
            FedvoiceError: `store-full`; `not-finite` if `download_encoding` cannot hold a weight.
        """
        model = self._algorithm.apply(self._model, delta, number)
        self._files.save(model)
        self._past_digest = self.blob.digest
        self._install(model)
        return self.blob.digest

    def publish(self) -> None:
        """Publish the weights of a recorded round as the latest ones; drop the previous blob."""
        self._files.publish(self._model)
        if self._past_digest and self._past_digest != self.blob.digest:
            self._blobs.remove(self._past_digest)

    def drop_past(self, kept: int, best: int | None) -> None:
        """As `ModelFiles.drop_past`."""
        self._files.drop_past(kept, best)

    def _install(self, model: AlgorithmState) -> None:
        reference = self._algorithm.reference(model)
        self._model = model
        self.blob = pb.Blob(
            digest=self._blobs.put(reference.data),
            size_bytes=len(reference.data),
            encoding=reference.encoding,
        )


def _same_content(source: Path, target: Path) -> None:
    # Both names are only ever replaced, never written to: they may share one file.
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
