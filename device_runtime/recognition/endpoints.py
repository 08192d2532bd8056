"""When an utterance has ended, by Kaldi's rules (its online endpointing).

Silence is what gives blanks: the frames since the onset of the best hypothesis' last token.
"""

from __future__ import annotations

from typing import NamedTuple


class EndpointRule(NamedTuple):
    """An utterance ends when all of this holds.

    needs_speech: a token was recognised. silence_secs: since the last token, or since the start
    where there is none. utterance_secs: since the start.
    """

    needs_speech: bool
    silence_secs: float
    utterance_secs: float


DEFAULT_RULES = (
    EndpointRule(needs_speech=False, silence_secs=5.0, utterance_secs=0.0),
    EndpointRule(needs_speech=True, silence_secs=1.2, utterance_secs=0.0),
    EndpointRule(needs_speech=False, silence_secs=0.0, utterance_secs=20.0),
)
"""Nothing said; a pause after something; as long as one utterance gets."""

NO_RULES = (EndpointRule(needs_speech=False, silence_secs=0.0, utterance_secs=60.0),)
"""An utterance ends with its sound, or after a minute: what a decoder holds has a bound."""


def ending_rule(
    rules: tuple[EndpointRule, ...], *, spoken: bool, silence_secs: float, utterance_secs: float
) -> EndpointRule | None:
    """The first rule by which the utterance has ended."""
    for rule in rules:
        if (
            (spoken or not rule.needs_speech)
            and silence_secs >= rule.silence_secs
            and utterance_secs >= rule.utterance_secs
        ):
            return rule
    return None
