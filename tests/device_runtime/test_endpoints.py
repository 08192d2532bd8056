"""Kaldi's rules of endpoints."""

from __future__ import annotations

import pytest

from fedvoice.device_runtime.recognition.endpoints import (
    DEFAULT_RULES,
    NO_RULES,
    EndpointRule,
    ending_rule,
)

NOTHING, PAUSE, LONGEST = DEFAULT_RULES


@pytest.mark.parametrize(
    ("spoken", "silence_secs", "utterance_secs", "wanted"),
    [
        (False, 4.9, 4.9, None),
        (False, 5.0, 5.0, NOTHING),
        (True, 1.1, 9.0, None),
        (True, 1.2, 2.0, PAUSE),
        (False, 1.2, 1.2, None),
        (True, 0.0, 19.9, None),
        (True, 0.0, 20.0, LONGEST),
    ],
)
def test_the_default_rules(
    *, spoken: bool, silence_secs: float, utterance_secs: float, wanted: EndpointRule | None
) -> None:
    found = ending_rule(
        DEFAULT_RULES, spoken=spoken, silence_secs=silence_secs, utterance_secs=utterance_secs
    )
    assert found == wanted


def test_without_rules_an_utterance_still_has_a_bound() -> None:
    asked = {"spoken": True, "silence_secs": 50.0}
    assert ending_rule(NO_RULES, **asked, utterance_secs=59.0) is None
    assert ending_rule(NO_RULES, **asked, utterance_secs=60.0) is not None
