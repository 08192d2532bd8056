"""A phone's session over a real socket: the story when all goes well, and when it does not."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from device_runtime.blobs import BlobCache
from device_runtime.calls import CallPolicy, connect
from device_runtime.conditions import Conditions, Requirements, ScriptedConditions, always
from device_runtime.engines import EngineCache
from device_runtime.examples import FeatureCache, LocalExamples
from device_runtime.outcomes import REACTIONS, Happened, SessionSettings
from device_runtime.session import Phone
from device_runtime.store import ExampleStore, NewExample, Split
from device_runtime.trainer import train
from protocol.codec import decode, digest_of, encode
from protocol.errors import ErrorCode, FedvoiceError
from protocol.generated import fedvoice_pb2 as pb
from protocol.plan import TrainingPlan
from protocol.task import TaskManifest
from tests.device_runtime.scripted_server import Script, ScriptedServer
from tests.device_runtime.tiny import TinyEngine, some_weights, tiny_manifest

PROGRAM = b"a program" * 50_000  # more than one chunk
MANIFEST = tiny_manifest().model_copy(update={"program_digest": digest_of(PROGRAM)})
MANIFEST_BYTES = MANIFEST.model_dump_json().encode()
WEIGHTS = some_weights(MANIFEST)
PLAN = TrainingPlan(batch_size=2, clip_norm=0, local_epochs=2)
SETTINGS = SessionSettings(
    calls=CallPolicy(timeout_secs=10, max_attempts=3, backoff_secs=0.01),
    grace_secs=0,
    checkpoint_secs=0,
    recheck_secs=7,
)


def a_recording(word_number: int) -> bytes:
    random = np.random.default_rng(word_number)
    file = io.BytesIO()
    soundfile.write(file, random.normal(size=900) * 0.1, 16000, format="FLAC")
    return file.getvalue()


def a_store(path: Path, *, train: int = 5, test: int = 3) -> ExampleStore:
    store = ExampleStore(path)
    splits = [Split.TRAIN] * train + [Split.TEST] * test
    store.add_all(
        NewExample(audio=a_recording(i), transcript=("yes", "no")[i % 2], split=split)
        for i, split in enumerate(splits)
    )
    return store


def blob(data: bytes, encoding: str = "") -> pb.Blob:
    return pb.Blob(digest=digest_of(data), size_bytes=len(data), encoding=encoding)


def assignment(**changes: object) -> pb.CheckInReply:
    fields: dict[str, object] = {
        "assignment_id": "a1",
        "round": 4,
        "work": pb.WORK_TRAIN,
        "lease_secs": 1000.0,
        "plan": PLAN.to_message(),
        "manifest": blob(MANIFEST_BYTES),
        "program": blob(PROGRAM),
        "weights": blob(encode(WEIGHTS, "float32"), "float32"),
    }
    return pb.CheckInReply(assignment=pb.Assignment(**{**fields, **changes}))


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    script = Script()
    for data in (MANIFEST_BYTES, PROGRAM, encode(WEIGHTS, "float32")):
        script.blobs[digest_of(data)] = data
    server = ScriptedServer(script)
    yield server
    server.stop()


class Hut:
    """A phone with its belongings; `restart` is what is left after a kill."""

    def __init__(self, directory: Path, address: str, name: str = "phone-1") -> None:
        self.directory, self.address, self.name = directory, address, name
        self.store = a_store(directory / name / "examples.sqlite")
        self.conditions = always()
        self.settings = SETTINGS
        self.engines: list[TinyEngine] = []
        self.now = 1000.0
        self.slept: list[float] = []
        self.channel = connect(address)
        self.restart()

    def make_engine(self, manifest: TaskManifest) -> TinyEngine:
        self.engines.append(TinyEngine(manifest))
        return self.engines[-1]

    def restart(self) -> Phone:
        self.phone = Phone(
            self.name,
            self.directory / self.name,
            store=self.store,
            channel=self.channel,
            server=self.address,
            engines=EngineCache(lambda package: self.make_engine(package.manifest)),
            blobs=BlobCache(self.directory / "blobs"),
            conditions=self.conditions,
            settings=self.settings,
            clock=lambda: self.now,
            sleep=self.slept.append,
        )
        return self.phone


@pytest.fixture
def hut(tmp_path: Path, server: ScriptedServer) -> Iterator[Hut]:
    hut = Hut(tmp_path, server.address)
    yield hut
    hut.channel.close()


def test_a_round_of_training(hut: Hut, server: ScriptedServer) -> None:
    server.script.check_ins.append(assignment())
    outcome = hut.phone.run_once()

    assert outcome.happened is Happened.TRAINED
    assert outcome.round_number == 4
    assert 2.0 <= outcome.next_contact_secs <= 4.0
    assert not outcome.finished
    ((header, payload),) = server.reports
    assert header.assignment_id == "a1"
    assert (header.statistics.examples, header.statistics.steps) == (5, 6)

    engine = TinyEngine(MANIFEST)
    rows = hut.store.examples(Split.TRAIN)
    alone = train(
        engine,
        LocalExamples(engine, hut.store, rows, FeatureCache()),
        PLAN,
        WEIGHTS,
        client_id="phone-1",
        round_number=4,
    )
    assert alone.delta is not None
    np.testing.assert_array_equal(decode(payload, "float32", WEIGHTS.size, ""), alone.delta)
    assert [hut.store.rounds_used(row.id) for row in rows] == [[4]] * 5

    assert outcome.bytes_up == sum(m.ByteSize() + 5 for m in server.messages)  # type: ignore[attr-defined]
    assert outcome.bytes_down > len(PROGRAM)
    assert outcome.attempts == 1 + 3 + 1
    assert hut.phone.run_once().happened is Happened.NO_WORK
    assert len(server.reports) == 1


def test_what_a_phone_holds_is_not_fetched_again(hut: Hut, server: ScriptedServer) -> None:
    server.script.check_ins += [assignment(), assignment(assignment_id="a2", round=5)]
    first = hut.phone.run_once()
    second = hut.restart().run_once()
    assert (first.happened, second.happened) == (Happened.TRAINED, Happened.TRAINED)
    assert len(server.fetches) == 3
    assert second.bytes_down < 500 < len(PROGRAM)
    check_in = [m for m in server.messages if isinstance(m, pb.CheckInRequest)][1]
    assert set(check_in.cached_digests) == set(server.script.blobs)


def test_a_neighbours_download_is_not_mine(hut: Hut, server: ScriptedServer) -> None:
    """Two phones share a folder of blobs; each still pays for its own bytes."""
    neighbour = Hut(hut.directory, server.address, "phone-2")
    server.script.check_ins += [assignment(), assignment(assignment_id="a2")]
    assert hut.phone.run_once().bytes_down == neighbour.phone.run_once().bytes_down
    neighbour.channel.close()


def test_law_10_no_word_and_no_sound_is_in_what_was_sent(hut: Hut, server: ScriptedServer) -> None:
    server.script.check_ins += [assignment(), assignment(work=pb.WORK_EVALUATE)]
    hut.phone.run_once()
    hut.phone.run_once()
    assert len(server.reports) == 2
    sent = b"".join(m.SerializeToString() for m in server.messages)  # type: ignore[attr-defined]
    for word in ("yes", "no", "examples.sqlite", str(hut.directory)):
        assert f" {word}".encode() not in sent
        assert f"\x02{word}".encode() not in sent
    assert not any(a_recording(i)[100:108] in sent for i in range(8))


def test_a_round_of_evaluation(hut: Hut, server: ScriptedServer) -> None:
    server.script.check_ins.append(assignment(work=pb.WORK_EVALUATE))
    outcome = hut.phone.run_once()
    assert outcome.happened is Happened.EVALUATED
    ((header, payload),) = server.reports
    assert payload == b""
    assert header.statistics.utterances == header.statistics.words == 3
    assert header.statistics.word_errors <= 3


def test_a_broken_download_goes_on_where_it_broke(hut: Hut, server: ScriptedServer) -> None:
    server.script.check_ins.append(assignment())
    server.script.fetch_cuts += [len(MANIFEST_BYTES), 100_000, 0, 150_000]
    assert hut.phone.run_once().happened is Happened.TRAINED
    offsets = [f.offset for f in server.fetches if f.digest == digest_of(PROGRAM)]
    assert offsets[:3] == [0, 100_000, 100_000]
    assert offsets[3] == 250_000


def test_a_download_goes_on_after_a_kill(hut: Hut, server: ScriptedServer) -> None:
    server.script.check_ins.append(assignment())
    cuts = [len(MANIFEST_BYTES), 100_000, 0, 0, 0]
    server.script.fetch_cuts += cuts
    with pytest.raises(FedvoiceError) as caught:
        hut.phone.run_once()
    assert caught.value.code is ErrorCode.SERVER_UNREACHABLE
    server.fetches.clear()
    server.script.fetch_cuts.clear()
    assert hut.restart().run_once().happened is Happened.TRAINED
    assert server.fetches[0].offset == 100_000


def test_damaged_bytes_never_reach_the_runtime(hut: Hut, server: ScriptedServer) -> None:
    server.script.check_ins.append(assignment())
    server.script.blobs[digest_of(PROGRAM)] = PROGRAM[:-1] + b"X"
    with pytest.raises(FedvoiceError) as caught:
        hut.phone.run_once()
    assert caught.value.code is ErrorCode.WRONG_DIGEST
    assert len([f for f in server.fetches if f.digest == digest_of(PROGRAM)]) == 2
    assert hut.engines == []
    ((header, _),) = server.reports
    assert header.statistics.steps == 0, "the place is given back"
    # The assignment is dropped: the next session asks for work again.
    assert hut.phone.run_once().happened is Happened.NO_WORK


def test_a_dropped_model_ends_the_assignment(hut: Hut, server: ScriptedServer) -> None:
    server.script.check_ins.append(assignment())
    del server.script.blobs[digest_of(encode(WEIGHTS, "float32"))]
    with pytest.raises(FedvoiceError, match="NOT_FOUND") as caught:
        hut.phone.run_once()
    assert caught.value.code is ErrorCode.SERVER_REJECTED
    assert hut.phone.run_once().happened is Happened.NO_WORK


def test_a_broken_report_is_resumed(hut: Hut, server: ScriptedServer) -> None:
    server.script.check_ins.append(assignment())
    server.script.report_cuts.append(20)
    outcome = hut.phone.run_once()
    assert outcome.happened is Happened.TRAINED
    headers = [
        m.header
        for m in server.messages
        if isinstance(m, pb.ReportRequest) and m.HasField("header")
    ]
    assert [h.offset for h in headers] == [0, 20]
    assert len({h.report_id for h in headers}) == 1
    ((header, payload),) = server.reports
    assert digest_of(payload) == header.payload.digest


def test_a_finished_update_survives_until_it_is_acknowledged(
    hut: Hut, server: ScriptedServer
) -> None:
    server.script.check_ins.append(assignment())
    server.script.report_cuts += [0, 0, 0]
    with pytest.raises(FedvoiceError) as caught:
        hut.phone.run_once()
    assert caught.value.code is ErrorCode.SERVER_UNREACHABLE
    steps = hut.engines[0].calls

    outcome = hut.restart().run_once()
    assert outcome.happened is Happened.TRAINED
    assert len(hut.engines) == 1, "delivered without training again"
    assert hut.engines[0].calls == steps
    assert len([m for m in server.messages if isinstance(m, pb.CheckInRequest)]) == 1


def test_a_phone_killed_while_training_goes_on_at_its_checkpoint(
    hut: Hut, server: ScriptedServer
) -> None:
    server.script.check_ins.append(assignment())

    polls = iter(range(100))

    def killed() -> bool:
        if next(polls) == 4:
            raise SystemExit("kill -9")
        return False

    with pytest.raises(SystemExit):
        hut.phone.run_once(should_stop=killed)
    assert hut.engines[0].calls == 4
    outcome = hut.restart().run_once()
    assert outcome.happened is Happened.TRAINED
    assert hut.engines[1].calls == 6 - 4
    assert len([m for m in server.messages if isinstance(m, pb.CheckInRequest)]) == 1


def test_lost_conditions_stop_training_and_returning_ones_resume_it(
    hut: Hut, server: ScriptedServer
) -> None:
    clock = iter(range(100))
    hut.conditions = ScriptedConditions(
        [(0, Conditions()), (5, Conditions(charging=False)), (7, Conditions())],
        clock=lambda: float(next(clock)),
    )
    server.script.check_ins.append(assignment())
    phone = hut.restart()
    stopped = phone.run_once()
    assert stopped.happened is Happened.INTERRUPTED
    assert stopped.detail == "not charging"
    assert stopped.next_contact_secs == 7
    done = hut.engines[0].calls
    assert 0 < done < 6
    not_ready = phone.run_once()
    assert not_ready.happened is Happened.NOT_READY
    assert not_ready.attempts == 0
    assert phone.run_once().happened is Happened.TRAINED
    assert hut.engines[0].calls == 6


def test_a_lease_that_ran_out_is_dropped(hut: Hut, server: ScriptedServer) -> None:
    server.script.check_ins.append(assignment(lease_secs=50.0))

    def slow() -> bool:
        hut.now += 20
        return False

    assert hut.phone.run_once(should_stop=slow).happened is Happened.LEASE_EXPIRED
    assert server.reports == []
    assert hut.phone.run_once().happened is Happened.NO_WORK


@pytest.mark.parametrize("verdict", [v for v in pb.Verdict.values() if v] + [99])
def test_every_verdict_has_a_reaction(hut: Hut, server: ScriptedServer, verdict: int) -> None:
    server.script.check_ins.append(assignment())
    server.script.verdicts += [verdict] * 3
    outcome = hut.phone.run_once()
    again = hut.phone.run_once()
    assert outcome.verdict == verdict
    if verdict == pb.VERDICT_ACCEPTED:
        assert outcome.happened is Happened.TRAINED
    elif verdict == pb.VERDICT_NO_SPACE:
        assert outcome.happened is Happened.REPORT_KEPT
        assert again.happened is Happened.REPORT_KEPT
        assert hut.phone.run_once().verdict == verdict
        assert hut.phone.run_once().happened is Happened.TRAINED
    else:
        assert outcome.happened is Happened.REPORT_DROPPED
        assert again.happened is Happened.NO_WORK
    retried = verdict in (pb.VERDICT_WRONG_DIGEST, pb.VERDICT_WRONG_OFFSET)
    assert len(server.reports) >= (3 if retried else 1)


def test_all_verdicts_of_the_protocol_are_known() -> None:
    assert set(REACTIONS) == set(pb.Verdict.values()) - {pb.VERDICT_UNSPECIFIED}


def test_a_phone_that_cannot_train_gives_its_place_back(hut: Hut, server: ScriptedServer) -> None:
    hut.store.delete_all()
    server.script.check_ins.append(assignment())
    outcome = hut.phone.run_once()
    assert outcome.happened is Happened.GAVE_UP
    ((header, payload),) = server.reports
    assert payload == b""
    assert header.statistics.steps == 0


def test_no_server_is_said_after_bounded_retries(tmp_path: Path) -> None:
    hut = Hut(tmp_path, "127.0.0.1:1")
    with pytest.raises(FedvoiceError) as caught:
        hut.phone.run_once()
    assert caught.value.code is ErrorCode.SERVER_UNREACHABLE
    assert "127.0.0.1:1" in caught.value.where
    assert len(hut.slept) == 2
    assert 0.005 <= hut.slept[0] <= 0.015
    assert 0.01 <= hut.slept[1] <= 0.03
    hut.channel.close()


def test_the_server_ends_it(hut: Hut, server: ScriptedServer) -> None:
    server.script.check_ins.append(pb.CheckInReply(retry=pb.RetryWindow(finished=True)))
    assert hut.phone.run_once().finished


def test_a_phone_whose_runtime_refuses_the_program_gives_its_place_back(
    hut: Hut, server: ScriptedServer
) -> None:
    def refuse(manifest: TaskManifest) -> TinyEngine:
        raise FedvoiceError(
            ErrorCode.MISSING_OPERATOR, where="", got="no x", wanted="x", next_step=""
        )

    hut.make_engine = refuse  # type: ignore[method-assign]
    server.script.check_ins.append(assignment())
    with pytest.raises(FedvoiceError, match="missing-operator"):
        hut.phone.run_once()
    ((header, payload),) = server.reports
    assert (header.assignment_id, header.statistics.steps, payload) == ("a1", 0, b"")
    assert hut.phone.run_once().happened is Happened.NO_WORK


def test_a_phone_in_use_does_not_call(hut: Hut, server: ScriptedServer) -> None:
    hut.conditions = always(Conditions(idle=False, unmetered=False))
    outcome = hut.restart().run_once()
    assert outcome.happened is Happened.NOT_READY
    assert outcome.detail == "in use, on a metered network"
    assert server.messages == []
    hut.settings = replace(SETTINGS, requirements=Requirements(idle=False, unmetered=False))
    assert hut.restart().run_once().happened is Happened.NO_WORK
