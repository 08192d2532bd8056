"""Speech corpora as populations: features are made when a client first needs them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

from fedvoice.data.audio import read_waveform
from fedvoice.data.speakers import PhoneData
from fedvoice.device_runtime.course import UNUSABLE
from fedvoice.model_export.log_mel import reference_features
from fedvoice.protocol.engine import (
    Example,
    normalise_features,
)
from fedvoice.protocol.errors import (
    ErrorCode,
    FedvoiceError,
)
from fedvoice.protocol.parameters import Float32Array
from fedvoice.protocol.task import (
    FeatureSettings,
    TaskManifest,
)
from fedvoice.protocol.utterances import Utterance
from fedvoice.simulation.clients import ClientData

TESTED_TOGETHER = 2048
"""Utterances of a test set collated at once: twenty minutes of words, eight hours of sentences."""
LEFT_OUT = UNUSABLE - {ErrorCode.MISSING_AUDIO, ErrorCode.WRONG_SAMPLE_RATE}
"""Like a phone, but a whole corpus in the wrong place or at the wrong rate is no experiment: a
simulation looks for these before it begins."""
HELD_BYTES = 1 << 30
"""Features kept in memory by one process; a corpus beyond that is read again and again."""


class Library(Protocol):
    """Where an utterance's features come from."""

    def get(self, path: Path) -> Float32Array:
        """Normalised features float32 [frames, bins]."""


class FeatureLibrary:
    """Normalised log-mel of sound files, the most recently used ones kept in memory."""

    def __init__(self, settings: FeatureSettings, max_bytes: int = HELD_BYTES) -> None:
        self._settings, self._max_bytes = settings, max_bytes
        self._held: OrderedDict[Path, Float32Array] = OrderedDict()
        self.held_bytes = 0

    def get(self, path: Path) -> Float32Array:
        """Features float32 [frames, mel_bins] of a file.

        Raises:
            FedvoiceError: as `data.audio.read_waveform`.
        """
        found = self._held.get(path)
        if found is not None:
            self._held.move_to_end(path)
            return found
        import torch

        waveform = read_waveform(path, self._settings, str(path))
        log_mel = reference_features(torch.from_numpy(waveform)[None], self._settings)[0]
        features = normalise_features(log_mel.numpy())
        self._held[path] = features
        self.held_bytes += features.nbytes
        while self.held_bytes > self._max_bytes and len(self._held) > 1:
            _, dropped = self._held.popitem(last=False)
            self.held_bytes -= dropped.nbytes
        return features


class TestSet:
    """Utterances in parts, collated anew at every pass unless all of them are one part."""

    def __init__(
        self, collate: Callable[[Sequence[Utterance]], ClientData], utterances: Sequence[Utterance]
    ) -> None:
        # By length: a part is padded to its longest.
        self._utterances = sorted(utterances, key=lambda u: u.duration_secs)
        self._collate = collate
        self._only: ClientData | None = None

    def __iter__(self) -> Iterator[ClientData]:
        if len(self._utterances) > TESTED_TOGETHER:
            for start in range(0, len(self._utterances), TESTED_TOGETHER):
                yield self._collate(self._utterances[start : start + TESTED_TOGETHER])
            return
        if self._only is None:
            self._only = self._collate(self._utterances)
        yield self._only


class SpeechPopulation:
    """Phones' speech, as `data.speakers` deals it, ready to train on.

    Utterances that the task cannot use (unknown words, longer than every bucket) are left out, as
    a phone leaves them out.
    """

    def __init__(
        self, phones: Sequence[PhoneData], manifest: TaskManifest, library: Library
    ) -> None:
        self._phones = {phone.client_id: phone for phone in phones}
        self._manifest, self._library = manifest, library
        self._collated: OrderedDict[str, ClientData] = OrderedDict()
        self._held_bytes = 0
        self.client_ids: Sequence[str] = [phone.client_id for phone in phones if phone.train]

    def train(self, client_id: str) -> ClientData:
        """A client's training examples."""
        data = self._collated.get(client_id)
        if data is None:
            data = self._collate(self._phones[client_id].train)
            self._collated[client_id] = data
            self._held_bytes += data.nbytes
            while self._held_bytes > HELD_BYTES and len(self._collated) > 1:
                _, dropped = self._collated.popitem(last=False)
                self._held_bytes -= dropped.nbytes
        self._collated.move_to_end(client_id)
        return data

    @cached_property
    def evaluation(self) -> Mapping[str, Iterable[ClientData]]:
        """`wer`: test speech of the phones that train; `heldout_wer`: all of the others'."""
        own = [u for p in self._phones.values() if not p.held_out for u in p.test]
        others = [u for p in self._phones.values() if p.held_out for u in p.test]
        sets = {"wer": own, "heldout_wer": others}
        return {name: TestSet(self._collate, us) for name, us in sets.items() if us}

    def _collate(self, utterances: Sequence[Utterance]) -> ClientData:
        settings = self._manifest.features
        found = [example for u in utterances if (example := self._example(u)) is not None]
        return ClientData.collate(found, settings.stack, settings.mel_bins)

    def _example(self, utterance: Utterance) -> Example | None:
        manifest = self._manifest
        frames = manifest.features.frames(
            round(utterance.duration_secs * manifest.features.sample_rate)
        )
        try:
            targets = manifest.vocabulary.encode(utterance.text)
            stacked = manifest.features.stacked_frames(frames)
            # By the manifest's word, before anything is decoded.
            if manifest.bucket_for(max(1, stacked - 1), len(targets)) is None:
                return None
            features = self._library.get(utterance.audio_path)
        except FedvoiceError as error:
            if error.code not in LEFT_OUT:
                raise
            return None
        stacked = manifest.features.stacked_frames(len(features))
        if manifest.bucket_for(stacked, len(targets)) is None:
            return None
        return Example(features=features, targets=targets)
