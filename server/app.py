"""The assembled server: start it, wait for its last round, stop it."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

import grpc

from fedvoice.protocol.codec import digest_of
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.files import hold_lock
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.task import MANIFEST_FILE, TaskPackage, check_digest
from fedvoice.server.config import ServerConfig
from fedvoice.server.intake.framing import SERVER_OPTIONS
from fedvoice.server.intake.reports import Intake
from fedvoice.server.intake.service import AggregationService
from fedvoice.server.loop import server_loop
from fedvoice.server.rounds.coordinator import Coordinator, RoundListener
from fedvoice.server.rounds.job import Job
from fedvoice.server.rounds.needs import check_quota
from fedvoice.server.security.listen import bind_insecure
from fedvoice.server.security.secured import Secured
from fedvoice.server.store.blobs import BlobStore
from fedvoice.server.store.database import Store, open_store
from fedvoice.server.store.model import CurrentModel, ModelFiles
from fedvoice.server.store.retention import DAY_SECS, drop_credentials, sizes

log = logging.getLogger("fedvoice.server")

_FLUSH_SECS = 1.0
_TIDY_SECS = DAY_SECS / 4
_STARTING_SECS, _ENDING_SECS = 60.0, 10.0
"""Longest waits for a part of the server to start, or to end."""


class AggregationServer:
    """Runs one job: `start`, `wait_finished`, `stop`. The store directory holds all its state.

    A store that holds a job of the same task package is resumed; changed settings apply from the
    next round on.
    """

    def __init__(
        self,
        config: ServerConfig,
        package: TaskPackage,
        store_dir: Path,
        *,
        listener: RoundListener | None = None,
    ) -> None:
        self.config, self.store_dir = config, store_dir
        self._package, self._listener = package, listener
        self._stopping = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="ticker", daemon=True)
        self._lock_file: IO[bytes] | None = None
        self._store: Store | None = None
        self._listening: _Listening | None = None
        self.address = ""
        """Where phones call, as host:port, once started."""
        self.enrol_address = ""
        """Where phones enrol, once started; empty without TLS."""
        self._coordinator: Coordinator | None = None

    @property
    def coordinator(self) -> Coordinator:
        """The running job."""
        assert self._coordinator is not None, "start() first"
        return self._coordinator

    @property
    def running(self) -> bool:
        """Whether `start` has succeeded."""
        return self._coordinator is not None

    def start(self) -> str:
        """Open or resume the store and listen; the bound address as host:port.

        Raises:
            FedvoiceError: `address-in-use`, `exists` (store in use, or of another task),
                `bad-config` (a plan for other parameters than the task's), `store-full`,
                `bad-credentials` (a damaged authority), and what a damaged store gives.
        """
        try:
            self.address = self._start()
            return self.address
        except BaseException:
            self.stop()
            raise

    def wait_finished(self, timeout_secs: float | None = None) -> bool:
        """Wait for the last round. True when it is done, False at the timeout.

        Raises:
            FedvoiceError: what stopped the rounds, e.g. `store-full`.
        """
        return self.coordinator.course.wait_finished(timeout_secs)

    def stop(self, grace_secs: float | None = None) -> None:
        """Take no calls any more and close the store; those that run get `grace_secs`, by default
        as set. Start it again on the same store directory to resume."""
        self._stopping.set()
        if grace_secs is None:
            grace_secs = self.config.stop_grace_secs
        if self._listening is not None:
            with suppress(TimeoutError):
                server_loop().run(self._listening.stop(grace_secs), grace_secs + _ENDING_SECS)
        if self._coordinator is not None:
            self._coordinator.course.stop()
            if self._ticker.is_alive():
                self._ticker.join(_ENDING_SECS)
            with suppress(Exception):  # what stopped the server was told before
                self._coordinator.flush_traffic()
        if self._store is not None:
            self._store.close()
        if self._lock_file is not None:
            self._lock_file.close()
        self._listening = self._store = self._lock_file = None

    def _start(self) -> str:
        self.store_dir.mkdir(parents=True, exist_ok=True)
        self._lock_file = hold_lock(
            self.store_dir / "lock",
            got="another server at work on this store",
            wanted="one server a store",
            next_step="Stop the other server, or give another --store.",
        )
        self._store = open_store(self.store_dir, durable=self.config.durability == "durable")
        clock = _wall_clock(self._store.latest_secs())
        blobs = BlobStore(
            self.store_dir,
            self.config.quota_bytes,
            durable=self.config.durability == "durable",
        )
        files = ModelFiles(self.store_dir, self._package.manifest.parameters)
        job = self._job(self._store, blobs, files)
        check_quota(job, blobs)
        model = CurrentModel(files, blobs, job.algorithm)
        self._coordinator = Coordinator(job, self._store, blobs, model, clock, self._listener)
        intake = Intake(self._coordinator, self._store, blobs)
        self._listening = _Listening()
        address, self.enrol_address = server_loop().run(
            self._listening.start(self._coordinator, intake, blobs, self._store), _STARTING_SECS
        )
        self._store.set_meta({"addresses": {"server": address, "enrol": self.enrol_address}})
        self._ticker.start()
        log.info("listening on %s, store %s", address, self.store_dir)
        return address

    def _job(self, store: Store, blobs: BlobStore, files: ModelFiles) -> Job:
        package = self._package
        manifest = package.manifest
        manifest_bytes = (package.directory / MANIFEST_FILE).read_bytes()
        program = package.program_path.read_bytes()
        check_digest(program, manifest.program_digest, str(package.program_path))
        digest = digest_of(manifest_bytes)
        meta = store.meta()
        if meta and meta["task_digest"] != digest:
            raise FedvoiceError(
                ErrorCode.EXISTS,
                where=str(self.store_dir),
                got=f"the job of another task ({meta['task_name']})",
                wanted=f"an empty directory, or a job of task {manifest.name}",
                next_step="Give another --store, or the task package that the job began with.",
            )
        job = Job(
            # An assignment's name identifies its job: clients keep unfinished work.
            name=meta["job"] if meta else secrets.token_hex(4),
            config=self.config,
            manifest=manifest,
            plan=self.config.plan or manifest.plan,
            manifest_blob=_blob(blobs, manifest_bytes),
            program_blob=_blob(blobs, program),
        )
        job.check()
        if not meta:
            files.save(job.algorithm.init(package.weights()))
            meta = {
                "job": job.name,
                "task_digest": digest,
                "task_name": manifest.name,
                "created_secs": time.time(),
            }
        store.set_meta({**meta, "config": self.config.model_dump(mode="json")})
        return job

    def _tick(self) -> None:
        coordinator, flushed = self.coordinator, time.monotonic()
        tidied = -math.inf
        try:
            while not self._stopping.is_set():
                coordinator.sleep(coordinator.tick())
                if time.monotonic() - flushed >= _FLUSH_SECS:
                    coordinator.flush_traffic()
                    flushed = time.monotonic()
                if time.monotonic() - tidied >= _TIDY_SECS:
                    self._tidy()
                    tidied = time.monotonic()
        except Exception as error:
            # Whatever failed, no caller may wait for rounds that will never come.
            if isinstance(error, FedvoiceError):
                log.error("%s", error)
            else:
                log.exception("the ticker failed")
            coordinator.course.fail(error)

    def _tidy(self) -> None:
        """Drop what has been kept long enough, and say what there is."""
        assert self._store is not None, "the ticker ends before the store is closed"
        kept = self.config.keep
        absent = self.coordinator.forget_absent_clients()
        before_secs = time.time() - kept.credentials_days * DAY_SECS
        self._store.in_order(lambda connection: drop_credentials(connection, before_secs))
        log.info(
            "store %s: %s; clients forgotten: %d", self.store_dir, sizes(self.store_dir), absent
        )


class _Listening:
    """What is bound to addresses; lives in the loop."""

    def __init__(self) -> None:
        self._servers: list[grpc.aio.Server] = []
        self._service: AggregationService | None = None
        self._secured: Secured | None = None

    async def start(
        self, coordinator: Coordinator, intake: Intake, blobs: BlobStore, store: Store
    ) -> tuple[str, str]:
        """Listen; the main address, and that of enrolment or nothing."""
        config = coordinator.job.config
        secured = None if config.insecure else Secured(store, store.directory)
        server = grpc.aio.server(
            options=SERVER_OPTIONS, maximum_concurrent_rpcs=config.streams.most
        )
        service = AggregationService(
            coordinator, intake, blobs, secured.admission if secured else None
        )
        self._service, self._secured = service, secured
        server.add_generic_rpc_handlers((service.handlers(),))
        self._servers.append(server)
        if secured is None:
            addresses = bind_insecure(server, config.bind), ""
        else:
            self._servers.append(secured.enrolment)
            addresses = secured.bind(server, config)
        for each in self._servers:
            await each.start()
        return addresses

    async def stop(self, grace_secs: float) -> None:
        """Take no calls any more; those that run get `grace_secs`."""
        await asyncio.gather(*(server.stop(grace_secs) for server in self._servers))
        if self._service is not None:
            await self._service.close(_ENDING_SECS / 2)
        if self._secured is not None:
            self._secured.close()


def _wall_clock(earliest: float) -> Callable[[], float]:
    """Unix time that changes of the machine's clock do not move while the server runs, never
    before `earliest`: if the clock was set back between two runs, leases would otherwise last
    longer than announced."""
    base = max(time.time(), earliest) - time.monotonic()
    return lambda: base + time.monotonic()


def _blob(blobs: BlobStore, data: bytes) -> pb.Blob:
    return pb.Blob(digest=blobs.put(data), size_bytes=len(data))
