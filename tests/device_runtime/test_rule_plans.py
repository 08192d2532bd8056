"""A plan that names a client rule: the phone steps by it, and all around the step stays."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedvoice.device_runtime.checkpoint import Checkpoint
from fedvoice.device_runtime.outcomes import Happened
from fedvoice.device_runtime.trainer import LocalResult, TrainingStatus, train
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.plan import TrainingPlan
from tests.device_runtime.hut import PLAN, Hut, assignment
from tests.device_runtime.scripted_server import ScriptedServer
from tests.device_runtime.tiny import TinyEngine, make_examples, some_weights, tiny_manifest

INITIAL = some_weights(tiny_manifest())
WEIGHT, BIAS = (spec.place for spec in tiny_manifest().parameters.parameters)
ANCHORED = "tests.own_rules:Anchored"
AROUND = {
    "local_epochs": 3,
    "batch_size": 2,
    "clip_norm": 0.5,
    "fvn_std": 0.05,
    "prox_mu": 0.3,
    "max_update_norm": 0.75,
    "seed": 11,
}
OWN = TrainingPlan(
    **AROUND,  # type: ignore[arg-type]
    client_rule=ANCHORED,
    client_rule_options={"rate": 0.3, "memory": 0.9},  # type: ignore[arg-type]
)


def run(plan: TrainingPlan, engine: TinyEngine | None = None, **more: object) -> LocalResult:
    arguments: dict[str, object] = {"client_id": "phone", "round_number": 3, **more}
    return train(engine or TinyEngine(), make_examples(7), plan, INITIAL, **arguments)  # type: ignore[arg-type]


def with_rule(name: str, options: dict[str, object] | None = None, **more: object) -> TrainingPlan:
    return TrainingPlan.model_validate(
        {**AROUND, "client_rule": name, "client_rule_options": options or {}, **more}
    )


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("more", [{}, {"clip_per_layer": True, "trainable": ("bias",)}], ids=str)
def test_the_built_in_rule_comes_to_what_comes_without_a_rule(
    momentum: float, more: dict[str, object]
) -> None:
    usual = run(
        TrainingPlan.model_validate(
            {**AROUND, "client_rate": 0.4, "client_momentum": momentum, **more}
        )
    )
    by_rule = run(with_rule("sgd", {"rate": 0.4, "momentum": momentum}, **more))
    assert usual.delta is not None
    assert by_rule.delta is not None
    np.testing.assert_allclose(by_rule.delta, usual.delta, atol=1e-6, rtol=0)
    for counted in ("steps", "examples", "planned_memory_bytes"):
        assert getattr(by_rule.statistics, counted) == getattr(usual.statistics, counted)


def test_a_rule_of_ones_own_by_hand() -> None:
    """One step from the start: no memory and no pull yet."""
    plan = with_rule(ANCHORED, {"rate": 0.3, "decay": 0.25}, local_epochs=1, batch_size=0)
    plan = plan.model_copy(update={"fvn_std": 0.0, "clip_norm": 0.0, "max_update_norm": 0.0})
    plain = run(
        TrainingPlan(batch_size=0, client_rate=1.0, clip_norm=0.0, seed=11)
    )  # its delta is -gradient
    result = run(plan)
    assert plain.delta is not None
    assert result.delta is not None
    wanted = -0.25 * INITIAL + 0.3 * plain.delta / (1 + np.linalg.norm(plain.delta))
    np.testing.assert_allclose(result.delta, wanted, rtol=1e-4, atol=1e-6)


def test_a_rule_that_decays_weights_leaves_the_frozen_ones_alone() -> None:
    delta = run(OWN.model_copy(update={"trainable": ("bias",)})).delta
    assert delta is not None
    assert not delta[WEIGHT].any()
    assert delta[BIAS].all()


@pytest.mark.parametrize("stop_after", [1, 5, 11])
def test_resumed_training_gives_the_same_bits(tmp_path: Path, stop_after: int) -> None:
    whole = run(OWN)
    assert whole.delta is not None
    checkpoint = Checkpoint(tmp_path / "checkpoint", every_secs=0)

    class DiesAtStep(TinyEngine):
        def step(self, *arguments, **more):  # type: ignore[no-untyped-def]
            if self.calls == stop_after:
                raise SystemExit("kill -9")
            return super().step(*arguments, **more)

    with pytest.raises(SystemExit):
        run(OWN, DiesAtStep(), checkpoint=checkpoint)
    engine = TinyEngine()
    resumed = run(OWN, engine, checkpoint=checkpoint)
    assert resumed.delta is not None
    assert engine.calls == 12 - stop_after
    assert resumed.delta.tobytes() == whole.delta.tobytes()
    assert resumed.statistics.loss == whole.statistics.loss


def test_planned_memory_counts_what_the_rule_remembers() -> None:
    def planned(plan: TrainingPlan) -> int:
        return run(plan).statistics.planned_memory_bytes

    assert planned(OWN) - planned(with_rule("sgd", {"rate": 0.3})) == 2 * INITIAL.nbytes


@pytest.mark.parametrize(
    ("rule", "options", "code"),
    [
        ("sgd", {"rate": -1.0}, ErrorCode.BAD_CONFIG),
        (ANCHORED, {"rates": 1.0}, ErrorCode.BAD_CONFIG),
        ("nobody's", {}, ErrorCode.BAD_PLUGIN),
        ("tests.own_rules:Nothing", {}, ErrorCode.BAD_PLUGIN),
    ],
    ids=str,
)
def test_a_rule_that_cannot_be_had_says_so_before_training(
    rule: str, options: dict[str, object], code: ErrorCode
) -> None:
    engine = TinyEngine()
    with pytest.raises(FedvoiceError) as caught:
        run(with_rule(rule, options), engine)
    assert caught.value.code is code
    assert rule in str(caught.value)
    assert engine.calls == 0


@pytest.mark.parametrize("rule", ["Failing", "InPlace"])
def test_a_rule_that_fails_names_itself(rule: str) -> None:
    with pytest.raises(FedvoiceError) as caught:
        run(with_rule(f"tests.own_rules:{rule}"))
    assert caught.value.code is ErrorCode.BAD_PLUGIN
    assert f"tests.own_rules:{rule}" in str(caught.value)


def test_a_gradient_that_is_no_number_is_a_divergence_whatever_the_rule_makes_of_it() -> None:
    class Diverging(TinyEngine):
        def step(self, *arguments, **more):  # type: ignore[no-untyped-def]
            loss, gradient = super().step(*arguments, **more)
            gradient[0] = np.nan
            return loss, gradient

    result = run(with_rule("tests.own_rules:Swallowing", {"rate": 0.1}), Diverging())
    assert result.status is TrainingStatus.DIVERGED


def offered(server: ScriptedServer) -> list[str]:
    (request,) = (m for m in server.messages if isinstance(m, pb.CheckInRequest))
    return list(request.capabilities.client_rules)


def test_a_phone_offers_the_rules_it_has_and_trains_by_them(
    hut: Hut, server: ScriptedServer
) -> None:
    hut.settings = replace(hut.settings, client_rules=("sgd", ANCHORED))
    plan = PLAN.model_copy(
        update={"client_rule": ANCHORED, "client_rule_options": (("rate", 0.3),)}
    )
    server.script.check_ins.append(assignment(plan=plan.to_message()))
    assert hut.restart().run_once().happened is Happened.TRAINED
    assert offered(server) == ["sgd", ANCHORED]


def test_a_phone_imports_nothing_that_a_plan_names_and_it_did_not_offer(
    hut: Hut, server: ScriptedServer
) -> None:
    """`module:name` from a server would otherwise be code of the server's choice."""
    plan = PLAN.model_copy(update={"client_rule": "this:s"})
    server.script.check_ins.append(assignment(plan=plan.to_message()))
    with pytest.raises(FedvoiceError, match="this:s") as caught:
        hut.phone.run_once()
    assert caught.value.code is ErrorCode.BAD_PLUGIN
    assert "this" not in sys.modules
    assert "sgd" in offered(server)
    ((header, _),) = server.reports  # its place is given back
    assert header.statistics.examples == 0
