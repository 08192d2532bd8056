"""The points of a search's space, and which one is tried next: none twice."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from fedvoice.laboratory.tuning.config import Dimension

STARTUP_TRIALS = 12
"""Trials before the sampler's model is used; until then points are drawn at random."""
ERROR = "error"
"""A failed trial's attribute with its error."""
_TRIED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
_LISTED_AT_MOST = 10_000
"""Points of a space up to which all are listed to find those that have not been tried."""
_DRAWS_AT_MOST = 1000
_GOOD_SHARE, _GOOD_AT_MOST = 0.1, 25
"""The share, and number, of trials that are the sampler's good ones: Optuna's own."""


class Points:
    """Proposes the points of a study: those of a TPE sampler, but none that is finished or running.

    What the sampler makes of earlier trials (optuna/samplers/_tpe/sampler.py, 4.5 to 4.9): finished
    and pruned ones are its data, failed ones are not. It models the best tenth, by rank of the two
    objectives, and all the others, and proposes what is likely under the first model and unlikely
    under the second. A pruned trial of two objectives has no value, since such a study takes no
    intermediate ones: all of them rank alike, after every finished one, and so are among the
    others. Where a tenth is more than have finished, Optuna would fill it with the oldest pruned
    trials, and fails on their missing values (optuna issue 5260): here the good ones are finished
    ones only, and with none the model of the good is flat.
    """

    def __init__(
        self, study: optuna.Study, space: Mapping[str, BaseDistribution], seed: int
    ) -> None:
        self._study, self._space = study, space
        with warnings.catch_warnings():
            # `gamma` is deprecated until Optuna 6; the dependency is below 5.
            warnings.simplefilter("ignore", FutureWarning)
            self.sampler = TPESampler(
                seed=seed, constant_liar=True, n_startup_trials=STARTUP_TRIALS, gamma=self._good
            )
        self._random = np.random.default_rng(seed)

    def new(self) -> dict[str, Any] | None:
        """The sampler's proposal or, if that has been tried, a point drawn from those that have
        not; None if there is none. A trial that failed (`ERROR`) counts as tried, an interrupted
        one does not."""
        tried = {
            _key(trial.params)
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state in _TRIED or ERROR in trial.user_attrs
        }
        point = self._drawn(self.sampler)
        if _key(point) not in tried:
            return point
        axes = [_values(distribution) for distribution in self._space.values()]
        if None not in axes and math.prod(map(len, filter(None, axes))) <= _LISTED_AT_MOST:
            listed = itertools.product(*(axis or () for axis in axes))
            points = (dict(zip(self._space, values, strict=True)) for values in listed)
            untried = [found for found in points if _key(found) not in tried]
            return untried[int(self._random.integers(len(untried)))] if untried else None
        anywhere = RandomSampler(seed=int(self._random.integers(1 << 31)))
        draws = (self._drawn(anywhere) for _ in range(_DRAWS_AT_MOST))
        return next((drawn for drawn in draws if _key(drawn) not in tried), None)

    def _drawn(self, sampler: optuna.samplers.BaseSampler) -> dict[str, Any]:
        trial: FrozenTrial = create_trial(state=TrialState.RUNNING)
        return {
            name: sampler.sample_independent(self._study, trial, name, distribution)
            for name, distribution in self._space.items()
        }

    def _good(self, trials: int) -> int:
        """How many of so many finished and pruned trials are good ones: finished ones alone."""
        finished = len(self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
        return min(math.ceil(_GOOD_SHARE * trials), _GOOD_AT_MOST, finished)


def distributions(space: Mapping[str, Dimension]) -> dict[str, BaseDistribution]:
    """A space as Optuna takes it."""
    return {name: _distribution(dimension) for name, dimension in space.items()}


def _distribution(dimension: Dimension) -> BaseDistribution:
    if dimension.choices:
        return CategoricalDistribution(dimension.choices)
    assert dimension.low is not None
    assert dimension.high is not None
    if dimension.integer:
        step = int(dimension.step or 1)
        return IntDistribution(
            int(dimension.low), int(dimension.high), step=step, log=dimension.log
        )
    return FloatDistribution(dimension.low, dimension.high, step=dimension.step, log=dimension.log)


def _values(distribution: BaseDistribution) -> list[Any] | None:
    """All values of a dimension; None if they cannot be listed."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    if distribution.step is None:
        return None
    count = round((distribution.high - distribution.low) / distribution.step) + 1
    if count > _LISTED_AT_MOST:
        return None
    return [distribution.low + i * distribution.step for i in range(count)]


def _key(point: Mapping[str, Any]) -> str:
    """The same for points that differ by rounding alone."""
    return repr(
        sorted((k, f"{v:.12g}" if isinstance(v, float) else repr(v)) for k, v in point.items())
    )
