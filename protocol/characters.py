"""Characters of one pinned version of Unicode: classes, lower case, canonical composition.

The platform's own tables change with its version, so that a phone and a server would disagree;
these are generated once (`protocol/generate_text_tables.py`), for Python and Kotlin alike.
Characters that are newer pass unchanged.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache

from fedvoice.protocol.generated import text_tables

NEWER = "u"
"""Class of characters that the pinned version lacks."""
_DOT_ABOVE = "\u0307"
_NEVER_COMPOSED_BELOW = "\u0300"
"""Text below this character is its own canonical composition."""


def _ranges(table: str) -> Iterator[range]:
    end = 0
    for part in table.split():
        gap, _, length = part.partition("+")
        start = end + int(gap, 36)
        end = start + int(length or "1", 36)
        yield range(start, end)


def _characters(table: str) -> frozenset[str]:
    return frozenset(chr(point) for part in _ranges(table) for point in part)


def _lower() -> dict[int, str]:
    mapping = {0x130: "i" + _DOT_ABOVE}
    for run in text_tables.LOWER_CASE.split():
        start, count, step, shift = (int(part, 36) for part in run.split(":"))
        mapping |= {start + i * step: chr(start + i * step + shift) for i in range(count)}
    return mapping


class _Classes(dict[int, str]):
    """Class of a code point, looked up in the ranges once; a space for punctuation."""

    def __init__(self) -> None:
        super().__init__()
        found = sorted(
            (part.start, part.stop, name)
            for name, table in text_tables.CLASSES.items()
            for part in _ranges(table)
        )
        self._starts = [start for start, _, _ in found]
        self._found = found

    def __missing__(self, point: int) -> str:
        place = bisect_right(self._starts, point) - 1
        _, stop, name = self._found[place]
        self[point] = kind = name if point < stop else " "
        return kind


_CLASSES = _Classes()
_LOWER = _lower()
_CASED = _characters(text_tables.CASED)
_CASE_IGNORABLE = _characters(text_tables.CASE_IGNORABLE)


def classes_of(text: str) -> str:
    """The class of each character, one letter each, as `generate_text_tables.classes` lists them;
    a space for punctuation."""
    return text.translate(_CLASSES)


def composed(text: str) -> str:
    """Unicode NFC. Composition of characters that exist never changes (Unicode's stability
    policy), so the platform's is taken for the stretches between newer characters."""
    if text.isascii() or max(text) < _NEVER_COMPOSED_BELOW:
        return text
    if NEWER not in (kinds := classes_of(text)):
        return unicodedata.normalize("NFC", text)
    stretches = re.finditer(rf"{NEWER}+|[^{NEWER}]+", kinds)
    return "".join(
        part if kinds[found.start()] == NEWER else unicodedata.normalize("NFC", part)
        for found in stretches
        for part in (text[found.start() : found.end()],)
    )


def lower_case(text: str, language: str = "") -> str:
    """Full lower case (Unicode 3.13, SpecialCasing.txt) of composed text.

    Args:
        language: `tr` and `az` have a dotless i, `lt` keeps the dot of i below accents; all others
            are alike.
    """
    if text.isascii() and language not in ("tr", "az", "lt"):
        return text.lower()
    if language in ("tr", "az"):
        text = _turkic(text)
    elif language == "lt":
        text = _lithuanian(text)
    if "\u03a3" in text:
        text = "".join(
            ("\u03c2" if _is_final(text, i) else "\u03c3") if c == "\u03a3" else c
            for i, c in enumerate(text)
        )
    return text.translate(_LOWER)


def _is_final(text: str, place: int) -> bool:
    """Final_Sigma: a cased letter before, none after, case-ignorable characters passed over."""
    before = place - 1
    while before >= 0 and text[before] in _CASE_IGNORABLE:
        before -= 1
    if before < 0 or text[before] not in _CASED:
        return False
    after = place + 1
    while after < len(text) and text[after] in _CASE_IGNORABLE:
        after += 1
    return after == len(text) or text[after] not in _CASED


def _marks_after(text: str, place: int) -> Iterator[tuple[int, int]]:
    """Places and combining classes of the marks of the letter at `place`."""
    for i in range(place + 1, len(text)):
        combining = _combining(text[i])
        if not combining:
            return
        yield i, combining


def _turkic(text: str) -> str:
    """I is dotless; I with a dot above, one character or two, is i."""
    out = list(text)
    for place, c in enumerate(text):
        if c == "\u0130":
            out[place] = "i"
        elif c == "I":
            out[place] = "\u0131"
            for i, combining in _marks_after(text, place):
                if text[i] == _DOT_ABOVE:
                    out[place], out[i] = "i", ""
                if combining == 230:
                    break
    return "".join(out)


def _lithuanian(text: str) -> str:
    """The dot of I, J and I with ogonek stays where an accent stands above it."""
    accented = {"\u00cc": "\u0300", "\u00cd": "\u0301", "\u0128": "\u0303"}
    out = []
    for place, c in enumerate(text):
        if c in accented:
            out.append("i" + _DOT_ABOVE + accented[c])
        elif c in "IJ\u012e" and any(above == 230 for _, above in _marks_after(text, place)):
            out.append(chr(ord(_LOWER[ord(c)])) + _DOT_ABOVE)
        else:
            out.append(c)
    return "".join(out)


@lru_cache(maxsize=4096)
def _combining(character: str) -> int:
    return 0 if classes_of(character) == NEWER else unicodedata.combining(character)
