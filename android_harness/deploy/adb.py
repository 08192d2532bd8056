"""adb's client as a function call: what went wrong comes back as an error that says what to do."""

from __future__ import annotations

import hashlib
import os
import selectors
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedvoice.protocol.errors import ErrorCode, FedvoiceError

_QUICK_SECS = 30.0
_TRANSFER_SECS = 600.0
_LOG_POLL_SECS = 0.2
_FULL = ("No space left", "INSUFFICIENT_STORAGE")


@dataclass(frozen=True)
class Listed:
    """A line of `adb devices`. state: `device` means ready."""

    serial: str
    state: str
    model: str

    @property
    def ready(self) -> bool:
        """Whether it takes commands."""
        return self.state == "device"


def devices() -> list[Listed]:
    """What is connected.

    Raises:
        FedvoiceError: `missing-extra` without adb.
    """
    found = []
    for line in _adb(["devices", "-l"], _QUICK_SECS, "adb").splitlines()[1:]:
        serial, _, rest = line.strip().partition(" ")
        fields = rest.split()
        if serial and fields:
            facts = dict(f.split(":", 1) for f in fields[1:] if ":" in f)
            found.append(Listed(serial, fields[0], facts.get("model", "")))
    return found


class Adb:
    """One device. Every call ends within a time limit.

    All raise FedvoiceError: `device-lost` when the cable or the device is gone, `no-space` when it
    is full, `device-refused` for any other failure.
    """

    def __init__(self, serial: str) -> None:
        self.serial = serial

    def shell(self, command: str, timeout_secs: float = _QUICK_SECS) -> str:
        """Output of a shell command on the device; its failure is an error."""
        return self._run(["shell", command], timeout_secs)

    def install(self, apk: Path) -> None:
        """Install or update an app; its data stays."""
        output = self._run(["install", "-r", str(apk)], _TRANSFER_SECS)
        if "Success" not in output:
            raise _error(f"installing on {self.serial}", output)

    def uninstall(self, package: str) -> None:
        """Remove an app and its data."""
        self._run(["uninstall", package], _TRANSFER_SECS)

    def push(self, file: Path, target: str) -> bool:
        """Copy a file unless the same bytes are there already; whether it had to.

        What has come is compared by sha256: a copy that was broken off is made again.
        """
        with file.open("rb") as opened:
            wanted = hashlib.file_digest(opened, "sha256").hexdigest()
        if self._digest(target) == wanted:
            return False
        folder = shlex.quote(target.rpartition("/")[0])
        self.shell(f"mkdir -p {folder}")
        self._run(["push", str(file), target], _TRANSFER_SECS)
        got = self._digest(target)
        if got != wanted:
            raise FedvoiceError(
                ErrorCode.WRONG_DIGEST,
                where=f"{target} on {self.serial}",
                got=f"sha256 {got[:16]}...",
                wanted=f"sha256 {wanted[:16]}...",
                next_step="Try again; if it persists, the phone's storage or the cable fails.",
            )
        return True

    def reverse(self, port: int) -> None:
        """Let the device reach this machine's port under its own 127.0.0.1."""
        self._run(["reverse", f"tcp:{port}", f"tcp:{port}"], _QUICK_SECS)

    def follow_log(
        self, tag: str, show: Callable[[str], None], ended: Callable[[], bool], *, past: int = 0
    ) -> None:
        """Show the device's log lines with a tag as they come, until `ended` or the device is gone.

        Args:
            past: so many of the lines before now.
        """
        command = ["adb", "-s", self.serial, "logcat", "-v", "time"]
        command += ["-T", str(max(1, past)), "-s", f"{tag}:V"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            try:
                with selectors.DefaultSelector() as selector:
                    selector.register(process.stdout, selectors.EVENT_READ)
                    pending = b""
                    while not ended():
                        if not selector.select(_LOG_POLL_SECS):
                            continue
                        data = os.read(process.stdout.fileno(), 65536)
                        if not data:
                            break
                        *lines, pending = (pending + data).split(b"\n")
                        for line in lines:
                            show(line.decode("utf-8", "replace").rstrip())
            finally:
                process.terminate()

    def _digest(self, target: str) -> str:
        output = self.shell(f"sha256sum {shlex.quote(target)} 2>/dev/null || echo none")
        return output.split()[0] if output.split() else "none"

    def _run(self, arguments: list[str], timeout_secs: float) -> str:
        where = f"device {self.serial}"
        try:
            return _adb(["-s", self.serial, *arguments], timeout_secs, where)
        except FedvoiceError as error:
            # adb reports a pulled cable in a dozen ways; its list of devices reports it in one.
            refused = error.code is ErrorCode.DEVICE_REFUSED
            if refused and not any(d.serial == self.serial and d.ready for d in devices()):
                raise _lost(where, error.got) from error
            raise


def _adb(arguments: list[str], timeout_secs: float, where: str) -> str:
    try:
        done = subprocess.run(
            ["adb", *arguments], capture_output=True, text=True, timeout=timeout_secs, check=False
        )
    except FileNotFoundError as error:
        raise FedvoiceError(
            ErrorCode.MISSING_EXTRA,
            where=where,
            got="no program adb",
            wanted="Android's debug bridge",
            next_step="Install it: apt-get install adb (or Android's platform tools).",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise _lost(where, f"no answer within {timeout_secs:.0f} s") from error
    if done.returncode != 0:
        raise _error(where, f"{done.stderr}\n{done.stdout}")
    return done.stdout


def _error(where: str, output: str) -> FedvoiceError:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    got = lines[-1][:300] if lines else "no reason given"
    if any(sign in output for sign in _FULL):
        return FedvoiceError(
            ErrorCode.NO_SPACE,
            where=where,
            got=got,
            wanted="room for the app and its files",
            next_step="Free some space on the phone and run the same command again.",
        )
    return FedvoiceError(
        ErrorCode.DEVICE_REFUSED,
        where=where,
        got=got,
        wanted="success",
        next_step="Look at the phone's screen: it may ask for permission. `adb devices` says more.",
    )


def _lost(where: str, got: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.DEVICE_LOST,
        where=where,
        got=got,
        wanted="a device that answers",
        next_step="Plug it in (`adb devices` must say 'device') and run the same command again: "
        "it resumes.",
    )
