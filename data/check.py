"""What a manifest's recordings are, and what of them can be used: `fedvoice data check`."""

from __future__ import annotations

from array import array
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fedvoice.data.audio import (
    AudioFacts,
    check_waveform,
    read_facts,
    read_sound,
    segment_bounds,
    tolerance_secs,
)
from fedvoice.data.duplicates import Recordings
from fedvoice.data.fit import targets_or_reason
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import Float32Array
from fedvoice.protocol.task import TaskManifest
from fedvoice.protocol.text import unknown_characters
from fedvoice.protocol.usage import LeftOut, Reason, Usage
from fedvoice.protocol.utterance import Utterance, audio_of
from fedvoice.protocol.utterances import iterate_manifest

CLIPPED_SHARE = 0.001
"""Of the samples at full scale: more is a recording that was too loud."""
SILENT_PEAK = 0.001
"""-60 dB: no sample of a silent recording is louder."""
FEW_UTTERANCES = 5
"""Fewer of a speaker are said."""
_FULL_SCALE = 0.999
_HELD_FACTS = 4096
_LEFT_OUT = {reason.value for reason in Reason}


@dataclass
class ManifestReport:
    """What was found in a manifest."""

    manifest: str
    utterances: int = 0
    """Lines of the manifest."""
    usage: Usage = field(default_factory=Usage)
    faults: dict[str, LeftOut] = field(default_factory=dict)
    """What every command refuses -> how many utterances, and the first."""
    notices: dict[str, LeftOut] = field(default_factory=dict)
    """What a person should know -> how many utterances, and the first."""
    seconds: float = 0.0
    """Of all utterances, as their files say where those can be read."""
    durations: array[float] = field(default_factory=lambda: array("f"))
    speakers: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    rates: Counter[int] = field(default_factory=Counter)
    channels: Counter[int] = field(default_factory=Counter)
    characters: Counter[str] = field(default_factory=Counter)
    """Of the transcripts."""
    words: dict[str, Counter[str]] = field(
        default_factory=lambda: {"train": Counter(), "test": Counter()}
    )
    warnings: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 clean, 1 something left out, 2 unusable."""
        if self.faults or not self.usage.used:
            return 2
        return 1 if self.usage.skipped else 0

    def fault(self, what: str, where: str) -> None:
        """Count what every command refuses."""
        _count(self.faults, what, where)

    def notice(self, what: str, where: str, count: int = 1) -> None:
        """Count what a person should know."""
        _count(self.notices, what, where, count)

    def as_dict(self) -> dict[str, Any]:
        """As `fedvoice data check --json` prints it."""
        return {
            "utterances": self.utterances,
            **self.usage.as_dict(),
            "refused": {what: part.count for what, part in self.faults.items()},
            "seconds": round(self.seconds, 3),
            "speakers": len(self.speakers),
            "splits": dict(self.splits),
            "sample_rates": {str(rate): count for rate, count in self.rates.items()},
            "channels": {str(n): count for n, count in self.channels.items()},
            "warnings": self.warnings,
        }


def check_manifest(
    path: Path,
    task: TaskManifest | None = None,
    *,
    listen: bool = True,
    progress: Callable[[int], None] = lambda done: None,
) -> ManifestReport:
    """Look at every utterance of a manifest; never more than one waveform in memory.

    Args:
        task: also say what it would leave out.
        listen: decode all sound: clipping, silence, samples that are not finite.
        progress: called with the number of utterances looked at.

    Raises:
        FedvoiceError: `not-found`, `missing-extra`.
    """
    report, recordings, facts_of = ManifestReport(str(path)), Recordings(), Facts()

    def refused(error: FedvoiceError) -> None:
        report.utterances += 1
        if error.code is ErrorCode.EMPTY_TRANSCRIPT:
            report.usage.leave_out(error.code.value, error.where)
        else:
            report.fault("that cannot be read", f"{error.where}: {error.got}")

    for utterance in _to_the_end(path, report, refused):
        report.utterances += 1
        _look_at_text(report, utterance)
        try:
            facts = facts_of(utterance)
            _look_at_sound(report, utterance, facts, task, listen)
            recordings.add(utterance, facts)
        except FedvoiceError as error:
            if error.code.value not in _LEFT_OUT:
                raise
            report.usage.leave_out(error.code.value, utterance.where)
            report.durations.append(utterance.duration_secs)
            report.seconds += utterance.duration_secs
        progress(report.utterances)
    for what, where in recordings.repeated(path):
        report.notice(what, where)
    report.warnings = list(_warnings(report))
    return report


def check_durations(utterances: Iterable[Utterance]) -> None:
    """Compare durations with what files of uncompressed sound and flac say themselves. Files that
    cannot be read are left to those who read them.

    Raises:
        FedvoiceError: `bad-manifest` with file and line for the first that is wrong.
    """
    facts_of = Facts(header_only=True)
    for utterance in utterances:
        try:
            facts = facts_of(utterance)
        except FedvoiceError:
            continue
        if facts.sample_rate:
            check_duration(utterance, facts)


def check_duration(utterance: Utterance, facts: AudioFacts) -> None:
    """Raise `bad-manifest` unless an utterance's duration, or its segment, is its file's: within
    `data.audio.tolerance_secs`."""
    got = _wrong_duration(utterance, facts)
    if got:
        raise FedvoiceError(
            ErrorCode.BAD_MANIFEST,
            where=utterance.where,
            got=got,
            wanted=f"the length of {utterance.audio_path.name}, "
            f"within {tolerance_secs(facts.duration_secs):.2f} s",
            next_step="Correct the line; `fedvoice data check` lists all that is wrong.",
        )


def _wrong_duration(utterance: Utterance, facts: AudioFacts) -> str:
    stated, held = utterance.duration_secs, facts.duration_secs
    if utterance.offset_secs is not None:
        end = utterance.offset_secs + stated
        if end <= held + tolerance_secs(stated):
            return ""
        return f"a segment that ends at {end:g} s of a recording of {held:g} s"
    if abs(stated - held) <= tolerance_secs(held):
        return ""
    return f"duration {stated:g} s of a recording of {held:g} s"


def _to_the_end(
    path: Path, report: ManifestReport, refused: Callable[[FedvoiceError], None]
) -> Iterator[Utterance]:
    """The utterances of a manifest, up to a line that is no JSON or no UTF-8."""
    try:
        yield from iterate_manifest(path, check_audio=False, refused=refused)
    except FedvoiceError as error:
        if error.code is not ErrorCode.BAD_MANIFEST:
            raise
        report.fault("that cannot be read, nor what follows", f"{error.where}: {error.got}")


class Facts:
    """Facts of the files read last: segments of one recording stand together."""

    def __init__(self, *, header_only: bool = False) -> None:
        self._header_only = header_only
        self._held: OrderedDict[str, AudioFacts] = OrderedDict()

    def __call__(self, utterance: Utterance) -> AudioFacts:
        if utterance.offset_secs is None:
            return self._read(audio_of(utterance))
        audio = audio_of(utterance)
        if audio not in self._held:
            self._held[audio] = self._read(audio)
            if len(self._held) > _HELD_FACTS:
                self._held.popitem(last=False)
        return self._held[audio]

    def _read(self, audio: str) -> AudioFacts:
        return read_facts(Path(audio), audio, header_only=self._header_only)


def _look_at_text(report: ManifestReport, utterance: Utterance) -> None:
    report.splits[utterance.split] += 1
    report.speakers[utterance.speaker] += 1
    report.characters.update(utterance.text)
    report.words[utterance.split].update(utterance.text.split())


def _look_at_sound(
    report: ManifestReport,
    utterance: Utterance,
    facts: AudioFacts,
    task: TaskManifest | None,
    listen: bool,
) -> None:
    wrong = _wrong_duration(utterance, facts)
    if wrong:
        report.fault("with a duration that is not the file's", f"{utterance.where}: {wrong}")
    samples = facts.samples
    if utterance.offset_secs is not None and not wrong:
        begin, end = segment_bounds(
            samples,
            facts.sample_rate,
            utterance.where,
            utterance.offset_secs,
            utterance.segment_secs,
        )
        samples = end - begin
    if listen and not wrong:
        waveform, _ = read_sound(
            utterance.audio_path,
            utterance.where,
            utterance.offset_secs or 0.0,
            utterance.segment_secs,
        )
        check_waveform(waveform, utterance.where)
        _listen(report, utterance, waveform)
    secs = samples / facts.sample_rate if facts.sample_rate else 0.0
    report.seconds += secs
    report.durations.append(secs)
    report.rates[facts.sample_rate] += 1
    report.channels[facts.channels] += 1
    reason = None
    if task is not None:
        found = targets_or_reason(
            samples,
            facts.sample_rate,
            utterance.text,
            task,
            testing=utterance.split == "test",
        )
        reason = found if isinstance(found, Reason) else None
    elif samples == 0:
        reason = Reason.TOO_SHORT
    if reason is not None:
        report.usage.leave_out(reason, utterance.where)
    elif not wrong:
        report.usage.used += 1


def _listen(report: ManifestReport, utterance: Utterance, waveform: Float32Array) -> None:
    if not waveform.size:
        return
    loud = np.abs(waveform)
    if loud.max() <= SILENT_PEAK:
        report.notice("silent", utterance.where)
    elif np.count_nonzero(loud >= _FULL_SCALE) > CLIPPED_SHARE * waveform.size:
        report.notice("clipped: recorded too loud", utterance.where)


def _warnings(report: ManifestReport) -> Iterator[str]:
    """What a person should know, in words."""
    for counts in (report.faults, report.notices):
        for what, found in counts.items():
            yield f"{_times(found.count, 'utterance')} {what} (first: {found.first})"
    yield from _about_splits(report)
    if len(report.rates) > 1:
        yield f"recordings of {len(report.rates)} sample rates: " + ", ".join(
            f"{rate} Hz ({count})" for rate, count in report.rates.most_common()
        )
    several = sum(count for n, count in report.channels.items() if n > 1)
    if several:
        yield f"{_times(several, 'utterance')} with several channels, which are averaged"
    yield from _about_speakers(report)
    yield from _about_spelling(report)


def _about_splits(report: ManifestReport) -> Iterator[str]:
    train, test = report.words["train"], report.words["test"]
    if not test:
        yield 'no utterance is for testing, so nothing will be evaluated: give some "split": "test"'
    elif len(test) == 1:
        yield f"the test split has one word, {next(iter(test))!r}: its error rate says little"
    if not train:
        yield 'no utterance is for training: give some "split": "train"'
    unseen = sorted(set(test) - set(train)) if train else []
    if unseen:
        verb = "is" if len(unseen) == 1 else "are"
        yield f"{_times(len(unseen), 'word')} of the test split {verb} never trained on" + _shown(
            unseen
        )


def _about_speakers(report: ManifestReport) -> Iterator[str]:
    nameless = report.speakers.get("", 0)
    if nameless:
        yield f"{_times(nameless, 'utterance')} without a speaker: no client can be made of them"
    few = sorted(s for s, count in report.speakers.items() if s and count < FEW_UTTERANCES)
    if few:
        yield f"{_times(len(few), 'speaker')} with fewer than {FEW_UTTERANCES} utterances" + _shown(
            few
        )


def _about_spelling(report: ManifestReport) -> Iterator[str]:
    from fedvoice.data.spelling import rare_characters, spelled_differently

    newer = sorted(c for c in report.characters if unknown_characters(c))
    if newer:
        total = sum(report.characters[c] for c in newer)
        yield (
            f"{_times(total, 'character')} newer than the text rule's Unicode, kept as written"
            + _shown([f"U+{ord(c):04X}" for c in newer])
        )
    rare = rare_characters(report.characters)
    if rare:
        yield f"{_times(len(rare), 'rare character')}" + _shown([repr(c) for c in rare])
    words = report.words["train"] + report.words["test"]
    different = spelled_differently(words)
    if different:
        groups = [" / ".join(group) for group in different]
        yield f"{_times(len(groups), 'word')} written in several ways" + _shown(groups)


def _count(counts: dict[str, LeftOut], what: str, where: str, count: int = 1) -> None:
    held = counts.get(what)
    counts[what] = LeftOut((held.count if held else 0) + count, held.first if held else where)


def _times(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _shown(names: list[str], most: int = 8) -> str:
    return f": {', '.join(names[:most])}" + (", ..." if len(names) > most else "")
