"""References and hypotheses side by side, their differences marked, and rates by speaker.

`transcripts.jsonl` in a run's folder holds one JSON object a line: `set` (the rate that it counts
for), `speaker`, `reference`, `hypothesis`. Its utterances are test data that the simulator owns.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fedvoice.protocol.files import read_json_lines, write_file
from fedvoice.protocol.scoring import CharacterErrors, count_character_errors
from fedvoice.reporting.page import folded, paragraph, table

TRANSCRIPTS_FILE = "transcripts.jsonl"
_SHOWN = 10
_MOST_SPEAKERS = 200


@dataclass(frozen=True)
class Transcript:
    """A test utterance as it was said and as it was recognised."""

    set: str
    speaker: str
    reference: str
    hypothesis: str

    @cached_property
    def aligned(self) -> Any:
        """jiwer's best alignment of the words."""
        import jiwer

        return jiwer.process_words([self.reference], [self.hypothesis])

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions."""
        found = self.aligned
        return int(found.substitutions + found.deletions + found.insertions)

    @property
    def words(self) -> int:
        """Words of the reference."""
        return len(self.reference.split())

    @cached_property
    def characters(self) -> CharacterErrors:
        """Errors and number of the reference's characters."""
        return count_character_errors([self.reference], [self.hypothesis])

    @property
    def rate(self) -> float:
        """Percent of the words."""
        return 100.0 * self.errors / max(1, self.words)


def write_transcripts(folder: Path, found: Iterable[Transcript]) -> Path:
    """Write `folder/transcripts.jsonl`."""
    path = folder / TRANSCRIPTS_FILE
    lines = (json.dumps(asdict(one), ensure_ascii=False) for one in found)
    write_file(path, "".join(f"{line}\n" for line in lines))
    return path


def read_transcripts(folder: Path) -> list[Transcript]:
    """What `write_transcripts` wrote; empty where there is none.

    Raises:
        FedvoiceError: `bad-manifest` with the line.
    """
    path = folder / TRANSCRIPTS_FILE
    if not path.is_file():
        return []
    rows = read_json_lines(path.read_text(encoding="utf-8"), str(path))
    names = ("set", "speaker", "reference", "hypothesis")
    found = [Transcript(*(str(row.get(name, "")) for name in names)) for _, row in rows]
    return [one for one in found if one.reference.strip()]


def side_by_side(found: Sequence[Transcript], usage: Mapping[str, Any] | None = None) -> str:
    """The worst and the typical utterances, errors marked, as HTML.

    Args:
        usage: of the run's corpus, `final["usage"]`.
    """
    if not found:
        return ""
    ranked = sorted(found, key=lambda t: (-t.rate, -t.errors, t.speaker, t.reference))
    middle = max(0, len(ranked) // 2 - _SHOWN // 2)
    tested = sum(own.get("used", 0) for own in (usage or {}).get("tests", {}).values())
    share = f"{len(found)} of {tested}" if tested > len(found) else f"{len(found)}"
    told = (
        f"{share} test utterances, spread over speakers, decoded with the final model. Struck out: "
        "said and not heard; underlined: heard and not said; a word in another's place is marked "
        "in both lines. They are the simulation's own test data: no phone sends text."
    )
    return "".join(
        [
            paragraph(told),
            folded("The worst", "".join(_pair(t) for t in ranked[:_SHOWN]), opened=True),
            folded(
                "Typical ones: around the median error rate",
                "".join(_pair(t) for t in ranked[middle : middle + _SHOWN]),
            ),
        ]
    )


def by_speaker(found: Sequence[Transcript]) -> str:
    """Error rates by speaker with small bars, the worst first, as HTML."""
    groups: dict[tuple[str, str], list[Transcript]] = {}
    for one in found:
        if one.speaker:
            groups.setdefault((one.set, one.speaker), []).append(one)
    if not groups:
        return ""
    rows = []
    for (name, speaker), own in groups.items():
        words, errors = sum(t.words for t in own), sum(t.errors for t in own)
        chars = CharacterErrors(
            sum(t.characters.char_errors for t in own), sum(t.characters.chars for t in own)
        )
        rate = 100.0 * errors / max(1, words)
        rows.append((rate, name, speaker, len(own), words, errors, 100.0 * chars.cer))
    rows.sort(key=lambda row: (-row[0], row[1:3]))
    largest = max(100.0, rows[0][0])
    cells = [
        (
            html.escape(speaker),
            "held out" if name.startswith("heldout") else "trains",
            f"{rate:.1f}",
            f'<span class="bar"><i style="width:{100 * rate / largest:.0f}%"></i></span>',
            f"{cer:.1f}",
            str(errors),
            str(words),
            str(utterances),
        )
        for rate, name, speaker, utterances, words, errors, cer in rows[:_MOST_SPEAKERS]
    ]
    heads = ["speaker", "", "WER %", "", "CER %", "errors", "words", "utterances"]
    more = len(rows) - len(cells)
    rates = [row[0] for row in rows]
    told = (
        f"{len(rows)} speakers: from {rates[-1]:.1f} to {rates[0]:.1f} %, median "
        f"{rates[len(rates) // 2]:.1f} %, of the utterances below."
        + (f" The {more} best are not shown." if more else "")
    )
    return paragraph(told) + folded(
        "Error rate by speaker, the worst first", table(heads, cells, marked=True)
    )


def _pair(one: Transcript) -> str:
    said, heard = marked(one)
    who = html.escape(f"{one.speaker or 'no speaker'}: {one.errors} of {one.words} words wrong")
    return (
        f'<div class="pair"><span class="who">{who}</span><span>said</span><div>{said}</div>'
        f"<span>heard</span><div>{heard}</div></div>"
    )


def marked(one: Transcript) -> tuple[str, str]:
    """Reference and hypothesis as HTML, what differs marked."""
    said: list[str] = []
    heard: list[str] = []
    reference, hypothesis = one.aligned.references[0], one.aligned.hypotheses[0]
    for chunk in one.aligned.alignments[0]:
        theirs = html.escape(" ".join(reference[chunk.ref_start_idx : chunk.ref_end_idx]))
        ours = html.escape(" ".join(hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]))
        if chunk.type == "equal":
            said.append(theirs)
            heard.append(ours)
        elif chunk.type == "substitute":
            said.append(f"<mark>{theirs}</mark>")
            heard.append(f"<mark>{ours}</mark>")
        elif chunk.type == "delete":
            said.append(f"<del>{theirs}</del>")
        else:
            heard.append(f"<ins>{ours}</ins>")
    return " ".join(said), " ".join(heard) or "(nothing)"
