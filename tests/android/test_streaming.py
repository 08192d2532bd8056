"""Law 9: streaming recognition of the Kotlin phone, on Android's binary, is Python's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine
from fedvoice.device_runtime.recognition.language import read_language_model
from fedvoice.device_runtime.recognition.recogniser import StreamingRecogniser, decoder
from fedvoice.device_runtime.recognition.search import Settings
from fedvoice.protocol.errors import FedvoiceError
from tests.android.jvm import ask, needs_phone
from tests.device_runtime.test_streaming import BLANK_BIAS, CONFIGS, speech
from tests.shared import exported

pytestmark = [pytest.mark.slow, needs_phone]
PIECE = 777
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"beam": 1},
    "beam": {"beam": 3},
    "bonus": {"beam": 1, "insertion_bonus": 1.5},
    "trigrams": {"beam": 3, "lm": "lm.arpa", "lm_weight": 0.8, "insertion_bonus": 0.5},
    "lstm": {"beam": 2, "lm": "lm.safetensors", "lm_weight": 1.0},
}
# Not of all tokens and with strange ones; lines end in every way, fields stand apart in some.
ARPA = (
    "made by hand\n\\data\\\r\nngram 1=7\n\n\\1-grams:\n-99\t<s>\t-0.25\n-1.0 </s>\r"
    "-.5 up -0.5\n-0.75e0 down\u00a0-0.25\n-1 go\n-0.6 strange\n-2.0 <unk> -0.125\n\n\\2-grams:\n"
    "-0.1 <s> up -1\n-0.2 up up -0.5\n-0.3 up </s>\n+0.1 strange up\n\n\\3-grams:\n"
    "-0.05 <s> up down\n-0.4 up up up\n\\end\\\nwhat follows is not read\n"
)
BROKEN = {
    "no-number": ARPA.replace("-.5 up", "0x1p3 up"),
    "too-many": ARPA.replace("-1 go", "-1 go up down"),
    "infinite": ARPA.replace("-1 go", "-1e999 go"),
    "order": ARPA.replace("\\2-grams:", "\\3-grams:"),
    "no-end": ARPA.replace("\\end\\", ""),
    "no-unknown": ARPA.replace("<unk>", "unknown"),
    "nothing": "{}",
}


def write_language_models(folder: Path, tokens: int) -> None:
    """Trigrams, and an LSTM of random weights in three widths of numbers."""
    (folder / "lm.arpa").write_bytes(ARPA.encode())
    rng = np.random.default_rng(5)
    shapes = {
        "embedding.weight": (tokens, 3),
        "lstm.weight_ih_l0": (16, 3),
        "lstm.weight_hh_l0": (16, 4),
        "lstm.bias_ih_l0": (16,),
        "lstm.bias_hh_l0": (16,),
        "lstm.weight_ih_l1": (16, 4),
        "lstm.weight_hh_l1": (16, 4),
        "lstm.bias_ih_l1": (16,),
        "output.weight": (tokens, 4),
        "output.bias": (tokens,),
    }
    widths = (np.float16, np.float32, np.float64)
    tensors = {
        name: (2 * rng.normal(size=shape)).astype(widths[i % 3])
        for i, (name, shape) in enumerate(shapes.items())
    }
    save_file(tensors, folder / "lm.safetensors", {"made": "by hand"})
    poor = tensors | {"output.bias": np.zeros(3, np.float32)}
    save_file(poor, folder / "poor.safetensors")


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_law_9_the_same_texts_at_the_same_times(
    kind: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    package = exported(CONFIGS[kind], tmp_path_factory).package
    tokens = package.manifest.vocabulary.tokens
    write_language_models(tmp_path, len(tokens))
    weights = 4 * package.weights()
    table = package.manifest.parameters
    weights[next(s.offset for s in table.parameters if s.name == "output.bias")] = BLANK_BIAS[kind]
    silence = np.zeros(30000, np.float32)
    waveform = np.concatenate([speech(90, 3), silence, speech(300, 4)]).astype("<f4")
    weights.astype("<f4").tofile(tmp_path / "weights.bin")
    waveform.tofile(tmp_path / "waveform.bin")

    def question(name: str, search: dict[str, Any]) -> dict[str, Any]:
        lm = {"lm": str(tmp_path / search["lm"])} if "lm" in search else {}
        return {
            "kind": "streaming",
            "id": name,
            "task": str(package.directory),
            "weights": str(tmp_path / "weights.bin"),
            "waveform": str(tmp_path / "waveform.bin"),
            "piece": PIECE,
            **search,
            **lm,
        }

    questions = [question(name, search) for name, search in SEARCHES.items()]
    for name, text in BROKEN.items():
        (tmp_path / f"{name}.arpa").write_bytes(text.encode())
    (tmp_path / "bytes.safetensors").write_bytes(b"\xff" * 64)
    refused = [f"{name}.arpa" for name in BROKEN] + ["poor.safetensors", "nowhere.arpa"]
    unreadable = ["bytes.safetensors", "nowhere.safetensors"]
    questions += [question(f"of {name}", {"beam": 1, "lm": name}) for name in refused + unreadable]
    answers = ask(tmp_path / "answers", questions)
    engine = ExecuTorchEngine(package)
    heard = {}
    for name, search in SEARCHES.items():
        given = {key: value for key, value in search.items() if key != "lm"}
        lm = read_language_model(tmp_path / search["lm"], tokens) if "lm" in search else None
        recogniser = StreamingRecogniser(
            engine, weights, decoder(engine, weights, Settings(**given), lm)
        )
        results = recogniser.accept(waveform)
        results.append(recogniser.finish())
        if name in ("greedy", "beam"):
            assert sum(result.final for result in results) >= 2
        heard[name] = [result.text for result in results]
        theirs = answers.facts[name]["results"]
        assert len(theirs) == len(results)
        for got, wanted in zip(theirs, results, strict=True):
            assert (got["text"], got["final"]) == (wanted.text, wanted.final)
            assert got["tokens"] == list(wanted.tokens)
            assert got["token_secs"] == pytest.approx(list(wanted.token_secs))
            assert got["begin_secs"] == pytest.approx(wanted.begin_secs)
            assert got["end_secs"] == pytest.approx(wanted.end_secs)
            assert got["score"] == pytest.approx(wanted.score, rel=1e-4, abs=1e-3)
    assert len({tuple(texts) for texts in heard.values()}) > 2, "searches differ"
    for name in refused + unreadable:
        with pytest.raises(FedvoiceError) as caught:
            read_language_model(tmp_path / name, tokens)
        theirs = answers.facts[f"of {name}"]["error"]
        assert (theirs["code"], theirs["where"]) == (caught.value.code, caught.value.where)
        if name not in [*unreadable, "nowhere.arpa"]:
            assert theirs["got"] == caught.value.got
        assert theirs["wanted"] == caught.value.wanted
