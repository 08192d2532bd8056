"""Recognition chunk by chunk, on the real runtime: what is heard does not depend on the pieces in
which it came, and with an utterance's own statistics is what the whole utterance gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine
from fedvoice.device_runtime.recognition.endpoints import NO_RULES
from fedvoice.device_runtime.recognition.framing import cut_blocks
from fedvoice.device_runtime.recognition.normalising import heard, no_statistics, normalised
from fedvoice.device_runtime.recognition.recogniser import StreamingRecogniser
from fedvoice.model_export.config import (
    BucketConfig,
    ExportConfig,
    StreamingConfig,
)
from fedvoice.model_export.gradient_check import speech_like
from fedvoice.model_export.kinds.ctc import CtcConfig
from fedvoice.model_export.kinds.encoder import EncoderConfig
from fedvoice.protocol.engine import Example, make_batch, normalise_features
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import FlatVector, Float32Array
from fedvoice.protocol.task import FeatureSettings
from tests.model_export.conftest import CONFIGS as TASKS
from tests.model_export.conftest import FEATURES, WORDS
from tests.shared import exported

FRAMES = 10
CONFIGS = {
    # Exported for other tests, too.
    "rnnt": TASKS["rnnt"],
    "ctc": ExportConfig(
        name="streaming-ctc",
        model=CtcConfig(encoder=EncoderConfig(layers=2, hidden_size=6)),
        features=FEATURES,
        vocabulary=WORDS,
        buckets=(BucketConfig(frames=FRAMES, labels=4, batch=1),),
        streaming=StreamingConfig(frames=3, rows=2),
    ),
}


BLANK_BIAS = {"rnnt": 0.5, "ctc": 0.0}


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def phone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ExecuTorchEngine, FlatVector]:
    """An engine, and weights at which tokens come now and then."""
    package = exported(CONFIGS[request.param], tmp_path_factory).package
    weights = 4 * package.weights()
    for spec in package.manifest.parameters.parameters:
        if spec.name == "output.bias":
            # A fresh model's blank hardly ever lets others in.
            weights[spec.offset] = BLANK_BIAS[request.param]
    return ExecuTorchEngine(package), weights


def speech(feature_frames: int, seed: int) -> Float32Array:
    """A waveform that makes so many feature frames, and a few samples more."""
    rng = np.random.default_rng(seed)
    samples = 160 * (feature_frames - 1) + 512 + 7
    noise = np.repeat(rng.standard_normal(samples // 1500 + 1), 1500)[:samples]
    found: Float32Array = speech_like(samples, 16000, seed).numpy()[0] * noise * 0.2
    return found.astype(np.float32)


def whole(engine: ExecuTorchEngine, weights: FlatVector, waveform: Float32Array) -> list[int]:
    """Greedy tokens of the whole utterance, by `decode_<bucket>`."""
    features = normalise_features(engine.features(waveform))
    bucket = engine.manifest.buckets[0]
    batch = make_batch([Example(features, [])], bucket, engine.manifest, weight=0.0)
    return engine.decode(bucket, weights, batch.features, batch.frame_counts)[0]


@settings(max_examples=25)
@given(
    frames=st.integers(2, 2 * FRAMES),
    seed=st.integers(0, 1000),
    cuts=st.lists(st.integers(0, 7000), max_size=12),
)
def test_any_pieces_give_the_tokens_of_the_whole_utterance(
    phone: tuple[ExecuTorchEngine, FlatVector], frames: int, seed: int, cuts: list[int]
) -> None:
    engine, weights = phone
    waveform = speech(frames, seed)
    own = heard(no_statistics(5), engine.features(waveform), memory_frames=1e9)
    recogniser = StreamingRecogniser(engine, weights, rules=NO_RULES, fixed=own)
    for piece in np.split(waveform, sorted(cuts)):
        for result in recogniser.accept(piece):
            assert not result.final
    assert list(recogniser.finish().tokens) == whole(engine, weights, waveform)


def test_models_of_this_test_do_speak(phone: tuple[ExecuTorchEngine, FlatVector]) -> None:
    engine, weights = phone
    found = [len(whole(engine, weights, speech(2 * FRAMES, seed))) for seed in range(8)]
    assert max(found) > min(found)
    assert max(found) >= 2


def test_statistics_of_the_speech_so_far_do_not_depend_on_pieces_either(
    phone: tuple[ExecuTorchEngine, FlatVector],
) -> None:
    engine, weights = phone
    waveform = np.concatenate([speech(90, 3), np.zeros(30000, np.float32), speech(70, 4)])
    found = []
    for size in (160, 777, len(waveform)):
        recogniser = StreamingRecogniser(engine, weights)
        pieces = [waveform[at : at + size] for at in range(0, len(waveform), size)]
        found.append([r for piece in pieces for r in recogniser.accept(piece)])
        found[-1].append(recogniser.finish())
    assert found[0] == found[1] == found[2]
    assert any(r.final for r in found[0][:-1]), "the pause ends an utterance"
    finals = [r for r in found[0] if r.final]
    assert finals[0].end_secs == finals[1].begin_secs


@given(
    pieces=st.lists(st.integers(0, 900), max_size=8),
    frames=st.integers(1, 4),
)
def test_blocks_are_of_the_samples_that_the_whole_utterances_frames_are_of(
    pieces: list[int], frames: int
) -> None:
    features = FeatureSettings()
    waveform = np.arange(sum(pieces), dtype=np.float32)
    pending, blocks = np.zeros(0, np.float32), []
    for piece in np.split(waveform, np.cumsum(pieces)):
        new, pending = cut_blocks(pending, piece, features, frames)
        blocks += new
    starts = [block[160 * frame : 160 * frame + 512] for block in blocks for frame in range(frames)]
    rest = features.frames(len(pending))
    starts += [pending[160 * frame : 160 * frame + 512] for frame in range(rest)]
    wanted = [waveform[160 * i : 160 * i + 512] for i in range(features.frames(len(waveform)))]
    assert [s.tolist() for s in starts] == [w.tolist() for w in wanted]


def test_an_utterances_own_statistics_normalise_as_in_training() -> None:
    features = np.random.default_rng(0).normal(3, 2, (40, 5)).astype(np.float32)
    own = no_statistics(5)
    for part in np.array_split(features, 7):
        own = heard(own, part, memory_frames=1e9)
    np.testing.assert_allclose(
        normalised(own, features), normalise_features(features), atol=1e-5, rtol=1e-5
    )


def test_a_long_stream_forgets_what_was_long_ago() -> None:
    statistics = no_statistics(1)
    for level in (10.0, 0.0, 0.0, 0.0, 0.0):
        features = np.full((100, 1), level, np.float32)
        statistics = heard(statistics, features, memory_frames=100)
    assert statistics.frames == pytest.approx(100)
    assert statistics.sums[0] / statistics.frames == pytest.approx(10 / 16)


def test_a_bidirectional_encoder_is_refused_with_what_to_do() -> None:
    fields = CONFIGS["ctc"].model_dump()
    fields["model"]["encoder"]["bidirectional"] = True
    with pytest.raises(ValueError, match=r"set model\.encoder\.bidirectional = false"):
        ExportConfig.model_validate(fields)


def test_a_package_without_streaming_says_how_to_get_it(
    phone: tuple[ExecuTorchEngine, FlatVector],
) -> None:
    engine, weights = phone
    manifest = engine.manifest.model_copy(update={"streaming": None})
    assert "streaming" not in manifest.model_dump(), "phones of 0.1.0 refuse unknown fields"
    with pytest.raises(FedvoiceError, match=r"\[streaming\]") as caught:
        StreamingRecogniser(_Other(engine, manifest), weights)  # type: ignore[arg-type]
    assert caught.value.code is ErrorCode.BAD_PACKAGE


class _Other:
    def __init__(self, engine: ExecuTorchEngine, manifest: object) -> None:
        self.engine, self.manifest = engine, manifest
