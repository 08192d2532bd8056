"""A phone with its belongings, and the work that a scripted server gives it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile

from fedvoice.device_runtime.blobs import BlobCache
from fedvoice.device_runtime.calls import connect
from fedvoice.device_runtime.conditions import always
from fedvoice.device_runtime.engines import EngineCache
from fedvoice.device_runtime.outcomes import SessionSettings
from fedvoice.device_runtime.retries import CallPolicy
from fedvoice.device_runtime.session import Phone
from fedvoice.device_runtime.store import ExampleStore, NewExample, Split
from fedvoice.protocol.codec import digest_of, encode
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import TaskManifest
from tests.device_runtime.tiny import TinyEngine, some_weights, tiny_manifest

PROGRAM = b"a program" * 50_000  # more than one chunk
MANIFEST = tiny_manifest().model_copy(update={"program_digest": digest_of(PROGRAM)})
MANIFEST_BYTES = MANIFEST.model_dump_json().encode()
WEIGHTS = some_weights(MANIFEST)
PLAN = TrainingPlan(batch_size=2, clip_norm=0, local_epochs=2)
SETTINGS = SessionSettings(
    calls=CallPolicy(timeout_secs=10, max_attempts=3, backoff_secs=0.01),
    grace_secs=0,
    checkpoint_secs=0,
    recheck_secs=7,
)


def a_recording(word_number: int) -> bytes:
    random = np.random.default_rng(word_number)
    file = io.BytesIO()
    soundfile.write(file, random.normal(size=900) * 0.1, 16000, format="FLAC")
    return file.getvalue()


def a_store(path: Path, *, train: int = 5, test: int = 3) -> ExampleStore:
    store = ExampleStore(path)
    splits = [Split.TRAIN] * train + [Split.TEST] * test
    store.add_all(
        NewExample(audio=a_recording(i), transcript=("yes", "no")[i % 2], split=split)
        for i, split in enumerate(splits)
    )
    return store


def blob(data: bytes, encoding: str = "") -> pb.Blob:
    return pb.Blob(digest=digest_of(data), size_bytes=len(data), encoding=encoding)


def assignment(**changes: object) -> pb.CheckInReply:
    fields: dict[str, object] = {
        "assignment_id": "a1",
        "round": 4,
        "work": pb.WORK_TRAIN,
        "lease_secs": 1000.0,
        "plan": PLAN.to_message(),
        "manifest": blob(MANIFEST_BYTES),
        "program": blob(PROGRAM),
        "weights": blob(encode(WEIGHTS, "float32"), "float32"),
    }
    return pb.CheckInReply(assignment=pb.Assignment(**{**fields, **changes}))


class Hut:
    """A phone with its belongings; `restart` is what is left after a kill."""

    def __init__(self, directory: Path, address: str, name: str = "phone-1") -> None:
        self.directory, self.address, self.name = directory, address, name
        self.store = a_store(directory / name / "examples.sqlite")
        self.conditions = always()
        self.settings = SETTINGS
        self.engines: list[TinyEngine] = []
        self.now = 1000.0
        self.slept: list[float] = []
        self.channel = connect(address)
        self.restart()

    def make_engine(self, manifest: TaskManifest) -> TinyEngine:
        self.engines.append(TinyEngine(manifest))
        return self.engines[-1]

    def restart(self) -> Phone:
        self.phone = Phone(
            self.name,
            self.directory / self.name,
            store=self.store,
            channel=self.channel,
            server=self.address,
            engines=EngineCache(lambda package: self.make_engine(package.manifest)),
            blobs=BlobCache(self.directory / "blobs"),
            conditions=self.conditions,
            settings=self.settings,
            clock=lambda: self.now,
            sleep=self.slept.append,
        )
        return self.phone
