"""Plans travel as data, and an older or newer peer's plan still means something."""

from hypothesis import given
from hypothesis import strategies as st

from protocol.generated import fedvoice_pb2 as pb
from protocol.plan import SpecAugment, TrainingPlan


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
