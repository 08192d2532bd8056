"""Make the tables of the text rule, the same for Python and Kotlin, from Unicode's own data.

Sources: Python 3.11, which has Unicode 14 (categories, lower case, Cased and Case_Ignorable,
canonical decompositions, combining classes), and `regex` (Word_Break, Ideographic,
Default_Ignorable_Code_Point; of a newer Unicode, for the characters of that version).
`python -m fedvoice.protocol.generate` writes the files, `--check` compares.

A table is text of numbers in base 36. A range is `gap` or `gap+length`, the gap counted from the
end of the range before it.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

PINNED = "14.0.0"
ROOT = Path(__file__).resolve().parent.parent
PYTHON_FILE = ROOT / "protocol" / "generated" / "text_tables.py"
KOTLIN_FILE = (
    ROOT / "android_harness/android/core/src/main/kotlin/org/fedvoice/core/text" / "TextTables.kt"
)
LINE = 84

WHITE = {*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200C), 0x2028, 0x2029}
WHITE |= {0x202F, 0x205F, 0x3000}
"""White_Space, and the zero-width space, which stands between words."""
INSIDE = {*b"'-_", 0x0F0B}
"""Kept between any two letters: apostrophe, hyphen, low line, the Tibetan mark of syllables."""
SIGNS = {ord(c) for c in "%‰‱&@#+=×÷±°§№℃℉％＆＠＃＋＝﹠﹪﹫﹟﹢﹦"}
"""Read aloud as words, as currency signs are."""
MID_LETTER = {ord(c) for c in ":··՟״‧︓﹕："}
MID_NUMBER_AND_LETTER = {ord(c) for c in ".․﹒．"}
MID_NUMBER = {ord(c) for c in ",;;։،؍٬߸⁄︐︔﹐﹔，；"}
"""Word_Break = MidLetter, MidNumLet and MidNum (UAX 29, table 3)."""
KEPT_IGNORABLE = {*range(0x180B, 0x1810), 0x115F, 0x1160, 0x3164, 0xFFA0, 0x200C, 0x200D}
"""Default ignorable, and yet part of how a word is spelled: Mongolian and Hangul, the joiners."""
GERESH, APOSTROPHE_LETTER, REPLACEMENT = 0x05F3, 0x02BC, 0xFFFD


def base36(number: int) -> str:
    """A number >= 0 in base 36."""
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
        if not number:
            return digits


def ranges(points: Iterable[int]) -> str:
    """A set of code points as a table."""
    found: list[list[int]] = []
    for point in sorted(points):
        if found and point == found[-1][1]:
            found[-1][1] = point + 1
        else:
            found.append([point, point + 1])
    end, parts = 0, []
    for start, stop in found:
        length = "" if stop == start + 1 else f"+{base36(stop - start)}"
        parts.append(base36(start - end) + length)
        end = stop
    return " ".join(parts)


def classes() -> dict[str, str]:
    """Class -> its characters, as ranges; what is in none is punctuation.

    a letter, h Hebrew letter, o letter of a script without spaces (and private use), n number,
    s sign that is read aloud, m mark (the geresh, too), v virama, z and j the joiners, q the letter
    apostrophe, - : . , " marks inside words, w white space and controls, i dropped, x broken,
    u not in this version of Unicode.
    """
    import regex

    def having(pattern: str) -> Callable[[str], bool]:
        compiled = regex.compile(pattern)
        return lambda c: compiled.match(c) is not None

    letter = having(r"[\p{WB=ALetter}\p{WB=Hebrew_Letter}]")
    hebrew, ideographic = having(r"\p{WB=Hebrew_Letter}"), having(r"\p{Ideographic}")
    ignorable = having(r"\p{Default_Ignorable_Code_Point}")

    def one(point: int) -> str:
        c = chr(point)
        category = unicodedata.category(c)
        for name, members in (
            ("-", INSIDE),
            (":", MID_LETTER),
            (".", MID_NUMBER_AND_LETTER),
            (",", MID_NUMBER),
            ("w", WHITE),
            ("s", SIGNS),
            ("m", {GERESH}),
            ("q", {APOSTROPHE_LETTER}),
            ("x", {REPLACEMENT}),
            ("z", {0x200C}),
            ("j", {0x200D}),
            ('"', {0x22}),
        ):
            if point in members:
                return name
        if category == "Cn":
            return "u"
        if category == "Cs":
            return "x"
        if category == "Cc":
            return "w"
        if (ignorable(c) and point not in KEPT_IGNORABLE) or point == 0xFEFF:
            return "i"
        if point in KEPT_IGNORABLE:
            return "m" if 0x180B <= point < 0x1810 else "o"
        if category == "Sc":
            return "s"
        if category[0] == "N" and not ideographic(c):
            return "n"
        if category[0] == "M":
            return "v" if unicodedata.combining(c) == 9 else "m"
        if category[0] == "P" and (letter(c) or category == "Pc"):
            return "-"
        if letter(c):
            return "h" if hebrew(c) else "a"
        if category[0] == "L" or category == "Co" or ideographic(c):
            return "o"
        if category == "Cf":
            return "i"
        return ""

    by_class: dict[str, list[int]] = {}
    for point in range(sys.maxunicode + 1):
        by_class.setdefault(one(point), []).append(point)
    return {name: ranges(points) for name, points in sorted(by_class.items()) if name}


def lower_case() -> str:
    """Runs `start:count:step:shift` of capitals whose lower case is one character; shift in base 36
    with its sign. U+0130 alone has two, and stands in the code."""
    runs: list[list[int]] = []
    for point in range(sys.maxunicode + 1):
        low = chr(point).lower()
        if unicodedata.category(chr(point)) == "Cn" or low == chr(point) or len(low) > 1:
            continue
        shift = ord(low) - point
        last = runs[-1] if runs else None
        if last is not None and last[3] == shift:
            step = point - (last[0] + (last[1] - 1) * last[2])
            if (last[1] == 1 and step <= 2) or step == last[2]:
                last[1], last[2] = last[1] + 1, step
                continue
        runs.append([point, 1, 1, shift])
    return " ".join(
        f"{base36(start)}:{base36(count)}:{step}:{'-' * (shift < 0)}{base36(abs(shift))}"
        for start, count, step, shift in runs
    )


def cased() -> str:
    """Cased: Lowercase, Uppercase or a title-case letter."""
    return ranges(
        point
        for point in range(sys.maxunicode + 1)
        if (c := chr(point)).islower() or c.isupper() or unicodedata.category(c) == "Lt"
    )


def case_ignorable() -> str:
    """Case_Ignorable, seen in what Python makes of a sigma beside the character."""

    def ignorable(c: str) -> bool:
        return f"AΣ{c}A".lower()[1] == "σ" and f"1{c}Σ".lower()[-1] == "σ"

    return ranges(point for point in range(sys.maxunicode + 1) if ignorable(chr(point)))


def combining_classes() -> str:
    """Runs `start:count:class` of characters with a canonical combining class."""
    runs: list[list[int]] = []
    for point in range(sys.maxunicode + 1):
        combining = unicodedata.combining(chr(point))
        if not combining:
            continue
        if runs and runs[-1][2] == combining and runs[-1][0] + runs[-1][1] == point:
            runs[-1][1] += 1
        else:
            runs.append([point, 1, combining])
    return " ".join(":".join(map(base36, run)) for run in runs)


def decompositions() -> str:
    """`composed:first:second`, `composed:only`; `!` before those that are never composed again.
    Hangul syllables are computed."""
    parts = []
    for point in range(sys.maxunicode + 1):
        mapping = unicodedata.decomposition(chr(point))
        if not mapping or mapping.startswith("<"):
            continue
        into = [int(part, 16) for part in mapping.split()]
        again = unicodedata.is_normalized("NFC", chr(point))
        parts.append(("" if again else "!") + ":".join(map(base36, [point, *into])))
    return " ".join(parts)


def tables() -> dict[str, str]:
    """Name -> table."""
    return {
        "LOWER_CASE": lower_case(),
        "CASED": cased(),
        "CASE_IGNORABLE": case_ignorable(),
        "COMBINING": combining_classes(),
        "DECOMPOSITIONS": decompositions(),
    }


def python_module() -> str:
    """The source of `protocol/generated/text_tables.py`; composition is `unicodedata`'s."""
    lines = [
        '"""Generated by `protocol/generate_text_tables.py`, which explains the tables."""',
        "",
        f'UNICODE = "{PINNED}"',
        "CLASSES = {",
    ]
    for name, table in classes().items():
        lines += [f"    {name!r}: (", *(f"        {part!r}" for part in cut(table)), "    ),"]
    lines.append("}")
    for name, table in tables().items():
        if name not in ("COMBINING", "DECOMPOSITIONS"):
            lines += [f"{name} = (", *(f"    {part!r}" for part in cut(table)), ")"]
    return "\n".join(lines) + "\n"


def kotlin_file() -> str:
    """The source of `TextTables.kt`."""
    lines = [
        '@file:Suppress("ktlint")',
        "",
        "package org.fedvoice.core.text",
        "",
        "/** Generated by `protocol/generate_text_tables.py`, which explains the tables. */",
        "internal object TextTables {",
        f'    const val UNICODE: String = "{PINNED}"',
        "    val CLASSES: Map<Char, String> =",
        "        mapOf(",
    ]
    for name, table in classes().items():
        lines.append(f"            '{name}' to")
        lines += kotlin_string(table, " " * 16)
        lines[-1] += ","
    lines.append("        )")
    for name, table in tables().items():
        lines += [f"    const val {name}: String =", *kotlin_string(table, " " * 8)]
    return "\n".join([*lines, "}"]) + "\n"


def kotlin_string(table: str, indent: str) -> list[str]:
    """A string over several lines."""
    parts = [f'{indent}"{part}"' for part in cut(table, LINE - 16)]
    return [part + " +" for part in parts[:-1]] + parts[-1:]


def cut(table: str, width: int = LINE) -> list[str]:
    """A table in parts that fit a line."""
    return [table[i : i + width] for i in range(0, len(table), width)]


def written() -> dict[Path, str]:
    """The files and their content.

    Raises:
        SystemExit: under a Python of another version of Unicode.
    """
    if unicodedata.unidata_version != PINNED:
        raise SystemExit(
            f"the text tables are of Unicode {PINNED}, Python 3.11's; "
            f"this one has {unicodedata.unidata_version}"
        )
    return {PYTHON_FILE: python_module(), KOTLIN_FILE: kotlin_file()}


def generate() -> None:
    """Write both files."""
    for path, content in written().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def stale() -> list[str]:
    """Files that differ from what the tables give; nothing can be said under another Unicode."""
    if unicodedata.unidata_version != PINNED:
        return []
    return [
        path.name
        for path, content in written().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != content
    ]
