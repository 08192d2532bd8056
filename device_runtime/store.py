"""The phone's examples: what was said and how it is written, on the phone's own disk.

SQLite. A connection is opened for each operation (about 0.1 ms), so that a store costs nothing
while it is not used and hundreds of emulated phones can have one each.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from fedvoice.data.audio import read_facts, segment_bounds
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.text import fold_white_space

_SCHEMA = """
CREATE TABLE IF NOT EXISTS examples (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    audio_path TEXT,
    audio BLOB,
    held_bytes INTEGER NOT NULL,
    sample_rate INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    transcript TEXT NOT NULL,
    source TEXT NOT NULL,
    split TEXT NOT NULL,
    added_secs REAL NOT NULL,
    offset_secs REAL
);
CREATE TABLE IF NOT EXISTS uses (
    example_id INTEGER NOT NULL REFERENCES examples (id) ON DELETE CASCADE,
    round INTEGER NOT NULL,
    PRIMARY KEY (example_id, round)
) WITHOUT ROWID;
"""
_COLUMNS = (
    "id, audio_path, sample_rate, samples, transcript, source, split, added_secs, offset_secs"
)
_ADD_OFFSET = "ALTER TABLE examples ADD COLUMN offset_secs REAL"
"""For stores of 0.1.0."""


class Source(StrEnum):
    """Where a transcript comes from."""

    CORRECTION = "correction"  # the person corrected what was recognised
    PROMPT = "prompt"  # the person read a given text
    OWN = "own"  # brought along: a corpus, a manifest


class Split(StrEnum):
    """What an example is for."""

    TRAIN = "train"
    TEST = "test"


class WhenFull(StrEnum):
    """What adding to a full store does."""

    EVICT_OLDEST = "evict-oldest"
    REFUSE = "refuse"


@dataclass(frozen=True)
class StoreLimits:
    """Caps of a store; None: none.

    max_bytes counts audio held in the store; files that are only referred to cost nothing.
    """

    max_examples: int | None = None
    max_bytes: int | None = None
    time_to_live_secs: float | None = None
    when_full: WhenFull = WhenFull.EVICT_OLDEST


@dataclass(frozen=True)
class NewExample:
    """What is added: `audio` is a sound file, or such a file's bytes to hold."""

    audio: Path | bytes
    transcript: str
    source: Source = Source.OWN
    split: Split = Split.TRAIN
    offset_secs: float | None = None
    """Where a segment of `duration_secs` begins in the file; None: the whole file."""
    duration_secs: float | None = None


@dataclass(frozen=True)
class StoredExample:
    """One row, without its audio."""

    id: int
    audio_path: Path | None
    """None: the store holds the bytes."""
    sample_rate: int
    samples: int
    transcript: str
    source: Source
    split: Split
    added_secs: float
    """Unix time."""
    offset_secs: float | None = None
    """Where a segment of `samples` begins; None: the whole file."""

    @property
    def segment_secs(self) -> float | None:
        """Length of the segment; None: the whole file."""
        return None if self.offset_secs is None else self.samples / self.sample_rate

    @property
    def where(self) -> str:
        """How errors name it."""
        return str(self.audio_path) if self.audio_path else f"stored example {self.id}"


class ExampleStore:
    """The examples of one phone.

    Args:
        path: the database; made with its folder if it is not there.
        clock: Unix time in seconds.
    """

    def __init__(
        self,
        path: Path,
        limits: StoreLimits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._limits = limits or StoreLimits()
        self._clock = clock
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._connection() as connection:
            connection.executescript(_SCHEMA)
            columns = connection.execute("SELECT name FROM pragma_table_info('examples')")
            if ("offset_secs",) not in columns.fetchall():
                with suppress(sqlite3.OperationalError):  # another process has just added it
                    connection.execute(_ADD_OFFSET)

    def add(self, example: NewExample) -> int:
        """Store one example and return its id; see `add_all`."""
        return self.add_all([example])[0]

    def add_all(self, examples: Iterable[NewExample]) -> list[int]:
        """Store examples in one transaction: all or, on an error, none.

        Raises:
            FedvoiceError: `empty-transcript`; `missing-audio`, `unreadable-audio`; `store-full`
                if an example is larger than the store, or if the limits say to refuse.
        """
        rows = [self._row(example) for example in examples]
        with self._connection() as connection:
            self._expire(connection)
            ids = []
            for row in rows:
                self._make_room(connection, held_bytes=row[2])
                cursor = connection.execute(
                    "INSERT INTO examples (audio_path, audio, held_bytes, sample_rate, samples,"
                    " transcript, source, split, added_secs, offset_secs)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    row,
                )
                ids.append(int(cursor.lastrowid or 0))
        return ids

    def examples(self, split: Split) -> list[StoredExample]:
        """The unexpired examples of a split, oldest first."""
        with self._connection() as connection:
            self._expire(connection)
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM examples WHERE split = ? ORDER BY id", (split.value,)
            ).fetchall()
        return [
            StoredExample(
                id=row[0],
                audio_path=Path(row[1]) if row[1] is not None else None,
                sample_rate=row[2],
                samples=row[3],
                transcript=row[4],
                source=Source(row[5]),
                split=Split(row[6]),
                added_secs=row[7],
                offset_secs=row[8],
            )
            for row in rows
        ]

    def count(self, split: Split) -> int:
        """How many unexpired examples a split has."""
        with self._connection() as connection:
            self._expire(connection)
            (count,) = connection.execute(
                "SELECT count(*) FROM examples WHERE split = ?", (split.value,)
            ).fetchone()
        return int(count)

    def held_bytes(self) -> int:
        """Bytes of audio that the store itself holds."""
        with self._connection() as connection:
            return _totals(connection)[1]

    def audio(self, example: StoredExample) -> Path | bytes:
        """The sound: a path, or the bytes held.

        Raises:
            FedvoiceError: `missing-audio` if the example was deleted meanwhile.
        """
        if example.audio_path is not None:
            return example.audio_path
        with self._connection() as connection:
            row = connection.execute(
                "SELECT audio FROM examples WHERE id = ?", (example.id,)
            ).fetchone()
        if row is None:
            raise FedvoiceError(
                ErrorCode.MISSING_AUDIO,
                where=example.where,
                got="an example deleted meanwhile",
                wanted="its audio",
                next_step="Nothing: the next round does without it.",
            )
        return bytes(row[0])

    def mark_used(self, ids: Sequence[int], round_number: int) -> None:
        """Note that examples were trained on in a round; those deleted meanwhile are ignored."""
        with self._connection() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO uses SELECT id, ? FROM examples WHERE id = ?",
                [(round_number, i) for i in ids],
            )

    def rounds_used(self, example_id: int) -> list[int]:
        """Rounds in which an example was trained on."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT round FROM uses WHERE example_id = ? ORDER BY round", (example_id,)
            ).fetchall()
        return [row[0] for row in rows]

    def delete(self, example_id: int) -> None:
        """Forget one example."""
        with self._connection() as connection:
            connection.execute("DELETE FROM examples WHERE id = ?", (example_id,))

    def delete_all(self) -> None:
        """Forget everything; the audio's bytes are overwritten, not just unlinked."""
        with self._connection() as connection:
            connection.execute("DELETE FROM examples")
        with self._connection() as connection:
            connection.execute("VACUUM")

    def _row(
        self, example: NewExample
    ) -> tuple[object, bytes | None, int, int, int, str, str, str, float, float | None]:
        held = example.audio if isinstance(example.audio, bytes) else None
        path = None if isinstance(example.audio, bytes) else str(example.audio.absolute())
        where = path or "new example"
        transcript = fold_white_space(example.transcript)
        if not transcript:
            raise FedvoiceError(
                ErrorCode.EMPTY_TRANSCRIPT,
                where=where,
                got="no text",
                wanted="the words spoken",
                next_step="Transcribe the recording or leave it out.",
            )
        facts = read_facts(example.audio, where)
        samples = facts.samples
        if example.offset_secs is not None:
            begin, end = segment_bounds(
                samples, facts.sample_rate, where, example.offset_secs, example.duration_secs
            )
            samples = end - begin
        return (
            path,
            held,
            len(held or b""),
            facts.sample_rate,
            samples,
            transcript,
            example.source.value,
            example.split.value,
            self._clock(),
            example.offset_secs,
        )

    def _make_room(self, connection: sqlite3.Connection, held_bytes: int) -> None:
        limits = self._limits
        max_examples = _or_infinity(limits.max_examples)
        max_bytes = _or_infinity(limits.max_bytes)
        count, held = _totals(connection)
        fits_at_all = max_examples >= 1 and held_bytes <= max_bytes
        while count + 1 > max_examples or held + held_bytes > max_bytes:
            if limits.when_full is WhenFull.REFUSE or not fits_at_all:
                raise FedvoiceError(
                    ErrorCode.STORE_FULL,
                    where=str(self._path),
                    got=f"{count} examples, {held} bytes, and {held_bytes} bytes to add",
                    wanted=f"at most {max_examples} examples, {max_bytes} bytes",
                    next_step="Delete examples, raise the limits, or let the oldest be evicted.",
                )
            connection.execute("DELETE FROM examples WHERE id = (SELECT min(id) FROM examples)")
            count, held = _totals(connection)

    def _expire(self, connection: sqlite3.Connection) -> None:
        if self._limits.time_to_live_secs is not None:
            oldest = self._clock() - self._limits.time_to_live_secs
            connection.execute("DELETE FROM examples WHERE added_secs < ?", (oldest,))

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """One transaction, as an open connection.

        Raises:
            FedvoiceError: `no-space` when the disk is full; `bad-manifest` for a damaged file.
        """
        try:
            connection = sqlite3.connect(self._path, timeout=30)
            try:
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute("PRAGMA secure_delete = ON")
                with connection:
                    yield connection
            finally:
                connection.close()
        except sqlite3.Error as error:
            full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
            raise FedvoiceError(
                ErrorCode.NO_SPACE if full else ErrorCode.BAD_CONFIG,
                where=str(self._path),
                got=str(error),
                wanted="room on the disk" if full else "an example store that SQLite can open",
                next_step="Free some space." if full else "Move the file away and add again.",
            ) from error


def _totals(connection: sqlite3.Connection) -> tuple[int, int]:
    count, held = connection.execute(
        "SELECT count(*), coalesce(sum(held_bytes), 0) FROM examples"
    ).fetchone()
    return int(count), int(held)


def _or_infinity(limit: int | None) -> float:
    return float("inf") if limit is None else limit
