"""Law 9: the same updates through the server and through the simulation give the same model, to
the bit, with every built-in server optimiser and link and with a user's own; what one refuses so
does the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from fedvoice.algorithm.checks import UpdateLimits
from fedvoice.algorithm.doors import SERVER_OPTIMIZERS, UPDATE_LINKS
from fedvoice.algorithm.links import Contract, Seen, Sees, Verdict
from fedvoice.algorithm.optimizers import OptimizerState
from fedvoice.algorithm.settings import AlgorithmConfig, OptimizerConfig
from fedvoice.protocol.codec import ENCODINGS, decode, encode
from fedvoice.protocol.errors import FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.parameters import FlatVector, ParameterTable
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import WEIGHTS_FILE, TaskPackage, load_weights
from fedvoice.server.store.ledger import round_rows
from fedvoice.simulation.clients import ClientData
from fedvoice.simulation.cohort import RoundWork, train_cohort
from fedvoice.simulation.federation import Federation, FederationState
from fedvoice.simulation.trainers import LocalUpdate
from fedvoice.simulation.workers.pool import InlinePool
from tests.server.support import Lab, Phone, make_package, statistics

SIZE, ROUNDS = 8, 3
CLIENTS = {"a": 3, "b": 1, "c": 7}
"""Examples of each."""
OPTIONS: dict[str, dict[str, Any]] = {"clip": {"norm": 2.0}, "weight": {"by": "uniform"}}


def delta_of(client: str, number: int) -> FlatVector:
    random = np.random.default_rng([ord(client[0]), number])
    return random.normal(size=SIZE).astype(np.float32)


@dataclass
class Scripted:
    """A trainer whose clients send what a script says."""

    deltas: Mapping[str, FlatVector] | None = None
    fields: Mapping[str, float] | None = None
    pull: float = 0.0
    clients_together = 1

    client_ids = tuple(CLIENTS)
    evaluation: Any = ()

    def train(self, *asked: Any) -> Any:
        # The population's and the trainer's method bear the same name.
        return asked[0] if len(asked) == 1 else self._updates(*asked)

    def size(self, client: str) -> int:
        return CLIENTS[client]

    def _updates(
        self,
        clients: Sequence[tuple[str, ClientData]],
        plan: TrainingPlan,
        weights: FlatVector,
        number: int,
    ) -> Iterator[LocalUpdate]:
        for client, _ in clients:
            delta = self.deltas[client] if self.deltas else delta_of(client, number)
            delta = delta - np.float32(self.pull) * weights
            yield LocalUpdate(delta.copy(), statistics(CLIENTS[client], **(self.fields or {})))

    def transcribe(self, data: ClientData, weights: FlatVector) -> list[list[int]]:
        return []


def simulate(
    package: TaskPackage, plan: TrainingPlan, pull: float = 0.0, **config: Any
) -> FederationState:
    scripted = Scripted(pull=pull)
    settings = AlgorithmConfig.model_validate(
        {"rounds": ROUNDS, "cohort_size": len(CLIENTS), **config}
    )
    pool = InlinePool(scripted, scripted)  # type: ignore[arg-type]
    federation = Federation(
        "t", package.manifest, list(CLIENTS), plan, settings, pool, lambda _: {}, scripted.size
    )
    state = federation.start(package.weights())
    for _ in range(ROUNDS):
        state = federation.step(state)
    return state


def serve(
    lab: Lab, package: TaskPackage, plan: TrainingPlan, pull: float = 0.0, **config: Any
) -> FlatVector:
    server, address = lab.serve(
        package, rounds=ROUNDS, cohort_size=len(CLIENTS), plan=plan.model_dump(), **config
    )
    phones = [lab.phone(address, name, train_examples=n) for name, n in CLIENTS.items()]

    def train(phone: Phone, given: pb.Assignment) -> FlatVector:
        data, blob = phone.cache[given.weights.digest], given.weights
        weights = decode(data, blob.encoding, package.manifest.parameters.total_size, "weights")
        return delta_of(phone.client_id, given.round) - np.float32(pull) * weights

    lab.start_phones(phones, train)()
    assert server.coordinator.course.wait_finished(20)
    return load_weights(lab.directory / "store" / WEIGHTS_FILE, package.manifest.parameters)


class Signed:
    """A user's own server optimiser, which remembers nothing."""

    def init(self, config: OptimizerConfig, table: ParameterTable) -> OptimizerState:
        return OptimizerState()

    def apply(
        self,
        config: OptimizerConfig,
        state: OptimizerState,
        weights: FlatVector,
        delta: FlatVector,
        *,
        rate: float,
        table: ParameterTable,
    ) -> tuple[FlatVector, OptimizerState]:
        return weights + np.float32(rate * config.options["boost"]) * np.sign(delta), state


class BySteps:
    """A user's own link: clients weigh their steps."""

    contract = Contract(sees=frozenset({Sees.STEPS}))

    def __call__(self, seen: Seen) -> Verdict:
        return Verdict(seen.steps)


OWN = {"name": f"{__name__}:Signed", "options": {"boost": 2.0}}
CASES: list[dict[str, Any]] = [
    {"optimizer": OWN, "links": [{"name": f"{__name__}:BySteps"}]},
    *({"optimizer": {"name": name, "rate": 0.1}} for name in SERVER_OPTIMIZERS.names()),
    *(
        {"links": [{"name": name, "options": OPTIONS.get(name, {})}]}
        for name in sorted(UPDATE_LINKS._built_in)
    ),
]


@pytest.mark.parametrize("config", CASES, ids=str)
def test_law_9_server_and_simulation_come_to_the_same_bits(
    lab: Lab, config: dict[str, Any]
) -> None:
    package = make_package(lab.directory / "task", SIZE, names=("enc.w", "out.w"))
    plan = TrainingPlan(trainable=("out.",))  # phones that know nothing of it move all of it
    simulated = simulate(package, plan, **{"optimizer": {"momentum": 0.0, "rate": 1.0}, **config})
    served = serve(lab, package, plan, **config)
    assert served.tobytes() == simulated.weights.tobytes()
    before = package.weights()
    assert served[: SIZE // 2].tobytes() == before[: SIZE // 2].tobytes()
    assert served[SIZE // 2 :].tobytes() != before[SIZE // 2 :].tobytes()
    rows = round_rows(lab.directory / "store")
    for row, own in zip(rows, simulated.rows, strict=True):
        assert (row.examples, row.steps, row.loss) == (own.examples, own.steps, own.loss)
        assert row.cfmq_compute_bytes == own.cfmq_compute_bytes


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_law_9_whatever_the_downloads_clients_train_from_the_same_bits(
    lab: Lab, encoding: str
) -> None:
    """Deltas follow from the weights that a client was given."""
    package = make_package(lab.directory / "task", SIZE)
    config = {"download_encoding": encoding, "optimizer": {"momentum": 0.9, "rate": 0.7}}
    simulated = simulate(package, TrainingPlan(), 0.3, **config)
    served = serve(lab, package, TrainingPlan(), 0.3, **config)
    assert served.tobytes() == simulated.weights.tobytes()
    exact = simulate(package, TrainingPlan(), 0.3, **{**config, "download_encoding": "float32"})
    assert (served.tobytes() == exact.weights.tobytes()) == encoding.startswith("float32")


REFUSED: dict[str, tuple[TrainingPlan, FlatVector, dict[str, float]]] = {
    "more examples than the data limit": (
        TrainingPlan(data_limit=2),
        np.ones(SIZE, np.float32),
        {},
    ),
    "no steps": (TrainingPlan(), np.ones(SIZE, np.float32), {"steps": 0}),
    "more steps than the plan allows": (
        TrainingPlan(local_epochs=2),
        np.ones(SIZE, np.float32),
        {"steps": 7},
    ),
    "statistics beyond their bounds": (
        TrainingPlan(),
        np.ones(SIZE, np.float32),
        {"loss": 1e308},
    ),
    "statistics that are no numbers": (
        TrainingPlan(),
        np.ones(SIZE, np.float32),
        {"loss": float("inf")},
    ),
    "norm too large": (
        TrainingPlan(max_update_norm=1.0),
        np.full(SIZE, 3, np.float32),
        {},
    ),
    "not finite": (TrainingPlan(), np.full(SIZE, np.nan, np.float32), {}),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_law_9_what_the_server_refuses_the_simulation_refuses(lab: Lab, reason: str) -> None:
    plan, delta, fields = REFUSED[reason]
    package = make_package(lab.directory / "task", SIZE)
    scripted = Scripted({"a": delta}, fields)
    work = RoundWork(1, plan, package.weights(), UpdateLimits(32, 16.0, 0.0, 65536))
    part = train_cohort(scripted, scripted, work, ["a"])  # type: ignore[arg-type]
    assert part.reports[0].refused == reason
    assert part.total.count == 0

    _, address = lab.serve(package, plan=plan.model_dump(), cohort_size=1, rounds=1)
    phone = lab.phone(address, "a", train_examples=3)
    assignment = phone.wait_for_work()
    assert assignment is not None
    payload = delta.tobytes() if reason == "not finite" else encode(delta, "float32")
    header = phone.header(assignment, payload)
    header.statistics.CopyFrom(statistics(3, **fields))
    assert phone.send(header, payload).verdict != pb.VERDICT_ACCEPTED


class Inexact:
    """A link that says of itself that a restart may come to another model."""

    def __init__(self) -> None:
        self.contract = Contract(exact=False)


def test_the_server_refuses_links_that_are_not_exact_before_it_starts(lab: Lab) -> None:
    package = lab.package()
    with pytest.raises(FedvoiceError, match="not exact"):
        lab.serve(package, links=[{"name": f"{__name__}:Inexact"}])
