"""Preparation of a simulation: speech, phones, a task package.

Everything is written to the run's folder, so that an interrupted run can be resumed.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil
import sys
import threading
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedvoice.android_harness.emulation.jvm import find_phone
from fedvoice.data.dataset import Corpus, Dataset, clients_of
from fedvoice.data.speakers import PhoneData
from fedvoice.protocol.codec import digest_of
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.files import write_file
from fedvoice.protocol.notes import Note
from fedvoice.protocol.partial import PartialTraining
from fedvoice.protocol.task import TaskPackage, load_package
from fedvoice.protocol.text import DEFAULT_RULE
from fedvoice.simulation.fleet.config import SimulationConfig
from fedvoice.simulation.fleet.kinds import Kind, assign_kinds
from fedvoice.simulation.fleet.server import server_config
from fedvoice.simulation.processes import Child, undisturbed
from fedvoice.simulation.usage import USAGE_DIR, CorpusUsage, check_usable, kept_usage

if TYPE_CHECKING:
    from fedvoice.model_export.config import ExportConfig

MARKER_FILE = "simulation.json"
TASK_DIR = "task"
SERVER_DIR = "server"
PHONES_DIR = "phones"
USAGE_FILE = "usage.json"
_POLL_SECS = 0.1


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to start."""

    config: SimulationConfig
    directory: Path
    phones: list[PhoneData]
    package: TaskPackage
    usage: CorpusUsage


def claim_directory(config: SimulationConfig, directory: Path, *, overwrite: bool) -> bool:
    """Take `directory` for this run; True if it already holds an earlier part of the same run.

    Raises:
        FedvoiceError: `exists` if it holds something else.
    """
    marker = directory / MARKER_FILE
    wanted = config.model_dump_json(indent=1)
    if overwrite and marker.is_file():
        shutil.rmtree(directory)
    if directory.is_dir() and any(directory.iterdir()):
        if marker.is_file() and _same_run(marker.read_text(encoding="utf-8"), config):
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


def _same_run(text: str, config: SimulationConfig) -> bool:
    """Whether a marker is of this configuration; earlier versions had fewer settings."""
    try:
        return SimulationConfig.model_validate_json(text) == config
    except ValueError:
        return False


def prepare(
    config: SimulationConfig, directory: Path, progress: Note, *, allow_skipped: bool = False
) -> Prepared:
    """Make or read the corpus, export the task, partition the corpus among phones.

    Speech and task are made in a process of their own, so that the gigabyte that exporting takes
    is free again before the phones start. Its output is in `prepare.log`.

    Args:
        progress: called with a few words before each part.
        allow_skipped: go on though a good part of the speech is unusable.

    Raises:
        FedvoiceError: what reading manifests and exporting raise; `missing-extra` if Android
            phones are wanted and not built.
    """
    if config.fleet.counts.get(Kind.ANDROID, 0) != 0:
        find_phone()
    reading, writing = multiprocessing.Pipe(duplex=False)
    maker = Child(
        "prepare", _make, (config, directory, writing, allow_skipped), directory / "prepare.log"
    )
    writing.close()
    try:
        while maker.running or reading.poll():
            if reading.poll(_POLL_SECS):
                try:
                    progress(reading.recv())
                except EOFError:
                    break
        maker.wait()
    finally:
        with undisturbed():
            maker.stop()
    error = maker.error()
    if error is not None:
        raise error
    phones = clients_of(prepared_data(config, directory, progress), seed=config.seed).phones
    usage = CorpusUsage.from_dict(json.loads((directory / USAGE_FILE).read_text(encoding="utf-8")))
    return Prepared(config, directory, list(phones), load_package(directory / TASK_DIR), usage)


def prepared_data(config: SimulationConfig, directory: Path, note: Note) -> Dataset:
    """The run's dataset, after generating in `directory` the files that it reads."""
    if isinstance(config.data, Corpus):
        return config.data.prepared(directory, note)
    return config.data


def _make(
    config: SimulationConfig,
    directory: Path,
    reports: Connection,
    allow_skipped: bool,
    stopping: threading.Event,
) -> None:
    def progress(what: str) -> None:
        if stopping.is_set():
            sys.exit(0)
        reports.send(what)

    from fedvoice.model_export.fresh import unexported_manifest
    from fedvoice.simulation.populations import export_config  # loads the models

    # Errors are raised before the long part.
    dataset = prepared_data(config, directory, progress)
    phones = clients_of(dataset, seed=config.seed).phones
    assign_kinds(config.fleet.counts, len(phones), config.seed)
    server_config(config, phones)
    fields = {"seed": config.seed, "plan": config.plan.model_dump(), **config.task}
    export = export_config(dataset, fields, config.name)
    # Kept, so that a resumed run does not listen to its corpus again.
    task = unexported_manifest(export)
    usage = kept_usage(dataset, config.seed, task, directory / USAGE_DIR, progress)
    check_usable(usage, f"[data] of {config.name}", allow_skipped=allow_skipped)
    write_file(directory / USAGE_FILE, json.dumps(usage.as_dict(), indent=1))
    _export(export, directory, progress)


def _export(export: ExportConfig, directory: Path, progress: Note) -> None:
    task_dir, key_path = directory / TASK_DIR, directory / "task.key"
    key = export_key(export)
    if key_path.is_file() and key_path.read_text(encoding="utf-8") == key:
        return
    from fedvoice.model_export.package import export_task

    export_task(export, task_dir, progress=lambda what: progress(f"export: {what}"))
    key_path.write_text(key, encoding="utf-8")


def export_key(export: Any) -> str:
    """Digest of all that determines an exported package: settings, vocabulary, tool versions.

    A text rule at its default is left out, and a model that trains whole: a run of 0.1.0 with the
    same tokens is resumed.
    """
    settings, tokens = export.model_dump(mode="json"), export.vocabulary.build()
    if export.vocabulary.text == DEFAULT_RULE:
        del settings["vocabulary"]["text"]
    if export.partial == PartialTraining():
        del settings["partial"]
    if export.streaming is None:
        del settings["streaming"]
    del settings["weights"]
    if export.weights is not None:
        settings["weights_digest"] = digest_of(export.weights.read_bytes())
    default = tokens.text in (None, DEFAULT_RULE)
    parts = {
        "export": settings,
        "tokens": tokens.model_dump(mode="json", exclude={"text"} if default else None),
        "versions": [version(name) for name in ("torch", "executorch")],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
