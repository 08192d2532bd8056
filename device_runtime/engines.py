"""Engines shared by the phones of one process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from fedvoice.device_runtime.memory import resident_bytes
from fedvoice.protocol.engine import Engine
from fedvoice.protocol.task import TaskPackage


@dataclass(frozen=True)
class LoadedEngine:
    """An engine, and the memory resident before it was loaded: its baseline."""

    engine: Engine
    memory_baseline_bytes: int


class EngineCache:
    """One engine for each task manifest (which names its program); for one thread at a time.

    Args:
        factory: makes an engine, for instance `ExecuTorchEngine`. Import what it needs before,
            so that importing does not count as the engine's memory.
        max_engines: the least recently used one is dropped, with its arenas.
    """

    def __init__(self, factory: Callable[[TaskPackage], Engine], max_engines: int = 2) -> None:
        self._factory = factory
        self._max_engines = max_engines
        self._engines: OrderedDict[str, LoadedEngine] = OrderedDict()

    def get(self, manifest_digest: str, package: Callable[[], TaskPackage]) -> LoadedEngine:
        """The engine of a manifest; `package` is called only if it has to be loaded."""
        loaded = self._engines.get(manifest_digest)
        if loaded is None:
            baseline = resident_bytes()
            loaded = LoadedEngine(self._factory(package()), baseline)
            self._engines[manifest_digest] = loaded
            while len(self._engines) > self._max_engines:
                self._engines.popitem(last=False)
        self._engines.move_to_end(manifest_digest)
        return loaded
