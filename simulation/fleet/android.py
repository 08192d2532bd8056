"""A process of emulated Android phones: the Kotlin phone's `fleet`, as a child of a simulation."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from fedvoice.android_harness.emulation.jvm import JvmPhone
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.simulation.fleet.phones import EmulatedPhone


@dataclass(frozen=True)
class AndroidJob:
    """The job of one JVM of the fleet.

    Args:
        directory: folder of its job file, its error file and the blobs that its phones share.
    """

    phones: tuple[EmulatedPhone, ...]
    server: str
    directory: Path
    threads: int

    @property
    def error_path(self) -> Path:
        """The file to which the process writes the error that ended it."""
        return self.directory / "error.json"

    def write(self) -> Path:
        """Write the job's file."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.error_path.unlink(missing_ok=True)
        fields = {
            "server": self.server,
            "threads": self.threads,
            "blob_dir": str(self.directory / "blobs"),
            "error_path": str(self.error_path),
            "phones": [
                {
                    "client_id": phone.client_id,
                    "state_dir": str(phone.state_dir),
                    "script": [
                        {"from_secs": from_secs, "conditions": asdict(conditions)}
                        for from_secs, conditions in phone.script
                    ],
                }
                for phone in self.phones
            ],
        }
        path = self.directory / "job.json"
        path.write_text(json.dumps(fields, indent=1), encoding="utf-8")
        return path


class JvmChild:
    """A JVM of phones with the contract of `processes.Child`: its output goes to a file, SIGTERM
    stops it after the current step, its error is raised in the parent."""

    def __init__(self, name: str, phone: JvmPhone, job: AndroidJob, log_path: Path) -> None:
        self.name, self.log_path = name, log_path
        self._error_path = job.error_path
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                phone.command("fleet", str(job.write())),
                env=phone.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int | None:
        """The process's id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """0: done; negative: killed by that signal; None: running."""
        return self._process.poll()

    def error(self) -> FedvoiceError | None:
        """The error that ended it; None if it succeeded or a signal ended it."""
        code = self.exit_code
        if code is None or code <= 0:
            return None
        try:
            fields = json.loads(self._error_path.read_text(encoding="utf-8"))
            return FedvoiceError(ErrorCode(fields.pop("code")), **fields)
        except (OSError, ValueError, TypeError):
            return FedvoiceError(
                ErrorCode.CLIENT_LOST,
                where=self.name,
                got=f"exit code {code}",
                wanted="a process that runs to the end",
                next_step=f"Its last output is in {self.log_path}.",
            )

    def wait(self) -> None:
        """Wait until it ends by itself."""
        self._process.wait()

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        if self.running:
            self._process.terminate()

    def stop(self, grace_secs: float = 10.0) -> None:
        """SIGTERM, wait, then SIGKILL."""
        self.ask_to_stop()
        try:
            self._process.wait(grace_secs)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
