"""Vocabularies from a list of tokens or from the texts of a corpus."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.text import DEFAULT_RULE, TextRule, normalise, usable_texts
from fedvoice.protocol.vocabulary import WORD_BOUNDARY, TargetKind, Vocabulary


def build_vocabulary(
    kind: TargetKind, texts: Iterable[str], pieces: int = 500, rule: TextRule = DEFAULT_RULE
) -> Vocabulary:
    """Targets that cover `texts`, without those that the rule refuses.

    Args:
        kind: words, characters or word pieces.
        texts: transcripts, or for words and characters simply the list of them.
        pieces: number of word pieces at most (small corpora hold fewer).
        rule: the texts' rule, kept in the vocabulary.

    Raises:
        FedvoiceError: `empty-transcript` if there is no text; `unsupported-text` if the rule
            refuses all of them; `bad-config` if sentencepiece cannot make so few pieces.
    """
    given = list(texts)
    lines = list(usable_texts(given, rule))
    if not lines:
        for text in given:
            normalise(text, rule)  # says why it refuses
        raise FedvoiceError(
            ErrorCode.EMPTY_TRANSCRIPT,
            where="vocabulary",
            got="no text",
            wanted="at least one word",
            next_step="Give vocabulary.tokens, or a manifest with transcripts.",
        )
    if kind is TargetKind.WORD:
        return Vocabulary.from_words((word for line in lines for word in line.split(" ")), rule)
    if kind is TargetKind.CHARACTER:
        return Vocabulary.from_characters(lines, rule)
    return _train_pieces(lines, pieces, rule)


def vocabulary_as_given(kind: TargetKind, tokens: Sequence[str]) -> Vocabulary:
    """Token i is `tokens[i - 1]`: nothing is sorted or lowered; a space becomes its mark."""
    marked = (WORD_BOUNDARY if token == " " else token for token in tokens)
    return Vocabulary(kind=kind, tokens=("<blank>", *marked))


def _train_pieces(lines: Sequence[str], pieces: int, rule: TextRule) -> Vocabulary:
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            vocab_size=pieces,
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="identity",
            bos_id=-1,
            eos_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where="vocabulary.pieces",
            got=f"{pieces} pieces: {str(error).strip()[-200:]}",
            wanted="a number that sentencepiece can make from these texts",
            next_step="Raise vocabulary.pieces above the number of characters in the texts.",
        ) from error
    processor = SentencePieceProcessor(model_proto=model.getvalue())
    names = (processor.id_to_piece(i) for i in range(processor.get_piece_size()))
    return Vocabulary(
        kind=TargetKind.PIECE,
        tokens=("<blank>", *names),
        piece_model=base64.b64encode(model.getvalue()).decode("ascii"),
        text=rule,
    )
