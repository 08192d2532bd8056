"""A phone's session over a real socket: the story when all goes well, and who need not call."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from fedvoice.device_runtime.conditions import Conditions, Requirements, ScriptedConditions, always
from fedvoice.device_runtime.examples import FeatureCache, LocalExamples
from fedvoice.device_runtime.outcomes import Happened
from fedvoice.device_runtime.store import NewExample, Split
from fedvoice.device_runtime.trainer import train
from fedvoice.protocol.codec import ENCODINGS, decode, digest_of, encode
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from tests.device_runtime.hut import (
    MANIFEST,
    PLAN,
    PROGRAM,
    SETTINGS,
    WEIGHTS,
    Hut,
    a_recording,
    assignment,
    blob,
)
from tests.device_runtime.scripted_server import ScriptedServer
from tests.device_runtime.tiny import TinyEngine


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


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_whatever_weights_are_sent_as_a_phone_trains_from_what_they_decode_to(
    hut: Hut, server: ScriptedServer, encoding: str
) -> None:
    sent = encode(WEIGHTS, encoding)
    server.script.blobs[digest_of(sent)] = sent
    server.script.check_ins.append(assignment(weights=blob(sent, encoding)))
    assert hut.phone.run_once().happened is Happened.TRAINED
    ((_, payload),) = server.reports

    engine, examples = TinyEngine(MANIFEST), hut.store.examples(Split.TRAIN)
    local = LocalExamples(engine, hut.store, examples, FeatureCache())
    reference = decode(sent, encoding, WEIGHTS.size, "")
    alone = train(engine, local, PLAN, reference, client_id="phone-1", round_number=4)
    assert alone.delta is not None
    np.testing.assert_array_equal(decode(payload, "float32", WEIGHTS.size, ""), alone.delta)


def test_a_phone_says_what_it_can_decode_and_gives_its_place_back_for_anything_else(
    hut: Hut, server: ScriptedServer
) -> None:
    server.script.check_ins.append(assignment(weights=blob(encode(WEIGHTS, "float32"), "int4")))
    with pytest.raises(FedvoiceError) as caught:
        hut.phone.run_once()
    assert caught.value.code is ErrorCode.BAD_ENCODING
    (request,) = (m for m in server.messages if isinstance(m, pb.CheckInRequest))
    assert tuple(request.capabilities.encodings) == ENCODINGS
    ((header, _),) = server.reports
    assert header.statistics.steps == 0


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


def test_a_phone_that_cannot_train_gives_its_place_back(hut: Hut, server: ScriptedServer) -> None:
    hut.store.delete_all()
    server.script.check_ins.append(assignment())
    outcome = hut.phone.run_once()
    assert outcome.happened is Happened.GAVE_UP
    ((header, payload),) = server.reports
    assert payload == b""
    assert header.statistics.steps == 0


def test_the_server_ends_it(hut: Hut, server: ScriptedServer) -> None:
    server.script.check_ins.append(pb.CheckInReply(retry=pb.RetryWindow(finished=True)))
    assert hut.phone.run_once().finished


def test_a_phone_in_use_does_not_call(hut: Hut, server: ScriptedServer) -> None:
    hut.conditions = always(Conditions(idle=False, unmetered=False))
    outcome = hut.restart().run_once()
    assert outcome.happened is Happened.NOT_READY
    assert outcome.detail == "in use, on a metered network"
    assert server.messages == []
    hut.settings = replace(SETTINGS, requirements=Requirements(idle=False, unmetered=False))
    assert hut.restart().run_once().happened is Happened.NO_WORK


def test_what_is_left_out_is_said_once(
    hut: Hut, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    hut.store.add(NewExample(a_recording(9), "maybe"))

    def said() -> list[str]:
        return [line for line in caplog.messages if "utterances used" in line]

    server.script.check_ins += [assignment(), assignment(assignment_id="a2", round=5)]
    hut.phone.run_once()
    hut.phone.run_once()
    (line,) = said()
    assert line.startswith("phone-1: 5 utterances used; left out: 1 unknown-token (first:")
    hut.store.add(NewExample(a_recording(10), "perhaps"))
    server.script.check_ins.append(assignment(assignment_id="a3", round=6))
    hut.phone.run_once()
    assert "2 unknown-token" in said()[1]
