"""Law 9: streaming recognition of the Kotlin phone, on Android's binary, is Python's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine
from fedvoice.device_runtime.recognition.recogniser import StreamingRecogniser, decoder
from fedvoice.device_runtime.recognition.search import Settings
from tests.android.jvm import ask, needs_phone
from tests.device_runtime.test_streaming import BLANK_BIAS, CONFIGS, speech
from tests.shared import exported

pytestmark = [pytest.mark.slow, needs_phone]
BEAMS = (1, 3)
PIECE = 777


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_law_9_the_same_texts_at_the_same_times(
    kind: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    package = exported(CONFIGS[kind], tmp_path_factory).package
    weights = 4 * package.weights()
    table = package.manifest.parameters
    weights[next(s.offset for s in table.parameters if s.name == "output.bias")] = BLANK_BIAS[kind]
    silence = np.zeros(30000, np.float32)
    waveform = np.concatenate([speech(90, 3), silence, speech(300, 4)]).astype("<f4")
    weights.astype("<f4").tofile(tmp_path / "weights.bin")
    waveform.tofile(tmp_path / "waveform.bin")
    questions: list[dict[str, Any]] = [
        {
            "kind": "streaming",
            "id": f"beam-{beam}",
            "task": str(package.directory),
            "weights": str(tmp_path / "weights.bin"),
            "waveform": str(tmp_path / "waveform.bin"),
            "piece": PIECE,
            "beam": beam,
        }
        for beam in BEAMS
    ]
    answers = ask(tmp_path / "answers", questions)
    engine = ExecuTorchEngine(package)
    for beam in BEAMS:
        search = decoder(engine, weights, Settings(beam=beam))
        recogniser = StreamingRecogniser(engine, weights, search)
        results = recogniser.accept(waveform)
        results.append(recogniser.finish())
        assert sum(result.final for result in results) >= 2
        theirs = answers.facts[f"beam-{beam}"]["results"]
        assert len(theirs) == len(results)
        for got, wanted in zip(theirs, results, strict=True):
            assert (got["text"], got["final"]) == (wanted.text, wanted.final)
            assert got["tokens"] == list(wanted.tokens)
            assert got["token_secs"] == pytest.approx(list(wanted.token_secs))
            assert got["begin_secs"] == pytest.approx(wanted.begin_secs)
            assert got["end_secs"] == pytest.approx(wanted.end_secs)
            assert got["score"] == pytest.approx(wanted.score, rel=1e-4, abs=1e-3)
