"""`fedvoice transcribe`: texts of a recording or of standard input, as they are recognised."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from fedvoice.protocol.errors import ErrorCode, FedvoiceError

if TYPE_CHECKING:
    from fedvoice.device_runtime.recognition.recogniser import Result
    from fedvoice.protocol.parameters import Float32Array
    from fedvoice.protocol.task import FeatureSettings

PIECE_SECS = 0.1
_INT16 = 32768.0


def transcribe(
    audio: Annotated[
        str,
        typer.Argument(
            help="A recording; or - for standard input: signed 16-bit samples, little-endian, one "
            "channel, at the task's rate."
        ),
    ],
    task: Annotated[Path, typer.Option(help="Task package, exported with a streaming table.")],
    weights: Annotated[
        Path | None, typer.Option(help="Weights as safetensors; default: the package's own.")
    ] = None,
    beam: Annotated[
        int, typer.Option(help="Hypotheses kept from frame to frame; 1: greedy.", min=1, max=256)
    ] = 4,
    lm: Annotated[
        Path | None,
        typer.Option(
            help="A language model of the task's tokens: an ARPA file, or an LSTM (.safetensors)."
        ),
    ] = None,
    lm_weight: Annotated[
        float, typer.Option(help="Weight of its log probabilities; 0.1 to 0.6 are usual.")
    ] = 0.3,
    insertion_bonus: Annotated[
        float, typer.Option(help="Added for each token: more where words are left out.")
    ] = 0.0,
    pause_secs: Annotated[
        float, typer.Option(help="Silence after speech that ends an utterance.", min=0.1)
    ] = 1.2,
    longest_secs: Annotated[
        float, typer.Option(help="Longest utterance.", min=1.0, max=600.0)
    ] = 20.0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Recognise a recording or standard input chunk by chunk, with partial results.

    A line for every change of the text so far (its time, then three dots), and one for every
    utterance that ended (its begin and end). Features are normalised by the speech so far, at least
    a second of it, so texts may differ from those of `fedvoice evaluate`: docs/recognition.md.

    Example: fedvoice transcribe speech.wav --task task --weights weights.safetensors
    Example: arecord -t raw -f S16_LE -r 16000 -c 1 | fedvoice transcribe - --task task --lm lm.arpa
    """
    from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine
    from fedvoice.device_runtime.recognition.endpoints import EndpointRule
    from fedvoice.device_runtime.recognition.language import read_language_model
    from fedvoice.device_runtime.recognition.recogniser import StreamingRecogniser, decoder
    from fedvoice.device_runtime.recognition.search import Settings
    from fedvoice.protocol.task import check_streams, load_package, load_weights

    package = load_package(task)
    manifest = package.manifest
    check_streams(manifest)
    flat = package.weights() if weights is None else load_weights(weights, manifest.parameters)
    model = None if lm is None else read_language_model(lm, manifest.vocabulary.tokens)
    engine = ExecuTorchEngine(package)
    search = decoder(engine, flat, Settings(beam, lm_weight, insertion_bonus), model)
    rules = (
        EndpointRule(needs_speech=False, silence_secs=5.0, utterance_secs=0.0),
        EndpointRule(needs_speech=True, silence_secs=pause_secs, utterance_secs=0.0),
        EndpointRule(needs_speech=False, silence_secs=0.0, utterance_secs=longest_secs),
    )
    recogniser = StreamingRecogniser(engine, flat, search, rules=rules)
    for piece in _pieces(audio, manifest.features):
        for result in recogniser.accept(piece):
            _show(result, as_json=json)
    _show(recogniser.finish(), as_json=json)


def _pieces(audio: str, settings: FeatureSettings) -> Iterator[Float32Array]:
    """Samples in +-1, a tenth of a second at a time."""
    from fedvoice.data.audio import read_waveform

    size = max(1, int(PIECE_SECS * settings.sample_rate))
    if audio == "-":
        yield from raw_pieces(sys.stdin.buffer, size)
        return
    waveform = read_waveform(Path(audio), settings, audio, resample=True)
    for at in range(0, len(waveform), size):
        yield waveform[at : at + size]


def raw_pieces(source: BinaryIO, size: int) -> Iterator[Float32Array]:
    """Samples in +-1 of 16-bit ones, as they come, at most `size` at once.

    Raises:
        FedvoiceError: `unreadable-audio` for half a sample at the end, or a file with a header.
    """
    import numpy as np

    half, first = b"", True
    while data := source.read1(2 * size):  # type: ignore[attr-defined]
        if first and data.startswith((b"RIFF", b"fLaC", b"OggS")):
            raise _not_raw("a file with a header", "Name the file, in place of -.")
        first = False
        data = half + data
        whole = len(data) // 2 * 2
        half = data[whole:]
        yield (np.frombuffer(data[:whole], "<i2") / _INT16).astype(np.float32)
    if half:
        raise _not_raw("half a sample at its end", "Write signed 16-bit samples.")


def _not_raw(got: str, next_step: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.UNREADABLE_AUDIO,
        where="standard input",
        got=got,
        wanted="signed 16-bit samples, little-endian, one channel",
        next_step=next_step,
    )


def _show(result: Result, *, as_json: bool) -> None:
    if as_json:
        typer.echo(_object(result))
    elif result.final and result.text:
        typer.echo(f"{result.begin_secs:.2f}-{result.end_secs:.2f} s  {result.text}")
    elif not result.final:
        typer.echo(f"{result.end_secs:.2f} s  {result.text} ...")


def _object(result: Result) -> str:
    import json

    found: dict[str, Any] = {
        "final": result.final,
        "text": result.text,
        "begin_secs": round(result.begin_secs, 3),
        "end_secs": round(result.end_secs, 3),
        "token_secs": [round(secs, 3) for secs in result.token_secs],
        "log_probability": round(result.score, 4),
    }
    if result.final:
        found["ended_by"] = "sound" if result.rule is None else result.rule._asdict()
    return json.dumps(found, ensure_ascii=False)
