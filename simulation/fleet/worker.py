"""One process of a fleet: its phones take turns, each when its own next contact is due."""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.waiting import wait_for_stop
from fedvoice.simulation.fleet.phones import EmulatedPhone

if TYPE_CHECKING:
    from fedvoice.device_runtime.session import Phone

log = logging.getLogger("fedvoice.fleet")

FAILURES_BEFORE_LOST = 5
_RETRY_SECS = 2.0
_RECHECK_SECS = 1.0


@dataclass(frozen=True)
class WorkerJob:
    """The job of one process of the fleet."""

    phones: tuple[EmulatedPhone, ...]
    server: str
    blob_dir: Path
    """Shared by the phones of the process; each still downloads what it does not hold."""
    threads: int
    client_rules: tuple[str, ...] = ()
    """What the phones say at check-in that they have."""


def split_among_workers(
    phones: Sequence[EmulatedPhone], processes: int
) -> list[list[EmulatedPhone]]:
    """Split phones among processes in turn, so that sizes differ by one at most."""
    return [list(phones[i::processes]) for i in range(min(processes, len(phones)))]


def run_worker(job: WorkerJob, stopping: threading.Event) -> None:
    """Run all phones of `job` until the server has told each that the task is finished.

    A phone that fails several times in a row is given no more turns; the others continue.

    Raises:
        FedvoiceError: the last failure, if every phone was lost.
    """
    import torch

    from fedvoice.device_runtime.blobs import BlobCache
    from fedvoice.device_runtime.calls import connect
    from fedvoice.device_runtime.engines import EngineCache
    from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine
    from fedvoice.device_runtime.outcomes import SessionSettings
    from fedvoice.device_runtime.session import Phone

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    torch.set_num_threads(job.threads)
    settings = SessionSettings(
        checkpoint_secs=5.0, recheck_secs=_RECHECK_SECS, client_rules=job.client_rules
    )
    engines = EngineCache(lambda package: ExecuTorchEngine(package, job.threads))
    blobs = BlobCache(job.blob_dir)
    with connect(job.server) as channel:
        phones = [
            Phone(
                own.client_id,
                own.state_dir,
                store=own.store,
                channel=channel,
                server=job.server,
                engines=engines,
                blobs=blobs,
                conditions=own.conditions(),
                settings=settings,
            )
            for own in job.phones
        ]
        _take_turns(phones, stopping)


def _take_turns(phones: Sequence[Phone], stopping: threading.Event) -> None:
    due = [(0.0, index) for index in range(len(phones))]
    failures = [0] * len(phones)
    lost: FedvoiceError | None = None
    finished = 0
    while due and not stopping.is_set():
        at, index = heapq.heappop(due)
        if wait_for_stop(stopping, at - time.monotonic()):
            return
        phone = phones[index]
        try:
            outcome = phone.run_once(stopping.is_set)
        except FedvoiceError as error:
            failures[index] += 1
            log.warning("%s, failure %d: %s", phone.client_id, failures[index], error)
            if failures[index] < FAILURES_BEFORE_LOST:
                heapq.heappush(due, (time.monotonic() + _RETRY_SECS, index))
            else:
                lost = error
                log.error("%s is lost", phone.client_id)
            continue
        failures[index] = 0
        if outcome.round_number is not None:
            log.info("%s round %d %s", phone.client_id, outcome.round_number, outcome.happened)
        if outcome.finished:
            finished += 1
        else:
            heapq.heappush(due, (time.monotonic() + outcome.next_contact_secs, index))
    if lost is not None and not finished and not stopping.is_set():
        raise FedvoiceError(
            ErrorCode.CLIENT_LOST,
            where=f"all {len(phones)} phones of a process",
            got=str(lost),
            wanted="phones that reach the server and train",
            next_step="Remove the cause and run the same command again: the run is resumed.",
        )
