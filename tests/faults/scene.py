"""A server, its phones, the lines between them, and the model that comes of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fedvoice.android_harness.emulation.jvm import why_not
from fedvoice.android_harness.emulation.proxy import FaultProxy
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.invitation import Invitation
from fedvoice.protocol.task import TaskPackage
from fedvoice.server.security.authority import Authority
from fedvoice.server.security.credentials import Credentials
from fedvoice.server.store.database import open_existing, open_read_only
from fedvoice.server.store.ledger import round_rows
from tests.faults import kotlin, tiny
from tests.waiting import LIMIT_SECS, wait_until

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("anna", "berta")
CONFIG = """
cohort_size = {phones}
rounds = {rounds}
seed = 3
{more}
[optimizer]
rate = 0.5
momentum = 0.9
[retry]
least_secs = 0.05
most_secs = 0.2
"""


@dataclass(frozen=True)
class PhoneKind:
    """How to start a phone of one kind.

    Args:
        package: the task that it can train, made once a run.
        names: of its phones in a scene.
        command: (state folder, invitation, corpus folder, speaker, kill point, marker) -> argv.
            It runs until the server has finished, and goes on when started again. A kind may
            know no kill points.
        lacking: what this machine must have for it and has not.
    """

    name: str
    package: Callable[[pytest.TempPathFactory], TaskPackage]
    command: Callable[[Path, str, Path, str, str, Path], Sequence[str]]
    names: tuple[str, ...] = NAMES
    lacking: Callable[[], Sequence[str]] = tuple


def _python_phone(
    state: Path, invitation: str, corpus: Path, speaker: str, point: str, marker: Path
) -> list[str]:
    command = [sys.executable, "-m", "tests.faults.killed", point, str(marker), "--tiny", "device"]
    command += ["--state", str(state), "--invitation", invitation, "--client-id", speaker]
    return [*command, "--data", str(corpus), "--speaker", speaker]


PHONE_KINDS = {
    "python": PhoneKind("python", tiny.package, _python_phone),
    "kotlin": PhoneKind("kotlin", kotlin.package, kotlin.command, NAMES[:1], lacking=why_not),
}


def only(kind: str) -> pytest.MarkDecorator:
    """Marks what is tested with one kind of phone."""
    return pytest.mark.parametrize("phone_kind", [kind], indirect=True)


def _turn_clock(marker: Path, secs: float) -> None:
    aside = marker.with_suffix(".aside")
    aside.write_text(str(secs))
    aside.replace(f"{marker}.clock")


@dataclass
class PhoneProcess:
    """One phone, its folder and its line. `start` it again after a kill."""

    scene: Scene
    name: str
    line: FaultProxy
    point: str = "-"
    step_secs: float = 0.0
    process: subprocess.Popen[bytes] | None = None
    invitation: str = ""
    wrapper: tuple[str, ...] = ()

    @property
    def state(self) -> Path:
        return self.scene.directory / self.name

    @property
    def marker(self) -> Path:
        return self.scene.directory / f"{self.name}.killed"

    @property
    def log(self) -> str:
        return (self.scene.directory / f"{self.name}.log").read_text(errors="replace")

    def start(self) -> None:
        self.invitation = self.invitation or self.scene.invite(self.line.address)
        command = self.scene.kind.command(
            self.state,
            self.invitation,
            self.scene.directory / "corpus",
            self.name,
            self.point,
            self.marker,
        )
        with (self.scene.directory / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, *command],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={**os.environ, tiny.STEP_SECS_VARIABLE: str(self.step_secs)},
            )

    def say(self, **conditions: object) -> None:
        """What a kind of phone that asks for it is told of its charger and so on."""
        draft = self.marker.with_suffix(".draft")
        draft.write_text(json.dumps(conditions))
        draft.replace(f"{self.state}.conditions")

    def turn_clock(self, secs: float) -> None:
        """The phone's wall clock, from now on."""
        _turn_clock(self.marker, secs)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(LIMIT_SECS)

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(LIMIT_SECS)


@dataclass
class Scene:
    """One server and its phones; `close` ends them all. names: empty: the kind's. cohort_size 0:
    every phone."""

    directory: Path
    kind: PhoneKind
    package: TaskPackage
    names: tuple[str, ...] = ()
    rounds: int = 2
    cohort_size: int = 0
    more: str = ""
    point: str = "-"
    server: subprocess.Popen[bytes] | None = None
    phones: list[PhoneProcess] = field(default_factory=list)
    lines: list[FaultProxy] = field(default_factory=list)
    main_address: str = ""

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.names = self.names or self.kind.names
        shutil.copytree(self.package.directory, self.directory / "task")
        tiny.make_corpus(self.directory / "corpus", self.names)
        config = CONFIG.format(
            phones=self.cohort_size or len(self.names), rounds=self.rounds, more=self.more
        )
        (self.directory / "server.toml").write_text(config)
        self.enrol_line = FaultProxy("127.0.0.1:1").__enter__()
        self.lines.append(self.enrol_line)
        self.start_server()
        for name in self.names:
            line = FaultProxy(self.main_address).__enter__()
            self.lines.append(line)
            self.phones.append(PhoneProcess(self, name, line))

    @property
    def store_dir(self) -> Path:
        return self.directory / "store"

    @property
    def update_bytes(self) -> int:
        """Size of a phone's update."""
        return 4 * self.package.manifest.parameters.total_size

    def start_server(self, wrapper: Sequence[str] = ()) -> None:
        """Start it, or start it again: on another port, to which the lines are turned."""
        ready = self.directory / "ready"
        ready.unlink(missing_ok=True)
        marker = self.directory / "server.killed"
        command = [sys.executable, "-m", "tests.faults.killed", self.point, str(marker), "serve"]
        command += ["--task", str(self.directory / "task"), "--store", str(self.store_dir)]
        command += ["--config", str(self.directory / "server.toml"), "--bind", "127.0.0.1:0"]
        command += ["--ready-file", str(ready), "--linger-secs", "60", "--verbose"]
        with (self.directory / "server.log").open("ab") as log:
            self.server = subprocess.Popen([*wrapper, *command], cwd=ROOT, stdout=log, stderr=log)
        wait_until(lambda: ready.exists() or self.server_ended(), "the server's start")
        assert ready.exists(), (self.directory / "server.log").read_text()
        self.main_address, self.enrol_line.target = ready.read_text().split()
        for phone in self.phones:
            phone.line.target = self.main_address

    def arm(self, point: str) -> None:
        """Where the server that is started next kills itself."""
        self.point = point
        (self.directory / "server.killed").unlink(missing_ok=True)

    def turn_server_clock(self, secs: float) -> None:
        """The server's wall clock, from now on."""
        _turn_clock(self.directory / "server.killed", secs)

    def server_ended(self) -> bool:
        return self.server is not None and self.server.poll() is not None

    def invite(self, address: str) -> str:
        database = open_existing(self.store_dir)
        try:
            token = Credentials(database).invite(3600, time.time())
        finally:
            database.close()
        authority = Authority(self.store_dir).pem.decode()
        return Invitation(address, self.enrol_line.address, authority, token).encode()

    def start_phones(self) -> None:
        for phone in self.phones:
            phone.start()

    def finish(self) -> bytes:
        """Wait for every phone to be told that all is done; the model's bytes."""
        for phone in self.phones:
            assert phone.wait() == 0, phone.log
        assert self.server is not None
        self.server.send_signal(signal.SIGTERM)
        assert self.server.wait(LIMIT_SECS) == 0
        return (self.store_dir / "weights.safetensors").read_bytes()

    def accepted(self) -> dict[tuple[int, str], int]:
        """How often each phone's update was counted, by round."""
        store = open_read_only(self.store_dir)
        try:
            rows = store.reports(work="train", verdict=int(pb.VERDICT_ACCEPTED))
        finally:
            store.close()
        return dict(Counter((row.number, row.client_id) for row in rows))

    def check_counted_once(self) -> None:
        """Every phone's update of every round, once; every round ended by its goal."""
        wanted = {(r, n): 1 for r in range(1, self.rounds + 1) for n in self.names}
        assert self.accepted() == wanted
        rows = [(row.round, row.status, row.clients) for row in round_rows(self.store_dir)]
        assert rows == [(r, "committed", len(self.names)) for r in range(1, self.rounds + 1)]

    def close(self) -> None:
        for phone in self.phones:
            if phone.process is not None and phone.process.poll() is None:
                phone.kill()
        if self.server is not None and not self.server_ended():
            self.server.kill()
            self.server.wait(LIMIT_SECS)
        for line in self.lines:
            line.__exit__(None, None, None)
