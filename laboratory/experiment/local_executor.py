"""Jobs in worker processes of this machine, each with a pipe to the parent.

Workers start at once, load PyTorch in parallel and ignore Ctrl-C, which the parent handles. A
worker that dies is replaced; only its job is lost. A worker whose parent has died writes a
checkpoint and ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import cast

from fedvoice.laboratory.experiment.executor import Ended, Said, TrialJob, Work
from fedvoice.laboratory.experiment.progress import TrialProgress
from fedvoice.protocol.errors import make_folder
from fedvoice.simulation.processes import undisturbed

_SPAWN = multiprocessing.get_context("spawn")
_POLL_SECS = 0.2
_GRACE_SECS = 10.0
_STOP_SECS = 600.0
"""Time for a stopped worker to end its round and write a checkpoint."""


@dataclass(eq=False)
class _Worker:
    process: SpawnProcess
    connection: Connection
    job: TrialJob | None = None


class LocalExecutor:
    """An executor of `workers` processes.

    Args:
        log_path: file to which their output is appended; None: this process's output.
        work: how a job is run; None: `work.work_on`.
    """

    def __init__(
        self, workers: int, log_path: Path | None = None, work: Work | None = None
    ) -> None:
        if log_path is not None:
            make_folder(log_path.parent)
        self._log_path, self._work = log_path, work
        self._stopping = _SPAWN.Event()
        self._workers: list[_Worker] = []
        with undisturbed():  # inherited, so that Ctrl-C cannot interrupt a worker's imports
            self._workers += [self._start() for _ in range(workers)]

    @property
    def free(self) -> int:
        """See `Executor`."""
        return sum(worker.job is None for worker in self._workers)

    def begin(self, job: TrialJob) -> None:
        """See `Executor`."""
        worker = next(worker for worker in self._workers if worker.job is None)
        worker.job = job
        try:
            worker.connection.send(job)
        except OSError:
            return  # it died while idle: `events` finds its pipe at the end

    def events(self) -> list[Said | Ended]:
        """See `Executor`."""
        found: list[Said | Ended] = []
        by_connection = {worker.connection: worker for worker in self._workers}
        for ready in wait(list(by_connection), timeout=_POLL_SECS):
            worker = by_connection[cast(Connection, ready)]
            event = self._receive(worker)
            if event is not None:
                found.append(event)
        return found

    def close(self) -> None:
        """See `Executor`."""
        self._stopping.set()
        for worker in self._workers:
            worker.connection.close()
        deadline = time.monotonic() + _STOP_SECS
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers = []

    def _receive(self, worker: _Worker) -> Said | Ended | None:
        job = worker.job
        try:
            message: TrialProgress | Ended = worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join()
            worker.connection.close()
            with undisturbed():
                self._workers[self._workers.index(worker)] = self._start()
            return None if job is None else Ended(job, lost=True)
        assert job is not None, "an idle worker says nothing"
        if isinstance(message, TrialProgress):
            return Said(job, message)
        worker.job = None
        return Ended(job, message.outcome, message.error)

    def _start(self) -> _Worker:
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(
            target=_serve,
            args=(theirs, self._stopping, os.getpid(), self._log_path, self._work),
            name="fedvoice-trials",
        )
        process.start()
        theirs.close()  # so that a dead worker's pipe is at its end
        return _Worker(process, ours)


# In a worker


def _serve(
    connection: Connection,
    stopping: Event,
    parent_pid: int,
    log_path: Path | None,
    work: Work | None,
) -> None:
    """Run the jobs that the parent sends, one after the other, until it closes the pipe or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if log_path is not None:
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for stream in (1, 2):
            os.dup2(log, stream)
    threading.Thread(target=_leave_with, args=(parent_pid,), daemon=True).start()
    # PyTorch takes seconds to load: workers load it in parallel, the parent never.
    from fedvoice.laboratory.experiment.work import work_on

    def should_stop() -> bool:
        return stopping.is_set() or os.getppid() != parent_pid

    while not should_stop():
        try:
            job: TrialJob = connection.recv()
        except (EOFError, OSError):
            return
        answer = _do(job, work or work_on, connection, should_stop)
        try:
            connection.send(answer)
        except OSError:
            return
        except Exception as error:  # an unpicklable answer must not look like a dead worker
            traceback.print_exc()
            connection.send(Ended(job, error=RuntimeError(f"{type(error).__name__}: {error}")))


def _do(
    job: TrialJob, work: Work, connection: Connection, should_stop: Callable[[], bool]
) -> Ended:
    from fedvoice.laboratory.experiment.progress import Tell
    from fedvoice.simulation.training import Interrupted, StopWhenAsked

    def report(progress: TrialProgress) -> None:
        if not should_stop():
            connection.send(progress)

    try:
        told = [StopWhenAsked(should_stop), Tell(report, job.trial.server.rounds)]
        return Ended(job, work(job, told))
    except Interrupted:
        return Ended(job)
    except Exception as error:
        traceback.print_exc()
        return Ended(job, error=error)


def _leave_with(parent_pid: int) -> None:
    """End this process some time after its parent has died. An idle worker would wait for ever; a
    busy one has time to write a checkpoint first."""
    while os.getppid() == parent_pid:
        time.sleep(1.0)
    time.sleep(_GRACE_SECS)
    os._exit(1)
