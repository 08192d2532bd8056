"""Adding speech that a phone may have already: known by its content, wherever its files lie."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fedvoice.device_runtime.content import content_of
from fedvoice.device_runtime.store import ExampleStore, NewExample, Split, StoredExample
from fedvoice.protocol.notes import counted
from fedvoice.protocol.text import fold_white_space

_Key = tuple[str, float | None]
"""sha256 of the sound file, and where a segment begins in it."""


@dataclass(frozen=True)
class Added:
    """What became of speech that was to be added.

    new: added. known: the phone had it, by the same or by another path. moved: of the known ones,
    those whose file was gone and is named by the new path now. changed: of the known ones, those
    whose transcript or split is another now.
    """

    new: int
    known: int = 0
    moved: int = 0
    changed: int = 0

    def __str__(self) -> str:
        told = f"{counted(self.new, 'example')} added"
        if self.known:
            told += f", {self.known} known already"
        parts = [(self.moved, "found at a new place"), (self.changed, "corrected")]
        said = ", ".join(f"{count} {how}" for count, how in parts if count)
        return f"{told} ({said})" if said else told


def add_speech(store: ExampleStore, examples: Iterable[NewExample]) -> Added:
    """Add what the store does not hold yet, in one transaction. The same speech, by whatever path
    it is given, is one example; speech that is given twice in one call stays twice.

    Raises:
        FedvoiceError: as `ExampleStore.add_all`.
    """
    given: dict[_Key, list[NewExample]] = defaultdict(list)
    for example in examples:
        given[content_of(example.audio), example.offset_secs].append(example)
    held = _held(store)
    new: list[NewExample] = []
    moved = changed = known = 0
    for key, own in given.items():
        rows = {(row.transcript, row.split): row for row in held.get(key, ())}
        wanted = {(fold_white_space(e.transcript), e.split): e for e in own}
        left_rows = [rows[what] for what in rows if what not in wanted]
        left = [wanted[what] for what in wanted if what not in rows]
        pairs = [(rows[what], wanted[what]) for what in wanted if what in rows]
        pairs += zip(left_rows, left, strict=False)
        for row, example in pairs:
            moved += _move(store, row, example)
            changed += _correct(store, row, example)
        added = left[len(left_rows) :] if rows else own
        new += added
        known += len(own) - len(added)
    store.add_all(new)
    return Added(len(new), known, moved, changed)


def _held(store: ExampleStore) -> dict[_Key, list[StoredExample]]:
    held: dict[_Key, list[StoredExample]] = defaultdict(list)
    for split in Split:
        for row in store.examples(split):
            content = row.content
            if content is None and row.audio_path is not None and row.audio_path.is_file():
                content = content_of(row.audio_path)  # of a store of 0.1.0
                store.change(row.id, content=content)
            if content is not None:
                held[content, row.offset_secs].append(row)
    return held


def _move(store: ExampleStore, row: StoredExample, example: NewExample) -> bool:
    gone = row.audio_path is not None and not row.audio_path.is_file()
    if gone and isinstance(example.audio, Path):
        store.change(row.id, audio_path=str(example.audio.absolute()))
        return True
    return False


def _correct(store: ExampleStore, row: StoredExample, example: NewExample) -> bool:
    text = fold_white_space(example.transcript)
    if not text or (text, example.split) == (row.transcript, row.split):
        return False
    store.change(row.id, transcript=text, split=example.split.value)
    return True
