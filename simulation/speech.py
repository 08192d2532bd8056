"""Datasets as populations: features are computed when a client first needs them."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from fedvoice.data.audio import check_array, read_waveform
from fedvoice.data.dataset import Clients, report_of
from fedvoice.data.fit import text_and_targets
from fedvoice.data.partition_report import PartitionReport
from fedvoice.data.references import (
    ArrayReference,
    PackedExamples,
    Reference,
    References,
)
from fedvoice.device_runtime.course import UNUSABLE
from fedvoice.model_export.log_mel import reference_features
from fedvoice.protocol.engine import Example, Examples, inputs_of
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import Float32Array
from fedvoice.protocol.task import FeatureSettings, TaskManifest
from fedvoice.protocol.utterances import Utterance
from fedvoice.simulation.clients import ClientData
from fedvoice.simulation.fast.local import most_rows

_log = logging.getLogger("fedvoice.simulation")

TESTED_TOGETHER = 2048
"""Most utterances of a test set collated at once."""
LEFT_OUT = UNUSABLE - {ErrorCode.MISSING_AUDIO, ErrorCode.WRONG_SAMPLE_RATE}
"""Errors for which an example is skipped, as on a phone. A missing file or a wrong sample rate is
not one of them: it usually concerns the whole corpus, so a simulation fails before it begins."""
_FOUND_BY_DECODING = (ErrorCode.UNREADABLE_AUDIO, ErrorCode.NOT_FINITE, ErrorCode.SILENT)
"""What `usage_of` has not counted in a corpus that it did not listen to."""
HELD_BYTES = 1 << 30
"""Most bytes of features cached by one process; beyond that files are read again."""


class FeatureLibrary:
    """What a model is given of sound files, normalised log-mel or samples, with an LRU cache."""

    def __init__(self, settings: FeatureSettings, max_bytes: int = HELD_BYTES) -> None:
        self._settings, self._max_bytes = settings, max_bytes
        self._held: OrderedDict[Hashable, Float32Array] = OrderedDict()
        self.held_bytes = 0

    def get(
        self, path: Path, offset_secs: float = 0.0, duration_secs: float | None = None
    ) -> Float32Array:
        """Features float32 [frames, mel_bins] of a file, or of a segment of it.

        Raises:
            FedvoiceError: as `data.audio.read_waveform`.
        """
        return self._kept(
            (_version_of(path), offset_secs, duration_secs),
            lambda: read_waveform(
                path,
                self._settings,
                str(path),
                offset_secs=offset_secs,
                duration_secs=duration_secs,
            ),
        )

    def features_of(self, reference: Reference) -> Float32Array:
        """Features float32 [frames, bins] of what a dataset yields; arrays of frames are features
        as they are.

        Raises:
            FedvoiceError: as `get`; `wrong-shape` for arrays of other bins than the task's.
        """
        if not isinstance(reference, ArrayReference):
            return self.get(
                reference.audio_path, reference.offset_secs or 0.0, reference.segment_secs
            )
        array = reference.array()
        check_array(array, "an example of the corpus")
        if array.ndim == 1:
            # Never by `id`, which the next object may have: the library outlives its references.
            if reference.key is None:
                return self._compute(array)
            return self._kept(reference.key, lambda: array)
        if array.ndim != 2 or array.shape[1] != self._settings.mel_bins:
            raise FedvoiceError(
                ErrorCode.BAD_CONFIG,
                where="an example of the corpus",
                got=f"an array {list(array.shape)}",
                wanted=f"[frames, {self._settings.mel_bins}], or a waveform [samples]",
                next_step="Let features.mel_bins of the task be the bins of the arrays.",
            )
        return array

    def _kept(self, key: Hashable, waveform: Callable[[], Float32Array]) -> Float32Array:
        found = self._held.get(key)
        if found is not None:
            self._held.move_to_end(key)
            return found
        features = self._compute(waveform())
        self._held[key] = features
        self.held_bytes += features.nbytes
        while self.held_bytes > self._max_bytes and len(self._held) > 1:
            _, dropped = self._held.popitem(last=False)
            self.held_bytes -= dropped.nbytes
        return features

    def _compute(self, waveform: Float32Array) -> Float32Array:
        return inputs_of(waveform, self._settings, self._log_mel)

    def _log_mel(self, waveform: Float32Array) -> Float32Array:
        import torch

        log_mel: Float32Array = reference_features(
            torch.from_numpy(waveform)[None], self._settings
        )[0].numpy()
        return log_mel


def _version_of(path: Path) -> Hashable:
    """The key of a file as it is now: one that is written again has other features."""
    try:
        found = path.stat()
    except OSError:
        return path  # reading it raises the precise error
    return path, found.st_mtime_ns, found.st_size


class TestSet:
    """References in parts, collated at every pass unless they fit one part."""

    def __init__(
        self,
        collate: Callable[[Sequence[Reference]], ClientData],
        references: Sequence[Reference],
        together: int = TESTED_TOGETHER,
    ) -> None:
        # By length: a part is padded to its longest.
        self._references = sorted(references, key=lambda u: u.duration_secs)
        self._collate = collate
        self._only: ClientData | None = None
        self._together = together

    def __iter__(self) -> Iterator[ClientData]:
        if len(self._references) > self._together:
            for start in range(0, len(self._references), self._together):
                yield self._collate(self._references[start : start + self._together])
            return
        if self._only is None:
            self._only = self._collate(self._references)
        yield self._only


class DatasetPopulation:
    """A partitioned dataset, ready to train on.

    Utterances that the task cannot use (unknown words, longer than every bucket) are left out, as
    on a phone. Collated clients are cached up to `HELD_BYTES`; arrays that are in memory anyway
    are collated each time.
    """

    def __init__(self, clients: Clients, manifest: TaskManifest, library: FeatureLibrary) -> None:
        self._clients, self._manifest, self._library = clients, manifest, library
        self._collated: OrderedDict[str, ClientData] = OrderedDict()
        self._held_bytes = 0
        self.client_ids: Sequence[str] = clients.client_ids

    @property
    def clients(self) -> Clients:
        """The partitioned dataset."""
        return self._clients

    @property
    def tests(self) -> Mapping[str, References]:
        """Test examples by the name of their rate."""
        return self._clients.tests

    @property
    def library(self) -> FeatureLibrary:
        """Where its features come from."""
        return self._library

    def report(self) -> PartitionReport | None:
        """See `data.dataset.report_of`: before anything is left out."""
        return report_of(self._clients)

    def train(self, client_id: str) -> ClientData:
        """A client's training examples."""
        data = self._collated.get(client_id)
        if data is None:
            references = self._clients.train(client_id)
            if isinstance(references, Examples):
                return collate_arrays(references, self._manifest)
            data = self._collate(references)
            self._collated[client_id] = data
            self._held_bytes += data.nbytes
            while self._held_bytes > HELD_BYTES and len(self._collated) > 1:
                _, dropped = self._collated.popitem(last=False)
                self._held_bytes -= dropped.nbytes
        self._collated.move_to_end(client_id)
        return data

    def size(self, client_id: str) -> int:
        """See `simulation.clients.Population`."""
        return len(self._clients.train(client_id))

    @cached_property
    def evaluation(self) -> Mapping[str, Iterable[ClientData]]:
        """`wer`: test examples of the clients that train; `heldout_wer`: of others."""
        return {name: self._test_set(found) for name, found in self._clients.tests.items()}

    def _test_set(self, references: References) -> Iterable[ClientData]:
        if isinstance(references, Examples):
            return [collate_arrays(references, self._manifest)]
        together = most_rows(self._manifest, TESTED_TOGETHER)
        return TestSet(lambda part: self._collate(part, testing=True), references, together)

    def _collate(self, references: Sequence[Reference], *, testing: bool = False) -> ClientData:
        settings = self._manifest.features
        made = (
            example_of(own, self._manifest, self._library, testing=testing) for own in references
        )
        found = [example for example in made if example is not None]
        return ClientData.collate(found, settings.stack, settings.mel_bins)


def example_of(
    reference: Reference,
    manifest: TaskManifest,
    library: FeatureLibrary,
    *,
    testing: bool = False,
) -> Example | None:
    """The example that a task makes of a reference; None: it cannot use it.

    Args:
        testing: words that the task lacks are no hindrance.

    Raises:
        FedvoiceError: as `FeatureLibrary.features_of`, for errors that concern a whole corpus.
    """
    try:
        text, targets = text_and_targets(reference, manifest, testing=testing)
        if isinstance(reference, Utterance):
            # By the durations in the manifest, before anything is decoded.
            samples = round(reference.duration_secs * manifest.features.sample_rate)
            settings = manifest.features
            stacked = settings.stacked_frames(settings.frames(samples))
            rounding = settings.sample_rate // 20 if settings.is_waveform else 1
            if manifest.bucket_for(max(1, stacked - rounding), len(targets)) is None:
                return None
        features = library.features_of(reference)
    except FedvoiceError as error:
        if error.code not in LEFT_OUT:
            raise
        if error.code in _FOUND_BY_DECODING:
            _log.warning("left out: %s", error)
        return None
    stacked = manifest.features.stacked_frames(len(features))
    if manifest.bucket_for(stacked, len(targets)) is None:
        return None
    return Example(features, targets, text)


def collate_arrays(examples: Examples, manifest: TaskManifest) -> ClientData:
    """Arrays in memory as a client's data."""
    if isinstance(examples, PackedExamples):
        packed = examples.packed()
        return ClientData(packed.features, packed.frames, packed.targets, packed.target_counts)
    return ClientData.collate(examples, manifest.features.stack, manifest.features.mel_bins)
