"""What a run's test utterances were recognised as is kept with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedvoice.laboratory.experiment.trials import Trial, TrialSettings
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.utterances import Utterance
from fedvoice.reporting.words import read_transcripts
from fedvoice.simulation.transcripts import spread
from tests.laboratory.running import run_trial
from tests.simulation.test_datasets import MODEL, patterns


def said(speaker: str, text: str) -> Utterance:
    return Utterance(audio_path=Path(f"{text}.wav"), text=text, duration_secs=1.0, speaker=speaker)


@pytest.mark.parametrize(
    ("most", "texts"),
    [
        (2, ["h1", "a1"]),
        (3, ["h1", "a1", "b1"]),
        (5, ["h1", "a1", "b1", "a2", "b2"]),
        (9, ["h1", "a1", "b1", "a2", "b2", "a3"]),
    ],
)
def test_utterances_are_spread_over_speakers(most: int, texts: list[str]) -> None:
    tests = {
        "wer": [
            said("a", "a1"),
            said("a", "a2"),
            said("a", "a3"),
            said("b", "b1"),
            said("b", "b2"),
        ],
        "heldout_wer": [said("h", "h1")],
    }
    assert [reference.text for _, reference in spread(tests, most)] == texts


def test_a_trial_keeps_what_its_final_model_heard(tmp_path: Path) -> None:
    settings = TrialSettings(
        data=patterns(),
        task={"model": MODEL, "features": {"stack": 2, "mel_bins": 6}},
        plan=TrainingPlan(batch_size=2, client_rate=1.0, clip_norm=3.0),
        server={"rounds": 6, "cohort_size": 3, "evaluate_every": 6},
        export=False,
    )
    trial, folder = Trial("all", "all", {}, 0, settings), tmp_path / "trial"
    outcome = run_trial(trial, folder, tmp_path / "tasks", lambda _: None, lambda: False)
    heard = read_transcripts(folder)
    assert sorted(one.reference for one in heard) == ["down"] * 3 + ["up"] * 3
    rate = 100 * sum(one.errors for one in heard) / sum(one.words for one in heard)
    assert rate == pytest.approx(outcome.figure("wer"))
