"""The claim of Guliani et al. 2020 with half the budget and one seed: experiments/noniid-gap.toml
in the size of a test. Needs the words corpus (see tests/test_real_speech.py)."""

import os
from pathlib import Path

import pytest

from fedvoice.laboratory.experiment.config import load_experiment
from fedvoice.laboratory.experiment.runner import run_trials
from fedvoice.laboratory.experiment.summary import summarise

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "experiments" / "noniid-gap.toml"
SPEECH = Path(os.environ.get("FEDVOICE_SPEECH", ROOT.parent / "shared" / "data"))
MANIFEST = SPEECH / "words" / "manifest.jsonl"


class Silent:
    def progressed(self, trial, progress):
        pass

    def finished(self, trial, outcome, error):
        pass


@pytest.mark.slow
@pytest.mark.skipif(
    not MANIFEST.is_file(), reason=f"no {MANIFEST}: set FEDVOICE_SPEECH to try real speech"
)
def test_limiting_data_closes_the_non_iid_gap_at_equal_cost(tmp_path):
    settings = {"cfmq_budget_bytes": 5.4e9, "data.manifest": str(MANIFEST)}
    arms = ["iid", "noniid", "limited"]
    experiment = load_experiment(CONFIG, settings).narrowed([0], arms, str(CONFIG))
    gathered = run_trials(experiment.trials(str(CONFIG)), tmp_path, 2, Silent())
    assert not gathered.failures
    lines = {line.arm: line for line in summarise(gathered.outcomes)}
    wer = {arm: line.rates["pooled"][0] for arm, line in lines.items()}
    assert wer["noniid"] - wer["iid"] >= 10
    assert wer["limited"] - wer["iid"] < 0.5 * (wer["noniid"] - wer["iid"])
    assert lines["limited"].cfmq_bytes <= 1.01 * lines["iid"].cfmq_bytes
