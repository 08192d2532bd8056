"""What a simulation needs before its first round: speech, phones, a task package.

Everything lands in the run's folder, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from android_harness.buckets import fit_buckets
from android_harness.config import SimulationConfig
from android_harness.corpora.synthetic import build_synthetic_corpus
from android_harness.partition import PhoneData, partition
from protocol.errors import ErrorCode, FedvoiceError
from protocol.task import FeatureSettings, TaskPackage, load_package
from protocol.utterances import Utterance, read_manifest

MARKER_FILE = "simulation.json"
TASK_DIR = "task"
SERVER_DIR = "server"
PHONES_DIR = "phones"
DEFAULT_BUCKETS = 2

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to start."""

    config: SimulationConfig
    directory: Path
    phones: list[PhoneData]
    package: TaskPackage


def claim_directory(config: SimulationConfig, directory: Path, *, overwrite: bool) -> bool:
    """Take `directory` for this run; True if it already holds an earlier part of the same run.

    Raises:
        FedvoiceError: `exists` if something else lies there.
    """
    marker = directory / MARKER_FILE
    wanted = config.model_dump_json(indent=1)
    if overwrite and marker.is_file():
        shutil.rmtree(directory)
    if directory.is_dir() and any(directory.iterdir()):
        if marker.is_file() and marker.read_text(encoding="utf-8") == wanted:
            return True
        raise FedvoiceError(
            ErrorCode.EXISTS,
            where=str(directory),
            got="a run of another configuration" if marker.is_file() else "other files",
            wanted="an empty folder, or an unfinished run of this configuration",
            next_step="Choose another --out"
            + (", or replace the run with --overwrite." if marker.is_file() else "."),
        )
    directory.mkdir(parents=True, exist_ok=True)
    marker.write_text(wanted, encoding="utf-8")
    return False


def prepare(config: SimulationConfig, directory: Path, progress: Progress) -> Prepared:
    """Make or read the corpus, deal it to phones, export the task.

    Raises:
        FedvoiceError: what reading manifests and exporting raise.
    """
    manifest_path = _corpus(config, directory, progress)
    utterances = [
        u
        for u in read_manifest(manifest_path)
        if not config.data.kinds or u.kind in config.data.kinds
    ]
    if not utterances:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where="data.kinds",
            got=f"no utterance of kind {', '.join(config.data.kinds)}",
            wanted=f"a kind that {manifest_path} has",
            next_step="Correct data.kinds.",
        )
    phones = partition(
        utterances,
        config.data.partition,
        holdout_speakers=config.data.holdout_speakers,
        seed=config.seed,
    )
    package = _task(config, directory, manifest_path, utterances, progress)
    return Prepared(config, directory, phones, package)


def _corpus(config: SimulationConfig, directory: Path, progress: Progress) -> Path:
    if config.data.manifest is not None:
        return config.data.manifest
    assert config.data.synthetic is not None  # DataConfig holds exactly one of the two
    manifest = directory / "corpus" / "manifest.jsonl"
    if not manifest.is_file():
        build_synthetic_corpus(
            manifest.parent,
            config.data.synthetic,
            lambda done, total: progress(f"synthesise voices {done}/{total}"),
        )
    return manifest


def _task(
    config: SimulationConfig,
    directory: Path,
    manifest_path: Path,
    utterances: list[Utterance],
    progress: Progress,
) -> TaskPackage:
    from model_export.config import ExportConfig, VocabularyConfig, parse_config
    from model_export.package import export_task

    fields: dict[str, Any] = {
        "name": config.name,
        "seed": config.seed,
        "plan": config.plan.model_dump(),
        **config.task,
    }
    vocabulary = dict(fields.get("vocabulary", {}))
    if not {"tokens", "manifest"} & set(vocabulary):
        vocabulary["manifest"] = manifest_path
    fields["vocabulary"] = vocabulary
    if "buckets" not in fields:
        fields["buckets"] = fit_buckets(
            utterances,
            FeatureSettings.model_validate(fields.get("features", {})),
            VocabularyConfig.model_validate(vocabulary).build(),
            count=DEFAULT_BUCKETS,
        )
    export: ExportConfig = parse_config(fields, f"[task] of {config.name}")
    task_dir, key_path = directory / TASK_DIR, directory / "task.key"
    key = export_key(export)
    if key_path.is_file() and key_path.read_text(encoding="utf-8") == key:
        return load_package(task_dir)
    package = export_task(export, task_dir, progress=progress).package
    key_path.write_text(key, encoding="utf-8")
    return package


def export_key(export: Any) -> str:
    """What decides every byte of an exported package: settings, vocabulary, tool versions."""
    parts = {
        "export": export.model_dump(mode="json"),
        "tokens": export.vocabulary.build().model_dump(mode="json"),
        "versions": [version(name) for name in ("torch", "executorch")],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
