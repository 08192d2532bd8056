"""What decoders share: hypotheses, and the interface that a recogniser drives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import Float32Array

MAX_BEAM = 256

Float64Array = np.ndarray[Any, np.dtype[np.float64]]


class Hypothesis(NamedTuple):
    """tokens: ids without blanks. times: the encoder frame that gave each. score: natural log of
    its probability, with what a language model and the insertion bonus add."""

    tokens: tuple[int, ...]
    times: tuple[int, ...]
    score: float


State = TypeVar("State")


class Search(Protocol[State]):
    """A decoder: pure functions over a state of its own."""

    def start(self) -> State:
        """Before an utterance."""

    def advance(self, state: State, outputs: Float32Array) -> State:
        """After the encoder's outputs [n, O] of the next n frames."""

    def best(self, state: State, *, ended: bool = False) -> Hypothesis:
        """The best so far; `ended`: as a whole utterance, for a language model."""


class Transducer(Protocol):
    """The predictor and the joint of a transducer, for any number of hypotheses n."""

    def predict(self, tokens: list[int], states: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Predictions [n, J] and states [n, S'] after tokens, from states [n, S']."""

    def join(self, output: Float32Array, predictions: Float32Array) -> Float32Array:
        """Logits [n, V] of one frame's output [J] with predictions [n, J]."""

    @property
    def state_size(self) -> int:
        """S'."""


@dataclass(frozen=True)
class Settings:
    """How decoders search.

    Attributes:
        beam: hypotheses kept from frame to frame.
        lm_weight: of the language model's log probability of a token (shallow fusion).
        insertion_bonus: added for each token; a language model prefers short texts.
    """

    beam: int = 4
    lm_weight: float = 0.3
    insertion_bonus: float = 0.0

    def __post_init__(self) -> None:
        finite = math.isfinite(self.lm_weight) and math.isfinite(self.insertion_bonus)
        if not 1 <= self.beam <= MAX_BEAM or not finite:
            raise FedvoiceError(
                ErrorCode.BAD_CONFIG,
                where="beam search",
                got=f"{self}",
                wanted=f"a beam of 1 to {MAX_BEAM}, finite weights",
                next_step="Correct it; beyond 16 a wider beam hardly changes texts.",
            )


GREEDY = Settings(beam=1)


def log_softmax(logits: Float32Array) -> Float64Array:
    """Natural log probabilities [..., V], in float64."""
    exact = logits.astype(np.float64)
    shifted = exact - exact.max(-1, keepdims=True)
    found: Float64Array = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return found


def largest(scores: Float64Array, count: int) -> list[int]:
    """Places of the largest scores, best first; of equal ones the first."""
    return [int(i) for i in np.argsort(-scores, kind="stable")[:count]]
