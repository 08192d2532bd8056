"""The Ray worker pool: one actor a worker, on any machine with a free core.

Needs the `ray` extra. Ray keeps a copy of the round's weights on every machine, which the
machine's workers share. Corpora must have the same path on all machines.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from fedvoice.protocol.errors import ErrorCode, FedvoiceError, missing_extra
from fedvoice.simulation.cohort import CohortPart, RoundWork, train_cohort
from fedvoice.simulation.workers.pool import PoolRound, WorkerSpec, merge_parts, split_cohort

START_SECS = 120.0
"""Time for the first worker to start, and by default for each next one; the pool then works without
those that the cluster has no core for."""

START_TRIES = 3
_TOO_SLOW = "timed out during startup"
T = TypeVar("T")


class RayPool:
    """Workers as Ray actors with a core each; those that die are replaced in the next round. The
    pool works without the rest when `start_secs` pass in which no other has started. Call `connect`
    first."""

    def __init__(self, spec: WorkerSpec, workers: int, start_secs: float = START_SECS) -> None:
        self._ray = load_ray()
        self._spec = self._ray.put(spec)
        self._wanted, self._start_secs = workers, start_secs
        self._workers: list[Any] = []
        self._at_work: dict[Any, Any] = {}
        """Ray's reference of an answer -> the worker that computes it."""
        self._sent: tuple[RoundWork, Any] | None = None
        self._together = 1

    @property
    def actors(self) -> list[Any]:
        """Ray's handles of the workers that are running."""
        return list(self._workers)

    def train(self, work: RoundWork, client_ids: Sequence[str]) -> CohortPart:
        """See `WorkerPool`."""
        try:
            self._fill_up()
            shares = split_cohort(client_ids, len(self._workers), self._together)
            return merge_parts(PoolRound(self, self._workers).train(work, shares), client_ids)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """See `WorkerPool`."""
        for worker in self._workers:
            self._ray.kill(worker)
        self._workers, self._at_work, self._sent = [], {}, None

    def begin(self, worker: Any, work: RoundWork, client_ids: Sequence[str]) -> None:
        """See `Workers`. The weights are put into Ray once, whatever the number of workers."""
        if self._sent is None or self._sent[0] is not work:
            self._sent = work, self._ray.put(work)
        self._at_work[worker.train.remote(self._sent[1], list(client_ids))] = worker

    def next_done(self) -> tuple[Any, CohortPart | None]:
        """See `Workers`."""
        (done,), _ = self._ray.wait(list(self._at_work), num_returns=1)
        worker = self._at_work.pop(done)
        try:
            part: CohortPart = self._ray.get(done)
        except self._ray.exceptions.RayActorError:
            self._workers.remove(worker)
            return worker, None
        except self._ray.exceptions.RayTaskError as error:
            raise cause_of(error) from error
        return worker, part

    def _fill_up(self) -> None:
        missing = self._wanted - len(self._workers)
        if not missing:
            return
        make = self._ray.remote(num_cpus=1, max_restarts=0)(_Worker)
        fresh = [make.remote() for _ in range(missing)]
        greetings = {actor.start.remote(self._spec, os.getcwd()): actor for actor in fresh}
        started = answers(self._ray.wait, list(greetings), self._start_secs)
        for greeting, actor in greetings.items():
            if greeting not in started:
                self._ray.kill(actor)
                continue
            try:
                self._together = self._ray.get(greeting)
                self._workers.append(actor)
            except self._ray.exceptions.RayTaskError as error:
                raise cause_of(error) from error
            except self._ray.exceptions.RayActorError:
                continue  # it died: `_none_started` if all did
        self._wanted = len(self._workers)  # no round waits for cores again
        if not self._workers:
            raise _none_started(self._ray.cluster_resources().get("CPU", 0.0))


def answers(
    wait: Callable[..., tuple[list[T], list[T]]], asked: list[T], start_secs: float
) -> list[T]:
    """Those of `asked` that were answered, by Ray's `wait`. A busy machine starts workers late and
    one after another, so none is given up while others are still on their way."""
    answered: list[T] = []
    while asked:
        patience_secs = start_secs if answered else START_SECS
        done, asked = wait(asked, num_returns=1, timeout=patience_secs)
        if not done:
            break
        answered += done
    return answered


class _Worker:
    """An actor: its own trainer and population."""

    def start(self, spec: WorkerSpec, folder: str) -> int:
        """Not in the constructor: Ray does not return its exceptions whole."""
        go_to(folder)
        self._trainer, self._population = spec.make()
        return self._trainer.clients_together

    def train(self, work: RoundWork, client_ids: Sequence[str]) -> CohortPart:
        # Ray's copy is read-only, which torch does not support.
        own = replace(work, weights=work.weights.copy())
        return train_cohort(self._trainer, self._population, own, client_ids)


def go_to(folder: str) -> None:
    """Use the driver's working directory for relative paths, if this machine has it."""
    if os.path.isdir(folder):
        os.chdir(folder)


def connect(address: str | None) -> None:
    """Join the cluster at `address` (`host:port`, or `auto`: the one that this machine belongs to),
    or make one of this machine's cores alone. Does nothing if this process has one already.

    Ray sends no usage statistics, and a cluster made here listens on loopback alone.

    Raises:
        FedvoiceError: `missing-extra`; `server-unreachable`, also when this machine is too busy.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = load_ray()
    if ray.is_initialized():
        return
    quiet: dict[str, Any] = {"log_to_driver": True, "logging_level": "ERROR"}
    if address is None:
        here: dict[str, Any] = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        start_patiently(lambda: ray.init(address="local", **here, **quiet))
        return
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise FedvoiceError(
            ErrorCode.SERVER_UNREACHABLE,
            where=f"--ray-address {address}",
            got=str(error).splitlines()[0][:200],
            wanted="the address of a running Ray cluster, e.g. 10.0.0.5:6379",
            next_step="Start one with `ray start --head`, or leave --ray-address out.",
        ) from error


def start_patiently(start: Callable[[], T]) -> T:
    """Call `start`, with retries. Ray allows a node 30 s to start, which takes 3 s on an idle
    machine and 30 s on a heavily loaded one; a retry finds Ray's files in memory.

    Raises:
        FedvoiceError: `server-unreachable`.
    """
    for _ in range(START_TRIES):
        try:
            return start()
        except Exception as error:  # Ray's is of no class of its own
            if _TOO_SLOW not in str(error):
                raise
            slow = error
    raise FedvoiceError(
        ErrorCode.SERVER_UNREACHABLE,
        where="Ray on this machine",
        got=f"not up after {START_TRIES} tries of half a minute",
        wanted="a machine that is idle enough to start Ray's processes",
        next_step="Try again when it is less busy, or use --workers without Ray.",
    ) from slow


def count_cores() -> int:
    """Number of cores of all machines of the cluster."""
    return int(load_ray().cluster_resources().get("CPU", 1))


def load_ray() -> Any:
    """The module.

    Raises:
        FedvoiceError: `missing-extra`.
    """
    try:
        import ray
    except ImportError as error:
        raise missing_extra(
            "ray",
            where="the Ray worker pool",
            got="no module ray",
            wanted="the extra `ray`",
        ) from error
    return ray


def cause_of(error: Exception) -> Exception:
    """The exception raised on the other machine, without Ray's wrapper."""
    cause = getattr(error, "cause", None)
    # Ray puts an error of its own where the cause could not be pickled.
    if isinstance(cause, Exception) and not type(cause).__module__.startswith("ray."):
        return cause
    return error


def _none_started(cores: float) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.CLIENT_LOST,
        where="the workers of a Ray cluster",
        got=f"none has started within {START_SECS:.0f} s on a cluster with {cores:.0f} cores",
        wanted="a free core for at least one worker",
        next_step="See what occupies the cluster (`ray status`), or add machines to it.",
    )
