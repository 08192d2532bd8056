"""What one report may say, unless the settings say otherwise."""

from __future__ import annotations

MAX_LOSS = 1e6
MAX_MEMORY_BYTES = 16 * 1024**3
"""What phones have."""
MAX_TRAIN_SECS = 86400.0
WORDS_AN_UTTERANCE = 1000
CHARS_AN_UTTERANCE = 10_000
"""Not of a word: languages that are written without spaces have one word an utterance."""
INSERTIONS_A_WORD = 10
"""Errors beyond the transcript, in multiples of what an utterance may hold: a model of the first
rounds may emit ten labels a frame."""
