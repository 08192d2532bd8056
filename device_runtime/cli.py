"""`fedvoice device`: one phone on this machine."""

from __future__ import annotations

import logging
import random
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from fedvoice.protocol.addresses import check_can_be_called
from fedvoice.protocol.errors import ErrorCode, FedvoiceError, make_folder
from fedvoice.protocol.invitation import is_address
from fedvoice.protocol.waiting import wait_for_stop

if TYPE_CHECKING:
    from fedvoice.device_runtime.identity import Identity
    from fedvoice.device_runtime.outcomes import Outcome
    from fedvoice.device_runtime.retries import CallPolicy
    from fedvoice.device_runtime.session import Phone
    from fedvoice.device_runtime.store import ExampleStore

_log = logging.getLogger("fedvoice.device")

MANIFEST_NAME = "manifest.jsonl"
_UNREACHABLE_WAIT_SECS = 30.0
_LONGEST_WAIT_SECS = 3600.0


def device(
    state: Annotated[Path, typer.Option(help="The phone's own folder: examples, progress, blobs.")],
    invitation: Annotated[
        str,
        typer.Option(
            help="What `fedvoice invite` made, a file or the text: needed once, for the phone's "
            "certificate."
        ),
    ] = "",
    server: Annotated[
        str,
        typer.Option(
            help="HOST:PORT of a server that runs with --insecure, in place of an invitation."
        ),
    ] = "",
    data: Annotated[
        Path | None,
        typer.Option(
            help="A manifest, or a folder with manifest.jsonl: added to the phone's examples once."
        ),
    ] = None,
    speaker: Annotated[
        str, typer.Option(help="Take only this speaker's utterances of --data; default: all.")
    ] = "",
    client_id: Annotated[
        str, typer.Option(help="Name towards the server; default: a random one, kept in --state.")
    ] = "",
    once: Annotated[bool, typer.Option("--once", help="End after one session.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the training runtime.")] = 1,
    metered: Annotated[
        bool, typer.Option("--metered", help="Say that this machine's network is metered.")
    ] = False,
    client_rule: Annotated[
        list[str] | None,
        typer.Option(
            help="module:name of a client rule that a server's plan may name here; again for more. "
            "Built-in and installed ones need no mention."
        ),
    ] = None,
) -> None:
    """Run one phone's runtime against a server until the server has finished.

    Ctrl-C stops after the current step and keeps the checkpoint: the same command resumes.

    Example: fedvoice device --invitation invitation.txt --data corpus --state phone-anna
    """
    from fedvoice.algorithm.doors import CLIENT_RULES
    from fedvoice.device_runtime.blobs import BlobCache
    from fedvoice.device_runtime.calls import connect
    from fedvoice.device_runtime.conditions import LinuxConditions
    from fedvoice.device_runtime.engines import EngineCache
    from fedvoice.device_runtime.enrolment import renew_if_due
    from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine
    from fedvoice.device_runtime.files import hold_phone
    from fedvoice.device_runtime.outcomes import SessionSettings
    from fedvoice.device_runtime.session import Phone
    from fedvoice.device_runtime.store import ExampleStore, Split

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if server:
        check_address(server)
    policy = SessionSettings().calls
    make_folder(state)
    lock = hold_phone(state)  # held until the process ends
    own = None if server and not invitation else _identity(state, invitation, client_id, policy)
    name = own.client_id if own else client_id or _own_name(state / "client_id")
    server = own.server if own else server
    store = ExampleStore(state / "examples.sqlite")
    if data is not None:
        added = add_manifest(store, data, speaker)
        _log.info("%d examples added from %s", added, data)
    _log.info(
        "%s: %d examples to train on, %d to test on; server %s",
        name,
        store.count(Split.TRAIN),
        store.count(Split.TEST),
        server,
    )
    if store.count(Split.TRAIN) + store.count(Split.TEST) == 0:
        _log.warning("this phone has no examples and will get no work: give --data MANIFEST")
    stopping = threading.Event()
    phone = Phone(
        name,
        state,
        store=store,
        channel=None,
        server=server,
        engines=EngineCache(lambda package: ExecuTorchEngine(package, threads)),
        blobs=BlobCache(state / "blobs"),
        conditions=LinuxConditions(state, unmetered=not metered),
        settings=SessionSettings(
            runtime_version=_runtime_version(),
            client_rules=(*CLIENT_RULES.names(), *(client_rule or ())),
        ),
        sleep=lambda secs: _sleep(stopping, secs),
    )

    @contextmanager
    def connected() -> Iterator[None]:
        # For one session: an open channel keeps trying to reconnect to a server that is away.
        nonlocal own
        own = own and renew_if_due(own, policy)
        with connect(server, own) as channel:
            phone.connected(channel, own)
            yield

    with _stopped_by_signals(stopping) as signals:
        done = run(phone, stopping, once, connected)
        lock.close()
        if not done:
            raise typer.Exit(128 + signals.number)


def run(
    phone: Phone,
    stopping: threading.Event,
    once: bool,
    connected: Callable[[], AbstractContextManager[None]],
) -> bool:
    """Sessions until the server has finished, or one; False if `stopping` was set before.

    Each is held within `connected`. While no server answers, the wait doubles from half a minute
    to an hour: retrying a server that is gone must not drain the battery.
    """
    failures = 0
    while not stopping.is_set():
        try:
            with connected():
                outcome = phone.run_once(stopping.is_set)
        except FedvoiceError as error:
            if once or stopping.is_set() or error.code is not ErrorCode.SERVER_UNREACHABLE:
                raise
            wait_secs = min(_LONGEST_WAIT_SECS, _UNREACHABLE_WAIT_SECS * 2**failures)
            wait_secs *= random.uniform(0.75, 1.25)  # not all phones of a server at once
            failures = min(failures + 1, 16)
            _log.warning("%s; again in %.0f s", error, wait_secs)
            wait_for_stop(stopping, wait_secs)
            continue
        failures = 0
        _log.info("%s", describe(outcome))
        if once or outcome.finished:
            return True
        wait_for_stop(stopping, outcome.next_contact_secs)
    _log.info("stopped; run the same command again to resume")
    return False


def describe(outcome: Outcome) -> str:
    """One session in a line for the log: numbers only."""
    parts = [str(outcome.happened)]
    if outcome.round_number is not None:
        parts.append(f"round {outcome.round_number}")
    statistics = outcome.statistics
    if statistics is not None and statistics.steps:
        parts.append(
            f"{statistics.examples} examples, {statistics.steps} steps, "
            f"loss {statistics.loss:.3f}, {statistics.train_secs:.1f} s"
        )
    if statistics is not None and statistics.words:
        parts.append(f"{statistics.word_errors} errors in {statistics.words} words")
        if statistics.chars:
            parts[-1] += f", {statistics.char_errors} in {statistics.chars} characters"
    if outcome.detail:
        parts.append(outcome.detail)
    parts.append(f"{outcome.bytes_up} bytes up, {outcome.bytes_down} down")
    parts.append("finished" if outcome.finished else f"next in {outcome.next_contact_secs:.0f} s")
    return "; ".join(parts)


def add_manifest(store: ExampleStore, data: Path, speaker: str = "") -> int:
    """Add the utterances of a manifest that the store does not refer to yet; how many.

    Args:
        speaker: whose utterances; empty: everybody's.

    Raises:
        FedvoiceError: what reading the manifest raises, `unreadable-audio`, `store-full`,
            `bad-manifest` if it has no utterance of the speaker.
    """
    from fedvoice.data.check import check_durations
    from fedvoice.device_runtime.store import NewExample, Split
    from fedvoice.protocol.utterances import read_manifest

    path = data / MANIFEST_NAME if data.is_dir() else data
    known = {(row.audio_path, row.offset_secs) for split in Split for row in store.examples(split)}
    utterances = read_manifest(path)
    own = [u for u in utterances if not speaker or u.speaker == speaker]
    if not own:
        raise FedvoiceError(
            ErrorCode.BAD_MANIFEST,
            where=f"{path}, --speaker",
            got=f"no utterance of {speaker!r}",
            wanted=f"one of {', '.join(sorted({u.speaker for u in utterances})[:20])}",
            next_step="Name a speaker of the manifest.",
        )
    new = [u for u in own if (u.audio_path.absolute(), u.offset_secs) not in known]
    check_durations(new)
    store.add_all(
        NewExample(
            audio=u.audio_path,
            transcript=u.text,
            split=Split.TEST if u.split == "test" else Split.TRAIN,
            offset_secs=u.offset_secs,
            duration_secs=u.segment_secs,
        )
        for u in new
    )
    return len(new)


def _identity(state: Path, invitation: str, client_id: str, policy: CallPolicy) -> Identity:
    """Who this phone is: enrolled before, or with the invitation now."""
    from fedvoice.device_runtime import identity
    from fedvoice.device_runtime.enrolment import enrol, read_invitation

    folder = state / "identity"
    if invitation:
        invited = read_invitation(invitation)
        # On resumption an invitation that was used before is not used again.
        found = identity.load(folder) if identity.used_before(folder, invited) else None
        if found is None:
            name = client_id or _own_name(state / "client_id")
            found = enrol(folder, invited, name, policy)
            _log.info("enrolled as %s until %s", found.client_id, f"{found.expires:%Y-%m-%d}")
    else:
        found = identity.load(folder)
    if found is None:
        raise FedvoiceError(
            ErrorCode.BAD_CREDENTIALS,
            where=str(state),
            got="a phone that is not enrolled, and no --invitation",
            wanted="an invitation of the server",
            next_step="Make one with `fedvoice invite` and give it as --invitation; or give "
            "--server for a server that runs with --insecure.",
        )
    if client_id not in ("", found.client_id):
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where="--client-id",
            got=client_id,
            wanted=f"{found.client_id}, the name that this phone is enrolled under",
            next_step="Leave --client-id out, or give another --state.",
        )
    return found


def check_address(server: str) -> None:
    """Raise `bad-config` unless `server` reads HOST:PORT and can be called."""
    if not is_address(server):
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where="--server",
            got=repr(server),
            wanted="HOST:PORT, for instance localhost:8080",
            next_step="Give the address that `fedvoice serve` printed.",
        )
    check_can_be_called(
        server, "--server", "Give the server's name, or its address in the network you share."
    )


def _own_name(path: Path) -> str:
    """The name made at the first start: random, tied to nothing."""
    if not path.is_file():
        path.write_text(uuid.uuid4().hex, encoding="ascii")
    return path.read_text(encoding="ascii").strip()


def _runtime_version() -> str:
    from importlib.metadata import version

    return f"executorch {version('executorch')}"


def _sleep(stopping: threading.Event, secs: float) -> None:
    if wait_for_stop(stopping, secs):
        raise KeyboardInterrupt


class _stopped_by_signals:  # noqa: N801 - reads as a statement
    """The first Ctrl-C (or SIGTERM) sets the event; a second one interrupts at once."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self.number = signal.SIGINT.value

    def __enter__(self) -> _stopped_by_signals:
        self._before = {
            number: signal.signal(number, self._handle)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._stopping.is_set():
            raise KeyboardInterrupt
        self.number = number
        _log.info("stopping after this step; once more to stop at once")
        self._stopping.set()
