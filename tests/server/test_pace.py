"""Phones that come back as they are told offer no more than the server is set to take."""

from __future__ import annotations

import numpy as np

from benchmarks.pace_day import STAMPEDE_SEC, day
from fedvoice.server.config import RetryConfig, ServerConfig


def test_a_day_of_many_phones_with_an_outage_and_a_stampede() -> None:
    most = 20.0
    config = ServerConfig(retry=RetryConfig(most_calls_per_sec=most))
    answered, failed = day(config, phones=10_000, stampede=1000, seed=0)
    assert answered[STAMPEDE_SEC] >= 1000
    assert failed.sum() > 0
    others = np.delete(answered, STAMPEDE_SEC)
    minutes = others[:-59].reshape(-1, 60).mean(axis=1)
    assert 0.8 * most < minutes[180:].mean() <= most
    # Chance and the rounds' ends included.
    assert minutes.max() < 2 * most
    assert others.max() < 3 * most
