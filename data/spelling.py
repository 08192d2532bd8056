"""Characters and words that look like slips of the pen."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping

RARE_SHARE = 1e-5
RARE_COUNT = 2


def rare_characters(characters: Mapping[str, int]) -> list[str]:
    """Characters seen at most twice, or less than once in 100,000, rarest first: often a typing
    error or another script's look-alike. None of a corpus of less than 1000 characters."""
    total = sum(characters.values())
    if total < 1000:
        return []
    most = max(RARE_COUNT, int(RARE_SHARE * total))
    found = [(count, c) for c, count in characters.items() if count <= most]
    return [c for _, c in sorted(found)]


def spelled_differently(words: Counter[str]) -> list[list[str]]:
    """Words that differ in accents, apostrophes, hyphens or compatibility forms alone, the most
    frequent form first: "cafe" beside "café", "dont" beside "don't"."""
    forms: defaultdict[str, list[str]] = defaultdict(list)
    for word in words:
        forms[_skeleton(word)].append(word)
    groups = [sorted(g, key=lambda w: (-words[w], w)) for k, g in forms.items() if k and len(g) > 1]
    return sorted(groups, key=lambda group: (-words[group[0]], group))


def _skeleton(word: str) -> str:
    if word.isascii() and word.isalpha():
        return word
    parts = unicodedata.normalize("NFKD", word)
    return "".join(c for c in parts if unicodedata.category(c)[0] in "LN")
