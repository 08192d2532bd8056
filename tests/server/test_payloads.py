"""Reading a payload in pieces gives what decoding it as a whole gives."""

from __future__ import annotations

import numpy as np
import pytest

from fedvoice.algorithm.aggregation import CHUNK_ELEMENTS, inspect
from fedvoice.algorithm.checks import check_facts
from fedvoice.protocol.codec import (
    ENCODINGS,
    decode,
    encode,
    largest_payload_bytes,
    smallest_payload_bytes,
)
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.quantised import BLOCK_VALUES
from fedvoice.protocol.task import load_weights
from fedvoice.server.config import ServerConfig
from fedvoice.server.store.payloads import read_payload

SIZES = [1, CHUNK_ELEMENTS, 2 * CHUNK_ELEMENTS + 3]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("size", SIZES)
def test_pieces_equal_the_whole(tmp_path, encoding, size):
    values = np.random.default_rng(0).normal(size=size).astype(np.float32)
    data = encode(values, encoding)
    path = tmp_path / "payload"
    path.write_bytes(data)
    pieces = np.concatenate([piece.copy() for piece in read_payload(path, encoding, size)])
    np.testing.assert_array_equal(pieces, decode(data, encoding, size, "test"))
    least, most = smallest_payload_bytes(encoding, size), largest_payload_bytes(encoding, size)
    assert least <= len(data) <= most


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("got", [7, 9])
def test_too_few_and_too_many_values_are_refused(tmp_path, encoding, got):
    path = tmp_path / "payload"
    path.write_bytes(encode(np.ones(got, np.float32), encoding))
    with pytest.raises(FedvoiceError) as caught:
        list(read_payload(path, encoding, 8))
    assert caught.value.code is ErrorCode.WRONG_SHAPE


def test_a_small_payload_that_would_swell_is_not_unpacked_beyond_its_size(tmp_path):
    path = tmp_path / "payload"
    path.write_bytes(encode(np.zeros(50_000_000, np.float32), "float32+zstd"))
    with pytest.raises(FedvoiceError):
        list(read_payload(path, "float32+zstd", 8))


def test_bytes_that_are_not_compressed_are_refused(tmp_path):
    path = tmp_path / "payload"
    path.write_bytes(b"not zstd at all")
    with pytest.raises(FedvoiceError) as caught:
        list(read_payload(path, "float32+zstd", 8))
    assert caught.value.code is ErrorCode.BAD_ENCODING


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, CHUNK_ELEMENTS + 1])
def test_one_bad_number_anywhere_is_seen(bad, place):
    values = np.ones(CHUNK_ELEMENTS + 2, np.float32)
    values[place] = bad
    pieces = [values[:CHUNK_ELEMENTS], values[CHUNK_ELEMENTS:]]
    assert not inspect(pieces).finite


def test_norm_and_largest_value():
    facts = inspect([np.array([3.0, 0.0], np.float32), np.array([-4.0], np.float32)])
    assert (facts.norm, facts.max_abs, facts.finite) == (5.0, 4.0, True)


def test_an_update_at_the_plans_norm_passes_whatever_int8_rounds_it_to():
    """The worst block: one large value, and the others a hair above 3.5 of its scales."""
    values = np.full(BLOCK_VALUES, 3.5001, np.float32)
    values[0] = 127
    bound = float(np.linalg.norm(values))
    received = decode(encode(values, "int8"), "int8", values.size, "test")
    facts = inspect([received])
    assert facts.norm > 1.06 * bound
    config = ServerConfig(max_update_abs=200.0)
    for encoding, accepted in (("int8", True), ("int8+zstd", True), ("float16", False)):
        plan = TrainingPlan(max_update_norm=bound, update_encoding=encoding)
        assert (check_facts(facts, plan, config) is None) is accepted
    larger = inspect([received * np.float32(1.01)])
    plan = TrainingPlan(max_update_norm=bound, update_encoding="int8")
    assert check_facts(larger, plan, config).verdict == pb.VERDICT_NORM_TOO_LARGE


def test_int8_updates_are_counted_as_what_they_decode_to(lab):
    delta = np.linspace(-1, 2, 8, dtype=np.float32)
    server, address = lab.serve(lab.package(), rounds=1, cohort_size=1)
    phone = lab.phone(address, "anna")
    payload = encode(delta, "int8+zstd")
    work = phone.wait_for_work()
    assert phone.send(phone.header(work, payload, "int8+zstd"), payload).verdict == (
        pb.VERDICT_ACCEPTED
    )
    assert server.wait_finished(20)
    package = lab.package()
    after = load_weights(server.store_dir / "weights.safetensors", package.manifest.parameters)
    received = decode(payload, "int8+zstd", 8, "test")
    np.testing.assert_allclose(after, package.weights() + received, atol=2**-20)
    np.testing.assert_allclose(received, delta, atol=1 / 127)
