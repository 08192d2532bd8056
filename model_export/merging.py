"""`fedvoice merge`: one whole model of what a partial task trained and of what it froze."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.partial import PartialTraining


def merge(
    task: Annotated[Path, typer.Option(help="Task package that was trained.")],
    out: Annotated[Path, typer.Option(help="File to write (safetensors).")],
    weights: Annotated[
        Path | None,
        typer.Option(help="Trained weights (safetensors); by default the package's own."),
    ] = None,
) -> None:
    """Write the whole model of a task of which only a part trained.

    Adapters are added to their matrices (W + scale * B A), frozen parameters come from the package,
    int8 ones as the floats that they stand for. The file has the names of the model without
    partial training: `fedvoice export --weights FILE` begins with it.

    Example: fedvoice merge --task task --weights store/weights.safetensors --out whole.safetensors
    """
    written = merge_weights(task, weights, out)
    Console().print(f"{written} tensors written to {out}", highlight=False, soft_wrap=True)


def merge_weights(task: Path, weights: Path | None, out: Path) -> int:
    """See `merge`; how many tensors were written.

    Raises:
        FedvoiceError: `exists`, `bad-config` for a task that trains whole, and those of reading
            the package and the weights.
    """
    from safetensors.torch import save_file

    from fedvoice.model_export.fresh import model_with
    from fedvoice.model_export.models.partial import PartialModel
    from fedvoice.protocol.task import load_package, load_weights

    package = load_package(task)
    if package.manifest.partial == PartialTraining():
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=str(task),
            got="a task whose model trains whole",
            wanted="one with a table `partial`",
            next_step="Use its weights as they are.",
        )
    if out.exists():
        raise FedvoiceError(
            ErrorCode.EXISTS,
            where=str(out),
            got="a file that is there already",
            wanted="a new one",
            next_step="Name another file.",
        )
    flat = load_weights(weights or package.weights_path, package.manifest.parameters)
    model = model_with(package.manifest, flat, package.frozen_path)
    assert isinstance(model, PartialModel)
    tensors = model.merged()
    # Buffers that a checkpoint of the user's module has, such as batch norm's statistics.
    tensors |= {n: t for n, t in model.seedable().items() if n not in tensors}
    save_file({n: t.detach().contiguous().clone() for n, t in tensors.items()}, out)
    return len(tensors)
