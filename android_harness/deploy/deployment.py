"""One device's deployment, step by step; each step finds out whether it was done before."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from fedvoice.android_harness.deploy import fitness
from fedvoice.android_harness.deploy.adb import Adb
from fedvoice.android_harness.deploy.app import LOG_TAG, PACKAGE, App, AppState
from fedvoice.android_harness.emulation.recordings import for_android
from fedvoice.protocol.codec import encode
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.invitation import Invitation, parse_invitation
from fedvoice.protocol.task import MANIFEST_FILE, TaskPackage
from fedvoice.protocol.utterances import Utterance

Say = Callable[[str], None]
_POLL_SECS = 1.0
_NO_WORK = "no-work"
_NO_WORK_SECS = 3.0
_NO_WORK_PATIENCE_SECS = 60.0
_QUIET_SECS = 5.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
WEIGHTS_FILE = "weights.float32"


@dataclass(frozen=True)
class DeploymentSpec:
    """What is to be on the device and to happen there.

    invitation: makes one, called only if the phone is not enrolled yet. task: pushed so that the
    phone recognises before its first session. now: a session at once, whatever the conditions.
    """

    apk: Path
    package: str = PACKAGE
    invitation: Callable[[], str] | None = None
    consent: bool = False
    task: TaskPackage | None = None
    examples: tuple[Utterance, ...] = ()
    now: bool = False
    wait_secs: float = 600.0


def deploy(adb: Adb, spec: DeploymentSpec, say: Say) -> AppState:
    """Deploy `spec` to a device; returns the app's books.

    Raises:
        FedvoiceError: `device-unfit`, `device-lost`, `no-space`, `device-refused`, and the app's
            own. Finished steps stay: run it again to resume.
    """
    app = App(adb, spec.package)
    installed = app.apk_digest() == hashlib.sha256(spec.apk.read_bytes()).hexdigest()
    facts = fitness.read_facts(adb)
    manifest = spec.task.manifest if spec.task else None
    abi = fitness.check(facts, adb.serial, spec.apk, manifest, installed=installed)
    say(f"{facts.model}, API {facts.api}, {abi}: fit")
    if installed:
        say("app: is there")
    else:
        say(f"app: installing {spec.apk.name}")
        adb.install(spec.apk)
    app.open()
    state = app.ask("status")
    state = _enrol(app, state, spec, say)
    if spec.consent and not state.consent:
        state = app.ask("consent")
        say("consent: given, by whoever runs this command")
    if spec.task is not None:
        state = _push_task(app, spec.task, say)
    if spec.examples:
        state = _push_examples(app, spec.examples, say)
    if spec.now:
        state = _session_now(app, state, spec.wait_secs, say)
    return state


def _enrol(app: App, state: AppState, spec: DeploymentSpec, say: Say) -> AppState:
    if state.enrolled:
        say("enrolment: done before")
        return state
    if spec.invitation is None:
        say("enrolment: none; give --store or --invitation to let the phone join a server")
        return state
    text = spec.invitation()
    invitation = parse_invitation(text, "the invitation")
    _reach_this_machine(app.adb, invitation, say)
    state = app.ask("enrol", invitation=text)
    say(f"enrolment: joined {invitation.server}")
    return state


def _reach_this_machine(adb: Adb, invitation: Invitation, say: Say) -> None:
    """A server on this machine's loopback is reached through the cable."""
    for address in (invitation.server, invitation.enrol):
        host, _, port = address.rpartition(":")
        if host.strip("[]") in _LOOPBACK:
            adb.reverse(int(port))
            say(f"network: {address} goes through the cable; unplugged, the phone cannot call")


def _push_task(app: App, task: TaskPackage, say: Say) -> AppState:
    """Manifest, program and weights (as one flat float32 vector) into the app's cache."""
    folder = f"{app.folder}/task"
    with TemporaryDirectory() as draft:
        weights = Path(draft) / WEIGHTS_FILE
        weights.write_bytes(encode(task.weights(), "float32"))
        files = [task.directory / MANIFEST_FILE, task.program_path, weights]
        pushed = [app.adb.push(file, f"{folder}/{file.name}") for file in files]
    say(f"task: {task.manifest.name}, {sum(pushed)} of {len(files)} files copied")
    return app.ask("install-task", folder="task")


def _push_examples(app: App, examples: tuple[Utterance, ...], say: Say) -> AppState:
    """Recordings and a manifest; the app takes those that it has not taken before."""
    folder = f"{app.folder}/examples"
    lines, pushed = [], 0
    with TemporaryDirectory() as draft:
        for utterance in examples:
            part = "" if utterance.offset_secs is None else f":{utterance.offset_secs}"
            key = f"{utterance.audio_path}{part}"
            name = f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.wav"
            pushed += app.adb.push(_wav(utterance, Path(draft) / name), f"{folder}/{name}")
            line = {"audio_filepath": name, "text": utterance.text, "split": utterance.split}
            lines.append(json.dumps({**line, "duration": utterance.duration_secs}))
        manifest = Path(draft) / "manifest.jsonl"
        manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
        app.adb.push(manifest, f"{folder}/{manifest.name}")
    state = app.ask("add-examples", folder="examples")
    say(f"examples: {pushed} of {len(examples)} copied, the phone holds {state.examples}")
    return state


def _session_now(app: App, before: AppState, wait_secs: float, say: Say) -> AppState:
    """Ask for sessions until one has found work, or the time is up.

    Not where the phone's owner has not agreed, it has joined no server, or holds no examples.
    """
    if not before.consent:
        say("session: none, the phone's owner has not agreed; give --consent if they do")
        return before
    if not before.enrolled:
        say("session: none, the phone has joined no server; give --store or --invitation")
        return before
    if before.examples == 0:
        say("session: none, the phone holds no examples; keep some in the app, or give --examples")
        return before
    say("session: started now; charger, idleness and network of the phone are not asked for")
    end = time.monotonic() + wait_secs
    with _log_shown(app, say, end):
        return _sessions(app, before, end, say)


def _wav(utterance: Utterance, draft: Path) -> Path:
    """The recording itself, or a wav file of it where the phone reads no other, or of a segment."""
    audio = for_android(utterance.audio_path, utterance.offset_secs, utterance.segment_secs)
    if isinstance(audio, Path):
        return audio
    draft.write_bytes(audio)
    return draft


@contextmanager
def _log_shown(app: App, say: Say, end: float) -> Iterator[None]:
    """The phone's log lines beside ours, as they come."""
    ended = threading.Event()
    follow = threading.Thread(
        target=app.adb.follow_log,
        args=(LOG_TAG, lambda line: say(f"  {line}"), lambda: ended.is_set() or _past(end)),
        daemon=True,
    )
    follow.start()
    try:
        yield
    finally:
        ended.set()
        follow.join(_QUIET_SECS)


def _past(end: float) -> bool:
    return time.monotonic() > end


def _sessions(app: App, before: AppState, end: float, say: Say) -> AppState:
    patient_until = min(end, time.monotonic() + _NO_WORK_PATIENCE_SECS)
    state = before
    while True:
        state = _one_session(app, state, end)
        ended = state.books["last_error"] or state.books["last_happened"]
        if ended != _NO_WORK:
            say(f"session: {ended}, round {state.books['last_round']}")
            if state.books["last_error"] and state.obstacle:
                say(f"session: {state.obstacle}")
            return state
        if time.monotonic() + _NO_WORK_SECS > patient_until:
            say("session: the server had no work for this phone; it keeps calling by itself")
            return state
        say("session: no work yet, the server waits for other phones or has enough; again")
        time.sleep(_NO_WORK_SECS)


def _one_session(app: App, before: AppState, end: float) -> AppState:
    """Ask for a session and wait until the books show one more."""
    app.ask("train-now")
    while time.monotonic() < end:
        time.sleep(_POLL_SECS)
        state = app.ask("status")
        if state.books["sessions"] > before.books["sessions"]:
            return state
    raise FedvoiceError(
        ErrorCode.DEVICE_LOST,
        where=f"{app.package} on {app.adb.serial}",
        got="no end of the session in the time given",
        wanted="a session that ends",
        next_step="Look at `fedvoice deploy logs`; the phone continues by itself meanwhile.",
    )
