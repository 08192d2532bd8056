"""A dataset of examples in memory: client id -> examples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from fedvoice.data.buckets import buckets_around, frame_multiple, target_counts
from fedvoice.data.dataset import VocabularyOf
from fedvoice.data.partitioning import Labels, PartitionRule, apply_partition, numbered
from fedvoice.data.references import HeldArray, References
from fedvoice.data.speakers import PhoneData
from fedvoice.protocol.engine import Example
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.task import FeatureSettings
from fedvoice.protocol.text import TextRule, usable_texts

Target = str | Sequence[int]
"""A target: a text, or token ids from 1 on (0 is the blank)."""
Pair = tuple[npt.ArrayLike, Target]
"""An array float32, a waveform [samples] in +-1 or features [frames, bins], and its target."""
DEFAULT_BUCKETS = 2


@dataclass(frozen=True)
class MemoryClients:
    """Arrays by client."""

    held: Mapping[str, Sequence[HeldArray]]
    tests: Mapping[str, References]
    phones: Sequence[PhoneData] = ()

    @property
    def client_ids(self) -> Sequence[str]:
        """See `data.dataset.Clients`."""
        return [client_id for client_id, own in self.held.items() if own]

    def train(self, client_id: str) -> References:
        """See `data.dataset.Clients`."""
        return self.held[client_id]


class MappingDataset:
    """Any mapping from client to examples as a dataset.

    Waveforms are at the task's rate and made into features; arrays [frames, bins] are trained on
    as they are. All of it travels to worker processes with the dataset.

    Args:
        train: client id -> (array, text or token ids), or `protocol.engine.Example`s.
        test: test examples of clients that train, under any name; the rate `wer`.
        held_out: of others; the rate `heldout_wer`.

    Raises:
        FedvoiceError: `bad-config` naming client and index, for an invalid example.
    """

    sounds = False

    def __init__(
        self,
        train: Mapping[str, Sequence[Pair | Example]],
        *,
        test: Mapping[str, Sequence[Pair | Example]] | None = None,
        held_out: Mapping[str, Sequence[Pair | Example]] | None = None,
    ) -> None:
        self._train = _held("train", train)
        self._tests = {"wer": _held("test", test), "heldout_wer": _held("held_out", held_out)}

    def identity(self) -> dict[str, Any]:
        """sha256 of all arrays and targets, and of who holds them."""
        return {"corpus": "memory", "content": self._content}

    def task_defaults(self, task: Mapping[str, Any], vocabulary_of: VocabularyOf) -> dict[str, Any]:
        """Targets: all texts, or a token for each id; bins of the arrays; buckets that hold all."""
        everything = self._everything
        features = dict(task.get("features", {}))
        bins = [len(own.values[0]) for own in everything if own.values.ndim == 2]
        if bins:
            features.setdefault("mel_bins", bins[0])
        vocabulary = dict(task.get("vocabulary", {}))
        if not {"tokens", "manifest"} & set(vocabulary):
            vocabulary |= self._tokens(TextRule.model_validate(vocabulary.get("text", {})))
        found = {"features": features, "vocabulary": vocabulary}
        if "buckets" in task:
            return found
        settings, targets = FeatureSettings.model_validate(features), vocabulary_of(vocabulary)
        frames = [
            settings.stacked_frames(
                len(own.values) if own.values.ndim == 2 else settings.frames(len(own.values))
            )
            for own in everything
        ]
        labels = target_counts(
            targets, [own.text if own.token_ids is None else own.token_ids for own in everything]
        )
        usable = labels >= 0
        buckets = buckets_around(
            np.array(frames)[usable],
            labels[usable],
            count=DEFAULT_BUCKETS,
            multiple=frame_multiple(settings),
        )
        return {**found, "buckets": buckets}

    def clients(self, partition: str | PartitionRule | None = None, seed: int = 0) -> MemoryClients:
        """The clients of the mapping, or of `partition` if one is given."""
        tests: dict[str, References] = {
            rate: together
            for rate, by_client in self._tests.items()
            if (together := [own for examples in by_client.values() for own in examples])
        }
        if partition is None:
            return MemoryClients(self._train, tests)
        pool = [own for examples in self._train.values() for own in examples]
        sizes = [len(examples) for examples in self._train.values()]
        labels = Labels(
            [own.text or " ".join(map(str, own.token_ids or ())) for own in pool],
            np.repeat(np.arange(len(sizes), dtype=np.int64), sizes),
            tuple(self._train),
        )
        parts = numbered(apply_partition(partition, labels, clients=0, seed=seed), 3)
        return MemoryClients({who: [pool[i] for i in own] for who, own in parts.items()}, tests)

    @property
    def _everything(self) -> list[HeldArray]:
        parts = (self._train, *self._tests.values())
        return [own for part in parts for examples in part.values() for own in examples]

    @cached_property
    def _content(self) -> str:
        digest = hashlib.sha256()
        for rate, part in {"train": self._train, **self._tests}.items():
            for client_id, examples in part.items():
                for own in examples:
                    about = [rate, client_id, own.text, own.token_ids, own.values.shape]
                    digest.update(json.dumps(about).encode())
                    digest.update(own.values.tobytes())
        return digest.hexdigest()

    def _tokens(self, rule: TextRule) -> dict[str, Any]:
        lines = usable_texts((own.text for own in self._everything), rule)
        texts = sorted({word for line in lines for word in line.split()})
        if texts:
            return {"tokens": texts}
        count = max((max(own.token_ids or (0,)) for own in self._everything), default=0)
        return {"tokens": [str(i) for i in range(1, count + 1)], "as_given": True}


def _held(
    where: str, mapping: Mapping[str, Sequence[Pair | Example]] | None
) -> dict[str, list[HeldArray]]:
    return {
        str(client_id): [
            _one(example, f"{where} example {place} of client {client_id}")
            for place, example in enumerate(examples)
        ]
        for client_id, examples in (mapping or {}).items()
    }


def _one(example: Pair | Example, where: str) -> HeldArray:
    if isinstance(example, Example):
        example = (example.features, example.targets)
    try:
        given, target = example
        values = np.ascontiguousarray(given, dtype=np.float32)
        ids = None if isinstance(target, str) else tuple(int(token) for token in target)
    except (TypeError, ValueError) as error:
        raise _bad(where, f"{type(error).__name__}: {error}") from error
    if values.ndim not in (1, 2) or not values.size or not np.isfinite(values).all():
        raise _bad(where, f"an array {list(values.shape)}, empty or not finite or of other axes")
    if ids is not None and not all(token >= 1 for token in ids):
        raise _bad(where, f"token ids {list(ids)[:8]}")
    text = target if isinstance(target, str) else ""
    # By content: the same in every process, and shared where the array is.
    key = hashlib.sha256(values.tobytes()).hexdigest()
    return HeldArray(key, values, float(len(values)), text, ids)


def _bad(where: str, got: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.BAD_CONFIG,
        where=where,
        got=got,
        wanted="(array, target): finite [samples] or [frames, bins], and a text or ids from 1 on",
        next_step="Correct the example or leave it out.",
    )
