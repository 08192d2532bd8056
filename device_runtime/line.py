"""The phone's line: what it carried lately, and which chunks suit it.

Rates are of whole transfers, with the pauses between two tries in them: what counts is when an
update is there. They are kept over sessions, smoothed, and forgotten after `KEPT_SECS`: a phone
that was told that its line is too slow tries it again then.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from fedvoice.protocol.files import write_file

SMALLEST_CHUNK_BYTES = 16 * 1024
LARGEST_CHUNK_BYTES = 63 * SMALLEST_CHUNK_BYTES
"""With what is around it still below 1 MB, a server's largest message."""
FIRST_CHUNK_BYTES = 4 * SMALLEST_CHUNK_BYTES
"""On a line of which nothing is known."""
CHUNK_SECS = 0.25
"""What a chunk takes. A line that is cut loses half a chunk on average."""
KEPT_SECS = 6 * 3600.0
_LEAST_BYTES = 128 * 1024
"""Of less, round trips and buffers make up too much of the time."""
_LARGEST_RATE = 2**32 - 1


class Way(StrEnum):
    """Seen from the phone."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True)
class Rate:
    """bytes_per_sec: 0: not known. measured_secs: Unix time."""

    bytes_per_sec: float = 0.0
    measured_secs: float = 0.0

    def known(self, now: float) -> int:
        """Bytes a second, 1 to 2^32 - 1; 0: not known, or too long ago to say."""
        if self.bytes_per_sec <= 0 or abs(now - self.measured_secs) > KEPT_SECS:
            return 0
        return int(min(max(self.bytes_per_sec, 1.0), _LARGEST_RATE))

    def after(self, data_bytes: int, secs: float, now: float) -> Rate:
        """With one more transfer: as much of it as of all before."""
        if data_bytes < _LEAST_BYTES:
            return self
        measured = data_bytes / max(secs, 1e-6)
        before = self.known(now) or measured
        return Rate((before + measured) / 2, now)


def chunk_bytes(bytes_per_sec: float) -> int:
    """The size of the chunks for such a line; 0: not known."""
    if bytes_per_sec <= 0:
        return FIRST_CHUNK_BYTES
    whole = int(bytes_per_sec * CHUNK_SECS) // SMALLEST_CHUNK_BYTES * SMALLEST_CHUNK_BYTES
    return min(max(whole, SMALLEST_CHUNK_BYTES), LARGEST_CHUNK_BYTES)


class Chunks:
    """Sizes of the chunks of one upload, by how long the ones before took.

    Args:
        bytes_per_sec: of the line so far; 0: not known.
    """

    def __init__(self, bytes_per_sec: float) -> None:
        self.size = chunk_bytes(bytes_per_sec)
        self._data_bytes, self._secs = 0, 0.0

    def took(self, data_bytes: int, secs: float) -> None:
        """A chunk of so many bytes was taken after so long.

        gRPC takes several at once and then none for a while: what counts is what it took in
        `CHUNK_SECS`. The next chunks are at most twice as large then and at least half as large.
        """
        self._data_bytes += data_bytes
        self._secs += secs
        if self._secs < CHUNK_SECS:
            return
        fits = chunk_bytes(self._data_bytes / self._secs)
        self.size = max(SMALLEST_CHUNK_BYTES, min(max(fits, self.size // 2), 2 * self.size))
        self.size = min(self.size, LARGEST_CHUNK_BYTES)
        self._data_bytes, self._secs = 0, 0.0


class Line:
    """What one phone knows of its line.

    Args:
        path: where it is kept; None: nowhere. A damaged file is as good as none.
        clock: Unix time.
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = path, clock
        self._rates = {way: Rate() for way in Way}
        if path is not None:
            self._rates |= _read(path)

    def bytes_per_sec(self, way: Way) -> int:
        """0: not known."""
        return self._rates[way].known(self._clock())

    @contextmanager
    def measured(self, way: Way) -> Iterator[Progress]:
        """A transfer, whether it succeeds or not; the block says how far it has come."""
        progress, began = Progress(), time.monotonic()
        try:
            yield progress
        finally:
            before = self._rates[way]
            after = before.after(progress.data_bytes, time.monotonic() - began, self._clock())
            if after != before:
                self._rates[way] = after
                self._keep()

    def _keep(self) -> None:
        if self._path is None:
            return
        kept = {way.value: asdict(rate) for way, rate in self._rates.items()}
        with suppress(OSError):  # a full disk is told of by what needs the room
            write_file(self._path, json.dumps(kept).encode())


@dataclass
class Progress:
    """Bytes that a transfer has brought so far."""

    data_bytes: int = 0


def _read(path: Path) -> dict[Way, Rate]:
    try:
        kept = json.loads(path.read_bytes())
        return {
            way: Rate(float(kept[way]["bytes_per_sec"]), float(kept[way]["measured_secs"]))
            for way in Way
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}
