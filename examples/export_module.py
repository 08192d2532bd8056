"""Make a task package of one's own `nn.Module`, and train it on the runtime that phones have."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

import fedvoice
from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine
from fedvoice.device_runtime.trainer import train
from fedvoice.protocol.task import load_package

WORDS = ("on", "off", "louder", "softer")
random = np.random.default_rng(0)
SHAPES = random.normal(size=(len(WORDS), 20, 12))


class Spotter(nn.Module):
    """What `forward` and `predict` take is named: features, lengths, mask, targets, label, ..."""

    predicts = "label"

    def __init__(self, input_size: int, vocabulary_size: int, hidden: int = 32) -> None:
        super().__init__()
        self.encode = nn.GRU(input_size, hidden, batch_first=True)
        self.drop = nn.Dropout(0.1)  # drawn by the phone, so that a round can be repeated
        self.head = nn.Linear(hidden, vocabulary_size)

    def predict(self, features: Tensor) -> Tensor:
        """Logits [B, vocabulary_size]."""
        return self.head(self.drop(self.encode(features)[0].mean(1)))

    def forward(self, features: Tensor, label: Tensor) -> Tensor:
        """One loss a row, [B]."""
        return nn.functional.cross_entropy(self.predict(features), label, reduction="none")


def main() -> tuple[float, float]:
    """The losses of the first and the last of fifteen rounds of one phone."""
    examples = []
    for word in random.integers(len(WORDS), size=48):
        features = (SHAPES[word] + random.normal(0, 1.0, SHAPES[word].shape)).astype(np.float32)
        examples.append(fedvoice.Example(features, [int(word) + 1]))
    with TemporaryDirectory() as folder:
        batch = {"features": torch.zeros(8, 20, 12), "label": torch.ones(8)}
        fedvoice.export(Spotter, batch, Path(folder) / "task", vocabulary=WORDS, progress=print)
        package = load_package(Path(folder) / "task")
        engine, weights = ExecuTorchEngine(package), package.weights()
        plan, losses = fedvoice.TrainingPlan(batch_size=8, client_rate=0.3), []
        for number in range(1, 16):
            found = train(engine, examples, plan, weights, client_id="me", round_number=number)
            assert found.delta is not None
            weights += found.delta
            losses.append(found.statistics.loss)
            print(f"round {number}: loss {losses[-1]:.3f}")
    return losses[0], losses[-1]


if __name__ == "__main__":
    main()
