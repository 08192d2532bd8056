"""Streaming recognisers of real speech, trained and packaged: a transducer and a CTC model.

    python -m benchmarks.streaming_models

Trains the arms of experiments/streaming-models.toml centrally, seed 0, from the words corpus; a
finished trial is not trained again. runs/streaming-models then holds a folder for each arm as a
run leaves it (`task`, the package with streaming methods, and `weights.safetensors`), which
`fedvoice release --task` takes; two manifests of speech that was not trained on: `heldout.jsonl`,
of eight speakers who never train, and `own.jsonl`, test recordings of the others; and
`bigrams.arpa`, a language model of the texts that were trained on.
The last line of stdout is one JSON object; seconds are wall time of training alone.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fedvoice.data.speakers import held_out_speakers
from fedvoice.laboratory.experiment.config import load_experiment
from fedvoice.laboratory.experiment.outcome import Outcome
from fedvoice.laboratory.experiment.progress import trial_dir
from fedvoice.laboratory.experiment.run import trial_task
from fedvoice.laboratory.experiment.runner import run_trials
from fedvoice.laboratory.experiment.view import ExperimentView
from fedvoice.protocol.task import WEIGHTS_FILE

HERE = Path(__file__).resolve().parent.parent
FOLDER = HERE / "runs" / "streaming-models"
EXPERIMENT = HERE / "experiments" / "streaming-models.toml"


def main(
    arms: Annotated[str, typer.Option(help="Only these, by commas: rnnt, ctc.")] = "",
    jobs: Annotated[int, typer.Option(help="Trials at a time.", min=1)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print only a JSON object.")] = False,
) -> None:
    """Train what is not trained yet, and lay out the packages."""
    experiment = load_experiment(EXPERIMENT)
    wanted_arms = [name.strip() for name in arms.split(",") if name.strip()]
    experiment = experiment.narrowed((), wanted_arms, str(EXPERIMENT))
    trials_dir, trials = FOLDER / "trials", experiment.trials(experiment.name)
    data: Any = trials[0].settings.data
    if not data.manifest.is_file():
        print(f"no {data.manifest}: the words corpus is needed", file=sys.stderr)
        raise typer.Exit(1)
    console = Console(stderr=True, quiet=as_json)
    with ExperimentView(console, len(trials), experiment.metric) as view:
        gathered = run_trials(trials, trials_dir, jobs, view)
    for failure in gathered.failures:
        raise failure.error
    write_manifests(data.manifest, data.holdout_speakers, FOLDER)
    found = [lay_out(outcome, trials_dir) for outcome in gathered.outcomes]
    print(json.dumps({"models": found}, indent=None if as_json else 1))


def lay_out(outcome: Outcome, trials_dir: Path) -> dict[str, Any]:
    """A trial's package and weights as the folder of a run; what its training gave."""
    trial, folder = outcome.trial, FOLDER / outcome.trial.arm
    task = trial_task(trial, trials_dir / "tasks", lambda _: None)
    assert task.package_dir is not None
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(task.package_dir, folder / "task", dirs_exist_ok=True)
    shutil.copyfile(trial_dir(trials_dir, trial) / WEIGHTS_FILE, folder / WEIGHTS_FILE)
    final = outcome.results.final
    return {
        "name": trial.arm,
        "parameters": task.manifest.parameters.parameter_count,
        "epochs": trial.settings.central.epochs,
        "wer": final["wer"],
        "heldout_wer": final["heldout_wer"],
        "secs": round(final["secs"], 1),
        "folder": str(folder),
    }


def write_manifests(corpus: Path, holdout: int, folder: Path) -> None:
    """heldout.jsonl and own.jsonl, with paths that hold anywhere, and bigrams.arpa."""
    rows = [json.loads(line) for line in corpus.read_text(encoding="utf-8").splitlines()]
    held_out = set(held_out_speakers(sorted({row["speaker"] for row in rows}), holdout))
    chosen = {
        "heldout": [row for row in rows if row["speaker"] in held_out],
        "own": [r for r in rows if r["speaker"] not in held_out and r["split"] == "test"],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, kept in chosen.items():
        for row in kept:
            row["audio_filepath"] = str(corpus.resolve().parent / row["audio_filepath"])
        text = "".join(json.dumps(row) + "\n" for row in kept)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    trained = [r["text"] for r in rows if r["speaker"] not in held_out and r["split"] == "train"]
    (folder / "bigrams.arpa").write_text(bigrams(trained), encoding="utf-8")


def bigrams(texts: Sequence[str]) -> str:
    """An ARPA file of every pair of words, each counted once more than it was seen."""
    lines = [["<s>", *text.split(), "</s>"] for text in texts]
    counts = Counter(pair for line in lines for pair in pairwise(line))
    before = sorted({word for word, _ in counts})
    after = sorted({word for _, word in counts})
    singles = Counter(word for line in lines for word in line[1:])
    one = {word: math.log10(singles[word] / singles.total()) for word in after} | {"<s>": -99.0}
    two = [
        f"{math.log10((counts[a, b] + 1) / (seen + len(after))):.4f}\t{a} {b}"
        for a in before
        for seen in [sum(counts[a, word] for word in after)]
        for b in after
    ]
    head = ["\\data\\", f"ngram 1={len(one)}", f"ngram 2={len(two)}", "", "\\1-grams:"]
    body = [f"{value:.4f}\t{word}\t0" for word, value in one.items()]
    return "\n".join([*head, *body, "", "\\2-grams:", *two, "", "\\end\\", ""])


if __name__ == "__main__":
    typer.run(main)
