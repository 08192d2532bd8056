"""Which engine trains: the fast one, or a phone's trainer on ExecuTorch.

A trainer is made in the process that uses it, from data alone, so that workers can make their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import (
    Bucket,
    TaskManifest,
    load_package,
)
from fedvoice.simulation.clients import ClientData
from fedvoice.simulation.settings import EngineKind
from fedvoice.simulation.trainers import (
    LocalUpdate,
    Trainer,
)


@dataclass(frozen=True)
class TrainerSpec:
    """How to make a trainer: picklable, so that other processes and machines can."""

    kind: EngineKind
    manifest: TaskManifest
    package_dir: Path | None = None
    """Needed for ExecuTorch."""
    threads: int = 1

    def make(self) -> Trainer:
        """Load what the engine needs; sets this process's number of threads."""
        import torch

        torch.set_num_threads(self.threads)
        if self.kind is not EngineKind.EXECUTORCH:
            from fedvoice.simulation.fast.trainer import FastTrainer

            return FastTrainer(self.manifest)
        assert self.package_dir is not None, "ExecuTorch runs packages"
        return PhoneTrainer(self.package_dir, self.threads)


class PhoneTrainer:
    """`device_runtime.trainer` on the ExecuTorch runtime: a phone without its session."""

    def __init__(self, package_dir: Path, threads: int) -> None:
        from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine

        self._engine = ExecuTorchEngine(load_package(package_dir), threads)

    clients_together = 1

    def train(
        self,
        clients: Sequence[tuple[str, ClientData]],
        plan: TrainingPlan,
        weights: FlatVector,
        round_number: int,
    ) -> Iterator[LocalUpdate]:
        """See `Trainer`."""
        from fedvoice.device_runtime.trainer import train

        for client_id, data in clients:
            result = train(
                self._engine, data, plan, weights, client_id=client_id, round_number=round_number
            )
            yield LocalUpdate(result.delta, result.statistics)

    def transcribe(self, data: ClientData, weights: FlatVector) -> list[list[int]]:
        """See `Trainer`."""
        from fedvoice.protocol.engine import make_batch

        manifest = self._engine.manifest
        found: list[list[int]] = [[] for _ in range(len(data))]
        for bucket, rows in _rows_by_bucket(manifest, data):
            for start in range(0, len(rows), bucket.batch):
                part = rows[start : start + bucket.batch]
                batch = make_batch([data[i] for i in part], bucket, manifest, weight=0.0)
                tokens = self._engine.decode(bucket, weights, batch.features, batch.frame_counts)
                for row, ids in zip(part, tokens, strict=False):
                    found[row] = ids
        return found


def _rows_by_bucket(manifest: TaskManifest, data: ClientData) -> list[tuple[Bucket, list[int]]]:
    """Rows that fit a bucket, with the smallest one that holds them."""
    rows: dict[Bucket, list[int]] = {}
    for i, (frames, labels) in enumerate(zip(data.frames, data.target_counts, strict=True)):
        stacked = manifest.features.stacked_frames(int(frames))
        bucket = manifest.bucket_for(stacked, int(labels))
        if bucket is not None:
            rows.setdefault(bucket, []).append(i)
    return list(rows.items())
