"""A phone's session over a real socket when something breaks: the work is kept or given back."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedvoice.device_runtime.outcomes import REACTIONS, Happened
from fedvoice.protocol.codec import digest_of, encode
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.task import TaskManifest
from tests.device_runtime.hut import MANIFEST_BYTES, PROGRAM, WEIGHTS, Hut, assignment
from tests.device_runtime.scripted_server import ScriptedServer
from tests.device_runtime.tiny import TinyEngine


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


def test_an_update_goes_on_in_the_next_session_where_the_server_has_it(
    hut: Hut, server: ScriptedServer
) -> None:
    server.script.check_ins.append(assignment())
    server.script.report_cuts += [20] * 4
    with pytest.raises(FedvoiceError):
        hut.phone.run_once()
    server.messages.clear()
    assert hut.restart().run_once().happened is Happened.TRAINED
    asked, sent, *chunks = server.messages
    assert isinstance(asked, pb.ReportStatusRequest)
    assert isinstance(sent, pb.ReportRequest)
    assert sent.header.offset == 20
    ((header, payload),) = server.reports
    assert digest_of(payload) == header.payload.digest
    assert sum(len(m.chunk.data) for m in chunks if isinstance(m, pb.ReportRequest)) == (
        len(payload) - 20
    )


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
