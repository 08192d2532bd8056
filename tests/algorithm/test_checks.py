"""What a report may say, at the bounds: accepted at each, refused with its text above it."""

from __future__ import annotations

import pytest

from fedvoice.algorithm.checks import Reason, check_statistics
from fedvoice.algorithm.rounds import Work
from fedvoice.algorithm.settings import AlgorithmConfig
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.plan import TrainingPlan

CONFIG = AlgorithmConfig()
TRAINED = {"examples": 3, "steps": 1, "loss": 1.0}
EVALUATED = {"utterances": 2, "words": 10, "chars": 40}
PHONES_MEMORY_BYTES = 16 * 1024**3


@pytest.mark.parametrize(
    ("work", "name", "most"),
    [
        (Work.TRAIN, "steps", 6),
        (Work.TRAIN, "examples", 65536),
        (Work.TRAIN, "peak_memory_bytes", PHONES_MEMORY_BYTES),
        (Work.TRAIN, "planned_memory_bytes", PHONES_MEMORY_BYTES),
        (Work.EVALUATE, "peak_memory_bytes", PHONES_MEMORY_BYTES),
        (Work.EVALUATE, "words", 40),  # each has a character
        (Work.EVALUATE, "word_errors", 20_010),
        (Work.EVALUATE, "chars", 20_000),
        (Work.EVALUATE, "char_errors", 200_040),
    ],
)
def test_a_count_is_accepted_at_its_bound_and_refused_above_it(work, name, most):
    usual = TRAINED if work is Work.TRAIN else EVALUATED
    plan = TrainingPlan(local_epochs=2)
    good, bad = (pb.Statistics(**{**usual, name: value}) for value in (most, most + 1))
    assert check_statistics(good, work, plan, CONFIG) is None
    refusal = check_statistics(bad, work, plan, CONFIG)
    assert refusal is not None
    assert refusal.final
    assert refusal.verdict == pb.VERDICT_INVALID_STATISTICS
    assert str(most + 1) in refusal.detail
    assert "wanted" in refusal.detail


@pytest.mark.parametrize("loss", [1e6 + 1, -1e308])
def test_so_is_a_loss(loss):
    refusal = check_statistics(
        pb.Statistics(**{**TRAINED, "loss": loss}), Work.TRAIN, TrainingPlan(), CONFIG
    )
    assert refusal is not None
    assert refusal.reason is Reason.BEYOND_BOUNDS
    assert refusal.detail == f"loss {abs(loss):.12g}: at most 1000000 wanted"


def test_many_utterances_and_words():
    many = pb.Statistics(utterances=65537, words=65537)
    refusal = check_statistics(many, Work.EVALUATE, TrainingPlan(), CONFIG)
    assert refusal is not None
    assert refusal.reason is Reason.TOO_MANY_EXAMPLES
    wordy = pb.Statistics(utterances=2, words=2001)
    refusal = check_statistics(wordy, Work.EVALUATE, TrainingPlan(), CONFIG)
    assert refusal is not None
    assert refusal.detail == "words 2001: at most 2000 wanted"


def test_settings_loosen_what_a_report_may_say():
    loose = AlgorithmConfig(max_loss=1e9, max_memory_bytes=2**40, max_train_secs=1e6)
    said = pb.Statistics(**TRAINED, peak_memory_bytes=2**40)
    said.loss, said.train_secs = 1e9, 1e6
    assert check_statistics(said, Work.TRAIN, TrainingPlan(), loose) is None
    assert check_statistics(said, Work.TRAIN, TrainingPlan(), CONFIG) is not None


def test_an_utterance_of_a_language_without_spaces_is_one_word_of_any_length():
    said = pb.Statistics(utterances=1, words=1, chars=300, char_errors=300, word_errors=1)
    assert check_statistics(said, Work.EVALUATE, TrainingPlan(), CONFIG) is None
