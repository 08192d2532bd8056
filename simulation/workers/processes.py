"""The clients of a round in worker processes of this machine."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.simulation.cohort import CohortPart, RoundWork, train_cohort
from fedvoice.simulation.workers.pool import PoolRound, WorkerSpec, merge_parts, split_cohort

_SPAWN = multiprocessing.get_context("spawn")
_CLOSE_SECS = 5.0


@dataclass(frozen=True, eq=False)
class _Worker:
    """A worker process and the pipe to it."""

    process: SpawnProcess
    connection: Connection


class ProcessPool:
    """Workers with a trainer and a population each; those that die are replaced next round.

    Args:
        workers: processes; each needs the memory of a trainer and a corpus.
    """

    def __init__(self, spec: WorkerSpec, workers: int) -> None:
        self._spec, self._wanted = spec, workers
        self._workers: list[_Worker] = []
        self._at_work: list[_Worker] = []
        self._together = 1

    @property
    def process_ids(self) -> list[int]:
        """Process ids of the running workers."""
        return [w.process.pid for w in self._workers if w.process.pid is not None]

    def train(self, work: RoundWork, client_ids: Sequence[str]) -> CohortPart:
        """See `WorkerPool`."""
        try:
            self._fill_up()
            shares = split_cohort(client_ids, len(self._workers), self._together)
            return merge_parts(PoolRound(self, self._workers).train(work, shares), client_ids)
        except BaseException:
            self.close()  # pending answers would be taken for the next round's
            raise

    def close(self) -> None:
        """See `WorkerPool`. Processes that do not end by themselves are killed."""
        for worker in self._workers:
            worker.connection.close()  # the worker ends at its next read
        for worker in self._workers:
            if worker in self._at_work:
                worker.process.kill()
            worker.process.join(_CLOSE_SECS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers, self._at_work = [], []

    def begin(self, worker: _Worker, work: RoundWork, client_ids: Sequence[str]) -> None:
        """See `Workers`."""
        self._at_work.append(worker)
        with suppress(OSError):  # `next_done` notices a dead worker by its end of the pipe, too
            worker.connection.send((work, client_ids))

    def next_done(self) -> tuple[_Worker, CohortPart | None]:
        """See `Workers`."""
        ready = wait([worker.connection for worker in self._at_work])
        worker = next(w for w in self._at_work if w.connection is ready[0])
        answer = _answer(worker)
        self._at_work.remove(worker)
        if answer is None:
            worker.process.join()
            self._workers.remove(worker)
        elif not isinstance(answer, CohortPart):
            raise RuntimeError(f"a worker answered {answer!r}")
        return worker, answer

    def _fill_up(self) -> None:
        missing = self._wanted - len(self._workers)
        fresh = [_start(self._spec) for _ in range(missing)]
        self._workers += fresh
        for worker in fresh:
            together = _answer(worker)
            if not isinstance(together, int):
                raise _not_started(worker)
            self._together = together


def _start(spec: WorkerSpec) -> _Worker:
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_serve, args=(theirs, spec), name="fedvoice-worker")
    process.start()
    theirs.close()  # so that a dead worker's pipe is at its end
    return _Worker(process, ours)


def _answer(worker: _Worker) -> CohortPart | int | None:
    """The worker's answer; None: it has died.

    Raises:
        Exception: raised in the worker.
    """
    try:
        answer: CohortPart | int | Exception = worker.connection.recv()
    except (EOFError, OSError):
        return None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _not_started(worker: _Worker) -> FedvoiceError:
    worker.process.join(_CLOSE_SECS)
    return FedvoiceError(
        ErrorCode.CLIENT_LOST,
        where="a worker process",
        got=f"it ended with exit code {worker.process.exitcode} before its first round",
        wanted="a worker that starts",
        next_step="Its message is above; if memory is short, run with fewer --workers.",
    )


# In a worker


def _serve(connection: Connection, spec: WorkerSpec) -> None:
    """Answer with the number of clients that train together, then with a part for each share."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    try:
        trainer, population = spec.make()
        share = _exchange(connection, trainer.clients_together)
        while share is not None:
            share = _exchange(connection, train_cohort(trainer, population, *share))
    except Exception as error:
        if not isinstance(error, FedvoiceError):
            traceback.print_exc()  # it does not travel
        _exchange(connection, _travelling(error))


def _travelling(error: Exception) -> Exception:
    """The exception, or if it cannot be pickled and unpickled an error that tells of it."""
    try:
        again = pickle.loads(pickle.dumps(error))
    except Exception:  # of any kind: a plug-in's exceptions are its own
        again = None
    if type(again) is type(error):
        return error
    return FedvoiceError(
        ErrorCode.BAD_PLUGIN,
        where="a worker process",
        got=f"{type(error).__name__}: {error}",
        wanted="a plug-in that works",
        next_step="The traceback above says where it failed.",
    )


def _exchange(
    connection: Connection, answer: CohortPart | int | Exception
) -> tuple[RoundWork, Sequence[str]] | None:
    """Send an answer and wait for the next share; None: the parent closed the pipe or died."""
    try:
        connection.send(answer)
        share: tuple[RoundWork, Sequence[str]] = connection.recv()
    except (EOFError, OSError):
        return None
    return share
