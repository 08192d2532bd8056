"""Plans travel as data, and an older or newer peer's plan still means something."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.parameters import ParameterTable
from fedvoice.protocol.plan import SpecAugment, TrainingPlan, frozen_parts, trained_parameters


@given(
    st.builds(
        TrainingPlan,
        local_epochs=st.integers(1, 20),
        batch_size=st.integers(0, 64),
        data_limit=st.integers(0, 100),
        client_rate=st.floats(1e-6, 10),
        client_momentum=st.floats(0, 0.99),
        clip_norm=st.floats(0, 100),
        fvn_std=st.floats(0, 1),
        spec_augment=st.builds(SpecAugment, time_masks=st.integers(0, 4)),
        seed=st.integers(0, 2**64 - 1),
        clip_per_layer=st.booleans(),
        fvn_relative=st.booleans(),
        trainable=st.lists(st.text(max_size=5), max_size=3).map(tuple),
        prox_mu=st.floats(0, 10),
    )
)
def test_a_plan_survives_the_wire(plan):
    wire = plan.to_message().SerializeToString()
    assert TrainingPlan.from_message(pb.Plan.FromString(wire)) == plan


def test_unset_fields_take_safe_defaults():
    plan = TrainingPlan.from_message(pb.Plan())
    assert plan.local_epochs == 1
    assert plan.update_encoding == "float32"
    assert plan.client_rate == TrainingPlan().client_rate
    assert plan.trainable == ()


def test_later_knobs_are_written_only_where_they_are_used():
    """A package that does not use them can be read by a phone that does not know them."""
    later = {"clip_per_layer", "fvn_relative", "trainable", "prox_mu"}
    later |= {"client_rule", "client_rule_options"}
    assert not later & set(TrainingPlan().model_dump())
    used = TrainingPlan(trainable=("joint",), prox_mu=0.1)
    assert later & set(used.model_dump()) == {"trainable", "prox_mu"}
    assert TrainingPlan.model_validate_json(used.model_dump_json()) == used


OPTION = st.one_of(
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)


@given(st.dictionaries(st.text(), OPTION, max_size=4))
def test_a_client_rule_and_its_options_survive_the_wire_and_a_file(options):
    plan = TrainingPlan(client_rule="sgd", client_rule_options=options)
    hash(plan)
    read = [
        TrainingPlan.from_message(pb.Plan.FromString(plan.to_message().SerializeToString())),
        TrainingPlan.model_validate_json(plan.model_dump_json()),
        TrainingPlan.model_validate(plan.model_dump()),
    ]
    for found in read:
        assert found == plan
        assert [type(v) for _, v in found.client_rule_options] == [
            type(v) for _, v in plan.client_rule_options
        ]


@pytest.mark.parametrize(
    "fields",
    [
        {"client_rule_options": {"rate": 1.0}},
        {"client_rule": "sgd", "client_momentum": 0.5},
        {"client_rule": "sgd", "client_rule_options": {"rate": float("nan")}},
        {"client_rule": "sgd", "client_rule_options": {"rate": [1.0]}},
        {"client_rule": "sgd", "client_rule_options": {1: 1.0, "a": 2}},
    ],
    ids=str,
)
def test_rules_that_mean_nothing_are_refused(fields):
    with pytest.raises(ValueError, match="client_"):
        TrainingPlan.model_validate(fields)


@pytest.mark.parametrize("options", ["no JSON", "5", '{"rate": null}', "[1]"])
def test_options_that_are_no_table_are_a_fedvoice_error(options):
    with pytest.raises(FedvoiceError, match="client_rule_options") as caught:
        TrainingPlan.from_message(pb.Plan(client_rule="sgd", client_rule_options=options))
    assert caught.value.code is ErrorCode.BAD_CONFIG


def test_a_plan_that_cannot_be_followed_is_a_fedvoice_error():
    with pytest.raises(FedvoiceError) as caught:
        TrainingPlan.from_message(pb.Plan(update_encoding="int3"))
    assert caught.value.code is ErrorCode.BAD_CONFIG
    assert "update_encoding" in str(caught.value)


TABLE = ParameterTable.from_shapes([("encoder.w", (4,)), ("encoder.b", (2,)), ("joint.w", (2, 4))])


def test_prefixes_choose_the_parameters_that_train():
    def names(*prefixes: str) -> list[str]:
        plan = TrainingPlan(trainable=prefixes)
        return [spec.name for spec in trained_parameters(plan, TABLE)]

    assert names() == ["encoder.w", "encoder.b", "joint.w"]
    assert names("encoder.") == ["encoder.w", "encoder.b"]
    assert names("joint", "encoder.b") == ["encoder.b", "joint.w"]
    # The two floats of encoder.b lie behind the parameters whose size divides by four.
    frozen = frozen_parts(TrainingPlan(trainable=("joint",)), TABLE)
    assert frozen == (slice(0, 4), slice(12, 14))
    assert frozen_parts(TrainingPlan(), TABLE) == ()


def test_a_prefix_of_no_parameter_is_named():
    with pytest.raises(FedvoiceError) as caught:
        trained_parameters(TrainingPlan(trainable=("joint", "decoder")), TABLE)
    assert caught.value.code is ErrorCode.BAD_CONFIG
    assert "'decoder'" in str(caught.value)
