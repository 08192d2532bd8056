"""Engines: what trains clients. The registry of the group `fedvoice.engines`.

A trainer is built from data in the process that uses it, so that workers can build their own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from fedvoice.protocol.engine import Engine
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.registry import Registry
from fedvoice.protocol.task import Bucket, TaskManifest, load_package
from fedvoice.simulation.clients import ClientData
from fedvoice.simulation.settings import EngineKind
from fedvoice.simulation.trainers import LocalUpdate, Trainer


class Driver(StrEnum):
    """The ways to run an experiment's rounds."""

    COHORTS = "cohorts"
    """Cohorts of clients in worker pools."""
    PHONES = "phones"
    CENTRAL = "central"


class TrainingEngine(ABC):
    """An engine, as named in settings: how clients are trained, and what that requires.

    An engine that runs whole trials by itself (emulated phones, central training) trains no
    cohorts; `driver` says which.
    """

    needs_package: ClassVar[bool] = False
    """Whether it runs a task's program, so that the task must be exported."""
    driver: ClassVar[Driver] = Driver.COHORTS

    @staticmethod
    @abstractmethod
    def trainer(spec: TrainerSpec) -> Trainer:
        """Load what the engine needs, in the process that uses it."""


ENGINES: Registry[type[TrainingEngine]] = Registry(
    "engine",
    "fedvoice.engines",
    {
        EngineKind.FAST.value: "fedvoice.simulation.engines:Fast",
        EngineKind.EXECUTORCH.value: "fedvoice.simulation.engines:ExecuTorch",
        EngineKind.PHONES.value: "fedvoice.simulation.engines:Phones",
        EngineKind.CENTRAL.value: "fedvoice.simulation.engines:Central",
    },
)
"""By the name in settings."""


@dataclass(frozen=True)
class TrainerSpec:
    """How to make a trainer: picklable, so that other processes and machines can."""

    kind: str
    """Name of an engine, or `module:name`."""
    manifest: TaskManifest
    package_dir: Path | None = None
    """Needed by engines that run programs."""
    threads: int = 1
    frozen: Path | None = None
    """Where the tensors are that do not train: the package's file, or the task's checkpoint."""

    def make(self) -> Trainer:
        """Load what the engine needs; sets this process's number of threads.

        Raises:
            FedvoiceError: `bad-plugin` for an engine that cannot be imported or that fails.
        """
        import torch

        torch.set_num_threads(self.threads)
        engine = ENGINES.get(self.kind)
        with ENGINES.naming(self.kind):
            return engine.trainer(self)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle a plug-in by its module and name.

        Raises:
            FedvoiceError: `bad-plugin` for one that cannot be imported elsewhere.
        """
        from fedvoice.model_export.kinds import MODEL_KINDS

        kind = MODEL_KINDS.travelling(self.manifest.model_kind)
        manifest = self.manifest.model_copy(update={"model_kind": kind})
        return TrainerSpec, (
            ENGINES.travelling(self.kind),
            manifest,
            self.package_dir,
            self.threads,
            self.frozen,
        )


class Fast(TrainingEngine):
    """Eager PyTorch in this process."""

    @staticmethod
    def trainer(spec: TrainerSpec) -> Trainer:
        """See `TrainingEngine`."""
        if any(bucket.draws for bucket in spec.manifest.buckets):
            from fedvoice.model_export.torch_engine import TorchEngine

            # Dropout's draws belong to places in a phone's batch, padding included.
            return PhoneTrainer(TorchEngine(spec.manifest, spec.frozen))
        from fedvoice.simulation.fast.trainer import FastTrainer

        return FastTrainer(spec.manifest, frozen=spec.frozen)


class Central(Fast):
    """No federation: all data in one place (`simulation.central`)."""

    driver = Driver.CENTRAL


class ExecuTorch(TrainingEngine):
    """The phone's trainer on the ExecuTorch runtime, in this process."""

    needs_package = True

    @staticmethod
    def trainer(spec: TrainerSpec) -> Trainer:
        """See `TrainingEngine`."""
        from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine

        assert spec.package_dir is not None, "ExecuTorch runs packages"
        return PhoneTrainer(ExecuTorchEngine(load_package(spec.package_dir), spec.threads))


class Phones(ExecuTorch):
    """Emulated phones and a server (`simulation.fleet`)."""

    driver = Driver.PHONES


class PhoneTrainer:
    """`device_runtime.trainer` on an engine: a phone without its session."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

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
