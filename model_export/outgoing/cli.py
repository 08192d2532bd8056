"""`fedvoice release`: a trained model as files of other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from fedvoice.model_export.outgoing.release import Line
    from fedvoice.model_export.outgoing.speech import Heard


def release(
    task: Annotated[Path, typer.Option(help="Task package, or the folder of a run.")],
    out: Annotated[Path, typer.Option(help="Folder for the released files.")],
    weights: Annotated[
        Path | None, typer.Option(help="Trained weights; without, those in the folder.")
    ] = None,
    formats: Annotated[
        str,
        typer.Option(
            help="Some of weights, onnx, sherpa, executorch, by commas; without, all that the "
            "model has."
        ),
    ] = "",
    manifest: Annotated[
        Path | None,
        typer.Option(help="Speech to try every file with: JSON lines. Without, noise."),
    ] = None,
    split: Annotated[str, typer.Option(help="Only utterances of this split; empty: all.")] = "",
    most: Annotated[int, typer.Option(help="Utterances to try, at most.", min=1)] = 200,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write a trained model for PyTorch, ONNX, sherpa-onnx and ExecuTorch.

    Every file is tried: ONNX and float programs must give PyTorch's transcripts, int8 and
    sherpa-onnx, whose features are others, are compared.

    Example: fedvoice release --task runs/mine --manifest speech.jsonl --split test --out released
    """
    import dataclasses
    import json as json_module

    from fedvoice.model_export.outgoing.release import Format, formats_of, one_thread
    from fedvoice.model_export.outgoing.release import release as write_release
    from fedvoice.model_export.outgoing.speech import read_speech
    from fedvoice.model_export.outgoing.trained import read_trained

    console = Console(stderr=json)
    one_thread()
    trained = read_trained(task, weights)
    known = tuple(str(one) for one in Format)
    named = [name.strip() for name in formats.split(",") if name.strip()]
    if unknown := [name for name in named if name not in known]:
        raise typer.BadParameter(f"--formats {unknown[0]}: wanted some of {', '.join(known)}")
    able = formats_of(trained)
    wanted = [Format(name) for name in named] or list(able)
    for left_out in [one for one in Format if one not in able and not named]:
        console.print(f"{left_out}: not for models of kind {trained.manifest.model_kind}")
    heard: list[Heard] = []
    usage = None
    if manifest is not None:
        heard, usage = read_speech(manifest, trained.manifest, split=split, most=most)
        console.print(usage.describe(), highlight=False, soft_wrap=True)
    with console.status("release") as status:

        def show(part: str) -> None:
            status.update(f"release {trained.manifest.name}: {part}")
            if not console.is_terminal:
                console.print(f"{part} ...", highlight=False)

        lines = write_release(trained, out, wanted, heard, progress=show)
    if json:
        found = [dataclasses.asdict(line) for line in lines]
        typer.echo(json_module.dumps({"released": found, "usage": usage and usage.as_dict()}))
        return
    console.print(lines_table(lines))
    for line in lines:
        for name in line.files:
            console.print(str(out / name), highlight=False, soft_wrap=True)


def lines_table(lines: list[Line]) -> Table:
    """A release as a printed table."""
    table = Table(title="released")
    for title in ("as", "bytes", "same transcripts", "WER %", "real-time factor"):
        table.add_column(title)
    for line in lines:
        table.add_row(
            line.name,
            f"{line.size_bytes:,}",
            "" if line.tried is None else f"{line.same} of {line.tried}",
            "" if line.wer is None else f"{line.wer:.2f}",
            "" if line.real_time_factor is None else f"{line.real_time_factor:.4f}",
        )
    return table
