"""Stored utterances as examples to train on, made when they are asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from fedvoice.data.audio import USUAL_RATES, read_waveform, samples_at
from fedvoice.data.fit import targets_or_reason
from fedvoice.device_runtime.store import ExampleStore, Split, StoredExample
from fedvoice.protocol.engine import Engine, Example, Examples, inputs_of
from fedvoice.protocol.usage import Reason, Usage


class FeatureCache:
    """Examples most recently used, at most `max_bytes` of features."""

    def __init__(self, max_bytes: int = 32 << 20) -> None:
        self._max_bytes = max_bytes
        self._held_bytes = 0
        self._examples: OrderedDict[int, Example] = OrderedDict()

    @property
    def held_bytes(self) -> int:
        """Bytes of the features held."""
        return self._held_bytes

    def get(self, example_id: int) -> Example | None:
        """The example, if it is still held."""
        example = self._examples.get(example_id)
        if example is not None:
            self._examples.move_to_end(example_id)
        return example

    def put(self, example_id: int, example: Example) -> None:
        """Hold an example; the least recently used ones make room."""
        earlier = self._examples.pop(example_id, None)
        self._held_bytes -= earlier.features.nbytes if earlier else 0
        self._examples[example_id] = example
        self._held_bytes += example.features.nbytes
        while self._held_bytes > self._max_bytes:
            _, dropped = self._examples.popitem(last=False)
            self._held_bytes -= dropped.features.nbytes

    def clear(self) -> None:
        """Empty the cache: needed when another task's front end is used."""
        self._examples.clear()
        self._held_bytes = 0


class LocalExamples(Examples):
    """Those of a store's rows that the task can use, each decoded when it is indexed.

    Rows to test with may hold words that the task lacks: what is recognised there is wrong.

    Rows that fit no bucket, have unknown tokens or no usual sample rate are left out and counted
    without decoding them, in `usage`; those of a usual rate are resampled to the task's.
    """

    def __init__(
        self,
        engine: Engine,
        store: ExampleStore,
        rows: Sequence[StoredExample],
        cache: FeatureCache,
    ) -> None:
        self._engine = engine
        self._store = store
        self._cache = cache
        self._rows: list[tuple[StoredExample, tuple[str, list[int]]]] = []
        self.usage = Usage()
        wanted = engine.manifest.features.sample_rate
        for row in rows:
            samples, rate = row.samples, row.sample_rate
            if rate in USUAL_RATES:
                samples, rate = samples_at(samples, rate, wanted), wanted
            found = targets_or_reason(
                samples,
                rate,
                row.transcript,
                engine.manifest,
                testing=row.split is Split.TEST,
            )
            if isinstance(found, Reason):
                self.usage.leave_out(found, row.where)
            else:
                self.usage.used += 1
                self._rows.append((row, found))

    @property
    def skipped(self) -> int:
        """Rows left out."""
        return self.usage.skipped

    @property
    def rows(self) -> list[StoredExample]:
        """The usable rows; row i is example i."""
        return [row for row, _ in self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def example(self, index: int) -> Example:
        """The example: features float32 [frames, mel_bins], normalised, and token ids.

        Raises:
            FedvoiceError: `missing-audio`, `unreadable-audio`, `wrong-shape`.
        """
        row, (text, targets) = self._rows[index]
        example = self._cache.get(row.id)
        if example is None:
            settings = self._engine.manifest.features
            waveform = read_waveform(
                self._store.audio(row),
                settings,
                row.where,
                offset_secs=row.offset_secs or 0.0,
                duration_secs=row.segment_secs,
                resample=True,
            )
            features = inputs_of(waveform, settings, self._engine.features)
            example = Example(features, targets, text)
            self._cache.put(row.id, example)
        return example
