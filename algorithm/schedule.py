"""The sequence of rounds and their rules: pure functions of the configuration."""

from __future__ import annotations

from fedvoice.algorithm.rounds import RoundRules, Work
from fedvoice.algorithm.settings import AlgorithmConfig

_EVERYBODY = 2**31 - 1


def following(config: AlgorithmConfig, last: tuple[int, Work] | None) -> tuple[int, Work] | None:
    """(number, work) of the round after `last`; None after the last one.

    An evaluation has the number of the training round whose weights it evaluates.
    """
    if last is None:
        if config.evaluate_first:
            return 0, Work.EVALUATE
        return (1, Work.TRAIN) if config.rounds else None
    number, work = last
    if work is Work.TRAIN and _is_evaluated(config, number):
        return number, Work.EVALUATE
    return (number + 1, Work.TRAIN) if number < config.rounds else None


def _is_evaluated(config: AlgorithmConfig, number: int) -> bool:
    every = config.evaluate_every
    return every > 0 and (number % every == 0 or number == config.rounds)


def rules_for(config: AlgorithmConfig, job: str, number: int, work: Work) -> RoundRules:
    """The rules of a round. An evaluation asks all clients and accepts every report in time."""
    if work is Work.TRAIN:
        return RoundRules(
            job=job,
            number=number,
            work=work,
            goal=config.cohort_size,
            places=config.places,
            min_fraction=config.min_fraction,
            lease_secs=config.lease_secs,
            timeout_secs=config.round_timeout_secs,
            open_to_all=config.selection == "first",
        )
    return RoundRules(
        job=job,
        number=number,
        work=work,
        goal=_EVERYBODY,
        places=_EVERYBODY,
        min_fraction=0.0,
        lease_secs=config.lease_secs,
        timeout_secs=config.evaluation_timeout_secs,
    )
