"""Runs a `fedvoice` command that kills itself with SIGKILL at a chosen point, once.

    python -m tests.faults.killed POINT MARKER [--tiny] ARGUMENTS OF fedvoice...

POINT: `module:Class.method:before|after:n`, the n-th call of it; or `-`. The file MARKER is made
just before the kill; where it exists already nothing happens. A file MARKER.clock turns the
process's clock by so many seconds, as soon as it is there. --tiny: a phone trains the tiny
engine of `tests/faults/tiny.py` in place of an exported program.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
import os
import signal
import sys
import time
from pathlib import Path


def install(point: str, marker: Path) -> None:
    """Wrap the method that the point names."""
    module_name, path, when, number = point.split(":")
    owner = importlib.import_module(module_name)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    method, calls = getattr(owner, name), itertools.count(1)

    def die_at(moment: str, call: int) -> None:
        if moment == when and call == int(number) and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(method)
    def wrapper(*args, **kwargs):
        call = next(calls)
        die_at("before", call)
        result = method(*args, **kwargs)
        die_at("after", call)
        return result

    @functools.wraps(method)
    async def coroutine(*args, **kwargs):
        call = next(calls)
        die_at("before", call)
        result = await method(*args, **kwargs)
        die_at("after", call)
        return result

    @functools.wraps(method)
    def generator(*args, **kwargs):
        # "after" is between two pieces: some have gone out, others not.
        call = next(calls)
        die_at("before", call)
        for piece in method(*args, **kwargs):
            yield piece
            die_at("after", call)

    if inspect.iscoroutinefunction(method):
        setattr(owner, name, coroutine)
    else:
        setattr(owner, name, generator if inspect.isgeneratorfunction(method) else wrapper)


class TurnedClock:
    """fedvoice's own clock, `time.time`, with what the file says on top. gRPC's stays: it would
    be turned on one side of its deadlines only."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)

    def time(self) -> float:
        return time.time() + (float(self._path.read_text()) if self._path.exists() else 0.0)


def turn_clock(path: Path, command: str) -> None:
    """Give the command's modules that clock."""
    clock = TurnedClock(path)
    if command == "serve":
        from fedvoice.server import app
        from fedvoice.server.intake import reports as intake

        app.time = intake.time = clock
    else:
        from fedvoice.device_runtime.session import Phone

        Phone.__init__.__kwdefaults__["clock"] = clock.time


def main() -> None:
    point, marker, *arguments = sys.argv[1:]
    if arguments[0] == "--tiny":
        from tests.faults import tiny

        del arguments[0]
        tiny.install()
    turn_clock(Path(f"{marker}.clock"), arguments[0])
    if point != "-":
        install(point, Path(marker))
    from fedvoice import cli

    sys.argv = ["fedvoice", *arguments]
    cli.main()


if __name__ == "__main__":
    main()
