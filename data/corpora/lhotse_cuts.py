"""Cuts and supervisions as lhotse keeps them (lhotse.readthedocs.io): JSON lines, often gzipped.

Read by lhotse itself. Paths are relative to where it ran: see `reading.base_of`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fedvoice.data.corpora.reading import (
    Dev,
    Development,
    MaxSecs,
    Seed,
    TestFraction,
    bad_line,
    base_of,
    missing_package,
    no_corpus,
    part_of,
    split_of,
    spoken,
    usable,
    with_split,
)
from fedvoice.protocol.usage import Reason, Usage
from fedvoice.protocol.utterance import Utterance

_SLACK_SECS = 0.001
"""Rounding of times in cuts."""


def lhotse_cuts(
    root: Path,
    *,
    dev: Dev = Development.LEAVE_OUT,
    max_secs: MaxSecs = 0.0,
    test_fraction: TestFraction = 0.1,
    seed: Seed = 0,
    usage: Usage | None = None,
) -> list[Utterance]:
    """lhotse cuts by speaker; ROOT is a file of cuts, or a folder of cuts or of a recipe.

    A supervision is an utterance. Of a folder all `*cuts*.jsonl.gz` are read, else the pairs
    `*_recordings_*.jsonl.gz` and `*_supervisions_*.jsonl.gz`; `train`, `dev` and `test` in their
    names are the split. Cuts that are mixed, padded, perturbed, of several channels, in memory or
    behind a command are counted: their sound is in no file.

    Example:
    fedvoice data lhotse --root data/manifests --out manifest.jsonl

    Args:
        root: a file, or a folder.
        usage: receives the counts of what is passed over.

    Raises:
        FedvoiceError: `missing-extra`, `not-found`, `bad-manifest`, `too-little-usable`.
    """
    usage = Usage() if usage is None else usage
    parts = list(_parts(root))
    known = {part for path, _ in parts if (part := part_of(path.name))}
    brings_one = "test" in known

    def found() -> Iterator[Utterance]:
        for path, cuts in parts:
            split = split_of(part_of(path.name) or "train", dev) if known else "train"
            for utterance in _utterances(cuts, path, split or "", usage):
                if split is None:
                    usage.leave_out(Reason.NOT_CHOSEN, utterance.where)
                else:
                    yield utterance

    return with_split(usable(found(), usage, max_secs), brings_one, test_fraction, seed)


def _parts(root: Path) -> Iterator[tuple[Path, Iterable[Any]]]:
    """Files of cuts, and their cuts."""
    try:
        from lhotse import CutSet, RecordingSet, SupervisionSet
    except ImportError as error:
        raise missing_package("lhotse", error) from error
    if root.is_file():
        yield root, _read(root, CutSet)
        return
    files = sorted(p for p in root.glob("*.jsonl*") if not p.name.startswith("."))
    cuts = [path for path in files if "cuts" in path.name]
    spoken_in = [path for path in files if "supervisions" in path.name]
    if not cuts and not spoken_in:
        layout = f"{root}/*cuts*.jsonl.gz or *_supervisions_*.jsonl.gz"
        raise no_corpus(root, "lhotse cuts", layout, "neither")
    for path in cuts:
        yield path, _read(path, CutSet)
    for path in () if cuts else spoken_in:
        recordings = path.with_name(path.name.replace("supervisions", "recordings"))
        if not recordings.is_file():
            raise no_corpus(root, "the recordings of lhotse supervisions", str(recordings), "none")
        yield (
            path,
            CutSet.from_manifests(
                recordings=_read(recordings, RecordingSet), supervisions=_read(path, SupervisionSet)
            ),
        )


def _read(path: Path, kind: Any) -> Any:
    """All of a file.

    Raises:
        FedvoiceError: `bad-manifest` for whatever lhotse raises.
    """
    try:
        return kind.from_items(list(kind.from_file(path)))
    except Exception as error:
        got = f"{type(error).__name__}: {error}"
        wanted = f"what lhotse reads as a {kind.__name__}"
        raise bad_line(str(path), got, wanted, "Write it again with lhotse.") from error


def _utterances(cuts: Iterable[Any], path: Path, split: str, usage: Usage) -> Iterator[Utterance]:
    """The supervisions of cuts."""
    listed = list(cuts)
    simple = [cut for cut in listed if not _unlike_a_file(cut)]
    base = base_of(path.parent, (str(cut.recording.sources[0].source) for cut in simple))
    for number, cut in enumerate(listed, start=1):
        where = f"{path}:{number}"
        why = _unlike_a_file(cut)
        if why:
            usage.leave_out(Reason.UNREADABLE_AUDIO, f"{where}: {cut.id} is {why}")
            continue
        if not cut.supervisions:
            usage.leave_out(Reason.EMPTY_TRANSCRIPT, where)
        recording = cut.recording
        for said in cut.supervisions:
            if said.start < -_SLACK_SECS or said.end > cut.duration + _SLACK_SECS:
                usage.leave_out(Reason.UNREADABLE_AUDIO, f"{where}: {cut.id} cuts {said.id} short")
                continue
            begin = max(0.0, round(cut.start + said.start, 6))
            whole = begin == 0 and abs(said.duration - recording.duration) <= _SLACK_SECS
            yield spoken(
                base / str(recording.sources[0].source),
                said.text or "",
                str(said.speaker or ""),
                "lhotse",
                secs=round(said.duration, 6),
                split=split,
                offset_secs=None if whole else begin,
                listed_in=str(path),
                line=number,
            )


def _unlike_a_file(cut: Any) -> str:
    """Why a cut's sound is no part of one file; empty if it is."""
    recording = getattr(cut, "recording", None)
    if type(cut).__name__ != "MonoCut":
        return f"a {type(cut).__name__}"
    if recording is None:
        return "a cut without a recording"
    if recording.transforms:
        return "perturbed"
    if len(recording.sources) != 1 or len(recording.sources[0].channels) != 1:
        return "of several channels"
    kind = recording.sources[0].type
    return "" if kind == "file" else f"a recording of type {kind}"
