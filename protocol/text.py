"""The text rule: how a transcript becomes the words that are trained on and scored.

One rule for manifests, folders, phones and evaluation; a task package records it, and Kotlin's
`TextRule` gives the same (`tests/protocol/texts.json` holds both to it).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from fedvoice.protocol.characters import NEWER, classes_of, composed, lower_case
from fedvoice.protocol.errors import ErrorCode, FedvoiceError


class Case(StrEnum):
    """What happens to capitals."""

    LOWER = "lower"
    KEEP = "keep"


class Treatment(StrEnum):
    """What happens to characters of a kind."""

    DROP = "drop"
    KEEP = "keep"
    REFUSE = "refuse"
    """The utterance is left out, and counted as `unsupported-text`."""


class TextRule(BaseModel):
    """How transcripts are written. The default is for most languages right."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    language: str = Field(default="", pattern=r"^([A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*)?$")
    """As in `tr` or `az-Latn`: Turkish, Azeri and Lithuanian have a lower case of their own."""
    case: Case = Case.LOWER
    punctuation: Treatment = Treatment.DROP
    """Punctuation and symbols at the edges of words and between them. Marks inside words stay, by
    the word rules of UAX 29, unless it is kept altogether."""
    digits: Treatment = Treatment.REFUSE
    """Numbers, and the signs that are read aloud as words (% & @ # + = and currencies): how they
    were said is not written."""
    tags: Treatment = Treatment.REFUSE
    """What stands in brackets, `[noise]`, `<unk>`, `(laughs)`: a noise or spoken words, nobody
    knows. Kept, a tag is a word as it is written."""

    @property
    def primary_language(self) -> str:
        """The language without its script and region, small."""
        return self.language.split("-")[0].lower()


DEFAULT_RULE = TextRule()

_PLAIN = re.compile(r"[a-z]+(?: [a-z]+)*")
_TAGS = re.compile(
    r"\[[^\[\]]*\]|<[^<>]*>|\([^()]*\)|\{[^{}]*\}|（[^（）]*）|［[^［］]*］|＜[^＜＞]*＞|【[^【】]*】"
)
_FOLDED = str.maketrans(
    dict.fromkeys("\u2019\u2018\u201b\u2032\uff07\u055a\u00b4\u0060", "'")
    | dict.fromkeys("\u2010\u2011\ufe63\uff0d\u2212\u058a\u05be", "-")
    | {"\u0f0c": "\u0f0b"}
)
"""Apostrophes, hyphens, and the Tibetan mark of syllables that does not break."""
_LETTERS = "ahnouqs"
_MARKS = "[mvzj]*"
_WORD = re.compile(
    # Letters with their marks; what stands between two of them belongs to the word by UAX 29 (WB4
    # to WB13), and apostrophe and hyphen between any two. Each letter is passed once.
    rf"(?:[ahq]{_MARKS}[:.](?=[ahq])|n{_MARKS}[.,](?=n)"
    rf"|[{_LETTERS}]{_MARKS}-(?=[{_LETTERS}])|[{_LETTERS}]{_MARKS})+"
)
_LETTER_APOSTROPHE = re.compile(r"(?<=[ahnousmv])q(?=[ahnous])")
_HEBREW_MARK = re.compile(r"h[mv]*([-\"])(?=h)")
_HEBREW = {"'": "\u05f3", '"': "\u05f4"}
_JOINERS = re.compile("([\u200c\u200d])[\u200c\u200d]+")
_NEXT_STEPS = {
    "digits": "Write numbers and signs as they are said, or set digits of vocabulary.text.",
    "tags": "Write what was said, or set tags of vocabulary.text to drop or keep.",
    "punctuation": "Correct the transcript, or let vocabulary.text drop punctuation.",
}


def normalise(text: str, rule: TextRule = DEFAULT_RULE) -> str:
    """The words of a transcript, one space between them. Pure; the same on every platform.

    Idempotent, and the same for every canonically equivalent text.

    Raises:
        FedvoiceError: `unsupported-text` for what the rule refuses, and for text that was decoded
            wrongly (U+FFFD, lone surrogates).
    """
    if _PLAIN.fullmatch(text):
        return text
    text = _cleaned(text)
    if rule.case is Case.LOWER:
        text = composed(lower_case(text, rule.primary_language))
    text = _with_one_apostrophe(text)
    words: list[str] = []
    end = 0
    for tag in _TAGS.finditer(text):
        if rule.tags is Treatment.REFUSE:
            raise _refused(text, "tags", f"'{tag[0]}' in brackets")
        words += _words(text[end : tag.start()], rule)
        if rule.tags is Treatment.KEEP:
            words += tag[0].split()
        end = tag.end()
    words += _words(text[end:], rule)
    return " ".join(words)


def usable_texts(texts: Iterable[str], rule: TextRule = DEFAULT_RULE) -> Iterator[str]:
    """Normalised texts, without those that the rule refuses or that hold no word."""
    for text in texts:
        try:
            normal = normalise(text, rule)
        except FedvoiceError:
            continue
        if normal:
            yield normal


def label_of(text: str) -> str:
    """A transcript as a label to partition by: its words, if the default rule takes it."""
    try:
        return normalise(text)
    except FedvoiceError:
        return lowered(text)


def unknown_characters(text: str) -> int:
    """How many characters are newer than the pinned version of Unicode: they pass unchanged."""
    return classes_of(text).count(NEWER)


def fold_white_space(text: str) -> str:
    """The text as it was written, white space folded: how transcripts are kept."""
    return " ".join(text.split())


def lowered(text: str) -> str:
    """The rule of fedvoice 0.1.0, for its packages: lower case and folded white space."""
    return " ".join(text.lower().split())


def _cleaned(text: str) -> str:
    """Composed; white space and controls as spaces, invisible characters away, apostrophes and
    hyphens of one kind."""
    kinds = classes_of(text)
    if "x" in kinds:
        broken = text[kinds.index("x")]
        raise FedvoiceError(
            ErrorCode.UNSUPPORTED_TEXT,
            where="transcript",
            got=f"U+{ord(broken):04X}",
            wanted="text that was decoded rightly",
            next_step="Save the transcript as UTF-8 from its own encoding.",
        )
    if "i" in kinds or kinds.count("w") != text.count(" "):
        pairs = zip(text, kinds, strict=True)
        text = "".join(" " if kind == "w" else c for c, kind in pairs if kind != "i")
    return composed(text).translate(_FOLDED)


def _with_one_apostrophe(text: str) -> str:
    """The letter apostrophe inside a word as an apostrophe; inside Hebrew words quotes as geresh
    and gershayim."""
    if "\u02bc" in text:
        places = {found.start() for found in _LETTER_APOSTROPHE.finditer(classes_of(text))}
        text = "".join("'" if i in places else c for i, c in enumerate(text))
    if ("'" in text or '"' in text) and "h" in (kinds := classes_of(text)):
        places = {found.start(1) for found in _HEBREW_MARK.finditer(kinds)}
        text = "".join(_HEBREW.get(c, c) if i in places else c for i, c in enumerate(text))
    return text


def _words(text: str, rule: TextRule) -> Iterator[str]:
    """The words of a text without tags."""
    kinds = classes_of(text)
    if rule.digits is not Treatment.KEEP:
        for place, kind in enumerate(kinds) if "n" in kinds or "s" in kinds else ():
            if kind in "ns" and rule.digits is Treatment.REFUSE:
                raise _refused(text, "digits", _named(text[place]))
        kinds = kinds.replace("n", " ").replace("s", " ")
        if rule.punctuation is Treatment.KEEP and rule.digits is Treatment.DROP:
            text = "".join(
                " " if old in "ns" else c for c, old in zip(text, classes_of(text), strict=True)
            )
    if rule.punctuation is Treatment.KEEP:
        yield from (word for word in text.split(" ") if word)
        return
    end = 0
    for found in _WORD.finditer(kinds):
        _check_dropped(text, kinds, end, found.start(), rule)
        end = found.end()
        yield _without_edge_joiners(text[found.start() : end])
    _check_dropped(text, kinds, end, len(text), rule)


def _check_dropped(text: str, kinds: str, start: int, end: int, rule: TextRule) -> None:
    if rule.punctuation is not Treatment.REFUSE:
        return
    for place in range(start, end):
        if kinds[place] not in "wzj" and text[place] != " ":
            raise _refused(text, "punctuation", _named(text[place]))


def _without_edge_joiners(word: str) -> str:
    """One joiner at a place; none at the end, except where it shapes a virama."""
    if "\u200c" not in word and "\u200d" not in word:
        return word
    word = _JOINERS.sub(r"\1", word)
    if word[-1] == "\u200c" or (word[-1] == "\u200d" and classes_of(word[-2]) != "v"):
        return word[:-1]
    return word


def _named(character: str) -> str:
    return f"'{character}' (U+{ord(character):04X})"


def _refused(text: str, kind: str, got: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.UNSUPPORTED_TEXT,
        where=f"transcript '{text}'",
        got=got,
        wanted=f"text whose {kind} the task's text rule takes",
        next_step=_NEXT_STEPS[kind],
    )
