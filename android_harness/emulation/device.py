"""An emulated Android device: files, packages and shell commands, and the Kotlin phone in its app.

It answers what `fedvoice deploy` and a person with `adb` ask most: getprop, df, pm, am, logcat,
sha256sum, mkdir, rm. Installing keeps the APK and checks that it is one; the app itself runs as
the JVM phone on Android's own ExecuTorch binary (`desktop app`), not on ART.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shlex
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from fedvoice.android_harness.emulation.adbd import Console
from fedvoice.android_harness.emulation.jvm import JvmPhone

PACKAGE = "org.fedvoice.dictation"
_LOG_POLL_SECS = 0.1
_INSTALL_CHUNK_BYTES = 64 * 1024


class _RefusedError(Exception):
    """A command that failed; its text goes to the caller."""


class DeviceFiles:
    """The device's file system: a folder, with a bound on what may be written."""

    def __init__(self, root: Path, capacity_bytes: int) -> None:
        self.root, self.capacity_bytes = root, capacity_bytes

    def path(self, name: str) -> Path:
        """Where a file of the device lies on this machine; nothing leads out of the device."""
        parts = [part for part in name.split("/") if part not in ("", ".", "..")]
        return self.root.joinpath(*parts)

    def free_bytes(self) -> int:
        """Room left."""
        used = sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file())
        return max(0, self.capacity_bytes - used)

    def check_room(self, size_bytes: int) -> None:
        """Raises OSError without room for so many bytes more."""
        if size_bytes > self.free_bytes():
            raise OSError(errno.ENOSPC, "No space left on device")


class EmulatedDevice:
    """One device.

    Args:
        directory: its whole state; the same folder is the same device again.
        phone: the built JVM phone.
        conditions: a file of the app's `--conditions`, or None: always on the charger.
    """

    def __init__(
        self,
        directory: Path,
        phone: JvmPhone,
        *,
        model: str = "Emulated",
        api: int = 34,
        abis: Sequence[str] = ("x86_64", "arm64-v8a"),
        capacity_bytes: int = 2 * 1000**3,
        conditions: Path | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.files = DeviceFiles(directory / "files", capacity_bytes)
        self.banner = f"device::ro.product.model={model};features=shell_v2,cmd"
        self._properties = {
            "ro.product.model": model,
            "ro.build.version.sdk": str(api),
            "ro.product.cpu.abilist": ",".join(abis),
        }
        self._phone, self._conditions = phone, conditions
        self._app: subprocess.Popen[str] | None = None
        self._app_lock = threading.Lock()
        self.log_path = directory / "logcat"
        self.log_path.touch()
        self._commands: dict[str, Callable[[list[str], Console], str]] = {
            "getprop": lambda words, _: self._properties.get(words[0], "") + "\n",
            "df": lambda *_: self._df(),
            "pm": lambda words, _: self._pm(words),
            "cmd": self._cmd,
            "am": lambda words, _: self._am(words),
            "monkey": lambda *_: "",
            "logcat": self._logcat,
            "sha256sum": lambda words, _: self._sha256sum(words[0]),
            "mkdir": lambda words, _: self._mkdir(words[-1]),
        }

    @property
    def apk(self) -> Path:
        """Where the installed app lies; not there: not installed."""
        return self.files.path(f"/data/app/{PACKAGE}/base.apk")

    def run(self, command: str, console: Console) -> int:
        """A shell command. What a shell would do with `|`, `||` and `2>` is left out: the command
        before them decides."""
        words = shlex.split(command)
        for mark in ("|", "||", "2>/dev/null"):
            if mark in words:
                words = words[: words.index(mark)]
        words = [word for word in words if word != "exec"]
        # `adb logcat` sets a variable first.
        while words and (words[0] == "export" or "=" in words[0] or words[0] == ";"):
            words = words[1:]
        try:
            known = self._commands.get(words[0] if words else "")
            if known is None:
                raise _RefusedError(f"/system/bin/sh: {command.split()[:1]}: not found")
            output, status = known(words[1:], console), 0
        except (_RefusedError, OSError) as error:
            output, status = f"{error}\n", 1
        console.write(output.encode())
        return status

    def kill_app(self) -> None:
        """kill -9."""
        with self._app_lock:
            self._end_app()

    def close(self) -> None:
        """Switch the device off."""
        self.kill_app()

    def _df(self) -> str:
        free, capacity = self.files.free_bytes() // 1024, self.files.capacity_bytes // 1024
        return f"/dev/block/dm-1 {capacity} {capacity - free} {free} 1% /data\n"

    def _pm(self, words: list[str]) -> str:
        if words[:2] == ["list", "packages"]:
            there = self.apk.is_file() and words[2:] in ([], [PACKAGE])
            return f"package:{PACKAGE}\n" if there else ""
        if words[:1] == ["path"]:
            return f"package:/data/app/{PACKAGE}/base.apk\n" if self.apk.is_file() else ""
        if words[:1] == ["uninstall"]:
            return self._uninstall(words[-1])
        raise _RefusedError(f"pm: {words[:1]} is not known here")

    def _cmd(self, words: list[str], console: Console) -> str:
        if words[:2] == ["package", "install"]:
            size_bytes = int(words[words.index("-S") + 1])
            return self._install(console, size_bytes)
        if words[:2] == ["package", "uninstall"]:
            return self._uninstall(words[-1])
        raise _RefusedError(f"cmd: {words[:2]} is not known here")

    def _install(self, console: Console, size_bytes: int) -> str:
        """An APK from the cable: kept when all of it has come and it is an app."""
        draft = self.files.path("/data/app/install.tmp")
        draft.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.files.check_room(size_bytes)
            with draft.open("wb") as file:
                while (left := size_bytes - file.tell()) > 0:
                    file.write(console.read(min(left, _INSTALL_CHUNK_BYTES)))
            with zipfile.ZipFile(draft) as archive:
                names = set(archive.namelist())
            if not {"AndroidManifest.xml", "classes.dex"} <= names:
                raise _RefusedError("Failure [INSTALL_PARSE_FAILED_NOT_APK]")
            self.apk.parent.mkdir(parents=True, exist_ok=True)
            draft.replace(self.apk)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise _RefusedError("Failure [INSTALL_FAILED_INSUFFICIENT_STORAGE]") from error
            raise
        except zipfile.BadZipFile as error:
            raise _RefusedError("Failure [INSTALL_PARSE_FAILED_NOT_APK]") from error
        finally:
            draft.unlink(missing_ok=True)
        return "Success\n"

    def _uninstall(self, package: str) -> str:
        if package != PACKAGE or not self.apk.is_file():
            raise _RefusedError("Failure [DELETE_FAILED_INTERNAL_ERROR]")
        self.kill_app()
        for folder in (self.apk.parent, self._data, self._pushed.parent):
            _remove(folder)
        return "Success\n"

    def _am(self, words: list[str]) -> str:
        if not self.apk.is_file():
            raise _RefusedError("Error: the app is not installed")
        if words[:1] == ["start"]:
            return "Starting: Intent\n"
        if words[:1] != ["broadcast"]:
            raise _RefusedError(f"am: {words[:1]} is not known here")
        extras = [i for i, word in enumerate(words) if word == "--es"]
        request = {words[i + 1]: words[i + 2] for i in extras}
        answer = self._ask(request)
        return f'Broadcasting: Intent\nBroadcast completed: result=0, data="{answer}"\n'

    def _ask(self, request: dict[str, str]) -> str:
        with self._app_lock:
            app = self._running_app()
            assert app.stdin is not None
            assert app.stdout is not None
            try:
                app.stdin.write(json.dumps(request) + "\n")
                app.stdin.flush()
                answer = app.stdout.readline().strip()
            except OSError as error:
                raise _RefusedError("the app has died") from error
        if not answer:
            raise _RefusedError("the app has died")
        return answer

    @property
    def _data(self) -> Path:
        return self.files.path(f"/data/data/{PACKAGE}")

    @property
    def _pushed(self) -> Path:
        return self.files.path(f"/sdcard/Android/data/{PACKAGE}/files/fedvoice_deploy")

    def _running_app(self) -> subprocess.Popen[str]:
        if self._app is None or self._app.poll() is not None:
            self._end_app()
            arguments = ["app", "--state", str(self._data), "--files", str(self._pushed)]
            if self._conditions is not None:
                arguments += ["--conditions", str(self._conditions)]
            self._data.mkdir(parents=True, exist_ok=True)
            with self.log_path.open("a") as log:
                self._app = subprocess.Popen(
                    self._phone.command(*arguments),
                    env=self._phone.environment(),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                )
        return self._app

    def _end_app(self) -> None:
        if self._app is not None:
            self._app.kill()
            self._app.wait()
            for stream in (self._app.stdin, self._app.stdout):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()
            self._app = None

    def _logcat(self, words: list[str], console: Console) -> str:
        """The last lines (`-T COUNT`) and then those that come, until the cable is pulled."""
        past = int(words[words.index("-T") + 1]) if "-T" in words else None
        with self.log_path.open("rb") as log:
            lines = log.read().splitlines(keepends=True)
            console.write(b"".join(lines if past is None else lines[-past:]))
            while not console.gone():
                if data := log.read():
                    console.write(data)
                else:
                    time.sleep(_LOG_POLL_SECS)
        return ""

    def _sha256sum(self, name: str) -> str:
        path = self.files.path(name)
        if not path.is_file():
            return "none\n"
        return f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n"

    def _mkdir(self, name: str) -> str:
        self.files.path(name).mkdir(parents=True, exist_ok=True)
        return ""


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    with suppress(OSError):
        folder.rmdir()
