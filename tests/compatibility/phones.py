"""A phone of this version in the state folder that one of 0.1.0 left."""

from __future__ import annotations

from pathlib import Path

from fedvoice.device_runtime.blobs import BlobCache
from fedvoice.device_runtime.calls import connect
from fedvoice.device_runtime.conditions import always
from fedvoice.device_runtime.engines import EngineCache
from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine
from fedvoice.device_runtime.outcomes import SessionSettings
from fedvoice.device_runtime.retries import CallPolicy
from fedvoice.device_runtime.session import Phone
from fedvoice.device_runtime.store import ExampleStore


def phone_in(state: Path, address: str, blobs: Path) -> Phone:
    """As the phones were when they were recorded."""
    calls = CallPolicy(timeout_secs=20, max_attempts=1)
    return Phone(
        "anna",
        state,
        store=ExampleStore(state / "examples.sqlite"),
        channel=connect(address),
        server=address,
        engines=EngineCache(ExecuTorchEngine),
        blobs=BlobCache(blobs),
        conditions=always(),
        settings=SessionSettings(calls=calls, checkpoint_secs=0, grace_secs=0),
    )
