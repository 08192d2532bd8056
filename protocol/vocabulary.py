"""Targets of a recogniser: text <-> token ids. Id 0 is the blank and never stands for text."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict

from fedvoice.protocol.errors import ErrorCode, FedvoiceError

BLANK = 0
WORD_BOUNDARY = "\u2581"


class TargetKind(StrEnum):
    """What one token is."""

    WORD = "word"
    CHARACTER = "character"
    PIECE = "piece"


def normalise(text: str) -> str:
    """Lower case, white space folded: the form in which texts are encoded and scored."""
    return " ".join(text.lower().split())


class Vocabulary(BaseModel):
    """Token table of a task. `tokens[0]` is the blank.

    Word and character targets need nothing else; for word pieces `piece_model` is a
    sentencepiece model (base64 of its bytes) whose piece i is token i + 1.
    """

    model_config = ConfigDict(frozen=True)

    kind: TargetKind
    tokens: tuple[str, ...]
    piece_model: str = ""

    @classmethod
    def from_words(cls, words: Iterable[str]) -> Vocabulary:
        """Word targets: every distinct word, in alphabetical order."""
        return cls(kind=TargetKind.WORD, tokens=("<blank>", *sorted(set(words))))

    @classmethod
    def from_characters(cls, texts: Iterable[str]) -> Vocabulary:
        """Character targets: every character of `texts`, the space as a word boundary mark."""
        characters = {c for text in texts for c in normalise(text)} - {" "}
        return cls(
            kind=TargetKind.CHARACTER, tokens=("<blank>", WORD_BOUNDARY, *sorted(characters))
        )

    @property
    def size(self) -> int:
        """V, the blank included."""
        return len(self.tokens)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.tokens) if i != BLANK}

    @cached_property
    def _pieces(self) -> Any:
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError as error:
            raise FedvoiceError(
                ErrorCode.MISSING_EXTRA,
                where="word-piece targets",
                got="no sentencepiece package",
                wanted="sentencepiece",
                next_step="Install it: pip install 'fedvoice[device]'.",
            ) from error
        return SentencePieceProcessor(model_proto=base64.b64decode(self.piece_model))

    def encode(self, text: str) -> list[int]:
        """Token ids (1..V-1) of `text`.

        Raises:
            FedvoiceError: `empty-transcript`; `unknown-token` for a word or character that the
                task does not have.
        """
        text = normalise(text)
        if not text:
            raise FedvoiceError(
                ErrorCode.EMPTY_TRANSCRIPT,
                where="transcript",
                got="no text",
                wanted="at least one word",
                next_step="Give the utterance a transcript or leave it out.",
            )
        if self.kind is TargetKind.PIECE:
            return [int(i) + 1 for i in self._pieces.encode(text)]
        if self.kind is TargetKind.WORD:
            units = text.split(" ")
        else:
            units = list(text.replace(" ", WORD_BOUNDARY))
        try:
            return [self._ids[unit] for unit in units]
        except KeyError as error:
            raise FedvoiceError(
                ErrorCode.UNKNOWN_TOKEN,
                where=f"transcript {text!r}",
                got=f"{self.kind.value} {error.args[0]!r}",
                wanted=f"one of the task's {self.size - 1} {self.kind.value}s",
                next_step="Leave the utterance out, or export a task whose targets have it.",
            ) from error

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids; blanks are skipped."""
        ids = [i for i in ids if i != BLANK]
        if self.kind is TargetKind.PIECE:
            return str(self._pieces.decode([i - 1 for i in ids]))
        if self.kind is TargetKind.WORD:
            return " ".join(self.tokens[i] for i in ids)
        return " ".join("".join(self.tokens[i] for i in ids).replace(WORD_BOUNDARY, " ").split())
