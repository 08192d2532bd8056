"""Streaming recognition beside decoding of whole utterances, on the stock ExecuTorch runtime.

    python -m benchmarks.streaming --task task --weights weights.safetensors --manifest test.jsonl

real_time_factor: CPU seconds of all work (features to tokens) over seconds of sound, of one thread;
ratio: over that of whole utterances in the same run. first_token_secs: median, over utterances in
which a token was recognised, from an utterance's begin to the first partial result, at the moment
its last sample is heard and computed (CPU seconds of that piece included); whole utterances answer
when they end. Without --task two random models of a phone's size are exported and hear noise: times
without error rates.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from fedvoice.data.audio import read_waveform
from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine
from fedvoice.device_runtime.recognition.endpoints import NO_RULES
from fedvoice.device_runtime.recognition.language import LanguageModel, read_language_model
from fedvoice.device_runtime.recognition.normalising import heard, no_statistics
from fedvoice.device_runtime.recognition.recogniser import StreamingRecogniser, decoder
from fedvoice.device_runtime.recognition.search import GREEDY, Settings
from fedvoice.protocol.engine import Example, make_batch, normalise_features
from fedvoice.protocol.parameters import FlatVector, Float32Array
from fedvoice.protocol.scoring import count_word_errors
from fedvoice.protocol.task import TaskPackage, load_package, load_weights
from fedvoice.protocol.utterances import read_manifest

PIECE_SECS = 0.1


@dataclass(frozen=True)
class Speech:
    """An utterance: samples and, if it is known, what is said."""

    waveform: Float32Array
    text: str = ""


@dataclass(frozen=True)
class Heard:
    """What an arm made of an utterance."""

    text: str
    cpu_secs: float
    first_token_secs: float | None


def main(
    task: Annotated[Path | None, typer.Option(help="Task package with streaming methods.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Weights; default: the package's.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="Utterances: JSON lines.")] = None,
    lm: Annotated[Path | None, typer.Option(help="A language model for one more arm.")] = None,
    lm_weight: Annotated[float, typer.Option(help="Its weight.")] = 0.3,
    beams: Annotated[str, typer.Option(help="Beams, by commas.")] = "4,8",
    utterances: Annotated[int, typer.Option(min=1, help="At most so many.")] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print only the JSON object.")] = False,
) -> None:
    """Measure every arm on the same utterances."""
    if (task is None) != (manifest is None):
        raise typer.BadParameter("give --task and --manifest, or neither of them")
    with tempfile.TemporaryDirectory() as folder:
        package = exported(Path(folder) / "task") if task is None else load_package(task)
        settings = package.manifest.features
        flat = package.weights()
        if weights is not None:
            flat = load_weights(weights, package.manifest.parameters)
        if manifest is None:
            speech = [Speech(noise(secs, settings.sample_rate)) for secs in (2.0, 3.0, 4.0)]
        else:
            found = read_manifest(manifest)
            chosen = found[:: -(-len(found) // utterances)]
            speech = [
                Speech(read_waveform(u.audio_path, settings, str(u.audio_path)), u.text)
                for u in chosen
            ]
        model = None if lm is None else read_language_model(lm, package.manifest.vocabulary.tokens)
        wide = [int(beam) for beam in beams.split(",") if beam]
        result = measure(package, flat, speech, wide, model, lm_weight)
    print(json.dumps(result) if as_json else table(result) + "\n" + json.dumps(result))


def measure(
    package: TaskPackage,
    weights: FlatVector,
    speech: Sequence[Speech],
    beams: Sequence[int],
    lm: LanguageModel | None,
    lm_weight: float,
) -> dict[str, Any]:
    """Rows of the table, whole utterances first."""
    engine = ExecuTorchEngine(package)

    def streamed(settings: Settings, model: LanguageModel | None, **how: bool) -> Arm:
        search = decoder(engine, weights, settings, model)
        return Arm(engine, weights, search, **how)

    arms: dict[str, Callable[[Speech], Heard]] = {
        "whole utterances, greedy": lambda s: whole(engine, weights, s),
        "streaming, greedy, own statistics": streamed(GREEDY, None, own=True),
        "streaming, greedy": streamed(GREEDY, None),
        "streaming, greedy, statistics carried over": streamed(GREEDY, None, carried=True),
    }
    for beam in beams:
        arms[f"streaming, beam {beam}, carried over"] = streamed(
            Settings(beam=beam), None, carried=True
        )
        if lm is not None:
            arms[f"streaming, beam {beam}, language model, carried over"] = streamed(
                Settings(beam, lm_weight), lm, carried=True
            )
    rows = []
    for name, arm in arms.items():
        arm(speech[0])  # warms up
        rows.append(summary(name, [arm(one) for one in speech], speech, engine))
        rows[-1]["ratio"] = rows[-1]["real_time_factor"] / rows[0]["real_time_factor"]
    sizes = package.manifest.streaming
    return {
        "task": package.manifest.name,
        "parameters": package.manifest.parameters.parameter_count,
        "program_bytes": package.program_path.stat().st_size,
        "chunk_secs": sizes.frames * _frame_secs(engine) if sizes else None,
        "utterances": len(speech),
        "arms": rows,
    }


class Arm:
    """One way to hear utterances piece by piece.

    own: normalised by an utterance's own statistics, which a stream does not have: the bound.
    carried: the statistics of the utterances before it are there.
    """

    def __init__(
        self,
        engine: ExecuTorchEngine,
        weights: FlatVector,
        search: Any,
        *,
        own: bool = False,
        carried: bool = False,
    ) -> None:
        self.make = lambda fixed: StreamingRecogniser(
            engine, weights, search, rules=NO_RULES, fixed=fixed
        )
        self.engine, self.own, self.carried = engine, own, carried
        self.recogniser = self.make(None)

    def __call__(self, speech: Speech) -> Heard:
        """Hear one utterance."""
        if self.own:
            features = self.engine.features(speech.waveform)
            self.recogniser = self.make(heard(no_statistics(features.shape[1]), features, 1e9))
        elif not self.carried:
            self.recogniser = self.make(None)
        size = int(PIECE_SECS * self.recogniser.sample_rate)
        cpu_secs, first = 0.0, None
        for at in range(0, len(speech.waveform), size):
            piece = speech.waveform[at : at + size]
            began = time.process_time()
            changed = self.recogniser.accept(piece)
            took = time.process_time() - began
            cpu_secs += took
            if changed and first is None:
                first = (at + len(piece)) / self.recogniser.sample_rate + took
        began = time.process_time()
        result = self.recogniser.finish()
        took = time.process_time() - began
        if first is None and result.tokens:
            first = len(speech.waveform) / self.recogniser.sample_rate + took
        return Heard(result.text, cpu_secs + took, first)


def whole(engine: ExecuTorchEngine, weights: FlatVector, speech: Speech) -> Heard:
    """By `decode_<bucket>`, as `fedvoice evaluate`."""
    manifest = engine.manifest
    began = time.process_time()
    features = normalise_features(engine.features(speech.waveform))
    bucket = manifest.bucket_for(manifest.features.stacked_frames(len(features)), 0)
    if bucket is None:
        raise typer.BadParameter("an utterance is longer than the task's longest bucket")
    batch = make_batch([Example(features, [])], bucket, manifest, weight=0.0)
    ids = engine.decode(bucket, weights, batch.features, batch.frame_counts)[0]
    took = time.process_time() - began
    secs = len(speech.waveform) / manifest.features.sample_rate
    return Heard(manifest.vocabulary.decode(ids), took, secs + took if ids else None)


def summary(
    name: str, found: Sequence[Heard], speech: Sequence[Speech], engine: ExecuTorchEngine
) -> dict[str, Any]:
    """One row."""
    secs = sum(len(s.waveform) for s in speech) / engine.manifest.features.sample_rate
    first = [h.first_token_secs for h in found if h.first_token_secs is not None]
    errors = count_word_errors([s.text for s in speech], [h.text for h in found])
    return {
        "name": name,
        "wer": 100 * errors.word_errors / errors.words if errors.words else None,
        "real_time_factor": sum(h.cpu_secs for h in found) / secs,
        "first_token_secs": statistics.median(first) if first else None,
    }


def table(result: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| | WER % | real-time factor | ratio | first token s |", "|---|---|---|---|---|"]
    for row in result["arms"]:
        wer = "-" if row["wer"] is None else f"{row['wer']:.1f}"
        first = "-" if row["first_token_secs"] is None else f"{row['first_token_secs']:.2f}"
        factor = f"{row['real_time_factor']:.4f} | {row['ratio']:.2f}"
        lines.append(f"| {row['name']} | {wer} | {factor} | {first} |")
    return "\n".join(lines)


def exported(out: Path) -> TaskPackage:
    """A random transducer of 0.26M parameters."""
    from fedvoice.model_export.config import parse_config
    from fedvoice.model_export.package import export_task

    encoder = {"layers": 1, "hidden_size": 128}
    sizes = {"embedding_size": 32, "predictor_size": 96, "joint_size": 96}
    fields = {
        "name": "random",
        "model": {"kind": "rnnt", "encoder": encoder, **sizes},
        "features": {"stack": 4},
        "vocabulary": {"kind": "word", "tokens": [f"w{i}" for i in range(12)], "as_given": True},
        "buckets": [{"frames": 120, "labels": 7, "batch": 1}],
        "streaming": {},
    }
    return export_task(parse_config(fields, "benchmark"), out).package


def noise(secs: float, rate: int) -> Float32Array:
    """Noise that grows and fades."""
    samples = int(secs * rate)
    wave = np.random.default_rng(0).normal(0, 0.05, samples)
    found: Float32Array = (wave * np.sin(np.arange(samples) * 6 / rate)).astype(np.float32)
    return found


def _frame_secs(engine: ExecuTorchEngine) -> float:
    features = engine.manifest.features
    return features.stack * features.hop_samples / features.sample_rate


if __name__ == "__main__":
    typer.run(main)
