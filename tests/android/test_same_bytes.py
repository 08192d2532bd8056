"""Law 9, the parts: random numbers, encoded vectors and messages are the same in Kotlin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from google.protobuf import json_format

from fedvoice.protocol.codec import ENCODINGS, decode, digest_of, encode
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.random import Purpose, Stream, normal_table, read_table, uniform_table
from tests.android.jvm import ask, needs_phone

pytestmark = needs_phone


def test_random_numbers_are_the_same(tmp_path: Path) -> None:
    names = [(0, "", 0), (2**64 - 1, "phone-ü", 12), (5, "a|b", 2**31 - 1)]
    purposes = [Purpose.DATA_LIMIT, Purpose.SHUFFLE, Purpose.NOISE, Purpose.SPEC_AUGMENT]
    purposes += [Purpose.RETRY, Purpose.DRAWS]
    questions: list[dict[str, Any]] = []
    for i, (seed, client, number) in enumerate(names):
        for purpose in purposes:
            questions.append(
                {
                    "kind": "draws",
                    "id": f"{purpose.value}-{i}",
                    "seed": seed,
                    "client_id": client,
                    "round": number,
                    "purpose": purpose.value,
                    "words": 1001,
                    "normals": 999,
                    "uniforms": 998,
                    "permutation": 77,
                }
            )
    table = {"kind": "table", "seed": 11, "offset": 2**20 - 3, "count": 2**20}
    for numbers in ("normals", "uniforms"):
        questions.append({**table, "id": numbers, "numbers": numbers})
    answers = ask(tmp_path, questions)
    for i, (seed, client, number) in enumerate(names):
        for purpose in purposes:
            stream, question = Stream(seed, client, number, purpose), f"{purpose.value}-{i}"
            assert np.array_equal(answers.words(question, "words"), stream.words(1001))
            one_place(answers.floats(question, "normals"), stream.normals(999))
            assert np.array_equal(answers.floats(question, "uniforms"), stream.uniforms(998))
            assert answers.words(question, "permutation").tolist() == stream.permutation(77)
    out = np.empty(2**20, dtype=np.float32)
    wanted = read_table(normal_table(11), 2**20 - 3, out)
    one_place(answers.floats("normals", "numbers"), wanted)
    wanted = read_table(uniform_table(11), 2**20 - 3, out)
    assert np.array_equal(answers.floats("uniforms", "numbers"), wanted)


def one_place(got: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32]) -> None:
    """Equal but for the last place of a float32: two libraries' logarithms."""
    np.testing.assert_array_max_ulp(got, wanted, maxulp=1)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encoded_vectors_are_the_same(encoding: str, tmp_path: Path) -> None:
    """The same bytes, but for zstd's, whose versions differ: each side reads the other's."""
    random = np.random.default_rng(1)
    edges = [0.0, -0.0, 65504.0, 65519.0, -65504.0, 6e-8, 2.98e-8, 2.99e-8, 6.1e-5, 1 / 3, 2049.0]
    spread = random.normal(size=5000) * 10.0 ** random.integers(-9, 4, 5000)
    tiny = random.normal(size=2100) * 1e-38  # a block of it has no scale in int8
    vector = np.concatenate([edges, np.zeros(3000), spread, tiny]).astype(np.float32)
    vector.tofile(tmp_path / "vector.bin")
    mine = encode(vector, encoding)
    (tmp_path / "encoded.bin").write_bytes(mine)
    question = {"kind": "codec", "id": "q", "encoding": encoding}
    files = {"vector": f"{tmp_path}/vector.bin", "data": f"{tmp_path}/encoded.bin"}
    answers = ask(tmp_path / "answers", [{**question, **files}])
    theirs = answers.bytes_of("q", "encoded")
    assert answers.facts["q"]["digest"] == digest_of(theirs)
    if "zstd" not in encoding:
        assert theirs == mine
    wanted = decode(mine, encoding, vector.size, "mine")
    assert answers.floats("q", "decoded").tobytes() == wanted.tobytes()
    assert decode(theirs, encoding, vector.size, "theirs").tobytes() == wanted.tobytes()


MESSAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "check-in": (
        "CheckInRequest",
        {
            "client_id": "phone-é",
            "capabilities": {
                "runtime_version": "1.3",
                "protocol_version": 1,
                "train_examples": 300,
                "test_examples": 0,
                "operators": ["aten::add.out", "aten::mm.out"],
                "encodings": list(ENCODINGS),
            },
            "conditions": {
                "charging": True,
                "idle": False,
                "unmetered": True,
                "battery_percent": 87,
                "free_storage_bytes": 2**40,
                "free_memory_bytes": 2**33,
            },
            "cached_digests": ["ab" * 32, "cd" * 32],
        },
    ),
    "fetch": (
        "FetchRequest",
        {"digest": "ef" * 32, "offset": 262144, "client_id": "a", "assignment_id": "b"},
    ),
    "status": ("ReportStatusRequest", {"client_id": "a", "report_id": "r"}),
    "header": (
        "ReportHeader",
        {
            "client_id": "a",
            "assignment_id": "b",
            "report_id": "r",
            "round": 12,
            "payload": {"digest": "01" * 32, "size_bytes": 9400000, "encoding": "float16+zstd"},
            "offset": 0,
            "statistics": {
                "examples": 20,
                "steps": 8,
                "loss": 1 / 3,
                "train_secs": 12.5,
                "peak_memory_bytes": 2**31,
                "planned_memory_bytes": 2**32 + 1,
                "word_errors": 0,
                "words": 0,
                "utterances": 0,
                "skipped_examples": 3,
                "char_errors": 0,
                "chars": 41,
            },
        },
    ),
    "chunk": ("Chunk", {"data": "some bytes"}),
    "enrol": ("EnrolRequest", {"token": "t" * 20, "certificate_request": "der"}),
}


def test_messages_are_the_same_bytes(tmp_path: Path) -> None:
    answers = ask(
        tmp_path,
        [
            {"kind": "message", "id": name, "type": kind, "fields": fields}
            for name, (kind, fields) in MESSAGES.items()
        ],
    )
    for name, (_, fields) in MESSAGES.items():
        wanted = expected_message(name, fields).SerializeToString(deterministic=True)
        assert answers.bytes_of(name, "message") == wanted, name


def expected_message(name: str, fields: dict[str, Any]) -> Any:
    if name == "header":
        return pb.ReportRequest(header=json_format.ParseDict(fields, pb.ReportHeader()))
    if name == "chunk":
        return pb.ReportRequest(chunk=pb.Chunk(data=fields["data"].encode()))
    if name == "enrol":
        data = fields["certificate_request"].encode()
        return pb.EnrolRequest(token=fields["token"], certificate_request=data)
    kinds = {"check-in": pb.CheckInRequest, "fetch": pb.FetchRequest}
    return json_format.ParseDict(fields, kinds.get(name, pb.ReportStatusRequest)())
