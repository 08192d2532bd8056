"""What a report must satisfy before its payload is folded: pure functions, verdict and reason."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedvoice.algorithm.aggregation import UpdateFacts
from fedvoice.algorithm.rounds import Work
from fedvoice.algorithm.settings import AlgorithmConfig
from fedvoice.protocol.codec import ENCODINGS, largest_payload_bytes, smallest_payload_bytes
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.plan import TrainingPlan

PLAN_NORM_SLACK = 1.001
"""Phones scale to the plan's norm in float32; the server's sum may differ in the last digits."""
INT8_NORM_SLACK = 1.07
"""Rounding to int8 may lengthen an update. The worst block has one value of 127 scales and 1023 of
3.5, rounded up to 4: sqrt((127^2 + 1023 * 16) / (127^2 + 1023 * 12.25)) = 1.065."""


@dataclass(frozen=True)
class Refusal:
    """Why a report is not accepted. `final`: sending it again would not help."""

    verdict: pb.Verdict
    detail: str
    final: bool = False


def check_statistics(
    statistics: pb.Statistics, work: Work, plan: TrainingPlan, config: AlgorithmConfig
) -> Refusal | None:
    """Counts that the average and the books can use."""
    s = statistics
    problem = ""
    if not (math.isfinite(s.loss) and math.isfinite(s.train_secs) and s.train_secs >= 0):
        problem = f"loss {s.loss}, train_secs {s.train_secs}: finite numbers wanted"
    elif work is Work.EVALUATE:
        if s.utterances == 0 or s.words == 0:
            problem = f"{s.utterances} utterances with {s.words} words: at least one each wanted"
    elif not 1 <= s.examples <= config.max_client_examples:
        problem = f"{s.examples} examples: 1 to {config.max_client_examples} wanted"
    elif plan.data_limit and s.examples > plan.data_limit:
        problem = f"{s.examples} examples: at most the plan's data_limit {plan.data_limit} wanted"
    elif s.steps == 0:
        problem = "0 steps: at least one wanted"
    if problem:
        return Refusal(pb.VERDICT_INVALID_STATISTICS, problem, final=True)
    return None


def check_payload_header(payload: pb.Blob, work: Work, size: int) -> Refusal | None:
    """Whether a payload so described can be an update of P = `size` values."""
    if work is Work.EVALUATE:
        if payload.size_bytes == 0:
            return None
        return Refusal(
            pb.VERDICT_WRONG_SHAPE, "an evaluation has counts only, no payload", final=True
        )
    if payload.encoding not in ENCODINGS:
        return Refusal(
            pb.VERDICT_WRONG_SHAPE,
            f"encoding {payload.encoding[:32]!r}: one of {', '.join(ENCODINGS)} wanted",
            final=True,
        )
    least = smallest_payload_bytes(payload.encoding, size)
    most = largest_payload_bytes(payload.encoding, size)
    if not least <= payload.size_bytes <= most:
        return Refusal(
            pb.VERDICT_WRONG_SHAPE,
            f"{payload.size_bytes} bytes: {least} to {most} wanted for {size} values "
            f"as {payload.encoding}",
            final=True,
        )
    return None


def check_facts(facts: UpdateFacts, plan: TrainingPlan, config: AlgorithmConfig) -> Refusal | None:
    """Finite and within the bounds that keep sums from overflowing and one phone from shouting."""
    if not facts.finite:
        return Refusal(pb.VERDICT_NOT_FINITE, "NaN or infinity in the update", final=True)
    if facts.max_abs > config.max_update_abs:
        return Refusal(
            pb.VERDICT_NORM_TOO_LARGE,
            f"an element of {facts.max_abs:.3g}: at most {config.max_update_abs:g} wanted",
            final=True,
        )
    int8 = plan.update_encoding.startswith("int8")
    slack = INT8_NORM_SLACK if int8 else PLAN_NORM_SLACK
    for bound in (config.max_update_norm, plan.max_update_norm * slack):
        if 0 < bound < facts.norm:
            return Refusal(
                pb.VERDICT_NORM_TOO_LARGE,
                f"norm {facts.norm:.4g}: at most {bound:.4g} wanted",
                final=True,
            )
    return None
