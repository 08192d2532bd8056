"""Texts for the text rule that nobody wrote: every character, and mixtures drawn at random.

`python -m tests.protocol.every_text` writes the digests of what Python makes of them into
`texts.json`, where Kotlin's `TextRuleTest` finds them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from fedvoice.protocol.errors import FedvoiceError
from fedvoice.protocol.text import TextRule, normalise

TABLE = Path(__file__).with_name("texts.json")
SURROGATES = range(0xD800, 0xE000)
LAST = 0x20000
MIXTURES = 20000
POOL = (
    "aAbIİıiJĮσΣς'’ʼ-‐._:·,;\"!?()[]<>{}&%5٣ \u00a0\u200b\u200c\u200d\u0300\u0301\u0303\u0307\u0323"
    "\u0345\u094dकשצ״׳ب한\u1112\u1161\u11abがか\u3099漢ก་ﬁǅẞﬃᲡꮳ🙂\U00010400\U00011f04"
    "\u00ad\ufeff\ufffd\u0338=ÅÌ\u1e9bệ"
)
RULES = (
    TextRule(),
    TextRule(digits="keep", tags="keep", punctuation="keep", case="keep"),
    TextRule(language="tr", digits="keep", tags="drop"),
    TextRule(language="lt", digits="drop", tags="keep"),
    TextRule(punctuation="refuse", digits="keep"),
    TextRule(punctuation="keep", digits="drop", tags="drop"),
)


def outcome(text: str, rule: TextRule) -> str:
    """The normalised text, or that it is refused."""
    try:
        return normalise(text, rule)
    except FedvoiceError as error:
        return f"!{error.code}"


def every_character() -> Iterator[str]:
    """What becomes of each character between two letters, under the rule that keeps numbers."""
    rule = TextRule(digits="keep", tags="keep")
    for point in range(1, LAST):
        if point not in SURROGATES:
            yield outcome(f"b{chr(point)}c", rule)


def mixtures() -> Iterator[str]:
    """Texts of the pool's characters (a linear congruential generator), under each rule in turn."""
    state = 1
    for number in range(MIXTURES):
        text = ""
        for _ in range(1 + number % 12):
            state = (state * 1103515245 + 12345) % 2**31
            text += POOL[(state >> 8) % len(POOL)]
        yield outcome(text, RULES[number % len(RULES)])


def digest(lines: Iterator[str]) -> str:
    """sha256 of lines."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def main() -> None:
    """Write the digests."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    table["every_character"] = digest(every_character())
    table["mixtures"] = {
        "pool": POOL,
        "count": MIXTURES,
        "rules": [rule.model_dump(mode="json") for rule in RULES],
        "sha256": digest(mixtures()),
    }
    write(table)


def write(table: dict[str, object]) -> None:
    """The table, a text a line."""
    texts = table.pop("texts")
    assert isinstance(texts, list)
    lines = ",\n".join("  " + json.dumps(text, ensure_ascii=False) for text in texts)
    rest = json.dumps(table, ensure_ascii=False, indent=1)[1:]
    TABLE.write_text(f'{{\n "texts": [\n{lines}\n ],{rest}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
