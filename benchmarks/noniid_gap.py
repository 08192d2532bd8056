"""Quality and cost of the key arms of experiments/noniid-gap.toml.

    python -m benchmarks.noniid_gap --seeds 5 --json

Trains the IID control, non-IID clients (sorted by word) on all data, and the same clients limited
and tuned (L = 8, updates as int8, warm-up of the server's rate), on the fast engine, all with the
same budget of CFMQ, and prints the mean word error rates (percent, all test data) and the mean CFMQ
of the control and of the limited arm. `data_limit_alone_wer` is that of L = 8 with nothing else.
The reference is the IID control of the run. Finished trials below --trials-dir are not run again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedvoice.laboratory.experiment.config import load_experiment
from fedvoice.laboratory.experiment.runner import run_trials
from fedvoice.laboratory.experiment.summary import Line, summarise
from fedvoice.laboratory.experiment.view import ExperimentView

CONFIG = Path(__file__).resolve().parent.parent / "experiments" / "noniid-gap.toml"
ARMS = ("iid", "noniid", "limited", "tuned")


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, ... of every arm.")] = 5,
    trials_dir: Annotated[Path, typer.Option(help="Folder of trials.")] = Path("runs/trials"),
    jobs: Annotated[int | None, typer.Option(help="Trials at a time.", min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print only a JSON object.")] = False,
) -> None:
    """Measure the non-IID gap, with and without the data limit."""
    experiment = load_experiment(CONFIG).narrowed(range(seeds), ARMS, str(CONFIG))
    wanted = experiment.trials(str(CONFIG))
    console = Console(stderr=True, quiet=as_json)
    with ExperimentView(console, len(wanted), experiment.metric) as view:
        gathered = run_trials(wanted, trials_dir, jobs or os.cpu_count() or 1, view)
    for failure in gathered.failures:
        raise failure.error
    lines = {line.arm: line for line in summarise(gathered.outcomes)}
    iid, noniid, plain, limited = (lines[arm] for arm in ARMS)
    result = {
        "iid_wer": _wer(iid),
        "noniid_wer": _wer(noniid),
        "limited_wer": _wer(limited),
        "iid_cfmq_bytes": iid.cfmq_bytes,
        "limited_cfmq_bytes": limited.cfmq_bytes,
        "seeds": seeds,
        "data_limit_alone_wer": _wer(plain),
        "spread": {arm: round(line.rates["pooled"][1], 2) for arm, line in lines.items()},
        "rounds": {arm: line.rounds for arm, line in lines.items()},
    }
    print(json.dumps(result) if as_json else json.dumps(result, indent=1))


def _wer(line: Line) -> float:
    return round(line.rates["pooled"][0], 3)


if __name__ == "__main__":
    typer.run(main)
