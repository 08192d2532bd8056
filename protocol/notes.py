"""Notes: a few words on the part of a long job that begins now, for people who wait."""

from collections.abc import Callable

Note = Callable[[str], None]
"""Receives such words, e.g. `synthesise voices: 3 of 60`."""


def counted(count: int, noun: str) -> str:
    """A number with its noun: `1 phone`, `2 phones`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
