"""The examples of a dataset: references to sound files or to arrays, never features of sound.

Sound: `protocol.utterances.Utterance` (a file, its transcript, its length). Arrays: any
`ArrayReference`, one example each, or `PackedExamples`, many of them in memory that clients share.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from fedvoice.protocol.engine import Examples, Int64Array
from fedvoice.protocol.parameters import Float32Array
from fedvoice.protocol.utterances import Utterance


class ArrayReference(ABC):
    """One example that is an array, with its target: a text or token ids."""

    text: str
    duration_secs: float
    """To sort by; of an array that tells no time its samples or frames."""
    key: Hashable | None = None
    """The same for the same waveform in every process, and no other's: features are cached under
    it. None: they are computed each time."""

    @property
    def targets(self) -> Sequence[int] | None:
        """Token ids; None: those of `text`."""
        return None

    @abstractmethod
    def array(self) -> Float32Array:
        """A waveform float32 [samples] in +-1 at the task's rate, or an array [frames, bins] that
        is trained on as it is."""


@dataclass(frozen=True, eq=False)
class HeldArray(ArrayReference):
    """An array in memory. key: the same for the same array, in every process."""

    key: Hashable = field()  # not the default that it has above
    values: Float32Array
    duration_secs: float
    text: str = ""
    token_ids: tuple[int, ...] | None = None

    @property
    def targets(self) -> Sequence[int] | None:
        """See `ArrayReference`."""
        return self.token_ids

    def array(self) -> Float32Array:
        """See `ArrayReference`."""
        return self.values


Reference = Utterance | ArrayReference
References = Sequence[Reference] | Examples


@dataclass(frozen=True)
class Padded:
    """Examples as arrays of one size. features: float32 [n, F, bins], zero beyond each length.
    frames: int64 [n]. targets: int64 [n, U], 0 beyond each length. target_counts: int64 [n]."""

    features: Float32Array
    frames: Int64Array
    targets: Int64Array
    target_counts: Int64Array


class PackedExamples(Examples):
    """Examples that can be packed into arrays at once, faster than one by one."""

    @abstractmethod
    def packed(self) -> Padded:
        """All examples."""
