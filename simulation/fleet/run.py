"""A federation on one machine: a server process, a few processes of phones, one observer."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fedvoice.android_harness.emulation.jvm import find_phone
from fedvoice.data.dataset import report_of_phones
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.files import write_file
from fedvoice.protocol.task import WEIGHTS_FILE, TaskPackage, load_weights
from fedvoice.protocol.utterances import Utterance
from fedvoice.protocol.waiting import wait_for_stop
from fedvoice.reporting.results import Books, Results
from fedvoice.server.config import ServerConfig
from fedvoice.server.store.books import read_books
from fedvoice.server.store.database import DATABASE_FILE
from fedvoice.simulation.fleet.android import AndroidJob, JvmChild
from fedvoice.simulation.fleet.kinds import Kind, kind_results, kinds_of
from fedvoice.simulation.fleet.phones import EmulatedPhone, set_up_phones
from fedvoice.simulation.fleet.prepare import PHONES_DIR, SERVER_DIR, Prepared
from fedvoice.simulation.fleet.server import server_config
from fedvoice.simulation.fleet.worker import WorkerJob, run_worker, split_among_workers
from fedvoice.simulation.processes import Child, stop_all, undisturbed

POLL_SECS = 0.25
_START_SECS = 60.0
_RESTARTS_AT_MOST = 3
_LINGER_SECS = 10.0

Observer = Callable[[Books], None]
Process = Child | JvmChild


def run_server(
    config: ServerConfig,
    package: TaskPackage,
    store_dir: Path,
    ready_path: Path,
    stopping: threading.Event,
) -> None:
    """The server's process: until all rounds are done and the parent stops it."""
    from fedvoice.server.app import AggregationServer

    server = AggregationServer(config, package, store_dir)
    try:
        address = server.start()
        write_file(ready_path, address)
        while not stopping.is_set() and not server.wait_finished(POLL_SECS):
            pass
        wait_for_stop(stopping, _LINGER_SECS)
    finally:
        server.stop()


def simulate(prepared: Prepared, observe: Observer) -> Results:
    """Run all rounds and write weights and results into the run's folder.

    A phone process that dies is restarted and its phones resume; Ctrl-C stops everything, keeps
    the state, and is raised again.

    Args:
        observe: called with the books whenever they may have changed.

    Raises:
        FedvoiceError: what the server or a whole process of phones failed with.
    """
    config, directory = prepared.config, prepared.directory
    settings = server_config(config, prepared.phones)
    held_out = {phone.client_id for phone in prepared.phones if phone.held_out}
    phones = set_up_phones(prepared.phones, config.fleet, directory / PHONES_DIR, config.seed)
    if config.plan.client_rule and any(phone.kind is Kind.ANDROID for phone in phones):
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=f"{config.name}, plan, client_rule",
            got=f"{config.plan.client_rule!r} and Android phones, which have no client rules",
            wanted="a fleet of Python phones",
            next_step="Leave out the rule or the Android phones.",
        )
    store_dir = directory / SERVER_DIR
    with _server(settings, prepared, store_dir) as (server, address):
        starters = _starters(prepared, phones, address)
        workers = [start() for start in starters]
        restarts = 0
        try:
            next_look = 0.0
            while any(worker.running for worker in workers):
                time.sleep(POLL_SECS)
                if time.monotonic() >= next_look:
                    began = time.monotonic()
                    observe(read_books(store_dir, held_out))
                    # Long books take long to read: observing costs the phones 5% at most.
                    next_look = began + max(0.5, 20 * (time.monotonic() - began))
                if server.exit_code == 0:
                    break  # all rounds are done; absent phones need no answer
                if not server.running:
                    raise server.error() or _lost(server)
                for index, worker in enumerate(workers):
                    if worker.running or worker.exit_code == 0:
                        continue
                    error = worker.error()
                    restarts += 1
                    if error is not None or restarts > _RESTARTS_AT_MOST:
                        raise error or _lost(worker)
                    workers[index] = starters[index]()
        finally:
            with undisturbed():
                stop_all(workers)
                results = collect(prepared, read_books(store_dir, held_out))
    observe(read_books(store_dir, held_out))
    _keep_transcripts(prepared)
    return results


def _keep_transcripts(prepared: Prepared) -> None:
    """Decode test utterances with the final model, by the runtime that phones have."""
    weights, manifest = prepared.directory / WEIGHTS_FILE, prepared.package.manifest
    if not weights.is_file():
        return
    from fedvoice.simulation.engines import TrainerSpec  # PyTorch, while no phone runs any more
    from fedvoice.simulation.populations import shared_library
    from fedvoice.simulation.transcripts import keep_transcripts_of

    tests: dict[str, list[Utterance]] = {"wer": [], "heldout_wer": []}
    for phone in prepared.phones:
        tests["heldout_wer" if phone.held_out else "wer"] += phone.test
    trainer = TrainerSpec("executorch", manifest, prepared.package.directory).make()
    keep_transcripts_of(
        prepared.directory,
        tests,
        manifest,
        trainer,
        load_weights(weights, manifest.parameters),
        shared_library(manifest.features),
    )


def books_of(prepared: Prepared) -> Books:
    """The run's books so far; none before its server was first started."""
    store_dir = prepared.directory / SERVER_DIR
    if not (store_dir / DATABASE_FILE).is_file():
        return Books([], None, None, 0, 0, 0)
    return read_books(store_dir, {p.client_id for p in prepared.phones if p.held_out})


def config_of(prepared: Prepared) -> dict[str, Any]:
    """The `config` of the run's results."""
    return {
        **prepared.config.model_dump(mode="json"),
        "alpha": server_config(prepared.config, prepared.phones).alpha,
        "parameters": prepared.package.manifest.parameters.parameter_count,
        "phones": len(prepared.phones),
    }


def collect(prepared: Prepared, books: Books) -> Results:
    """Write `weights.safetensors` and `results.json` from the server's current state."""
    directory = prepared.directory
    settings = server_config(prepared.config, prepared.phones)
    weights = directory / SERVER_DIR / WEIGHTS_FILE
    if weights.is_file():
        shutil.copyfile(weights, directory / WEIGHTS_FILE)
    evaluated = [r for r in books.rounds if r.wer is not None or r.heldout_wer is not None]
    held_out = {phone.client_id for phone in prepared.phones if phone.held_out}
    kinds = kinds_of(
        [phone.client_id for phone in prepared.phones],
        prepared.config.fleet.counts,
        prepared.config.seed,
    )
    results = Results(
        rounds=books.rounds,
        kinds=kind_results(directory / SERVER_DIR, kinds, held_out),
        final={
            "wer": evaluated[-1].wer if evaluated else books.initial_wer,
            "heldout_wer": evaluated[-1].heldout_wer if evaluated else books.initial_heldout_wer,
            "cer": evaluated[-1].cer if evaluated else books.initial_cer,
            "heldout_cer": evaluated[-1].heldout_cer if evaluated else books.initial_heldout_cer,
            "initial_wer": books.initial_wer,
            "initial_heldout_wer": books.initial_heldout_wer,
            "initial_cer": books.initial_cer,
            "initial_heldout_cer": books.initial_heldout_cer,
            "rounds": len(books.rounds),
            "complete": len(books.rounds) >= settings.rounds,
            "evaluation_bytes": books.evaluation_bytes,
            "install_bytes": books.install_bytes,
            "idle_bytes": books.idle_bytes,
            "usage": prepared.usage.as_dict(),
            "partition": report_of_phones(prepared.phones).as_dict(),
        },
        config=config_of(prepared),
    )
    results.write(directory)
    return results


@contextmanager
def _server(
    settings: ServerConfig, prepared: Prepared, store_dir: Path
) -> Iterator[tuple[Child, str]]:
    ready_path = prepared.directory / "server.address"
    ready_path.unlink(missing_ok=True)
    server = Child(
        "server",
        run_server,
        (settings, prepared.package, store_dir, ready_path),
        prepared.directory / "server.log",
    )
    try:
        deadline = time.monotonic() + _START_SECS
        while not ready_path.is_file():
            if not server.running or time.monotonic() > deadline:
                server.stop()
                raise server.error() or _lost(server)
            time.sleep(0.05)
        yield server, ready_path.read_text(encoding="utf-8")
    finally:
        with undisturbed():
            server.stop()


def _starters(
    prepared: Prepared, phones: Sequence[EmulatedPhone], server: str
) -> list[Callable[[], Process]]:
    """Functions that start, or restart, each process of phones."""
    directory, fleet = prepared.directory, prepared.config.fleet
    python = [phone for phone in phones if phone.kind is Kind.PYTHON]
    rule = prepared.config.plan.client_rule
    rules = (rule,) if rule else ()  # a fleet's phones are told: check-ins are in its books
    starters: list[Callable[[], Process]] = []
    for i, own in enumerate(split_among_workers(python, fleet.processes)):
        job = WorkerJob(tuple(own), server, directory / "blobs" / str(i), fleet.threads, rules)
        log = directory / f"phones-{i}.log"
        starters.append(partial(Child, f"phones-{i}", run_worker, (job,), log))
    android = [phone for phone in phones if phone.kind is Kind.ANDROID]
    if android:
        jvm = find_phone()
        for i, own in enumerate(split_among_workers(android, fleet.android_processes)):
            name = f"android-{i}"
            android_job = AndroidJob(tuple(own), server, directory / name, fleet.threads)
            starters.append(partial(JvmChild, name, jvm, android_job, directory / f"{name}.log"))
    return starters


def _lost(child: Process) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.CLIENT_LOST,
        where=child.name,
        got=f"the process ended (exit code {child.exit_code})",
        wanted="a process that runs until the last round",
        next_step=f"See {child.log_path}; the same command resumes the run.",
    )
