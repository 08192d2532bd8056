"""The app on a device: asked by broadcasts that only adb's shell may send, answered in JSON."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from typing import Any

from fedvoice.android_harness.deploy.adb import Adb
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.usage import Usage

PACKAGE = "org.fedvoice.dictation"
ACTIVITY = "org.fedvoice.dictation.MainActivity"
LOG_TAG = "fedvoice"
_RECEIVER = "org.fedvoice.sdk.DeployReceiver"
_ACTION = "org.fedvoice.DEPLOY"
_INCLUDE_STOPPED = 32
_ANSWER = re.compile(r'data="(.*)"', re.DOTALL)
_BROADCAST_SECS = 90.0


@dataclass(frozen=True)
class AppState:
    """The app's reported state. books: the phone's, as `core/session/Books.kt` has them.

    explanation: why it does not train, as `core/session/Explanation.kt` has it: facts with topic,
    standing (ok, blocked, unknown) and text. Of `status` alone; none from an older app.
    """

    client_id: str
    enrolled: bool
    consent: bool
    examples: int
    books: dict[str, Any]
    explanation: tuple[dict[str, str], ...] = ()

    @property
    def obstacle(self) -> str:
        """What keeps the phone from training, the first of several; "" if nothing is known."""
        blocked = (fact["text"] for fact in self.explanation if fact["standing"] == "blocked")
        return next(blocked, "")

    @property
    def left_out(self) -> str:
        """What the phone's last training left out, in short: "12 used, 3 left out: 2
        wrong-sample-rate, 1 unknown-token"; "" if nothing, or from an app that does not say."""
        usage = Usage.from_dict(self.books.get("usage") or {})
        if not usage.skipped:
            return ""
        parts = ", ".join(f"{part.count} {reason}" for reason, part in usage.left_out.items())
        return f"{usage.used} used, {usage.skipped} left out: {parts}"


class App:
    """An app with the SDK inside, on one device.

    Args:
        package: of the host app; the dictation app unless said otherwise.
    """

    def __init__(self, adb: Adb, package: str = PACKAGE) -> None:
        self.adb, self.package = adb, package
        self.folder = f"/sdcard/Android/data/{package}/files/fedvoice_deploy"

    @property
    def installed(self) -> bool:
        """Whether the device has it."""
        listed = self.adb.shell(f"pm list packages {self.package}")
        return f"package:{self.package}" in listed.split()

    def apk_digest(self) -> str:
        """sha256 of the installed APK, hex; empty if there is none."""
        path = self.adb.shell(f"pm path {self.package} || true").strip().removeprefix("package:")
        if not path:
            return ""
        return (self.adb.shell(f"sha256sum {shlex.quote(path.splitlines()[0])}").split() or [""])[0]

    def open(self) -> None:
        """Start it: an app that was never opened gets no broadcasts."""
        if self.package == PACKAGE:
            self.adb.shell(f"am start -n {self.package}/{ACTIVITY}")
        else:
            self.adb.shell(f"monkey -p {self.package} -c android.intent.category.LAUNCHER 1")

    def ask(self, command: str, **extras: str) -> AppState:
        """Send a command of `DeployReceiver.kt`.

        Raises:
            FedvoiceError: with the app's own error, `not-found` if it is not installed, or
                `device-refused` if there is no answer.
        """
        words = [
            "am", "broadcast", "-f", str(_INCLUDE_STOPPED), "-n", f"{self.package}/{_RECEIVER}",
            "-a", _ACTION, "--es", "command", command,
        ]  # fmt: skip
        for name, value in extras.items():
            words += ["--es", name, value]
        try:
            output = self.adb.shell(shlex.join(words), _BROADCAST_SECS)
        except FedvoiceError as error:
            if error.code is ErrorCode.DEVICE_REFUSED and not self.installed:
                raise self._missing() from error
            raise
        match = _ANSWER.search(output)
        try:
            answer = json.loads(match[1]) if match else None
        except json.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            # Android takes a broadcast to an app that is not there, and answers with nothing.
            if not self.installed:
                raise self._missing()
            raise FedvoiceError(
                ErrorCode.DEVICE_REFUSED,
                where=f"{self.package} on {self.adb.serial}, {command}",
                got=output.strip()[-200:] or "nothing",
                wanted="the app's answer",
                next_step="Has it this version of the SDK? Look at `fedvoice deploy logs`.",
            )
        if "error" in answer:
            raise self._told(command, answer)
        return AppState(
            client_id=str(answer["client_id"]),
            enrolled=bool(answer["enrolled"]),
            consent=bool(answer["consent"]),
            examples=int(answer["examples"]),
            books=answer["books"],
            explanation=tuple((answer.get("explanation") or {}).get("lines", ())),
        )

    def _missing(self) -> FedvoiceError:
        return FedvoiceError(
            ErrorCode.NOT_FOUND,
            where=f"device {self.adb.serial}",
            got=f"no app {self.package}: it is not installed",
            wanted="the app, with fedvoice's SDK inside",
            next_step=f"Install it: `fedvoice deploy --device {self.adb.serial} --store "
            "TASK-STORE --consent`; another app is named by --package.",
        )

    def _told(self, command: str, answer: dict[str, Any]) -> FedvoiceError:
        known = {code.value: code for code in ErrorCode}
        return FedvoiceError(
            known.get(str(answer["error"]), ErrorCode.DEVICE_REFUSED),
            where=f"{self.package} on {self.adb.serial}, {command}",
            got=str(answer.get("message", answer["error"])),
            wanted="success",
            next_step="Correct what it names and run the same command again.",
        )
