"""Models that people bring: does each export, are its gradients right, how fast is a step.

    python -m benchmarks.zoo --json
    python -m benchmarks.zoo --only conformer --only gru

`ratio` is CPU time of a whole step (gradient, clipping, SGD) on the stock runtime by the same in
PyTorch, of the same batch, with one thread: medians of interleaved steps. Each model has a process
of its own. The last line of stdout is one JSON object; progress goes to stderr.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Annotated, Any

import typer

from benchmarks.zoo.tasks import ZOO, refused

LAST_WORDS = 3
"""Lines of a failed process's errors that are repeated."""


def main(
    only: Annotated[list[str] | None, typer.Option(help="A model; repeatable.")] = None,
    steps: Annotated[int, typer.Option(min=3, help="Measured steps on each side.")] = 15,
    limit_secs: Annotated[int, typer.Option(min=10, help="Time of one model at most.")] = 900,
    as_json: Annotated[bool, typer.Option("--json", help="Print only a JSON object.")] = False,
) -> None:
    """Export, check and time the zoo's models."""
    unknown = sorted(set(only or []) - set(ZOO))
    if unknown:
        raise typer.BadParameter(
            f"{', '.join(unknown)}: wanted one of {', '.join(ZOO)}", param_hint="--only"
        )
    names = [name for name in ZOO if not only or name in only]
    found = []
    for number, name in enumerate(names, 1):
        _say(f"{name} ({number} of {len(names)})")
        found.append(_in_own_process(name, steps, limit_secs))
        _say(f"{name}: {_summary(found[-1])}")
    if not as_json:
        print(_table(found))
    print(json.dumps({"models": found}))
    unheld = sorted({name for model in found for name in model.get("new_operators", ())})
    if unheld:
        _say(f"not yet in operators.py, so not held to old phones: {', '.join(unheld)}")
    rising = [model["name"] for model in found if model["exports"] and not _learns(model)]
    if rising:
        _say(f"loss did not fall in 20 steps: {', '.join(rising)}")
    if unheld or rising or not all(model["exports"] for model in found):
        raise typer.Exit(1)


def _in_own_process(name: str, steps: int, limit_secs: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.zoo.measure", name, str(steps)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    try:
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=limit_secs
        )
    except subprocess.TimeoutExpired:
        return refused(name, f"not finished within {limit_secs} s; try --limit-secs")
    try:
        result: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = " | ".join(ended.stderr.strip().splitlines()[-LAST_WORDS:])
        return refused(name, f"ended with {ended.returncode}: {last}")
    return result


def _summary(model: dict[str, Any]) -> str:
    if not model["exports"]:
        return str(model["refused"])
    return (
        f"gradient error {model['gradient_error']:.1e}, ratio {model['ratio']:.2f} "
        f"({model['ours_ms']} / {model['reference_ms']} ms), losses {model['losses']}, arena "
        f"{model['arena_bytes'] / 1e6:.1f} MB, exported in {model['export_secs']:.0f} s"
    )


def _learns(model: dict[str, Any]) -> bool:
    first, last = model["losses"]
    return bool(last < first)


def _table(models: list[dict[str, Any]]) -> str:
    """As it stands in docs/your-model.md."""
    titles = ("Model", "Parameters", "Gradient error", "Step ratio (ms)", "Arena", "Loss")
    titles += ("Rewritten, besides linear layers", "Left out")
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for model in models:
        cells = [model["name"], "", "", "", "", "", "", model["refused"]]
        if model["exports"]:
            without = len(model["without_gradient"])
            cells[1:] = [
                f"{model['parameters']:,}",
                f"{model['gradient_error']:.0e}",
                f"{model['ratio']:.2f} ({model['ours_ms']:.1f} / {model['reference_ms']:.1f})",
                f"{model['arena_bytes'] / 1e6:.1f} MB",
                "{:.2f} -> {:.2f}".format(*model["losses"]),
                ", ".join(name for name in model["rewritten"] if name != "linear"),
                f"{without} without gradient" if without else "",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    typer.run(main)
