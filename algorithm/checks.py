"""What an update must satisfy before it is folded: pure functions; every driver calls these.

A `Refusal` has a verdict of the protocol, and a short `reason` under which drivers count refused
updates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from fedvoice.algorithm.aggregation import Accumulator, UpdateFacts
from fedvoice.algorithm.bounds import (
    CHARS_AN_UTTERANCE,
    INSERTIONS_A_WORD,
    MAX_LOSS,
    MAX_MEMORY_BYTES,
    MAX_TRAIN_SECS,
    WORDS_AN_UTTERANCE,
)
from fedvoice.algorithm.rounds import Work
from fedvoice.protocol.codec import ENCODINGS, largest_payload_bytes, smallest_payload_bytes
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.plan import TrainingPlan

PLAN_NORM_SLACK = 1.001
"""Clients scale to the plan's norm in float32; the server's sum may differ in the last digits."""
INT8_NORM_SLACK = 1.07
"""Rounding to int8 may lengthen an update. The worst block has one value of 127 scales and 1023 of
3.5, rounded up to 4: sqrt((127^2 + 1023 * 16) / (127^2 + 1023 * 12.25)) = 1.065."""


class Reason(StrEnum):
    """Why an update is refused, in a few words."""

    DIVERGED = "diverged"
    NO_EXAMPLE = "no usable example"
    TOO_MANY_EXAMPLES = "too many examples"
    BEYOND_DATA_LIMIT = "more examples than the data limit"
    NO_STEPS = "no steps"
    TOO_MANY_STEPS = "more steps than the plan allows"
    BAD_NUMBERS = "statistics that are no numbers"
    BEYOND_BOUNDS = "statistics beyond their bounds"
    BEYOND_ENCODING = "beyond the encoding's range"
    NOT_FINITE = "not finite"
    NORM_TOO_LARGE = "norm too large"
    WRONG_SHAPE = "wrong shape"


@dataclass(frozen=True)
class Refusal:
    """Why a report is not accepted. `final`: sending it again would not help."""

    verdict: pb.Verdict
    detail: str
    final: bool = False
    reason: Reason | None = None
    """Set if the update itself is bad; transfer errors have a verdict alone."""


class Bounds(Protocol):
    """What the settings allow (`algorithm.settings.AlgorithmConfig`)."""

    @property
    def max_update_abs(self) -> float:
        """Of one element."""

    @property
    def max_update_norm(self) -> float:
        """L2; 0: no bound."""

    @property
    def max_client_examples(self) -> int:
        """Largest n_k."""

    @property
    def max_loss(self) -> float:
        """Absolute."""

    @property
    def max_memory_bytes(self) -> int:
        """Planned, or measured."""

    @property
    def max_train_secs(self) -> float:
        """Of one client's round."""


@dataclass(frozen=True)
class UpdateLimits:
    """`Bounds` and the grid of the sums, without the rest of the settings: travels to workers."""

    grid_bits: int
    max_update_abs: float
    max_update_norm: float
    max_client_examples: int
    max_loss: float = MAX_LOSS
    max_memory_bytes: int = MAX_MEMORY_BYTES
    max_train_secs: float = MAX_TRAIN_SECS

    def accumulator(self, size: int) -> Accumulator:
        """An empty sum of updates of `size` elements within these bounds."""
        return Accumulator(size, grid_bits=self.grid_bits, max_abs=self.max_update_abs)


def check_statistics(
    statistics: pb.Statistics, work: Work, plan: TrainingPlan, bounds: Bounds
) -> Refusal | None:
    """The refusal of statistics that the mean or the books cannot use, or that go beyond what the
    plan and the bounds allow; None: they are good. `plan`: the round's own."""
    found = _wrong_numbers(statistics, bounds) or (
        _wrong_training(statistics, plan, bounds)
        if work is Work.TRAIN
        else _wrong_evaluation(statistics, bounds)
    )
    if found is None:
        return None
    reason, problem = found
    return Refusal(pb.VERDICT_INVALID_STATISTICS, problem, final=True, reason=reason)


def _wrong_numbers(s: pb.Statistics, bounds: Bounds) -> tuple[Reason, str] | None:
    if not (math.isfinite(s.loss) and math.isfinite(s.train_secs) and s.train_secs >= 0):
        problem = f"loss {s.loss}, train_secs {s.train_secs}: finite numbers wanted"
        return Reason.BAD_NUMBERS, problem
    return _beyond(
        ("loss", abs(s.loss), bounds.max_loss),
        ("train_secs", s.train_secs, bounds.max_train_secs),
        ("peak_memory_bytes", s.peak_memory_bytes, bounds.max_memory_bytes),
        ("planned_memory_bytes", s.planned_memory_bytes, bounds.max_memory_bytes),
    )


def _wrong_training(
    s: pb.Statistics, plan: TrainingPlan, bounds: Bounds
) -> tuple[Reason, str] | None:
    if not 1 <= s.examples <= bounds.max_client_examples:
        reason = Reason.TOO_MANY_EXAMPLES if s.examples else Reason.NO_EXAMPLE
        return reason, f"{s.examples} examples: 1 to {bounds.max_client_examples} wanted"
    if plan.data_limit and s.examples > plan.data_limit:
        problem = f"{s.examples} examples: at most the plan's data_limit {plan.data_limit} wanted"
        return Reason.BEYOND_DATA_LIMIT, problem
    if s.steps == 0:
        return Reason.NO_STEPS, "0 steps: at least one wanted"
    most = plan.local_epochs * s.examples  # a batch has an example
    if s.steps > most:
        problem = (
            f"{s.steps} steps: at most {most} wanted, local_epochs {plan.local_epochs} of "
            f"{s.examples} examples"
        )
        return Reason.TOO_MANY_STEPS, problem
    return None


def _wrong_evaluation(s: pb.Statistics, bounds: Bounds) -> tuple[Reason, str] | None:
    if not (s.utterances and s.words):
        problem = f"{s.utterances} utterances with {s.words} words: at least one each wanted"
        return Reason.NO_EXAMPLE, problem
    # Phones of 0.1.0 count no characters.
    if (s.HasField("chars") or s.HasField("char_errors")) and s.chars < s.words:
        problem = f"{s.words} words with {s.chars} characters: at least one each wanted"
        return Reason.NO_EXAMPLE, problem
    if s.utterances > bounds.max_client_examples:
        problem = f"{s.utterances} utterances: at most {bounds.max_client_examples} wanted"
        return Reason.TOO_MANY_EXAMPLES, problem
    words, chars = (s.utterances * most for most in (WORDS_AN_UTTERANCE, CHARS_AN_UTTERANCE))
    return _beyond(
        ("words", s.words, words),
        ("chars", s.chars, chars),
        ("word_errors", s.word_errors, s.words + INSERTIONS_A_WORD * words),
        ("char_errors", s.char_errors, s.chars + INSERTIONS_A_WORD * chars),
    )


def _beyond(*counts: tuple[str, float, float]) -> tuple[Reason, str] | None:
    """The first of (name, value, bound) that is above its bound."""
    for name, value, most in counts:
        if value > most:
            return Reason.BEYOND_BOUNDS, f"{name} {value:.12g}: at most {most:.12g} wanted"
    return None


def check_payload_header(payload: pb.Blob, work: Work, size: int) -> Refusal | None:
    """Whether a payload so described can be an update of P = `size` values."""
    if work is Work.EVALUATE:
        if payload.size_bytes == 0:
            return None
        text = "an evaluation has counts only, no payload"
        return Refusal(pb.VERDICT_WRONG_SHAPE, text, final=True, reason=Reason.WRONG_SHAPE)
    if payload.encoding not in ENCODINGS:
        return Refusal(
            pb.VERDICT_WRONG_SHAPE,
            f"encoding {payload.encoding[:32]!r}: one of {', '.join(ENCODINGS)} wanted",
            final=True,
            reason=Reason.WRONG_SHAPE,
        )
    least = smallest_payload_bytes(payload.encoding, size)
    most = largest_payload_bytes(payload.encoding, size)
    if not least <= payload.size_bytes <= most:
        return Refusal(
            pb.VERDICT_WRONG_SHAPE,
            f"{payload.size_bytes} bytes: {least} to {most} wanted for {size} values "
            f"as {payload.encoding}",
            final=True,
            reason=Reason.WRONG_SHAPE,
        )
    return None


def check_facts(
    facts: UpdateFacts, plan: TrainingPlan, bounds: Bounds, norm_bound: float = 0.0
) -> Refusal | None:
    """Finite and within the bounds that keep sums from overflowing and limit one client's
    influence.

    Args:
        norm_bound: the round's own (`algorithm.influence`); 0: none.
    """
    if not facts.finite:
        text = "NaN or infinity in the update"
        return Refusal(pb.VERDICT_NOT_FINITE, text, final=True, reason=Reason.NOT_FINITE)
    if facts.max_abs > bounds.max_update_abs:
        return Refusal(
            pb.VERDICT_NORM_TOO_LARGE,
            f"an element of {facts.max_abs:.3g}: at most {bounds.max_update_abs:g} wanted",
            final=True,
            reason=Reason.NORM_TOO_LARGE,
        )
    int8 = plan.update_encoding.startswith("int8")
    slack = INT8_NORM_SLACK if int8 else PLAN_NORM_SLACK
    for bound, why in (
        (bounds.max_update_norm, ""),
        (plan.max_update_norm * slack, ""),
        (norm_bound, ", by the norms of the rounds before"),
    ):
        if 0 < bound < facts.norm:
            return Refusal(
                pb.VERDICT_NORM_TOO_LARGE,
                f"norm {facts.norm:.4g}: at most {bound:.4g} wanted{why}",
                final=True,
                reason=Reason.NORM_TOO_LARGE,
            )
    return None
