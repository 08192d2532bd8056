"""Train one's own `nn.Module` with a loss of its own, on the fast engine at once."""

import numpy as np
import torch
from torch import Tensor, nn

import fedvoice

WORDS = ("on", "off", "louder", "softer")
random = np.random.default_rng(0)
SHAPES = random.normal(size=(len(WORDS), 20, 12))


class Spotter(nn.Module):
    """Keyword spotting: one label an utterance, from the mean of its encoded frames."""

    def __init__(self, input_size: int, vocabulary_size: int, hidden: int = 32) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(input_size, hidden), nn.Tanh())
        self.head = nn.Linear(hidden, vocabulary_size)

    def scores(self, batch: fedvoice.TensorBatch) -> Tensor:
        """[B, vocabulary_size]."""
        encoded = self.encode(batch.features)  # [B, T, hidden]
        inside = torch.arange(encoded.shape[1]) < batch.frame_counts[:, None]
        return self.head((encoded * inside[..., None]).sum(1) / batch.frame_counts[:, None])

    def loss(self, batch: fedvoice.TensorBatch) -> Tensor:
        """One value a row, [B]."""
        return nn.functional.cross_entropy(
            self.scores(batch), batch.targets[:, 0], reduction="none"
        )

    def decode(self, batch: fedvoice.TensorBatch) -> list[list[int]]:
        """A token id a row: what errors are counted of."""
        return [[token] for token in self.scores(batch).argmax(-1).tolist()]


def examples(count: int) -> list[tuple[np.ndarray, str]]:
    """(features float32 [frames, bins], text)."""
    chosen = random.integers(len(WORDS), size=count)
    return [(SHAPES[i] + random.normal(0, 1.0, SHAPES[i].shape), WORDS[i]) for i in chosen]


def main() -> fedvoice.Simulation:
    run = fedvoice.simulate(
        fedvoice.MappingDataset(
            {f"client{i:02d}": examples(12) for i in range(16)}, test={"all": examples(80)}
        ),
        {"kind": Spotter, "hidden": 24},
        rounds=20,
        cohort_size=8,
        plan={"client_rate": 0.1, "batch_size": 6, "clip_norm": 1.0},
        task={"features": {"stack": 4}},
    )
    print(f"{run.rates['wer']:.1f} % of the test labels are wrong; {run.module()}")
    return run


if __name__ == "__main__":
    main()
