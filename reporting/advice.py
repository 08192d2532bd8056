"""What is usual when a result looks wrong."""

from __future__ import annotations

from collections.abc import Sequence

from fedvoice.reporting.results import Results

_NOTHING_RIGHT = 99.5
_FEW_LETTERS_RIGHT = 90.0
"""Of characters: some come right by chance where no word does."""


def rates_of_run(results: Results) -> list[float]:
    """Every word error rate that a run measured after training began, in percent; none if so many
    characters came right that words, of a language without spaces, tell nothing."""
    characters = [r for row in results.rounds for r in (row.cer, row.heldout_cer) if r is not None]
    if characters and min(characters) < _FEW_LETTERS_RIGHT:
        return []
    return [r for row in results.rounds for r in (row.wer, row.heldout_wer) if r is not None]


def never_learned(rates: Sequence[float]) -> str | None:
    """What is usual when no evaluation was better than 100 %; None: one was, or there was none.

    Args:
        rates: error rates in percent, of the model after training began.
    """
    if not rates or min(rates) < _NOTHING_RIGHT:
        return None
    return (
        "The error rate never left 100 %. That is usual in the first few hundred steps: a new "
        "recogniser first learns to say nothing. If more rounds do not help, look for transcripts "
        "that do not fit their recordings (`fedvoice data check`), less than some ten utterances "
        "a word, or a rate (plan.client_rate, server.optimizer.rate) that is far too low or high."
    )
