"""Word and character error rate of given weights on a manifest, with either engine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from fedvoice.data.speech import SpeechCorpus
from fedvoice.protocol.engine import Engine
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.task import TaskPackage, load_package, load_weights
from fedvoice.simulation.usage import CorpusUsage, check_usable

ENGINES = ("executorch", "torch")


def load_engine(name: str, package: TaskPackage, threads: int) -> Engine:
    """The engine that phones run, or the eager reference.

    Raises:
        FedvoiceError: `bad-config` for another name.
    """
    if name == "executorch":
        from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine

        return ExecuTorchEngine(package, threads)
    if name == "torch":
        import torch

        from fedvoice.model_export.torch_engine import TorchEngine

        torch.set_num_threads(threads)
        return TorchEngine(package.manifest, package.frozen_path)
    raise FedvoiceError(
        ErrorCode.BAD_CONFIG,
        where="--engine",
        got=name,
        wanted=" or ".join(ENGINES),
        next_step="Name one of them.",
    )


def evaluate_manifest(
    task: Path,
    weights: Path,
    manifest: Path,
    *,
    engine: str,
    split: str = "",
    threads: int = 1,
    allow_skipped: bool = False,
) -> dict[str, Any]:
    """Greedy error rates in percent, as a phone would measure them.

    Returns:
        wer, cer (None where labels are scored), utterances, words, chars, engine, skipped; used,
        left_out, first_left_out as of `protocol.usage.Usage`.
    """
    from fedvoice.device_runtime.evaluation import evaluate
    from fedvoice.device_runtime.examples import FeatureCache, LocalExamples
    from fedvoice.device_runtime.store import ExampleStore, NewExample, Split

    package = load_package(task)
    flat = load_weights(weights, package.manifest.parameters)
    utterances = [
        u for u in SpeechCorpus(manifest=manifest).utterances() if not split or u.split == split
    ]
    loaded = load_engine(engine, package, threads)
    with tempfile.TemporaryDirectory() as directory:
        store = ExampleStore(Path(directory) / "examples.sqlite")
        store.add_all(
            NewExample(audio=u.audio_path.absolute(), transcript=u.text, split=Split.TEST)
            for u in utterances
        )
        examples = LocalExamples(loaded, store, store.examples(Split.TEST), FeatureCache())
        check_usable(
            CorpusUsage(examples.usage), f"speech of {manifest}", allow_skipped=allow_skipped
        )
        statistics = evaluate(loaded, examples, flat)
        assert statistics is not None  # nothing asks it to stop
    if not statistics.words:
        raise FedvoiceError(
            ErrorCode.BAD_MANIFEST,
            where=str(manifest),
            got=f"no usable utterance among {len(utterances)}: " + examples.usage.describe(),
            wanted="speech of the task's words, within its buckets",
            next_step="Check the manifest's split and the task's vocabulary and buckets.",
        )
    return {
        "wer": 100.0 * statistics.word_errors / statistics.words,
        "cer": 100.0 * statistics.char_errors / statistics.chars if statistics.chars else None,
        "utterances": statistics.utterances,
        "words": statistics.words,
        "chars": statistics.chars,
        "engine": engine,
        "skipped": statistics.skipped_examples + examples.skipped,
        **examples.usage.as_dict(),
    }
