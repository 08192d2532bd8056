"""`fedvoice deploy`: onto phones and emulators, and what they do there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedvoice.android_harness.deploy.app import PACKAGE
from fedvoice.protocol.errors import ErrorCode, FedvoiceError

if TYPE_CHECKING:
    from fedvoice.android_harness.deploy.adb import Adb
    from fedvoice.android_harness.deploy.app import AppState
    from fedvoice.android_harness.deploy.deployment import DeploymentSpec

_PAST_LINES = 200

deploy = typer.Typer(add_completion=False, rich_markup_mode="rich")

_Device = Annotated[
    list[str] | None,
    typer.Option("--device", help="Serial of `adb devices`; repeatable. [the only one connected]"),
]
_Package = Annotated[str, typer.Option(help="The app, if it is not the dictation app.")]


@deploy.callback(invoke_without_command=True)
def install(
    context: typer.Context,
    device: _Device = None,
    apk: Annotated[
        Path | None, typer.Option(help="The app. [build/android/fedvoice.apk, from `make apk`]")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="The server's store: makes an invitation for each phone.")
    ] = None,
    invitation: Annotated[
        Path | None, typer.Option(help="Or a file of invitations, one a line, one a phone.")
    ] = None,
    consent: Annotated[
        bool,
        typer.Option("--consent", help="Record that the phone's owner agrees to training."),
    ] = False,
    task: Annotated[
        Path | None, typer.Option(help="A task package to copy: recognition before any session.")
    ] = None,
    examples: Annotated[
        Path | None, typer.Option(help="A manifest of seed examples, for testing.")
    ] = None,
    speaker: Annotated[str, typer.Option(help="Only this speaker's examples.")] = "",
    now: Annotated[
        bool,
        typer.Option("--now", help="A session at once: overrides charger, idleness and network."),
    ] = False,
    wait_secs: Annotated[float, typer.Option(help="How long to wait for that session.")] = 600.0,
    package: _Package = PACKAGE,
) -> None:
    """Install the app on phones and emulators, enrol them, and start a first session.

    Each step finds out whether it was done before: after a pulled cable or a full phone, run the
    same command again. Several devices are served at the same time.

    Example: fedvoice deploy --store task-store --consent --now
    """
    if context.invoked_subcommand is not None:
        return
    from fedvoice.android_harness.apk.build import APK
    from fedvoice.android_harness.deploy.deployment import DeploymentSpec
    from fedvoice.protocol.task import load_package
    from fedvoice.protocol.utterances import read_manifest

    chosen = apk or APK
    if not chosen.is_file():
        raise FedvoiceError(
            ErrorCode.NOT_FOUND,
            where=str(chosen),
            got="no such file",
            wanted="the app's APK",
            next_step="Build it with `make apk`, or give --apk.",
        )
    serials = _serials(device)
    texts = _invitations(invitation, len(serials))
    spoken = read_manifest(_manifest(examples)) if examples else []
    package_of_task = load_package(task) if task else None

    def spec_of(index: int) -> DeploymentSpec:
        return DeploymentSpec(
            apk=chosen,
            package=package,
            invitation=_invite(store, texts, index),
            consent=consent,
            task=package_of_task,
            examples=tuple(u for u in spoken if speaker in ("", u.speaker)),
            now=now,
            wait_secs=wait_secs,
        )

    _deploy_all(serials, [spec_of(i) for i in range(len(serials))])


@deploy.command()
def status(
    device: _Device = None,
    package: _Package = PACKAGE,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Why each phone does not train now, and what it has learnt, sent, spent and left out."""
    from fedvoice.android_harness.deploy.adb import Adb
    from fedvoice.android_harness.deploy.app import App

    for serial in _serials(device):
        state = App(Adb(serial), package).ask("status")
        facts: dict[str, Any] = {
            "device": serial,
            "enrolled": state.enrolled,
            "consent": state.consent,
            "examples_held": state.examples,
            **state.books,
        }
        if as_json:
            typer.echo(json.dumps({**facts, "explanation": state.explanation}))
        else:
            # A line for a person, and only when something is left out; JSON has the numbers.
            facts.pop("usage", None)
            if state.left_out:
                facts["usage"] = state.left_out
            typer.echo(
                "\n".join([*_told(state), *(f"{k:24} {v}" for k, v in facts.items())]) + "\n"
            )


def _told(state: AppState) -> list[str]:
    """Why the phone does not train: the answer, and all that was asked for it."""
    if not state.explanation:
        return []
    answer = state.obstacle or "Nothing stands in the way: the phone starts the next session."
    facts = [f"  {f['standing']:8} {f['topic']:13} {f['text']}" for f in state.explanation]
    return [answer, *facts]


@deploy.command()
def logs(
    device: _Device = None,
    seconds: Annotated[float, typer.Option(help="How long; 0: until Ctrl-C.")] = 0.0,
) -> None:
    """Follow the log of one phone: numbers only, never a word of what was said."""
    from fedvoice.android_harness.deploy.adb import Adb
    from fedvoice.android_harness.deploy.app import LOG_TAG

    (serial, *more) = _serials(device)
    if more:
        raise _one_device([serial, *more])
    end = time.monotonic() + seconds if seconds else float("inf")
    Adb(serial).follow_log(LOG_TAG, typer.echo, lambda: time.monotonic() > end, past=_PAST_LINES)


@deploy.command()
def remove(
    device: _Device = None,
    package: _Package = PACKAGE,
    store: Annotated[
        Path | None, typer.Option(help="The server's store: revoke the phone's certificate, too.")
    ] = None,
) -> None:
    """Delete everything the app holds and uninstall it; an unsent update is withdrawn."""
    from fedvoice.android_harness.deploy.adb import Adb
    from fedvoice.android_harness.deploy.app import App

    for serial in _serials(device):
        app = App(Adb(serial), package)
        if not app.installed:
            typer.echo(f"{serial}: the app is not there")
            continue
        client_id = app.ask("status").client_id
        app.ask("delete-everything")
        app.adb.uninstall(package)
        typer.echo(f"{serial}: deleted and uninstalled")
        if store is not None and client_id:
            from fedvoice.server.security.invite import revoke_client

            ended = revoke_client(store, client_id)
            typer.echo(f"{serial}: {ended} certificates revoked")


def _deploy_all(serials: Sequence[str], specs: Sequence[DeploymentSpec]) -> None:
    """All devices at once; the first error is raised when all have ended."""
    from fedvoice.android_harness.deploy.adb import Adb
    from fedvoice.android_harness.deploy.deployment import deploy as deploy_one

    def work(adb: Adb, spec: DeploymentSpec) -> None:
        state = deploy_one(adb, spec, lambda text: typer.echo(f"{adb.serial}: {text}"))
        books = state.books
        typer.echo(
            f"{adb.serial}: {books['trained']} updates sent, {books['bytes_up']} bytes up, "
            f"{books['bytes_down']} down, {books['train_secs']:.1f} s of training"
            + (f"; {state.left_out}" if state.left_out else "")
        )

    with ThreadPoolExecutor(len(serials), thread_name_prefix="deploy") as pool:
        pairs = zip(serials, specs, strict=True)
        futures = [pool.submit(work, Adb(serial), spec) for serial, spec in pairs]
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in errors[1:]:
        typer.echo(f"error: {error}", err=True)
    if errors:
        raise errors[0]


def _serials(given: Sequence[str] | None) -> list[str]:
    """The devices meant, each ready."""
    from fedvoice.android_harness.deploy.adb import devices

    listed = {device.serial: device for device in devices()}
    # Not named: those that are ready, whatever else was connected once.
    wanted = list(given or [d.serial for d in listed.values() if d.ready])
    ready = [serial for serial in wanted if serial in listed and listed[serial].ready]
    if given is None and len(ready) > 1:
        raise _one_device(ready)
    if ready and ready == wanted:
        return ready
    shown = ", ".join(f"{d.serial} ({d.state})" for d in listed.values()) or "no device"
    raise FedvoiceError(
        ErrorCode.DEVICE_LOST,
        where=", ".join(given) if given else "adb",
        got=shown,
        wanted="devices in state 'device'",
        next_step="Plug the phone in with USB debugging on and allow this computer on its screen, "
        "start an emulator, or `adb connect HOST:PORT`.",
    )


def _one_device(serials: Sequence[str]) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.BAD_CONFIG,
        where="adb",
        got=f"{len(serials)} devices: {', '.join(serials)}",
        wanted="to know which one",
        next_step="Name them: --device SERIAL, for each.",
    )


def _invitations(path: Path | None, count: int) -> list[str]:
    if path is None:
        return []
    lines = [line for line in path.read_text(encoding="utf-8").split() if line]
    if len(lines) < count:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=str(path),
            got=f"{len(lines)} invitations",
            wanted=f"{count}, one a device",
            next_step="`fedvoice invite --count` makes several.",
        )
    return lines


def _invite(store: Path | None, texts: Sequence[str], index: int) -> Callable[[], str] | None:
    if texts:
        return lambda: texts[index]
    if store is None:
        return None

    def make() -> str:
        from fedvoice.server.security.invite import make_invitations

        return make_invitations(store)[0].encode()

    return make


def _manifest(path: Path) -> Path:
    return path / "manifest.jsonl" if path.is_dir() else path
