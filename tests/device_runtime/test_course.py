"""What is drawn before training: examples, batches, masks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedvoice.device_runtime.batches import draw_epochs, draw_examples, micro_batches
from fedvoice.device_runtime.spec_augment import apply_masks, draw_mask_words
from fedvoice.protocol.plan import SpecAugment, TrainingPlan
from tests.device_runtime.tiny import tiny_manifest

PHONE = {"client_id": "phone", "round_number": 1}
MANIFEST = tiny_manifest(buckets=((2, 2), (3, 3), (4, 4)))
BUCKETS = st.lists(st.integers(0, 2), max_size=40)


@given(buckets=BUCKETS, batch=st.integers(0, 9), epochs=st.integers(1, 3), seed=st.integers(0, 9))
def test_every_example_comes_exactly_once_an_epoch(
    buckets: list[int], batch: int, epochs: int, seed: int
) -> None:
    plan = TrainingPlan(batch_size=batch, local_epochs=epochs, seed=seed)
    drawn = draw_epochs(buckets, plan, **PHONE)
    assert len(drawn) == epochs
    for batches in drawn:
        assert sorted(i for members in batches for i in members) == list(range(len(buckets)))
        for members in batches:
            assert members
            if batch:
                assert len(members) <= batch
                assert len({buckets[i] for i in members}) == 1
        if batch:
            # As few batches as buckets allow: only the last of each bucket is short.
            needed = sum(-(-buckets.count(b) // batch) for b in set(buckets))
            assert len(batches) == needed
        else:
            assert len(batches) == min(1, len(buckets))


@given(buckets=BUCKETS.filter(bool))
def test_calls_of_the_program_hold_their_bucket_and_cover_the_batch(buckets: list[int]) -> None:
    calls = micro_batches(range(len(buckets)), buckets, MANIFEST)
    assert sorted(i for _, rows in calls for i in rows) == list(range(len(buckets)))
    for bucket, rows in calls:
        assert 1 <= len(rows) <= bucket.batch
        assert {MANIFEST.buckets[buckets[i]] for i in rows} == {bucket}


def test_the_data_limit_is_drawn_afresh_each_round() -> None:
    plan = TrainingPlan(data_limit=3)
    rounds = [draw_examples(10, plan, client_id="phone", round_number=r) for r in range(40)]
    assert all(len(set(chosen)) == 3 for chosen in rounds)
    assert len({tuple(chosen) for chosen in rounds}) > 20
    assert {i for chosen in rounds for i in chosen} == set(range(10))
    assert rounds[5] == draw_examples(10, plan, client_id="phone", round_number=5)
    assert rounds != [draw_examples(10, plan, client_id="b", round_number=r) for r in range(40)]
    assert draw_examples(2, plan, **PHONE) == [0, 1]
    assert draw_examples(4, TrainingPlan(), **PHONE) == [0, 1, 2, 3]


def test_epochs_differ_in_order() -> None:
    first, second = draw_epochs([0] * 20, TrainingPlan(batch_size=4, local_epochs=2), **PHONE)
    assert first != second


def test_masks_are_zero_stretches_within_their_limits() -> None:
    policy = SpecAugment(time_masks=1, time_mask_frames=5, frequency_masks=1, frequency_mask_bins=3)
    plan = TrainingPlan(spec_augment=policy, local_epochs=2)
    words = draw_mask_words(plan, 50, **PHONE)
    assert words.shape == (2, 50, 2, 2)
    widths = set()
    for example in words.reshape(100, 2, 2):
        masked = apply_masks(np.ones((20, 10), dtype=np.float32), policy, example)
        frames = np.flatnonzero((masked == 0).all(axis=1))
        bins = np.flatnonzero((masked == 0).all(axis=0))
        assert len(frames) <= 5
        assert len(bins) <= 3
        assert (np.diff(frames) == 1).all()
        assert (np.diff(bins) == 1).all()
        assert (masked == 0).sum() == 10 * len(frames) + 20 * len(bins) - len(frames) * len(bins)
        widths.add((len(frames), len(bins)))
    assert {w for w, _ in widths} == {0, 1, 2, 3, 4, 5}
    assert {w for _, w in widths} == {0, 1, 2, 3}


def test_masks_longer_than_the_utterance_fit() -> None:
    policy = SpecAugment(time_masks=1, time_mask_frames=50)
    words = np.full((1, 2), 2**32 - 1, dtype=np.uint32)
    assert not apply_masks(np.ones((4, 2), dtype=np.float32), policy, words).any()


def test_without_a_policy_features_stay_as_they_are() -> None:
    features = np.ones((4, 2), dtype=np.float32)
    words = draw_mask_words(TrainingPlan(), 3, **PHONE)
    assert apply_masks(features, SpecAugment(), words[0, 0]) is features
