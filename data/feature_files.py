"""Speech that comes as features instead of sound, such as AN4's MFCC.

A manifest has one JSON object a line: `feats_filepath` (an npz file, relative to the manifest),
`key` (of an array float32 [frames, bins] in it, 100 frames a second), `text`, `speaker`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np

from fedvoice.data.dataset import Corpus, UtteranceClients, VocabularyOf, content_digest
from fedvoice.data.partitioning import PartitionRule
from fedvoice.data.references import ArrayReference
from fedvoice.data.speakers import SpeechPartitionSettings
from fedvoice.data.speech import completed, partition_utterances
from fedvoice.data.splits import spread_split
from fedvoice.protocol.engine import normalise_features
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.files import read_json_lines, read_text
from fedvoice.protocol.parameters import Float32Array
from fedvoice.protocol.text import TextRule, fold_white_space, usable_texts
from fedvoice.protocol.utterances import Utterance

FRAMES_PER_SEC = 100.0


class FeaturesCorpus(SpeechPartitionSettings, Corpus):
    """Utterances as features, partitioned like speech. For in-process engines only: phones store
    sound files."""

    corpus: Literal["features"]
    manifest: Path

    def identity(self) -> dict[str, Any]:
        """See `Dataset.identity`; the manifest is identified by its content."""
        fields = self.settings({"manifest", "partition"})
        return {**fields, **self.chosen, "manifest": content_digest(self.manifest)}

    def utterances(self) -> list[Utterance]:
        """As `read_feature_manifest`."""
        return read_feature_manifest(self.manifest)

    def task_defaults(self, task: Mapping[str, Any], vocabulary_of: VocabularyOf) -> dict[str, Any]:
        """Targets: the words of the manifest; buckets that hold every utterance."""
        return completed(task, vocabulary_of, self._words, self.utterances)

    def clients(
        self, partition: str | PartitionRule | None = None, seed: int = 0
    ) -> UtteranceClients:
        """One client a speaker, or the partition's clients."""
        return partition_utterances(self.utterances(), self, partition, seed)

    def _words(self, rule: TextRule) -> dict[str, Any]:
        texts = usable_texts((u.text for u in self.utterances()), rule)
        return {"tokens": sorted({word for text in texts for word in text.split()})}


@dataclass(frozen=True)
class StoredFeatures(Utterance, ArrayReference):
    """An utterance whose features lie in a file: `audio_path` is the npz file with the key below
    it."""

    def array(self) -> Float32Array:
        """See `ArrayReference`."""
        return FeatureFiles().get(self.audio_path)


def read_feature_manifest(path: Path) -> list[Utterance]:
    """Utterances whose `audio_path` is the npz file with the key below it; a tenth of each
    speaker's are test utterances.

    Raises:
        FedvoiceError: `not-found`; `bad-manifest` with file and line.
    """
    text = read_text(
        path,
        wanted="a manifest of feature files: one JSON object a line",
        next_step="Check the path.",
    )
    found = []
    for where, fields in read_json_lines(text, str(path)):
        try:
            found.append(
                StoredFeatures(
                    audio_path=path.parent / fields["feats_filepath"] / fields["key"],
                    text=fold_white_space(fields["text"]),
                    duration_secs=float(fields["num_frames"]) / FRAMES_PER_SEC,
                    speaker=str(fields["speaker"]),
                    source=str(fields.get("source", "")),
                )
            )
        except (ValueError, KeyError, TypeError) as error:
            raise FedvoiceError(
                ErrorCode.BAD_MANIFEST,
                where=where,
                got=f"{type(error).__name__}: {error}",
                wanted="feats_filepath, key, text, num_frames and speaker",
                next_step="Correct the line.",
            ) from error
    return spread_split(found)


class FeatureFiles:
    """Arrays of npz files by `file.npz/key`, normalised as features of sounds are."""

    def get(self, path: Path) -> Float32Array:
        """Features float32 [frames, bins].

        Raises:
            FedvoiceError: `missing-audio` naming file and key.
        """
        try:
            return _arrays(path.parent)[path.name]
        except (OSError, KeyError, ValueError, BadZipFile) as error:
            raise FedvoiceError(
                ErrorCode.MISSING_AUDIO,
                where=str(path.parent),
                got=f"{type(error).__name__}: {error}",
                wanted=f"an npz file with an array {path.name!r}",
                next_step="Paths are relative to the manifest: move it or correct the line.",
            ) from error


@lru_cache(maxsize=512)
def _arrays(path: Path) -> dict[str, Float32Array]:
    with np.load(path) as stored:
        return {key: normalise_features(stored[key]) for key in stored.files}
