"""The model on disk: weights of every round, the latest weights, the optimiser's state.

rounds/0003.safetensors     weights after round 3; 0000 is the initial model
optimizer/0003.safetensors  server optimiser after round 3 (the latest one is kept)
weights.safetensors         the latest weights
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors.numpy import load_file, save_file

from protocol.parameters import FlatVector, ParameterTable
from protocol.task import WEIGHTS_FILE, load_weights, save_weights
from server.files import replace_file
from server.optimizers import OptimizerState


@dataclass(frozen=True)
class Model:
    """What a training round changes. `number`: the round that it is the result of."""

    number: int
    weights: FlatVector
    optimizer: OptimizerState


class ModelFiles:
    """Reads and writes `Model`s below a store directory."""

    def __init__(self, directory: Path, table: ParameterTable) -> None:
        self._directory, self._table = directory, table
        for name in ("rounds", "optimizer"):
            (directory / name).mkdir(parents=True, exist_ok=True)

    def save(self, model: Model) -> None:
        """Write a round's files durably; `weights.safetensors` stays until `publish`.

        Raises:
            FedvoiceError: `store-full`.
        """
        slots = dict(model.optimizer.slots)
        replace_file(self._optimizer_path(model.number), lambda path: save_file(slots, path))
        replace_file(
            self._round_path(model.number),
            lambda path: save_weights(path, model.weights, self._table),
        )

    def publish(self, model: Model) -> None:
        """Make a saved model the latest one and forget optimiser states of rounds before."""
        replace_file(
            self._directory / WEIGHTS_FILE,
            lambda path: save_weights(path, model.weights, self._table),
        )
        for path in (self._directory / "optimizer").glob("*.safetensors"):
            if path != self._optimizer_path(model.number):
                path.unlink(missing_ok=True)

    def load(self, number: int) -> Model:
        """A saved model.

        Raises:
            FedvoiceError: as `protocol.task.load_weights`.
        """
        weights = load_weights(self._round_path(number), self._table)
        return Model(number, weights, OptimizerState(load_file(self._optimizer_path(number))))

    def _round_path(self, number: int) -> Path:
        return self._directory / "rounds" / f"{number:04d}.safetensors"

    def _optimizer_path(self, number: int) -> Path:
        return self._directory / "optimizer" / f"{number:04d}.safetensors"
