"""The task and the population of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from fedvoice.algorithm.settings import AlgorithmConfig
from fedvoice.data.dataset import Dataset, clients_of, naming
from fedvoice.data.partition_report import PartitionReport
from fedvoice.model_export.brought import with_front_end
from fedvoice.model_export.config import ExportConfig, parse_config, vocabulary_of
from fedvoice.protocol.notes import Note
from fedvoice.protocol.task import FeatureSettings, TaskManifest
from fedvoice.simulation.clients import Population
from fedvoice.simulation.speech import DatasetPopulation, FeatureLibrary

SHARED_LIBRARIES = 2
"""Number of feature settings whose features a process caches, each up to
`speech.HELD_BYTES`."""


def export_config(dataset: Dataset, task: Mapping[str, Any], name: str) -> ExportConfig:
    """The task's settings, completed by the dataset: vocabulary and buckets.

    Raises:
        FedvoiceError: `bad-config`, `bad-plugin`, and what reading the corpus raises.
    """
    task = with_front_end(task)
    with naming(dataset):
        defaults = dataset.task_defaults(task, vocabulary_of)
    fields = {"name": name, **task, **defaults}
    return parse_config(fields, f"[task] of {name}")


@lru_cache(maxsize=SHARED_LIBRARIES)
def shared_library(settings: FeatureSettings) -> FeatureLibrary:
    """Shared by all trials of a process: computing features takes longer than a short trial."""
    return FeatureLibrary(settings)


def build_population(
    dataset: Dataset,
    manifest: TaskManifest,
    seed: int,
    library: FeatureLibrary | None = None,
    partition: str | None = None,
) -> DatasetPopulation:
    """The clients of one run. `seed` is that of the partition.

    Args:
        library: cache of features; None: the one shared in this process.
        partition: instead of the dataset's own.

    Raises:
        FedvoiceError: what reading the corpus raises; `bad-plugin` for a dataset that fails.
    """
    library = library or shared_library(manifest.features)
    return DatasetPopulation(clients_of(dataset, partition, seed), manifest, library)


def partition_report(population: Population) -> PartitionReport | None:
    """The sizes and the label skew of a dataset's clients; None of other populations."""
    return population.report() if isinstance(population, DatasetPopulation) else None


def see_partition(
    population: Population, say: Note, config: AlgorithmConfig | None = None
) -> dict[str, Any] | None:
    """Say what the partition gives, before a run begins, as `results.json` keeps it.

    Args:
        config: of the cohorts that are drawn; None: none are.

    Raises:
        FedvoiceError: `bad-config` if too few clients have data for any round to be committed.
    """
    report = partition_report(population)
    if report is None:
        return None
    say(f"partition: {report.describe()}")
    if config is not None:
        if report.with_data < config.min_fraction * config.cohort_size:
            report.demand_cohort(config.cohort_size)
        for warning in report.warnings(config.cohort_size):
            say(f"warning: {warning}")
    return report.as_dict()
