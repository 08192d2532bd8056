"""The parameter table: alignment, views, and errors that name the parameter."""

import numpy as np
import pytest

from fedvoice.protocol.errors import FedvoiceError
from fedvoice.protocol.parameters import ParameterTable

TABLE = ParameterTable.from_shapes([("w", (3, 4)), ("odd", (3,)), ("b", (8,))])


def test_sizes_divisible_by_four_come_first_and_the_end_is_padded():
    assert [(p.name, p.offset) for p in TABLE.parameters] == [("w", 0), ("odd", 20), ("b", 12)]
    assert TABLE.total_size == 24
    assert TABLE.parameter_count == 23
    assert TABLE.weights_bytes == 96


def test_views_share_the_vector():
    flat = np.zeros(24, dtype=np.float32)
    TABLE.views(flat)[1][:] = 7
    assert flat[20:23].tolist() == [7, 7, 7]
    assert flat.sum() == 21


def test_pack_and_unpack_are_inverse():
    flat = np.arange(24, dtype=np.float32)
    flat[23] = 0
    assert np.array_equal(TABLE.pack(TABLE.unpack(flat), where="test"), flat)


def test_errors_name_the_parameter_and_both_shapes():
    tensors = TABLE.unpack(np.zeros(24, dtype=np.float32))
    tensors["w"] = tensors["w"].T
    with pytest.raises(FedvoiceError, match=r"parameter w: got \(4, 3\), wanted \(3, 4\)"):
        TABLE.pack(tensors, where="weights.safetensors")
    del tensors["w"]
    with pytest.raises(FedvoiceError, match=r"missing \['w'\]"):
        TABLE.pack(tensors, where="weights.safetensors")
    with pytest.raises(FedvoiceError, match=r"float32 \(24,\)"):
        TABLE.views(np.zeros(23, dtype=np.float32))
