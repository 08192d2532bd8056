"""The course of a round's local training: everything that is drawn before the first step.

It depends on no gradient, so a resumed client draws it again and continues at its step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedvoice.device_runtime.batches import draw_epochs, draw_examples
from fedvoice.device_runtime.optimizer import optimizer_state_bytes
from fedvoice.device_runtime.spec_augment import MaskWords, draw_mask_words
from fedvoice.protocol.cost import training_memory_bytes
from fedvoice.protocol.engine import Example
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.features import check_masks
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.random import TABLE_SIZE, Purpose, Stream
from fedvoice.protocol.task import TaskManifest

UNUSABLE = frozenset(
    {
        ErrorCode.MISSING_AUDIO,
        ErrorCode.UNREADABLE_AUDIO,
        ErrorCode.WRONG_SAMPLE_RATE,
        ErrorCode.WRONG_SHAPE,
        ErrorCode.EMPTY_TRANSCRIPT,
        ErrorCode.UNKNOWN_TOKEN,
        ErrorCode.UNSUPPORTED_TEXT,
        ErrorCode.NOT_FINITE,
        ErrorCode.SILENT,
    }
)
"""Error codes of examples that are skipped and counted."""


@dataclass(frozen=True)
class Draws:
    """Everything drawn for one client's round of training, step by step."""

    used: list[int]
    """Indices of the examples trained on; everything below speaks of positions in this list."""
    buckets: list[int]
    """The place in the manifest of each one's bucket."""
    steps: list[tuple[int, list[int]]]
    """(epoch, positions of the batch) of every step."""
    masks: MaskWords
    """SpecAugment's random words, uint32 [epochs, len(used), masks, 2]."""
    noise_offsets: list[int]
    """Where each step reads the table of normals; empty without FVN."""
    draw_offsets: list[int]
    """Where each step reads the table of uniform numbers; empty for a model without dropout."""
    skipped: int
    """Examples drawn that cannot be used."""

    @staticmethod
    def draw(
        manifest: TaskManifest,
        used: list[int],
        buckets: list[int],
        plan: TrainingPlan,
        *,
        skipped: int,
        client_id: str,
        round_number: int,
    ) -> Draws:
        """Batches, masks and noise of the examples that can be used.

        Raises:
            FedvoiceError: `bad-config` for masks of waveforms.
        """
        check_masks(manifest.features, plan)
        epochs = draw_epochs(buckets, plan, client_id=client_id, round_number=round_number)
        steps = [(epoch, batch) for epoch, batches in enumerate(epochs) for batch in batches]

        def offsets(purpose: Purpose) -> list[int]:
            words = Stream(plan.seed, client_id, round_number, purpose).words(len(steps))
            return [(int(word) * TABLE_SIZE) >> 32 for word in words]

        is_noisy, has_draws = plan.fvn_std > 0, any(bucket.draws for bucket in manifest.buckets)
        return Draws(
            used=used,
            buckets=buckets,
            steps=steps,
            masks=draw_mask_words(plan, len(used), client_id=client_id, round_number=round_number),
            noise_offsets=offsets(Purpose.NOISE) if is_noisy else [],
            draw_offsets=offsets(Purpose.DRAWS) if has_draws else [],
            skipped=skipped,
        )

    def planned_memory_bytes(self, manifest: TaskManifest, plan: TrainingPlan) -> int:
        """mu, as a phone plans it for this round."""
        weights_bytes = manifest.parameters.weights_bytes
        # A batch that spans buckets or overfills one takes several calls, whose gradients add up.
        accumulates = any(
            len({self.buckets[i] for i in batch}) > 1
            or len(batch) > manifest.buckets[self.buckets[batch[0]]].batch
            for _, batch in self.steps
        )
        return training_memory_bytes(
            weights_bytes=weights_bytes,
            optimizer_state_bytes=optimizer_state_bytes(
                weights_bytes, plan, accumulates=accumulates
            ),
            arena_bytes=max(
                manifest.buckets[place].step_arena_bytes for place in set(self.buckets)
            ),
            frozen_bytes=manifest.frozen_bytes,
        )


@dataclass(frozen=True)
class Course(Draws):
    """A phone's round."""

    sizes: list[tuple[int, int]]
    """(feature frames, tokens) of each example used."""


def draw_course(
    manifest: TaskManifest,
    examples: Sequence[Example],
    plan: TrainingPlan,
    *,
    client_id: str,
    round_number: int,
) -> Course:
    """Draw examples, batches, masks and noise of one client's round."""
    drawn = draw_examples(len(examples), plan, client_id=client_id, round_number=round_number)
    used, sizes, buckets = [], [], []
    for index in drawn:
        try:
            example = examples[index]
        except FedvoiceError as error:
            if error.code not in UNUSABLE:
                raise
            continue
        frames, tokens = len(example.features), len(example.targets)
        bucket = manifest.bucket_for(manifest.features.stacked_frames(frames), tokens)
        if bucket is not None:
            used.append(index)
            sizes.append((frames, tokens))
            buckets.append(manifest.buckets.index(bucket))
    draws = Draws.draw(
        manifest,
        used,
        buckets,
        plan,
        skipped=len(drawn) - len(used),
        client_id=client_id,
        round_number=round_number,
    )
    return Course(**vars(draws), sizes=sizes)
