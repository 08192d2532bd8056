"""Flat vectors survive the wire; foreign bytes are refused."""

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from protocol.codec import ENCODINGS, decode, encode
from protocol.errors import ErrorCode, FedvoiceError

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
