"""Flat vectors survive the wire; foreign bytes are refused."""

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedvoice.protocol.codec import ENCODINGS, decode, encode
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.quantised import BLOCK_VALUES

vectors = hnp.arrays(
    np.float32,
    st.integers(0, 200),
    elements=st.floats(-60000, 60000, width=32, allow_nan=False),
)


@given(vectors)
@pytest.mark.parametrize("encoding", ["float32", "float32+zstd"])
def test_float32_is_exact(encoding, flat):
    back = decode(encode(flat, encoding), encoding, flat.size, "test")
    assert back.dtype == np.float32
    assert np.array_equal(back, flat)
    assert back.flags.writeable


@given(vectors)
@pytest.mark.parametrize("encoding", ["float16", "float16+zstd"])
def test_float16_keeps_eleven_bits(encoding, flat):
    back = decode(encode(flat, encoding), encoding, flat.size, "test")
    assert np.allclose(back, flat, rtol=2**-11, atol=2**-24)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_one_value_too_few_or_too_many_is_a_wrong_shape(encoding):
    data = encode(np.zeros(8, dtype=np.float32), encoding)
    for size in (7, 9):
        with pytest.raises(FedvoiceError) as caught:
            decode(data, encoding, size, "report r1")
        assert caught.value.code is ErrorCode.WRONG_SHAPE
        assert "report r1" in str(caught.value)


def test_a_small_blob_that_would_swell_is_not_unpacked():
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(200_000_000))
    assert len(bomb) < 100_000
    with pytest.raises(FedvoiceError, match="wrong-shape"):
        decode(bomb, "float32+zstd", 10, "report r1")


def test_bytes_that_are_not_zstd_and_unknown_encodings_are_refused():
    with pytest.raises(FedvoiceError, match="bad-encoding"):
        decode(b"not zstd at all", "float32+zstd", 1, "report r1")
    with pytest.raises(FedvoiceError, match="one of float32"):
        decode(b"", "float8", 0, "report r1")


def test_float16_refuses_what_it_cannot_hold():
    with pytest.raises(FedvoiceError, match="not-finite"):
        encode(np.array([70000.0], dtype=np.float32), "float16")


@given(vectors, st.integers(-120, 0))
@pytest.mark.parametrize("encoding", ["int8", "int8+zstd"])
def test_int8_is_within_half_a_scale_of_every_value(encoding, flat, exponent):
    flat = np.tile(flat, 7) * np.float32(2.0**exponent)  # up to two blocks
    back = decode(encode(flat, encoding), encoding, flat.size, "test")
    assert back.dtype == np.float32
    assert back.flags.writeable
    for start in range(0, flat.size, BLOCK_VALUES):
        part = slice(start, start + BLOCK_VALUES)
        largest = np.abs(flat[part]).max(initial=0)
        # A block below 127 times the smallest normal number is written as zeros.
        bound = max(largest / 127 / 2 * (1 + 2**-15), 127 * 2.0**-126 * (largest < 2.0**-119))
        assert np.abs(back[part].astype(np.float64) - flat[part]).max(initial=0) <= bound
        assert np.abs(back[part]).max(initial=0) <= largest * (1 + 2**-22)


def test_int8_by_hand():
    flat = np.zeros(BLOCK_VALUES + 3, np.float32)
    # In units of the scale: ties go to the even neighbour.
    flat[:6] = [127, -127, 0.5, 1.5, -2.5, 3.4]
    flat[BLOCK_VALUES:] = [-0.25, 0.125, 0]
    data = encode(flat, "int8")
    assert len(data) == 4 + BLOCK_VALUES + 4 + 3
    assert np.frombuffer(data, "<f4", 1)[0] == 1.0
    assert np.frombuffer(data, "i1", 7, offset=4).tolist() == [127, -127, 0, 2, -2, 3, 0]
    assert np.frombuffer(data[4 + BLOCK_VALUES :], "<f4", 1)[0] == np.float32(0.25) / np.float32(
        127
    )
    # 0.125 is 63.5 scales, or a hair less: what the division in float32 says.
    assert np.frombuffer(data[-3:], "i1").tolist() == [-127, 64, 0]


@given(vectors)
def test_int8_written_again_is_the_same(flat):
    """What was rounded once has nothing left to round but its scale's last place."""
    once = decode(encode(flat, "int8"), "int8", flat.size, "test")
    twice = decode(encode(once, "int8"), "int8", flat.size, "test")
    np.testing.assert_allclose(twice, once, rtol=2**-22)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_int8_refuses_what_has_no_scale(value):
    flat = np.ones(BLOCK_VALUES + 1, np.float32)
    flat[-1] = value
    with pytest.raises(FedvoiceError, match="not-finite"):
        encode(flat, "int8+zstd")


@pytest.mark.parametrize("scale", [np.nan, np.inf])
def test_a_spoilt_scale_shows_in_the_values(scale):
    data = np.array([scale], "<f4").tobytes() + bytes([1, 0])
    assert not np.isfinite(decode(data, "int8", 2, "report r1")).all()
