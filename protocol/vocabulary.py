"""Targets of a recogniser: text <-> token ids. Id 0 is the blank and never stands for text."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict

from fedvoice.protocol.errors import ErrorCode, FedvoiceError, missing_extra
from fedvoice.protocol.text import TextRule, lowered, normalise

BLANK = 0
WORD_BOUNDARY = "\u2581"


class TargetKind(StrEnum):
    """What one token is."""

    WORD = "word"
    CHARACTER = "character"
    PIECE = "piece"


class Vocabulary(BaseModel):
    """Token table of a task. `tokens[0]` is the blank.

    Word and character targets need nothing else; for word pieces `piece_model` is a
    sentencepiece model (base64 of its bytes) whose piece i is token i + 1.
    """

    model_config = ConfigDict(frozen=True)

    kind: TargetKind
    tokens: tuple[str, ...]
    piece_model: str = ""
    text: TextRule | None = None
    """The rule of its texts; None in packages of 0.1.0 and for targets that are no texts: lower
    case, white space folded."""

    @classmethod
    def from_words(cls, words: Iterable[str], text: TextRule | None = None) -> Vocabulary:
        """Word targets: every distinct word, in alphabetical order."""
        return cls(kind=TargetKind.WORD, tokens=("<blank>", *sorted(set(words))), text=text)

    @classmethod
    def from_characters(cls, texts: Iterable[str], text: TextRule | None = None) -> Vocabulary:
        """Character targets: every character of `texts`, the space as a word boundary mark."""
        characters = {c for line in texts for c in normalised(line, text)} - {" "}
        tokens = ("<blank>", WORD_BOUNDARY, *sorted(characters))
        return cls(kind=TargetKind.CHARACTER, tokens=tokens, text=text)

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
            raise missing_extra(
                "device",
                where="word-piece targets",
                got="no sentencepiece package",
                wanted="sentencepiece",
            ) from error
        return SentencePieceProcessor(model_proto=base64.b64decode(self.piece_model))

    @cached_property
    def _letters(self) -> frozenset[str]:
        """What the pieces are made of, besides the piece for what they are not made of."""
        unknown = self._pieces.unk_id() + 1
        return frozenset("".join(t for i, t in enumerate(self.tokens) if i not in (BLANK, unknown)))

    def normalise(self, text: str) -> str:
        """A transcript in the form in which it is encoded and scored: a reference of word errors.

        Raises:
            FedvoiceError: `unsupported-text` for what the task's rule refuses.
        """
        return normalised(text, self.text)

    def encode(self, text: str) -> list[int]:
        """Token ids (1..V-1) of `text`.

        Raises:
            FedvoiceError: `empty-transcript`; `unsupported-text` for what the task's rule refuses;
                `unknown-token` for a word or character that the task does not have.
        """
        text = self.normalise(text)
        if not text:
            raise FedvoiceError(
                ErrorCode.EMPTY_TRANSCRIPT,
                where="transcript",
                got="no text",
                wanted="at least one word",
                next_step="Give the utterance a transcript or leave it out.",
            )
        if self.kind is TargetKind.PIECE:
            ids = [int(i) for i in self._pieces.encode(text)]
            if self._pieces.unk_id() in ids:
                strange = next((c for c in text if c not in self._letters | {" "}), text)
                raise self._unknown(text, f"character '{strange}'", "characters of the task's")
            return [i + 1 for i in ids]
        if self.kind is TargetKind.WORD:
            units = text.split(" ")
        else:
            units = list(text.replace(" ", WORD_BOUNDARY))
        try:
            return [self._ids[unit] for unit in units]
        except KeyError as error:
            got = f"{self.kind.value} '{error.args[0]}'"
            raise self._unknown(text, got, "one of the task's") from error

    def reference_and_targets(self, text: str, *, testing: bool = False) -> tuple[str, list[int]]:
        """The normalised text, and its token ids.

        Args:
            testing: a text with words or letters that the task lacks gives no ids instead of an
                error: it is still the reference of what is recognised.

        Raises:
            FedvoiceError: as `encode`.
        """
        reference = self.normalise(text)
        try:
            return reference, self.encode(text)
        except FedvoiceError as error:
            if not testing or error.code is not ErrorCode.UNKNOWN_TOKEN:
                raise
            return reference, []

    def _unknown(self, text: str, got: str, wanted: str) -> FedvoiceError:
        return FedvoiceError(
            ErrorCode.UNKNOWN_TOKEN,
            where=f"transcript '{text}'",
            got=got,
            wanted=f"{wanted} {self.size - 1} {self.kind.value}s",
            next_step="Leave the utterance out, or export a task whose targets have it.",
        )

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids; blanks are skipped."""
        ids = [i for i in ids if i != BLANK]
        if self.kind is TargetKind.PIECE:
            return str(self._pieces.decode([i - 1 for i in ids]))
        if self.kind is TargetKind.WORD:
            return " ".join(self.tokens[i] for i in ids)
        return " ".join("".join(self.tokens[i] for i in ids).replace(WORD_BOUNDARY, " ").split())


def normalised(text: str, rule: TextRule | None) -> str:
    """By the rule, or without one as 0.1.0 did.

    Raises:
        FedvoiceError: `unsupported-text`.
    """
    return lowered(text) if rule is None else normalise(text, rule)
