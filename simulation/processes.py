"""Child processes of a simulation: output goes to a file, errors are raised in the parent.

Children ignore Ctrl-C: the parent decides, and stops them with SIGTERM. A child whose parent has
gone stops by itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from fedvoice.protocol.errors import ErrorCode, FedvoiceError, system_error

_SPAWN = multiprocessing.get_context("spawn")
_PARENT_POLL_SECS = 1.0


class Child:
    """`target(*arguments, stopping)` in a fresh interpreter; `stopping` is set by SIGTERM.

    Args:
        name: of the process, and in errors.
        log_path: its stdout and stderr, appended.
    """

    def __init__(
        self, name: str, target: Callable[..., None], arguments: tuple[Any, ...], log_path: Path
    ) -> None:
        self.name, self.log_path = name, log_path
        self._errors, child_end = _SPAWN.Pipe(duplex=False)
        self._process = _SPAWN.Process(
            target=_run,
            args=(target, arguments, child_end, str(log_path), os.getpid()),
            name=name,
        )
        self._process.start()
        child_end.close()

    @property
    def pid(self) -> int | None:
        """The process's id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.is_alive()

    @property
    def exit_code(self) -> int | None:
        """0: done; negative: killed by that signal; None: running."""
        return self._process.exitcode

    def error(self) -> FedvoiceError | None:
        """The error that ended it; None if it succeeded or a signal ended it."""
        if self.exit_code in (None, 0):
            return None
        try:
            if self._errors.poll():
                error = self._errors.recv()
                assert isinstance(error, FedvoiceError)
                return error
        except EOFError:
            pass
        if (self.exit_code or 0) < 0:
            return None
        return FedvoiceError(
            ErrorCode.CLIENT_LOST,
            where=self.name,
            got=f"exit code {self.exit_code}",
            wanted="a process that runs to the end",
            next_step=f"Its last output is in {self.log_path}.",
        )

    def wait(self) -> None:
        """Wait until it ends by itself."""
        self._process.join()

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        if self.running:
            self._process.terminate()

    def stop(self, grace_secs: float = 10.0) -> None:
        """SIGTERM, wait, then SIGKILL."""
        self.ask_to_stop()
        self._process.join(grace_secs)
        if self.running:
            self._process.kill()
            self._process.join()


class Stoppable(Protocol):
    """A process that can be stopped."""

    def ask_to_stop(self) -> None:
        """SIGTERM."""

    def stop(self, grace_secs: float = 10.0) -> None:
        """SIGTERM, wait, then SIGKILL."""


def stop_all(children: Iterable[Stoppable]) -> None:
    """Stop them at the same time."""
    children = list(children)
    for child in children:
        child.ask_to_stop()
    for child in children:
        child.stop()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C: a second one must not leave processes behind or results unwritten."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _run(
    target: Callable[..., None],
    arguments: tuple[Any, ...],
    errors: Connection,
    log_path: str,
    parent_pid: int,
) -> None:
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    stopping = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())

    def watch_parent() -> None:
        while not stopping.wait(_PARENT_POLL_SECS):
            if os.getppid() != parent_pid:
                stopping.set()

    threading.Thread(target=watch_parent, daemon=True).start()
    try:
        target(*arguments, stopping)
    except (FedvoiceError, OSError) as error:
        known = error if isinstance(error, FedvoiceError) else system_error(error)
        errors.send(known)
        with suppress(OSError):  # the log may be on a full disk
            traceback.print_exc()
        sys.exit(1)
