"""Which models of the zoo go out as ONNX, and whether onnxruntime computes the same.

    python -m benchmarks.zoo.onnx
    python -m benchmarks.zoo.onnx --only conformer

Each is released with random weights as `fedvoice release --formats onnx` does, and its logits are
compared with PyTorch's for one, two and five rows of other lengths than the file was traced with.
`error`: the largest difference over the largest logit, of frames that count; `refused`: what the
release says instead. Each model has a process of its own; the last line of stdout is one JSON
object.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from benchmarks.zoo.tasks import ZOO
from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.fresh import flat_weights, new_model, unexported_manifest
from fedvoice.model_export.models.module import ModuleModel
from fedvoice.model_export.outgoing.onnx_file import Session
from fedvoice.model_export.outgoing.onnx_model import write_onnx_model
from fedvoice.model_export.outgoing.trained import Trained
from fedvoice.protocol.errors import FedvoiceError

ROWS = (1, 2, 5)
SAME = 1e-4
"""The largest `error` of rounding."""


def main(
    only: Annotated[list[str] | None, typer.Option(help="A model; repeatable.")] = None,
    limit_secs: Annotated[int, typer.Option(min=10, help="Time of one model at most.")] = 600,
    as_json: Annotated[bool, typer.Option("--json", help="Print only a JSON object.")] = False,
    one: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Release and compare the zoo's models."""
    if one:
        print(json.dumps(tried(one)))
        return
    unknown = sorted(set(only or []) - set(ZOO))
    if unknown:
        raise typer.BadParameter(
            f"{', '.join(unknown)}: wanted one of {', '.join(ZOO)}", param_hint="--only"
        )
    found = []
    for name in only or list(ZOO):
        found.append(_in_own_process(name, limit_secs))
        print(f"{name}: {_summary(found[-1])}", file=sys.stderr, flush=True)
    if not as_json:
        print("| Model | Bytes | As ONNX |\n|---|---|---|")
        for model in found:
            size = f"{model['bytes']:,}" if model["bytes"] else ""
            print(f"| {model['name']} | {size} | {_summary(model)} |")
    print(json.dumps({"models": found}))


def tried(name: str) -> dict[str, Any]:
    """One model, in this process."""
    torch.set_num_threads(1)
    missing = ZOO[name].needs
    if missing and find_spec(missing) is None:
        return _refused(name, f"not tried: {missing} is missing, pip install 'fedvoice[zoo]'")
    config = ZOO[name].config(name)
    manifest = unexported_manifest(config)
    model = new_model(config, manifest.vocabulary.size)
    assert isinstance(model, ModuleModel)
    model.eval()
    trained = Trained(manifest, model, flat_weights(model, manifest.parameters))
    with tempfile.TemporaryDirectory() as folder:
        try:
            (path,) = write_onnx_model(trained, Path(folder))
        except FedvoiceError as error:
            return _refused(name, error.got)
        session, size = Session(path), path.stat().st_size
    size_of_frame = manifest.features.stack * manifest.features.mel_bins
    longest = manifest.buckets[-1].frames
    try:
        errors = [_error(session, model, rows, longest - rows + 1, size_of_frame) for rows in ROWS]
    except FedvoiceError as error:
        return _refused(name, error.got)
    return {"name": name, "bytes": size, "error": max(errors), "refused": ""}


def _error(session: Session, model: ModuleModel, rows: int, frames: int, size: int) -> float:
    generator = torch.Generator().manual_seed(rows)
    lengths = torch.tensor([frames - row * frames // 10 for row in range(rows)])
    inside = (torch.arange(frames)[None] < lengths[:, None])[..., None]
    features = torch.randn(rows, frames, size, generator=generator) * inside
    batch = TensorBatch(features, lengths[:, None] * 0, lengths, lengths * 0, lengths * 0.0)
    with torch.no_grad():
        wanted, counts = model.predictions(model.module, batch)
    logits, found_counts = session.run({"features": features.numpy(), "lengths": lengths.numpy()})
    if not torch.equal(torch.from_numpy(found_counts), counts):
        return float("inf")
    found = torch.from_numpy(logits)
    return float(
        (_counted(found, counts) - _counted(wanted, counts)).abs().max() / wanted.abs().max()
    )


def _counted(logits: Tensor, counts: Tensor) -> Tensor:
    """Logits [B, T, V] of frames that count, in a row; [B, V] of labels as they are."""
    if logits.dim() == 2:
        return logits
    return torch.cat([row[:count] for row, count in zip(logits, counts.tolist(), strict=True)])


def _refused(name: str, why: str) -> dict[str, Any]:
    return {"name": name, "bytes": None, "error": None, "refused": why}


def _in_own_process(name: str, limit_secs: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.zoo.onnx", "--one", name]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=limit_secs)
    except subprocess.TimeoutExpired:
        return _refused(name, f"not finished within {limit_secs} s; try --limit-secs")
    try:
        found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = " | ".join(ended.stderr.strip().splitlines()[-3:])
        return _refused(name, f"ended with {ended.returncode}: {last}")
    return found


def _summary(model: dict[str, Any]) -> str:
    if model["refused"]:
        return str(model["refused"])
    if model["error"] > SAME:
        return f"differs: {model['error']:.1e}"
    return f"the same, {model['error']:.0e}"


if __name__ == "__main__":
    typer.run(main)
