"""Links keep to their contracts, see no more than those name, and are named when they fail."""

from __future__ import annotations

import pickle
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedvoice.algorithm.aggregation import CHUNK_ELEMENTS, Accumulator
from fedvoice.algorithm.chain import Chain, make_chain, pieces_of
from fedvoice.algorithm.checks import UpdateLimits
from fedvoice.algorithm.doors import UPDATE_LINKS
from fedvoice.algorithm.federated import FederatedAlgorithm
from fedvoice.algorithm.links import Contract, Seen, Sees, Spooled, UpdateInfo, Verdict
from fedvoice.algorithm.settings import AlgorithmConfig, LinkConfig
from fedvoice.protocol.codec import decode, encode
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import FlatVector, ParameterTable
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.simulation.cohort import RoundWork

SIZE = 8
TABLE = ParameterTable.from_shapes([("w", (SIZE,))])
CHAINS = [
    [],
    [{"name": "weight", "options": {"by": "uniform"}}],
    [{"name": "clip", "options": {"norm": 2.0}}],
    [{"name": "clip", "options": {"norm": 2.0}}, {"name": "weight"}],
    [{"name": "encode"}, {"name": "clip", "options": {"norm": 2.0}}, {"name": "encode"}],
    [{"name": "encode", "options": {"encoding": "float16"}}, {"name": "median"}],
    [{"name": "median"}],
    [
        {"name": "clip", "options": {"norm": 1.0}},
        {"name": "trimmed-mean", "options": {"trim": 0.3}},
    ],
]
deltas = hnp.arrays(np.float32, SIZE, elements=st.floats(-16, 16, width=32, allow_nan=False))
updates = st.lists(st.tuples(deltas, st.integers(1, 100)), min_size=1, max_size=9)


def chain(*links: dict[str, object]) -> Chain:
    return make_chain([LinkConfig.model_validate(link) for link in links], max_weight=65536)


def told(client: str, examples: int) -> UpdateInfo:
    return UpdateInfo(client, 1, examples, steps=2, loss=1.0, plan=TrainingPlan())


def mean_of(links: list[dict[str, object]], items: list[tuple[str, FlatVector, int]]) -> FlatVector:
    algorithm = FederatedAlgorithm(AlgorithmConfig(links=links), TABLE, TrainingPlan())  # type: ignore[arg-type]
    total, spooled = algorithm.accumulator(), []
    for client, delta, examples in items:
        pieces = partial(pieces_of, delta)
        algorithm.chain.fold(total, pieces, told(client, examples))
        spooled.append(Spooled(told(client, examples), pieces))
    return algorithm.delta(total, spooled)


@pytest.mark.parametrize("links", CHAINS, ids=str)
@settings(max_examples=30)
@given(items=updates, random=st.randoms())
def test_law_1_a_chain_that_says_it_is_exact_gives_the_same_bits_in_any_order(
    links, items, random
) -> None:
    assert chain(*links).exact
    named = [(f"client{i}", delta, weight) for i, (delta, weight) in enumerate(items)]
    shuffled = list(named)
    random.shuffle(shuffled)
    assert mean_of(links, named).tobytes() == mean_of(links, shuffled).tobytes()


@settings(max_examples=30)
@given(items=updates)
def test_without_links_and_with_the_weight_link_updates_weigh_their_examples(items) -> None:
    named = [(f"client{i}", delta, weight) for i, (delta, weight) in enumerate(items)]
    total = Accumulator(SIZE, grid_bits=32)
    for _, delta, weight in named:
        total.fold([delta], weight)
    for links in ([], [{"name": "weight"}]):
        assert mean_of(links, named).tobytes() == total.mean().tobytes()


def test_clip_bounds_what_one_client_moves() -> None:
    large, small = np.full(SIZE, 10, np.float32), np.full(SIZE, 0.1, np.float32)
    one = mean_of([{"name": "clip", "options": {"norm": 1.0}}], [("a", large, 5)])
    assert float(np.linalg.norm(one)) == pytest.approx(1.0, rel=1e-6)
    kept = mean_of([{"name": "clip", "options": {"norm": 1.0}}], [("a", small, 5)])
    assert kept.tobytes() == mean_of([], [("a", small, 5)]).tobytes()


def test_robust_rules_leave_an_attacker_out() -> None:
    honest = [(f"client{i}", np.full(SIZE, 1 + i / 10, np.float32), 1) for i in range(4)]
    attack = [("mallory", np.full(SIZE, -16, np.float32), 100)]
    median = mean_of([{"name": "median"}], honest + attack)
    trimmed = mean_of([{"name": "trimmed-mean", "options": {"trim": 0.2}}], honest + attack)
    np.testing.assert_allclose(median, 1.1, rtol=1e-6)
    np.testing.assert_allclose(trimmed, 1.1, rtol=1e-6)  # of 1.0, 1.1, 1.2
    assert mean_of([], honest + attack).max() < -14


def test_rules_read_vectors_of_several_tiles() -> None:
    size = 2 * CHUNK_ELEMENTS + 3
    random = np.random.default_rng(1)
    vectors = random.normal(size=(3, size)).astype(np.float32)
    spooled = [Spooled(told(str(i), 1), partial(pieces_of, v)) for i, v in enumerate(vectors)]
    found = chain({"name": "median"}).combine(spooled, size)
    assert found.tobytes() == np.median(vectors, axis=0).astype(np.float32).tobytes()


class Nosy:
    """Looks at what it did not ask for."""

    contract = Contract(sees=frozenset({Sees.EXAMPLES}))

    def __call__(self, seen: Seen) -> Verdict:
        return Verdict(int(seen.norm))


class Broken:
    contract = Contract()

    def __call__(self, seen: Seen) -> Verdict:
        raise ZeroDivisionError("one over nothing")


class Heavy:
    contract = Contract()

    def __call__(self, seen: Seen) -> Verdict:
        return Verdict(2**40)


@pytest.mark.parametrize(
    ("link", "got"), [(Nosy, "'norm'"), (Broken, "one over nothing"), (Heavy, str(2**40))]
)
def test_a_link_that_breaks_its_contract_is_named(link: type, got: str) -> None:
    name = f"{__name__}:{link.__name__}"
    with pytest.raises(FedvoiceError) as caught:
        mean_of([{"name": name}], [("a", np.ones(SIZE, np.float32), 3)])
    assert caught.value.code is ErrorCode.BAD_PLUGIN
    assert link.__name__ in caught.value.where
    assert got in caught.value.got


def test_settings_that_make_no_chain_are_refused() -> None:
    with pytest.raises(ValueError, match="must be one of"):
        LinkConfig(name="magic")
    for links in (
        [{"name": "clip", "options": {"norm": -1}}],
        [{"name": "clip", "options": {"nrm": 1}}],
        [{"name": "median"}, {"name": "clip", "options": {"norm": 1.0}}],
    ):
        with pytest.raises(FedvoiceError, match="bad-config"):
            chain(*links)
    crowd = AlgorithmConfig(links=[{"name": "median"}], cohort_size=1000)  # type: ignore[list-item]
    with pytest.raises(FedvoiceError, match="at most 512"):
        _ = FederatedAlgorithm(crowd, TABLE, TrainingPlan()).chain


def test_links_go_to_workers_by_names_that_are_known_there() -> None:
    def work(name: str) -> RoundWork:
        limits = UpdateLimits(32, 16.0, 0.0, 65536)
        return RoundWork(
            1, TrainingPlan(), np.zeros(SIZE, np.float32), limits, (LinkConfig(name=name),)
        )

    UPDATE_LINKS.register("heavy-test")(Heavy)
    back = pickle.loads(pickle.dumps(work("heavy-test")))
    assert back.links[0].name == f"{__name__}:Heavy"
    UPDATE_LINKS.register("local-test")(lambda: Heavy())
    with pytest.raises(FedvoiceError, match="bad-plugin"):
        pickle.dumps(work("local-test"))


def test_encode_rounds_as_the_codec_does_and_the_next_link_sees_what_it_left() -> None:
    size = CHUNK_ELEMENTS + 2000
    delta = np.random.default_rng(0).normal(0, 0.1, size).astype(np.float32)
    rounded = decode(encode(delta, "int8"), "int8", size, "test")
    norm = float(np.sqrt(np.square(rounded, dtype=np.float64).sum()))
    links = chain({"name": "encode"}, {"name": "clip", "options": {"norm": norm / 2}})
    judged = links.judge(partial(pieces_of, delta), told("a", 3))
    found = np.concatenate(list(judged.pieces()))
    assert judged.weight == 3
    np.testing.assert_allclose(found, rounded * np.float32(0.5), rtol=1e-6)


class Grows:
    contract = Contract(transforms=True)

    def __call__(self, seen: Seen) -> Verdict:
        return Verdict(seen.weight)

    def transform(self, piece: FlatVector, start: int, seen: Seen) -> FlatVector:
        return piece * np.float32(1000)


class Writes(Grows):
    def transform(self, piece: FlatVector, start: int, seen: Seen) -> FlatVector:
        piece += 1
        return piece


@pytest.mark.parametrize(("link", "why"), [(Grows, "max_update_abs"), (Writes, "read-only")])
def test_a_link_that_breaks_the_bounds_of_exact_sums_is_named(link: type, why: str) -> None:
    broken = Chain((("own", link()),))
    with pytest.raises(FedvoiceError, match="update link own") as caught:
        broken.check(partial(pieces_of, np.ones(SIZE, np.float32)), told("a", 1))
    assert why in str(caught.value)
