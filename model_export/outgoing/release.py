"""A trained model in every wanted format, each tried against PyTorch before it stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import torch

from fedvoice.model_export.outgoing.onnx_model import OnnxRecogniser, write_onnx_model
from fedvoice.model_export.outgoing.program import (
    PROGRAM_FILES,
    build_program,
    measure,
    write_program,
)
from fedvoice.model_export.outgoing.sherpa import SherpaRecogniser, write_sherpa
from fedvoice.model_export.outgoing.speech import Heard, Transcribe, random_speech, word_error_rate
from fedvoice.model_export.outgoing.state import write_state
from fedvoice.model_export.outgoing.trained import Trained
from fedvoice.protocol.errors import ErrorCode, FedvoiceError, make_folder
from fedvoice.protocol.notes import Note
from fedvoice.protocol.scoring import count_word_errors

LEAST_MARGIN = 1e-3
"""Between the best and second logit: below it rounding may decide, and transcripts may differ."""


class Format(StrEnum):
    """What a release holds."""

    WEIGHTS = "weights"
    """model.safetensors and model.pt, under the module's own names."""
    ONNX = "onnx"
    """onnx/: over the task's own features."""
    SHERPA = "sherpa"
    """sherpa/: in sherpa-onnx's layout of NeMo's models."""
    EXECUTORCH = "executorch"
    """executorch/: recognition alone, float32 and int8."""


@dataclass(frozen=True)
class Line:
    """One thing of a release. size_bytes: of its files. same, tried: utterances with PyTorch's
    transcript, of so many; None where nothing was transcribed. wer: in percent, where there is
    speech. real_time_factor: seconds of computing a second of sound, on one thread."""

    name: str
    files: tuple[str, ...]
    size_bytes: int
    same: int | None = None
    tried: int | None = None
    wer: float | None = None
    real_time_factor: float | None = None


def release(
    trained: Trained,
    out: Path,
    formats: Sequence[Format],
    heard: Sequence[Heard] = (),
    *,
    progress: Note = lambda _: None,
) -> list[Line]:
    """Write a model as `formats` into the folder `out`; a line for each, PyTorch's own first.

    Args:
        heard: speech to try each file with; without, noise of the task's lengths. sherpa-onnx hears
            sound alone, so that without speech it is written and not tried.

    Raises:
        FedvoiceError: `release-check` for a file that gives other transcripts than PyTorch;
            `bad-config` for a format that the model has none of; `missing-extra`.
    """
    settings = trained.manifest.features
    size = settings.stack * settings.mel_bins
    tried = list(heard) or random_speech(trained.manifest, size)
    make_folder(out)
    reference = _reference(trained, tried)
    lines = [_line("PyTorch", (), out, trained, heard, reference.tokens)]
    writers: dict[Format, Callable[[], list[Line]]] = {
        Format.WEIGHTS: lambda: [_sized("weights", write_state(trained, out), out)],
        Format.ONNX: lambda: [_onnx(trained, out, heard, tried, reference)],
        Format.SHERPA: lambda: [_sherpa(trained, out, heard, reference)],
        Format.EXECUTORCH: lambda: [
            _program(trained, out, heard, tried, reference, kind, progress)
            for kind in PROGRAM_FILES
        ],
    }
    for wanted in formats:
        progress(str(wanted))
        lines += writers[wanted]()
    return lines


@dataclass(frozen=True)
class _Reference:
    """PyTorch's tokens of each utterance, and whether rounding could change them."""

    tokens: list[list[int]]
    certain: list[bool]


def _reference(trained: Trained, tried: Sequence[Heard]) -> _Reference:
    found = [trained.model.greedy(one.features, one.lengths)[0] for one in tried]
    return _Reference([h.tokens for h in found], [h.margin > LEAST_MARGIN for h in found])


def _onnx(
    trained: Trained,
    out: Path,
    heard: Sequence[Heard],
    tried: Sequence[Heard],
    reference: _Reference,
) -> Line:
    folder = _folder(out, Format.ONNX)
    files = write_onnx_model(trained, folder)
    transcribe: Transcribe = OnnxRecogniser(trained, folder).transcribe
    tokens = [transcribe(one.features, one.lengths)[0] for one in tried]
    return _checked(_line("ONNX", files, out, trained, heard, tokens), tokens, reference)


def _program(
    trained: Trained,
    out: Path,
    heard: Sequence[Heard],
    tried: Sequence[Heard],
    reference: _Reference,
    kind: str,
    progress: Note,
) -> Line:
    """int8 may differ: it is compared, not held."""
    program = build_program(trained, int8=kind == "int8", report=progress)
    path = write_program(program, _folder(out, Format.EXECUTORCH) / PROGRAM_FILES[kind])
    found = measure(program, trained, list(tried))
    line = _line(
        f"ExecuTorch {kind}", [path], out, trained, heard, found.tokens, found.real_time_factor
    )
    if kind == "int8":
        return _compared(line, found.tokens, reference)
    return _checked(line, found.tokens, reference)


def _sherpa(trained: Trained, out: Path, heard: Sequence[Heard], reference: _Reference) -> Line:
    """Its features are its own, so transcripts are compared, not held."""
    folder = _folder(out, Format.SHERPA)
    files = write_sherpa(trained, folder)
    if not heard:
        return _sized("sherpa-onnx (not tried)", files, out)
    recogniser = SherpaRecogniser(folder, trained.manifest.features.sample_rate)
    texts = [recogniser.transcribe(one.waveform) for one in heard]
    decode = trained.manifest.vocabulary.decode
    same = sum(t == decode(ids) for t, ids in zip(texts, reference.tokens, strict=True))
    wer = 100.0 * count_word_errors([one.text for one in heard], texts).wer
    names, total = _listed(files, out)
    return Line("sherpa-onnx", names, total, same, len(texts), wer)


def _checked(line: Line, tokens: Sequence[Sequence[int]], reference: _Reference) -> Line:
    """Raise `release-check` where transcripts differ and rounding cannot be why."""
    pairs = zip(tokens, reference.tokens, reference.certain, strict=True)
    wrong = [i for i, (got, want, certain) in enumerate(pairs) if certain and list(got) != want]
    if wrong:
        first = wrong[0]
        raise FedvoiceError(
            ErrorCode.RELEASE_CHECK,
            where=f"release, {line.name}, utterance {first}",
            got=f"tokens {list(tokens[first])[:20]}; {len(wrong)} of {len(tokens)} differ",
            wanted=f"PyTorch's: {reference.tokens[first][:20]}",
            next_step="Do not use the file. Report it: the model's class, its settings, versions.",
        )
    return _compared(line, tokens, reference)


def _compared(line: Line, tokens: Sequence[Sequence[int]], reference: _Reference) -> Line:
    same = sum(list(got) == want for got, want in zip(tokens, reference.tokens, strict=True))
    return Line(
        line.name,
        line.files,
        line.size_bytes,
        same,
        len(tokens),
        line.wer,
        line.real_time_factor,
    )


def _line(
    name: str,
    files: Sequence[Path],
    out: Path,
    trained: Trained,
    heard: Sequence[Heard],
    tokens: Sequence[Sequence[int]],
    factor: float | None = None,
) -> Line:
    names, total = _listed(files, out)
    wer = word_error_rate(heard, tokens, trained.manifest) if heard else None
    total = total or trained.manifest.parameters.weights_bytes
    return Line(name, names, total, wer=wer, real_time_factor=factor)


def _sized(name: str, files: Sequence[Path], out: Path) -> Line:
    return Line(name, *_listed(files, out))


def _listed(files: Sequence[Path], out: Path) -> tuple[tuple[str, ...], int]:
    names = tuple(str(path.relative_to(out)) for path in files)
    return names, sum(path.stat().st_size for path in files)


def _folder(out: Path, wanted: Format) -> Path:
    folder = out / str(wanted)
    make_folder(folder)
    return folder


def formats_of(trained: Trained) -> tuple[Format, ...]:
    """What a model of this kind can be released as."""
    from fedvoice.model_export.models.ctc import CtcModel
    from fedvoice.model_export.models.module import ModuleModel
    from fedvoice.model_export.models.rnnt import RnntModel

    model = trained.model
    if isinstance(model, CtcModel | RnntModel):
        return tuple(Format)
    if isinstance(model, ModuleModel) and model.predicts is not None:
        return (Format.WEIGHTS, Format.ONNX, Format.EXECUTORCH)
    return (Format.WEIGHTS,)


def one_thread() -> None:
    """Speeds are of one thread."""
    torch.set_num_threads(1)
