"""Laws of the reference, the decoded weights that all clients of a round train from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedvoice.algorithm.federated import FederatedAlgorithm
from fedvoice.algorithm.reference import reference_of
from fedvoice.algorithm.settings import AlgorithmConfig
from fedvoice.protocol.codec import ENCODINGS, decode
from fedvoice.protocol.errors import FedvoiceError
from fedvoice.protocol.parameters import FlatVector, ParameterTable
from fedvoice.protocol.plan import TrainingPlan

SIZE = 1200  # two blocks of int8, the second one short
TABLE = ParameterTable.from_shapes([("w", (SIZE,))])
ROUNDS = 40
vectors = hnp.arrays(
    np.float32, st.integers(1, 200), elements=st.floats(-60000, 60000, width=32, allow_nan=False)
)


def algorithm(encoding: str) -> FederatedAlgorithm:
    config = AlgorithmConfig.model_validate(
        {"download_encoding": encoding, "optimizer": {"rate": 1.0, "momentum": 0.0}}
    )
    return FederatedAlgorithm(config, TABLE, TrainingPlan())


def largest_error(weights: FlatVector, encoding: str) -> float:
    """Of one rounding of weights within +-2."""
    return {"float32": 0.0, "float16": 2.0**-11}.get(encoding, float(np.abs(weights).max()) / 253)


@given(vectors)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_phone_decodes_what_a_simulation_trains_from(encoding: str, flat: FlatVector) -> None:
    reference = reference_of(flat, encoding)
    on_a_phone = decode(reference.data, reference.encoding, flat.size, "weights")
    assert on_a_phone.tobytes() == reference.weights.tobytes()
    assert reference_of(flat.copy(), encoding).data == reference.data


@given(vectors)
@pytest.mark.parametrize("encoding", ["float32", "float32+zstd"])
def test_in_float32_it_is_the_weights_to_the_bit(encoding: str, flat: FlatVector) -> None:
    assert reference_of(flat, encoding).weights.tobytes() == flat.tobytes()


@pytest.mark.parametrize("encoding", [e for e in ENCODINGS if "zstd" not in e])
def test_steps_too_small_for_the_encoding_add_up(encoding: str) -> None:
    """What a round's reference leaves out is in later ones: rounding is never further off than
    once, however many rounds there were."""
    federated = algorithm(encoding)
    random = np.random.default_rng(0)
    state = federated.init(random.uniform(-1, 1, SIZE).astype(np.float32))
    step = random.uniform(-2e-4, 2e-4, SIZE).astype(np.float32)
    wanted = state.weights.astype(np.float64)
    moved = step != 0
    for number in range(1, ROUNDS + 1):
        before = federated.reference(state).weights
        state = federated.apply(state, step.copy(), number)
        wanted += step
        after = federated.reference(state).weights
        bound = largest_error(state.weights, encoding) + ROUNDS * 2.0**-23  # of float32
        assert np.abs(after - wanted).max() <= bound
        moved &= after != before
    # In fewer bits some elements stay where they are for a round, and come along all the same.
    assert encoding == "float32" or not moved.all()


@pytest.mark.parametrize(("encoding", "value"), [("float16", 70000.0), ("int8", np.inf)])
def test_what_the_encoding_cannot_hold_names_the_setting(encoding: str, value: float) -> None:
    weights = np.full(8, value, np.float32)
    with pytest.raises(FedvoiceError, match=f'download_encoding = "{encoding}"'):
        reference_of(weights, encoding)


def test_an_unknown_encoding_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="must be one of float32"):
        AlgorithmConfig(download_encoding="int4")
