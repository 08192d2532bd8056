"""A server and a phone in one's own process: `start_server`, `open_phone`."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedvoice.protocol.errors import ErrorCode, FedvoiceError, make_folder
from fedvoice.protocol.task import TaskPackage, load_package
from fedvoice.protocol.waiting import wait_for_stop

if TYPE_CHECKING:
    from fedvoice.algorithm.rounds import RoundState
    from fedvoice.device_runtime.outcomes import Outcome
    from fedvoice.device_runtime.session import Phone
    from fedvoice.protocol.engine import Engine
    from fedvoice.server.app import AggregationServer
    from fedvoice.server.config import ServerConfig


@contextmanager
def start_server(
    task: TaskPackage | Path | str,
    store: Path | str,
    config: ServerConfig | Mapping[str, Any] | None = None,
    *,
    on_round: Callable[[RoundState], None] | None = None,
) -> Iterator[AggregationServer]:
    """A running aggregation server in this process; it stops when the block ends.

    The server has `address`, `wait_finished(timeout_secs)` and the enrolment's `enrol_address`. A
    store that holds a job of the same task is resumed.

    Args:
        task: a task package, or its folder.
        store: the folder that is the server's whole memory.
        config: settings of `ServerConfig`; by default on a free port of this machine.
        on_round: told of every closed round, in the server's own thread.

    Raises:
        FedvoiceError: `bad-config`, `exists`, `address-in-use`, `store-full`, `not-found`.
    """
    from fedvoice.server.app import AggregationServer
    from fedvoice.server.config import ServerConfig, parse_config

    package = task if isinstance(task, TaskPackage) else load_package(Path(task))
    if not isinstance(config, ServerConfig):
        config = parse_config({"bind": "127.0.0.1:0", **(config or {})}, "start_server")
    server = AggregationServer(config, package, Path(store), listener=on_round)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@dataclass(frozen=True)
class OpenPhone:
    """A phone that can hold sessions. phone: the runtime below."""

    client_id: str
    phone: Phone

    def run_once(self) -> Outcome:
        """One session: check in, and train or evaluate what is assigned, and report.

        Raises:
            FedvoiceError: as `fedvoice.device_runtime.session.Phone.run_once`.
        """
        return self.phone.run_once()

    def run(self, stopping: threading.Event | None = None) -> bool:
        """Sessions until the server has finished, waiting between them as it says; False if
        `stopping` was set before."""
        stopping = stopping or threading.Event()
        while not stopping.is_set():
            outcome = self.phone.run_once(stopping.is_set)
            if outcome.finished:
                return True
            wait_for_stop(stopping, outcome.next_contact_secs)
        return False


@contextmanager
def open_phone(
    state: Path | str,
    server: str,
    *,
    train: Iterable[tuple[Path | str, str]] = (),
    test: Iterable[tuple[Path | str, str]] = (),
    client_id: str = "",
    engine: Callable[[TaskPackage], Engine] | None = None,
    client_rules: Iterable[str | Callable[..., Any]] = (),
) -> Iterator[OpenPhone]:
    """A phone that calls a server without TLS, for one machine; others use `fedvoice device`.

    Args:
        state: the phone's own folder; its examples, checkpoint and unsent update live there.
        server: HOST:PORT.
        train, test: (wav file, what is said), kept in its store; a phone that has some
            already keeps those.
        client_id: ASCII; default: drawn at the first start and kept.
        engine: makes the engine of a package; None: ExecuTorch.
        client_rules: names `module:name` or classes that a server's plan may name, beside the
            built-in, registered and installed ones.

    Raises:
        FedvoiceError: `bad-config` for an address, or a client_id that is not ASCII or not the
            folder's; `exists` while another phone runs in `state`; what adding examples raises.
    """
    from fedvoice.algorithm.doors import CLIENT_RULES
    from fedvoice.device_runtime.blobs import BlobCache
    from fedvoice.device_runtime.calls import connect
    from fedvoice.device_runtime.conditions import always
    from fedvoice.device_runtime.engines import EngineCache
    from fedvoice.device_runtime.files import hold_phone
    from fedvoice.device_runtime.outcomes import SessionSettings
    from fedvoice.device_runtime.session import Phone
    from fedvoice.device_runtime.store import ExampleStore, NewExample, Split

    rules = {CLIENT_RULES.name_of(rule) for rule in client_rules}
    folder = Path(state)
    if not server.rpartition(":")[2].isdigit():
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where="open_phone, server",
            got=repr(server),
            wanted="HOST:PORT",
            next_step="Give the `address` of a server that `start_server` started.",
        )
    make_folder(folder)
    with hold_phone(folder):
        client_id = _kept_name(folder / "client_id", client_id)
        store = ExampleStore(folder / "examples.sqlite")
        if store.count(Split.TRAIN) + store.count(Split.TEST) == 0:
            store.add_all(
                NewExample(audio=Path(audio).absolute(), transcript=text, split=split)
                for split, examples in ((Split.TRAIN, train), (Split.TEST, test))
                for audio, text in examples
            )
        with connect(server) as channel:
            yield OpenPhone(
                client_id,
                Phone(
                    client_id,
                    folder,
                    store=store,
                    channel=channel,
                    server=server,
                    engines=EngineCache(engine or _executorch),
                    blobs=BlobCache(folder / "blobs"),
                    conditions=always(),
                    settings=SessionSettings(
                        client_rules=(*sorted({*CLIENT_RULES.names(), *rules}),)
                    ),
                ),
            )


def _kept_name(file: Path, wanted: str) -> str:
    """The phone's name: what its folder has, else `wanted`, else a new random one; kept there."""
    found = file.read_text(encoding="ascii").strip() if file.is_file() else ""
    if wanted and not (wanted.isascii() and wanted == wanted.strip()):
        got, allowed = repr(wanted), "ASCII text without blanks around it"
        next_step = "Choose another."
    elif wanted and found and wanted != found:
        got, allowed = repr(wanted), f"{found!r}, the name that {file.parent} has"
        next_step = "Leave it out, or give another `state`."
    else:
        if not found:
            found = wanted or uuid.uuid4().hex
            file.write_text(found, encoding="ascii")
        return found
    raise FedvoiceError(
        ErrorCode.BAD_CONFIG,
        where="open_phone, client_id",
        got=got,
        wanted=allowed,
        next_step=next_step,
    )


def _executorch(package: TaskPackage) -> Engine:
    from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine

    return ExecuTorchEngine(package, 1)
