"""The schedule of a rate over rounds: warm-up, then decay; the same for every rate.

With W warm-up rounds of R in all, round t multiplies the rate by

    t / W                             while t <= W
    floor + (1 - floor) shape(p)      after that, p = (t - W - 1) / (R - W)

    constant 1,   linear 1 - p,   cosine (1 + cos(pi p)) / 2;   exponential: floor^p alone

so the first round after the warm-up has the full rate, and the floor would be reached one round
after the last: no round runs at a rate of 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

_SHAPES: dict[str, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
}


class RateSchedule(BaseModel):
    """Warm-up and decay of one rate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schedule: Literal["constant", "linear", "cosine", "exponential"] = "constant"
    """The decay that follows the warm-up."""
    warm_up_rounds: int = Field(default=0, ge=0)
    """W; 0: no warm-up."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """Fraction of the rate at which the decay ends; unused by a constant rate."""

    @model_validator(mode="after")
    def _exponential_needs_a_floor(self) -> RateSchedule:
        if self.schedule == "exponential" and self.floor == 0:
            raise ValueError("an exponential schedule needs a floor above 0 to fall to")
        return self


def rate_multiplier(schedule: RateSchedule, number: int, rounds: int) -> float:
    """What the rate is multiplied by in round `number` (from 1) of `rounds`; above 0, at most 1.

    Numbers before the first round or after the last are clamped.
    """
    warm_up = schedule.warm_up_rounds
    number = max(1, number)
    if number <= warm_up:
        return number / warm_up
    decaying = max(1, rounds - warm_up)
    progress = min(number - warm_up - 1, decaying - 1) / decaying
    if schedule.schedule == "exponential":
        return math.pow(schedule.floor, progress)
    shape = _SHAPES[schedule.schedule](progress)
    return schedule.floor + (1.0 - schedule.floor) * shape
