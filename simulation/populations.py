"""From a corpus's settings to its task and its population."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fedvoice.data.buckets import fit_buckets
from fedvoice.data.corpora import (
    CorpusConfig,
    FeaturesCorpus,
    ImagesCorpus,
    RolesCorpus,
    SpeechCorpus,
)
from fedvoice.data.feature_files import (
    FeatureFiles,
    read_feature_manifest,
)
from fedvoice.data.speakers import (
    PhoneData,
    partition,
)
from fedvoice.model_export.config import (
    ExportConfig,
    VocabularyConfig,
    parse_config,
)
from fedvoice.protocol.task import (
    FeatureSettings,
    TaskManifest,
)
from fedvoice.protocol.utterances import Utterance
from fedvoice.simulation.clients import Population
from fedvoice.simulation.fleet.config import SimulationConfig
from fedvoice.simulation.fleet.prepare import (
    DEFAULT_BUCKETS,
    read_corpus,
)
from fedvoice.simulation.speech import (
    FeatureLibrary,
    SpeechPopulation,
)


def export_config(data: CorpusConfig, task: dict[str, Any], name: str) -> ExportConfig:
    """The task's settings, completed from the corpus: targets, and buckets that hold it.

    Raises:
        FedvoiceError: `bad-config`, and what reading a manifest raises.
    """
    fields: dict[str, Any] = {"name": name, **task}
    if isinstance(data, SpeechCorpus | FeaturesCorpus):
        vocabulary = dict(fields.get("vocabulary", {}))
        if not {"tokens", "manifest"} & set(vocabulary):
            vocabulary |= _texts_of(data)
        fields["vocabulary"] = vocabulary
        if "buckets" not in fields:
            fields["buckets"] = fit_buckets(
                read_utterances(data),
                FeatureSettings.model_validate(fields.get("features", {})),
                VocabularyConfig.model_validate(vocabulary).build(),
                count=DEFAULT_BUCKETS,
            )
    return parse_config(fields, f"[task] of {name}")


def _texts_of(data: SpeechCorpus | FeaturesCorpus) -> dict[str, Any]:
    """Where the targets come from: the manifest, or the words of a manifest without sounds."""
    if isinstance(data, SpeechCorpus):
        return {"manifest": data.manifest}
    return {"tokens": sorted({word for u in read_utterances(data) for word in u.text.split()})}


def read_utterances(data: SpeechCorpus | FeaturesCorpus) -> list[Utterance]:
    """The corpus's utterances of the kinds wanted.

    Raises:
        FedvoiceError: as `simulation.fleet.prepare.read_corpus` and `read_feature_manifest`.
    """
    if isinstance(data, FeaturesCorpus):
        return read_feature_manifest(data.manifest)
    return read_corpus(SimulationConfig(name="experiment", data=data, task={}), Path())


def deal_speech(data: SpeechCorpus | FeaturesCorpus, seed: int) -> list[PhoneData]:
    """The corpus dealt to phones, held-out ones among them."""
    return partition(read_utterances(data), data, seed=seed)


_libraries: dict[FeatureSettings, FeatureLibrary] = {}


def build_population(data: CorpusConfig, manifest: TaskManifest, seed: int) -> Population:
    """The clients of one run. `seed` decides whatever the partition draws.

    Raises:
        FedvoiceError: what reading the corpus raises.
    """
    if isinstance(data, SpeechCorpus):
        # Shared by all cells that a process runs: features cost more than a short run.
        library = _libraries.setdefault(manifest.features, FeatureLibrary(manifest.features))
        return SpeechPopulation(deal_speech(data, seed), manifest, library)
    if isinstance(data, FeaturesCorpus):
        return SpeechPopulation(deal_speech(data, seed), manifest, FeatureFiles())
    if isinstance(data, ImagesCorpus):
        from fedvoice.simulation.images import ImagesPopulation

        return ImagesPopulation(data, seed)
    assert isinstance(data, RolesCorpus)
    from fedvoice.simulation.roles import RolesPopulation

    return RolesPopulation(data, manifest, seed)
