"""Laws 4 and 5 with the Kotlin phone: `kill -9` in every step of a session, then the same command
again. The update counts once, and the model is an undisturbed run's to the last bit."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import WEIGHTS_FILE, TaskPackage
from fedvoice.server.app import AggregationServer
from fedvoice.server.config import ServerConfig
from fedvoice.server.intake.meter import DownloadBytes
from fedvoice.server.intake.reports import Intake
from fedvoice.server.rounds.coordinator import Coordinator
from fedvoice.server.store.blobs import Upload
from fedvoice.server.store.database import open_read_only
from tests.android.jvm import needs_phone
from tests.android.support import finished, killed, record, started
from tests.android.tasks import tiny_config
from tests.shared import exported

pytestmark = [pytest.mark.slow, needs_phone]

ROUNDS = 2
PLAN = TrainingPlan(
    batch_size=2, local_epochs=40, client_rate=0.05, clip_norm=3.0, client_momentum=0.5, seed=9
)
STEPS = (
    "after check-in",
    "in mid-fetch",
    "between steps",
    "before the report",
    "in mid-upload",
    "after the upload, before the reply",
)


@dataclass
class Trap:
    """Kills a phone when it reaches a step, once."""

    step: str = ""
    kill: Callable[[], None] = lambda: None
    sprung: threading.Event = field(default_factory=threading.Event)

    def reached(self, step: str) -> None:
        if step == self.step and not self.sprung.is_set():
            self.sprung.set()
            self.kill()


@pytest.fixture
def trap(monkeypatch: pytest.MonkeyPatch) -> Trap:
    """Set in the service of every server that this test starts."""
    trap = Trap()

    def after(
        owner: type, name: str, step: str, when: Callable[[Any, Any], bool] = lambda *_: True
    ) -> None:
        """The trap's step is reached when a method of the server returns."""
        method = getattr(owner, name)

        def trapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = method(self, *args, **kwargs)
            if when(self, result):
                trap.reached(step)
            return result

        monkeypatch.setattr(owner, name, trapped)

    after(Coordinator, "check_in", "after check-in", lambda _, r: r.HasField("assignment"))
    # The second chunk of a blob is about to be sent.
    after(DownloadBytes, "chunk", "in mid-fetch", lambda counted, _: counted.sent > 2**17)
    after(Intake, "begin", "before the report")
    after(Upload, "write", "in mid-upload")
    after(Intake, "finish", "after the upload, before the reply")
    return trap


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> TaskPackage:
    """Weights and program of several chunks."""
    return exported(tiny_config(hidden_size=128), tmp_path_factory).package


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("speech") / "anna")


@dataclass(frozen=True)
class Ending:
    """What a server has at the end."""

    weights: bytes
    accepted: list[tuple[int, str]]
    """(round, client) of every update counted."""
    code: int
    log: str


def train(
    package: TaskPackage,
    speech: Path,
    directory: Path,
    during: Callable[[subprocess.Popen[str], Path], None] | None = None,
) -> Ending:
    """All rounds with one phone; `during` may end its first life, then it is started again."""
    config = ServerConfig.model_validate(
        {
            "bind": "127.0.0.1:0",
            "insecure": True,
            "rounds": ROUNDS,
            "cohort_size": 1,
            "retry": {"least_secs": 0.01, "most_secs": 0.05},
            "plan": PLAN.model_dump(),
        }
    )
    running = AggregationServer(config, package, directory / "store")
    phone = directory / "phone"
    address = running.start()
    command = ["run", "--server", address, "--state", phone, "--data", speech]
    command += ["--client-id", "anna", "--checkpoint-secs", 0, "--backoff-secs", 0.05]
    try:
        if during is not None:
            with started(*command) as process:
                during(process, phone)
        with started(*command) as process:
            code, log = finished(process)
    finally:
        running.stop(grace_secs=0.2)
    store = open_read_only(directory / "store")
    reports = store.reports(verdict=int(pb.VERDICT_ACCEPTED))
    store.close()
    return Ending(
        (directory / "store" / WEIGHTS_FILE).read_bytes(),
        sorted((row.number, row.client_id) for row in reports),
        code,
        log,
    )


@pytest.fixture(scope="module")
def undisturbed(
    package: TaskPackage, speech: Path, tmp_path_factory: pytest.TempPathFactory
) -> Ending:
    return train(package, speech, tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("step", STEPS)
def test_law_4_a_phone_killed_in_any_step_counts_once(
    package: TaskPackage,
    speech: Path,
    undisturbed: Ending,
    trap: Trap,
    tmp_path: Path,
    step: str,
) -> None:
    def kill(process: subprocess.Popen[str], phone: Path) -> None:
        if step == "between steps":
            deadline = time.monotonic() + 60
            while not (phone / "checkpoint").is_file():
                assert process.poll() is None, finished(process)
                assert time.monotonic() < deadline
                time.sleep(0.001)
            killed(process)
            trap.sprung.set()
        trap.kill = lambda: killed(process)
        trap.step = step
        assert trap.sprung.wait(60), "the phone did not come to that step"
        process.wait(60)
        assert process.returncode == -9

    ending = train(package, speech, tmp_path, kill)
    assert ending.code == 0, ending.log
    assert ending.accepted == undisturbed.accepted == [(r, "anna") for r in (1, ROUNDS)]
    assert ending.weights == undisturbed.weights
