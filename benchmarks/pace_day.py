"""A day of check-ins as pace steering spreads them: an open-loop simulation, without sockets.

    python -m benchmarks.pace_day --phones 100000 --plot day.svg --json

The phones call for the first time within the first two hours, then as the server's own rule
(`server.rounds.pace`) tells them; nobody has work, so every call is answered with a window. Rounds
last ten minutes. At noon the server is gone for half an hour: phones that call try again after
30 s, doubled each time, as Android's schedulers do. At two o'clock it restarts, and 10,000 phones
that waited for it call within the same second. The last line is JSON; `most_in_a_sec` is of
seconds other than that one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedvoice.algorithm.rounds import Phase, RoundRules, RoundState, Work
from fedvoice.server.config import ServerConfig
from fedvoice.server.rounds.pace import expected_wait_secs, window

DAY_SECS = 86400
ROUND_SECS = 600
OUTAGE_SECS = (12 * 3600, 12 * 3600 + 1800)
STAMPEDE_SEC = 14 * 3600
_FIRST_BACK_OFF_SECS, _MOST_DOUBLINGS = 30.0, 9
_RULES = RoundRules("day", 1, Work.TRAIN, 100, 100, 0.5, lease_secs=300, timeout_secs=3600)


def main() -> None:
    """Run the simulation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phones", type=int, default=100_000)
    parser.add_argument("--stampede", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, help="an .svg or .png file")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    options = parser.parse_args()
    config = ServerConfig()
    answered, failed = day(config, options.phones, options.stampede, options.seed)
    if options.plot:
        draw(options.plot, answered, failed, config.retry.most_calls_per_sec)
    print(json.dumps(summary(config, options, answered, failed)))


def day(
    config: ServerConfig, phones: int, stampede: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Calls answered, and calls that found no server, in each second of the day, int64 [86400]."""
    random = np.random.default_rng(seed)
    due_secs = random.uniform(0, 7200, phones)
    seen = np.zeros(phones, bool)
    failures = np.zeros(phones, np.int64)
    answered, failed = np.zeros(DAY_SECS, np.int64), np.zeros(DAY_SECS, np.int64)
    known = 0
    for second in range(DAY_SECS):
        if second == STAMPEDE_SEC:
            due_secs[random.choice(phones, stampede, replace=False)] = second
        calling = np.nonzero(due_secs < second + 1)[0]
        if not len(calling):
            continue
        if OUTAGE_SECS[0] <= second < OUTAGE_SECS[1]:
            failed[second] = len(calling)
            doubled = 2.0 ** np.minimum(failures[calling], _MOST_DOUBLINGS)
            spread = random.uniform(0.5, 1.5, len(calling))
            due_secs[calling] = second + 1 + _FIRST_BACK_OFF_SECS * doubled * spread
            failures[calling] += 1
            continue
        answered[second] = len(calling)
        known += int((~seen[calling]).sum())
        seen[calling], failures[calling] = True, 0
        state = RoundState(_RULES, Phase.TRAINING, float(second - second % ROUND_SECS))
        told = window(config, expected_wait_secs(state, ROUND_SECS, float(second)), known)
        due_secs[calling] = second + random.uniform(told.min_secs, told.max_secs, len(calling))
    return answered, failed


def summary(
    config: ServerConfig,
    options: argparse.Namespace,
    answered: NDArray[np.int64],
    failed: NDArray[np.int64],
) -> dict[str, float]:
    """What the day comes to."""
    others = np.delete(answered, STAMPEDE_SEC)
    minutes = others[: len(others) // 60 * 60].reshape(-1, 60).mean(axis=1)
    after = answered[STAMPEDE_SEC + 1 : STAMPEDE_SEC + 3600]
    return {
        "phones": options.phones,
        "most_calls_per_sec": config.retry.most_calls_per_sec,
        "mean_calls_per_sec": round(float(answered[3 * 3600 :].mean()), 1),
        "most_in_a_minute_per_sec": round(float(minutes.max()), 1),
        "most_in_a_sec": int(others.max()),
        "most_after_outage_in_a_sec": int(answered[OUTAGE_SECS[1] : OUTAGE_SECS[1] + 3600].max()),
        "stampede": int(answered[STAMPEDE_SEC]),
        "most_after_stampede_in_a_sec": int(after.max()),
        "calls": int(answered.sum()),
        "calls_without_server": int(failed.sum()),
    }


def draw(path: Path, answered: NDArray[np.int64], failed: NDArray[np.int64], most: float) -> None:
    """Calls a second over the day, means of minutes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    hours = np.arange(DAY_SECS // 60) / 60
    figure, axes = pyplot.subplots(figsize=(8, 3.2), layout="constrained")
    axes.plot(hours, answered.reshape(-1, 60).mean(axis=1), lw=1, label="answered")
    axes.plot(hours, failed.reshape(-1, 60).mean(axis=1), lw=1, label="no server (outage)")
    axes.axhline(most, color="grey", ls="--", lw=1, label="most_calls_per_sec")
    axes.set(xlabel="hour", ylabel="check-ins per second", xlim=(0, 24), ylim=(0, None))
    axes.set_xticks(range(0, 25, 2))
    axes.legend(frameon=False, ncols=3, loc="upper right")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
