"""Beam search on lattices small enough to enumerate, and what a language model changes."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from fedvoice.device_runtime.recognition.beam import BeamCtc, BeamTransducer
from fedvoice.device_runtime.recognition.greedy import GreedyCtc, GreedyTransducer
from fedvoice.device_runtime.recognition.language import (
    LstmModel,
    NGramModel,
    read_arpa,
    read_language_model,
)
from fedvoice.device_runtime.recognition.search import Hypothesis, Search, Settings, log_softmax
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import Float32Array

V, J, SYMBOLS = 3, 4, 2
ALL = Settings(beam=200)
"""Wide enough to lose nothing below."""


class TinyTransducer:
    """Random tables: the state is a hash of the tokens so far."""

    state_size = 1

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.table = rng.normal(size=(64, J)).astype(np.float32)
        self.output = (2 * rng.normal(size=(J, V))).astype(np.float32)

    def predict(self, tokens: list[int], states: Float32Array) -> tuple[Float32Array, Float32Array]:
        after = np.array(
            [[(7 * int(s[0]) + 5 * t + 1) % 64] for t, s in zip(tokens, states, strict=True)],
            np.float32,
        )
        return self.table[after[:, 0].astype(int)], after

    def join(self, output: Float32Array, predictions: Float32Array) -> Float32Array:
        found: Float32Array = np.tanh(output + predictions) @ self.output
        return found

    def score(self, outputs: Float32Array, tokens: tuple[int, ...]) -> float:
        """Log of the sum over all alignments of at most SYMBOLS tokens a frame."""
        predictions, state = [], np.zeros((1, 1), np.float32)
        for token in (0, *tokens):
            prediction, state = self.predict([token], state)
            predictions.append(prediction[0])
        log_p = [log_softmax(self.join(output, np.stack(predictions))) for output in outputs]
        alpha = {0: 0.0}
        for frame in log_p:
            after: dict[int, float] = {}
            for begin, score in alpha.items():
                for count in range(min(SYMBOLS, len(tokens) - begin) + 1):
                    end = begin + count
                    emitted = sum(frame[begin + i, tokens[begin + i]] for i in range(count))
                    total = score + emitted + frame[end, 0]
                    after[end] = float(np.logaddexp(after.get(end, -np.inf), total))
            alpha = after
        return alpha.get(len(tokens), -math.inf)


def ctc_score(outputs: Float32Array, tokens: tuple[int, ...]) -> float:
    """Log of the sum over all paths of a labelling."""
    log_p = log_softmax(outputs)
    total = -math.inf
    for path in itertools.product(range(V), repeat=len(outputs)):
        labels = [k for k, _ in itertools.groupby(path)]
        if tuple(k for k in labels if k) == tokens:
            total = float(np.logaddexp(total, sum(log_p[t, k] for t, k in enumerate(path))))
    return total


def run(search: Search, outputs: Float32Array, *, ended: bool = False) -> Hypothesis:  # type: ignore[type-arg]
    state = search.start()
    for output in outputs:
        state = search.advance(state, output[None])
    return search.best(state, ended=ended)


def labellings(most: int) -> list[tuple[int, ...]]:
    return [t for n in range(most + 1) for t in itertools.product(range(1, V), repeat=n)]


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), beam=st.integers(1, 6))
def test_a_transducers_exhaustive_beam_is_the_sum_over_alignments_and_no_smaller_one_is_better(
    seed: int, beam: int
) -> None:
    model = TinyTransducer(seed)
    outputs = np.random.default_rng(seed + 1).normal(size=(3, J)).astype(np.float32)
    best = run(BeamTransducer(model, SYMBOLS, ALL), outputs)
    exact = {tokens: model.score(outputs, tokens) for tokens in labellings(3 * SYMBOLS)}
    assert best.score == pytest.approx(max(exact.values()), abs=1e-5)
    assert exact[best.tokens] == pytest.approx(best.score, abs=1e-5)
    smaller = run(BeamTransducer(model, SYMBOLS, Settings(beam=beam)), outputs)
    assert exact[smaller.tokens] <= best.score + 1e-5
    assert smaller.score <= exact[smaller.tokens] + 1e-5


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), beam=st.integers(1, 6))
def test_ctcs_exhaustive_beam_is_the_sum_over_paths_and_no_smaller_one_is_better(
    seed: int, beam: int
) -> None:
    outputs = np.random.default_rng(seed).normal(size=(4, V)).astype(np.float32)
    best = run(BeamCtc(ALL), outputs)
    exact = {tokens: ctc_score(outputs, tokens) for tokens in labellings(4)}
    assert best.score == pytest.approx(max(exact.values()), abs=1e-5)
    assert exact[best.tokens] == pytest.approx(best.score, abs=1e-5)
    smaller = run(BeamCtc(Settings(beam=beam)), outputs)
    assert exact[smaller.tokens] <= best.score + 1e-5


@given(seed=st.integers(0, 10**6), frames=st.integers(0, 12))
def test_a_beam_of_one_is_greedy(seed: int, frames: int) -> None:
    one = Settings(beam=1)
    rng = np.random.default_rng(seed)
    outputs = rng.normal(size=(frames, J)).astype(np.float32)
    model = TinyTransducer(seed)
    greedy = run(GreedyTransducer(model, SYMBOLS), outputs)
    assert run(BeamTransducer(model, SYMBOLS, one), outputs)[:2] == greedy[:2]
    logits = rng.normal(size=(frames, V)).astype(np.float32)
    greedy = run(GreedyCtc(), logits)
    beam = run(BeamCtc(one), logits)
    assert beam[:2] == greedy[:2]
    assert beam.score == pytest.approx(greedy.score, abs=1e-5)


ARPA = """\\data\\
ngram 1=6
ngram 2=3

\\1-grams:
-99 <s> -0.5
-1.0 </s>
-0.5 go -0.25
-0.75 up -0.125
-0.6 strange
-2.0 <unk>

\\2-grams:
-0.1 <s> go
-0.2 go up
-0.3 up </s>

\\end\\
"""
TOKENS = ("<blank>", "go", "up", "left")


@pytest.fixture
def lm(tmp_path: Path) -> NGramModel:
    (tmp_path / "lm.arpa").write_text(ARPA)
    return read_arpa(tmp_path / "lm.arpa", TOKENS)


def test_an_arpa_files_probabilities_with_back_off(lm: NGramModel) -> None:
    at_start = lm.start()
    after_go = lm.advance(at_start, 1)
    np.testing.assert_allclose(
        lm.log_probs(at_start) / math.log(10), [-0.5 - 1.0, -0.1, -0.5 - 0.75, -0.5 - 2.0]
    )
    np.testing.assert_allclose(
        lm.log_probs(after_go) / math.log(10), [-0.25 - 1.0, -0.25 - 0.5, -0.2, -0.25 - 2.0]
    )


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (ARPA.replace("-0.5 go", "x go"), "line 8"),
        (ARPA.replace("-0.2 go up", "-0.2 go up or down"), "line 15"),
        (ARPA.replace("-1.0 </s>", "nan </s>"), "line 7"),
        (ARPA.replace("\\2-grams:", "\\3-grams:"), "line 13"),
        (ARPA.replace("\\2-grams:", "\\²-grams:"), "line 13"),
        (ARPA.replace("\\end\\", ""), "no .end."),
        (ARPA.replace("-2.0 <unk>\n", ""), "left"),
        ("{}", "no n-gram"),
    ],
)
def test_a_broken_arpa_file_is_refused_by_its_line(tmp_path: Path, broken: str, says: str) -> None:
    (tmp_path / "lm.arpa").write_text(broken)
    with pytest.raises(FedvoiceError, match=says) as caught:
        read_arpa(tmp_path / "lm.arpa", TOKENS)
    assert caught.value.code is ErrorCode.BAD_CONFIG


def test_a_language_model_changes_the_choice_as_arithmetic_says(lm: NGramModel) -> None:
    """One sure frame of either "go" or "up", acoustically 0.4 and 0.6; then silence."""
    sure = np.log(np.array([[1e-9, 0.4, 0.6, 1e-9], [1 - 3e-9, 1e-9, 1e-9, 1e-9]], np.float32))
    at_start = lm.log_probs(lm.start())
    tipping = math.log(0.6 / 0.4) / (at_start[1] - at_start[2])
    for weight, wanted in ((0.9 * tipping, 2), (1.1 * tipping, 1)):
        found = run(BeamCtc(Settings(beam=8, lm_weight=weight), lm), sure)
        assert found.tokens == (wanted,)
        own = math.log((0.4, 0.6)[wanted - 1])
        assert found.score == pytest.approx(own + weight * at_start[wanted], abs=1e-5)
    ended = run(BeamCtc(Settings(beam=8, lm_weight=1.0), lm), sure, ended=True)
    end = lm.log_probs(lm.advance(lm.start(), 1))[0]
    assert ended.score == pytest.approx(math.log(0.4) + at_start[1] + end, abs=1e-5)


@pytest.mark.parametrize("bonus", [-0.4, 0.0, 0.4])
def test_the_insertion_bonus_is_paid_for_each_token(bonus: float) -> None:
    """Silence is likelier by e^0.3; then a bonus of 0.4 lets the token in."""
    p = np.array([[0.3, 0.0, -9.0]], np.float32)
    model = TinyTransducer(0)
    model.output = np.zeros((J, V), np.float32)
    setting = Settings(beam=4, insertion_bonus=bonus)
    assert run(BeamCtc(setting), p).tokens == ((1,) if bonus > 0.3 else ())
    # A transducer of equal logits: an emission costs log 3 more, in every frame.
    paid = run(BeamTransducer(model, 1, setting), np.zeros((1, J), np.float32))
    assert paid.score == pytest.approx(-math.log(3))


def test_an_lstm_language_model_is_pytorchs(lm: NGramModel) -> None:
    torch.manual_seed(0)
    embedding, lstm = torch.nn.Embedding(4, 3), torch.nn.LSTM(3, 5, 2, batch_first=True)
    output = torch.nn.Linear(5, 4)
    modules = {"embedding": embedding, "lstm": lstm, "output": output}
    tensors = {
        f"{name}.{key}": tensor.numpy()
        for name, module in modules.items()
        for key, tensor in module.state_dict().items()
    }
    model = LstmModel(tensors, 4)
    state, tokens = model.start(), [2, 1, 3]
    found = [model.log_probs(state)]
    for token in tokens:
        state = model.advance(state, token)
        found.append(model.log_probs(state))
    with torch.no_grad():
        wanted = output(lstm(embedding(torch.tensor([[0, *tokens]])))[0]).log_softmax(-1)[0]
    np.testing.assert_allclose(np.stack(found), wanted.numpy(), atol=1e-6)
    with pytest.raises(FedvoiceError, match=r"embedding\.weight"):
        LstmModel(tensors, 5)
    for name, wrong in (("lstm.weight_hh_l0", np.float32(0)), ("lstm.bias_hh_l1", np.zeros(3))):
        with pytest.raises(FedvoiceError, match=name):
            LstmModel({**tensors, name: np.asarray(wrong)}, 4)
    with pytest.raises(FedvoiceError, match="no such tensor"):
        LstmModel({"output.weight": np.zeros((4, 5))}, 4)


def test_a_language_model_in_numbers_that_numpy_lacks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lm.safetensors"
    save_file({"output.bias": torch.zeros(4, dtype=torch.bfloat16)}, path)
    with pytest.raises(FedvoiceError, match="bfloat16") as caught:
        read_language_model(path, TOKENS)
    assert caught.value.code is ErrorCode.BAD_CONFIG


def test_settings_that_make_no_sense_are_refused() -> None:
    for setting in ({"beam": 0}, {"beam": 10**6}, {"lm_weight": math.nan}):
        with pytest.raises(FedvoiceError):
            Settings(**setting)  # type: ignore[arg-type]
