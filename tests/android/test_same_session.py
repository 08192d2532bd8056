"""Law 9 for the conversation: the same server, by the same script, hears the same calls in the same
order from the Python phone and from the Kotlin one. Both are real processes."""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedvoice.device_runtime.outcomes import REACTIONS, Reaction
from fedvoice.protocol.codec import decode, digest_of, encode
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import TaskPackage
from tests.android.jvm import needs_phone
from tests.android.support import END_SECS, log_lines, run_phone
from tests.device_runtime import scripted_server
from tests.device_runtime.scripted_server import Script, ScriptedServer

pytestmark = [pytest.mark.slow, needs_phone]
ROOT = Path(__file__).resolve().parents[2]
VERDICTS = [v for v in pb.Verdict.values() if v] + [99]
PLAN = TrainingPlan(batch_size=2, local_epochs=2, client_rate=0.1, seed=5)
SOON = pb.RetryWindow(min_secs=0.0, max_secs=0.01)


@dataclass
class Heard:
    """What a server was told by one phone, and what the phone said of itself."""

    messages: list[Any]
    payloads: list[tuple[pb.ReportHeader, bytes]]
    code: int
    log: list[str]


def blob(data: bytes, encoding: str = "") -> pb.Blob:
    return pb.Blob(digest=digest_of(data), size_bytes=len(data), encoding=encoding)


class Story:
    """A script over one task; assignments in order, then the end."""

    def __init__(self, package: TaskPackage, encoding: str = "float32") -> None:
        self.package, self.encoding = package, encoding
        self.program = package.program_path.read_bytes()
        self.manifest = (package.directory / "task.json").read_bytes()
        self.weights = encode(package.weights(), encoding)
        blobs = {digest_of(data): data for data in (self.manifest, self.program, self.weights)}
        self.script = Script(blobs=blobs)

    def assign(self, number: int, work: int = pb.WORK_TRAIN) -> None:
        self.script.check_ins.append(
            pb.CheckInReply(
                assignment=pb.Assignment(
                    assignment_id=f"a{number}",
                    round=number,
                    work=work,
                    lease_secs=1000,
                    plan=PLAN.to_message(),
                    manifest=blob(self.manifest),
                    program=blob(self.program),
                    weights=blob(self.weights, self.encoding),
                )
            )
        )

    def end(self) -> None:
        self.script.check_ins.append(pb.CheckInReply(retry=pb.RetryWindow(finished=True)))


def python_phone(*arguments: object) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "fedvoice", "device", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=END_SECS,
        check=False,
    )
    return done.returncode, done.stderr


def kotlin_phone(*arguments: object) -> tuple[int, str]:
    return run_phone("run", *arguments)


def both(write: Callable[[], Story], directory: Path, manifest: Path) -> tuple[Heard, Heard]:
    """The same story told to each kind of phone."""
    heard = []
    for name, phone in (("python", python_phone), ("kotlin", kotlin_phone)):
        server = ScriptedServer(write().script)
        try:
            code, log = phone(
                *("--server", server.address, "--state", directory / name),
                *("--data", manifest, "--client-id", "anna"),
            )
        finally:
            server.stop()
        lines = [line.replace(server.address, "SERVER") for line in log_lines(log)]
        heard.append(Heard(server.messages, server.reports, code, lines))
    return heard[0], heard[1]


def facts(message: Any) -> tuple[Any, ...]:
    """What must be equal; times, memory and the last bits of a sum may differ."""
    if isinstance(message, pb.CheckInRequest):
        capabilities, now = message.capabilities, message.conditions
        return (
            "CheckIn",
            message.client_id,
            capabilities.protocol_version,
            capabilities.train_examples,
            capabilities.test_examples,
            list(capabilities.operators),
            list(capabilities.encodings),
            (now.charging, now.idle, now.unmetered, now.battery_percent),
            list(message.cached_digests),
        )
    if isinstance(message, pb.FetchRequest):
        # The size of chunks that it asks for comes of the rate that it measured.
        return ("Fetch", message.digest, message.offset, message.client_id, message.assignment_id)
    if isinstance(message, pb.ReportRequest) and message.HasField("chunk"):
        return ("Chunk", len(message.chunk.data))
    if isinstance(message, pb.ReportRequest):
        header, counts = message.header, message.header.statistics
        return (
            "Report",
            header.client_id,
            header.assignment_id,
            header.report_id,
            header.round,
            header.offset,
            (header.payload.size_bytes, header.payload.encoding),
            (counts.examples, counts.steps, round(counts.loss, 3), counts.planned_memory_bytes),
            (counts.word_errors, counts.words, counts.utterances, counts.skipped_examples),
        )
    return (type(message).__name__, message.SerializeToString())


def same_updates(python: Heard, kotlin: Heard, size: int) -> None:
    assert len(python.payloads) == len(kotlin.payloads)
    for (_, a), (_, b) in zip(python.payloads, kotlin.payloads, strict=True):
        if not a:
            assert not b
            continue
        deltas: list[FlatVector] = [decode(data, "float32", size, "") for data in (a, b)]
        error = np.linalg.norm(deltas[0] - deltas[1]) / np.linalg.norm(deltas[0])
        assert error < 1e-4


@pytest.fixture(scope="module")
def every_verdict(
    task: TaskPackage, manifest: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Heard, Heard]:
    """One round for each verdict, in one life of each phone."""

    def write() -> Story:
        story = Story(task)
        for verdict in VERDICTS:
            story.assign(verdict)
            reaction = REACTIONS.get(verdict, Reaction.DROP)
            times = {Reaction.RESEND: 3, Reaction.RESUME: 3, Reaction.WAIT: 2}.get(reaction, 1)
            story.script.verdicts += [verdict] * times
            if reaction is Reaction.WAIT:
                story.script.verdicts.append(pb.VERDICT_ACCEPTED)
        story.end()
        return story

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scripted_server, "SOON", SOON)
        return both(write, tmp_path_factory.mktemp("verdicts"), manifest)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_is_answered_by_the_same_calls(
    every_verdict: tuple[Heard, Heard], verdict: int
) -> None:
    def about(heard: Heard) -> list[tuple[Any, ...]]:
        """From this verdict's first check-in to the next one's."""
        starts = [i for i, m in enumerate(heard.messages) if isinstance(m, pb.CheckInRequest)]
        number = VERDICTS.index(verdict)
        return [facts(m) for m in heard.messages[starts[number] : starts[number + 1]]]

    python, kotlin = map(about, every_verdict)
    assert kotlin == python
    assert any(fact[0] == "Report" for fact in python)


def test_both_phones_come_to_the_same_end(
    every_verdict: tuple[Heard, Heard], task: TaskPackage
) -> None:
    python, kotlin = every_verdict
    assert python.code == kotlin.code == 0
    assert len(python.messages) == len(kotlin.messages)
    happened = [[line.split(";")[0] for line in heard.log] for heard in every_verdict]
    assert happened[0] == happened[1]
    same_updates(python, kotlin, task.manifest.parameters.total_size)


def test_broken_lines_are_mended_alike(
    task: TaskPackage, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Downloads and uploads that break, an evaluation, and the pauses in between: drawn from the
    same stream."""
    monkeypatch.setattr(scripted_server, "SOON", SOON)

    def write() -> Story:
        story = Story(task)
        story.script.fetch_cuts = deque([100, 0, len(story.manifest), 40_000, 10**9])
        story.script.report_cuts = deque([0, 50])
        story.assign(1)
        story.assign(2, pb.WORK_EVALUATE)
        story.assign(3)
        story.end()
        return story

    python, kotlin = both(write, tmp_path, manifest)
    assert python.code == kotlin.code == 0
    assert [facts(m) for m in kotlin.messages] == [facts(m) for m in python.messages]
    pauses = [[line for line in heard.log if "again in" in line] for heard in (python, kotlin)]
    assert pauses[0] == pauses[1]
    assert len(pauses[0]) >= 4
    same_updates(python, kotlin, task.manifest.parameters.total_size)


@pytest.mark.parametrize("encoding", ["float16", "int8+zstd"])
def test_both_train_from_the_reference_that_they_decode(
    task: TaskPackage, manifest: Path, tmp_path: Path, encoding: str
) -> None:
    def write() -> Story:
        story = Story(task, encoding)
        story.assign(1)
        story.end()
        return story

    python, kotlin = both(write, tmp_path, manifest)
    assert python.code == kotlin.code == 0
    assert [facts(m) for m in kotlin.messages] == [facts(m) for m in python.messages]
    same_updates(python, kotlin, task.manifest.parameters.total_size)


def test_both_say_alike_that_their_line_is_too_slow(
    task: TaskPackage, manifest: Path, tmp_path: Path
) -> None:
    def write() -> Story:
        story = Story(task)
        retry = pb.RetryWindow(reason=pb.REASON_LINE_TOO_SLOW, detail="10 MB up take 900 s")
        story.script.check_ins.append(pb.CheckInReply(retry=retry))
        story.end()
        return story

    python, kotlin = both(write, tmp_path, manifest)
    for heard in (python, kotlin):
        assert heard.code == 0
        assert any(line.startswith("line-too-slow; 10 MB up take 900 s; ") for line in heard.log)
    assert [facts(m) for m in kotlin.messages] == [facts(m) for m in python.messages]


def test_a_damaged_program_is_never_loaded_and_the_place_given_back(
    task: TaskPackage, manifest: Path, tmp_path: Path
) -> None:
    """Flipped bytes would crash the runtime."""

    def write() -> Story:
        story = Story(task)
        middle = len(story.program) // 2
        damaged = story.program[:middle] + b"\xff" + story.program[middle + 1 :]
        story.script.blobs[digest_of(story.program)] = damaged
        story.assign(1)
        return story

    python, kotlin = both(write, tmp_path, manifest)
    assert python.code == kotlin.code == 2
    assert [facts(m) for m in kotlin.messages] == [facts(m) for m in python.messages]
    assert [header.statistics.steps for header, _ in kotlin.payloads] == [0]
