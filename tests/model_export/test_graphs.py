"""The step graphs in eager PyTorch, against autograd: quick, before any lowering."""

from __future__ import annotations

import pytest
import torch

from fedvoice.model_export.gradient_check import Checked, check_decode, check_step
from fedvoice.model_export.graphs import joint
from fedvoice.model_export.graphs.chunks import chunk_frames, padded_frames
from fedvoice.model_export.kinds import ModelConfig, build_model
from fedvoice.model_export.kinds.ctc import CtcConfig
from fedvoice.model_export.kinds.encoder import EncoderConfig
from fedvoice.model_export.kinds.rnnt import RnntConfig
from fedvoice.model_export.kinds.two_layer import TwoLayerConfig
from fedvoice.model_export.package import parameter_table
from fedvoice.protocol.task import Bucket, FeatureSettings
from tests.model_export.eager import EagerGraphs

FEATURES = FeatureSettings(mel_bins=3, stack=2)


def encoder(layers: int, *, bidirectional: bool) -> EncoderConfig:
    return EncoderConfig(layers=layers, hidden_size=4, bidirectional=bidirectional)


MODELS: list[ModelConfig] = [
    RnntConfig(encoder=encoder(1, bidirectional=False), embedding_size=3, joint_size=5),
    RnntConfig(encoder=encoder(3, bidirectional=True), predictor_size=3, max_symbols_per_frame=1),
    CtcConfig(encoder=encoder(2, bidirectional=False)),
    CtcConfig(encoder=encoder(2, bidirectional=True)),
    TwoLayerConfig(hidden_size=5),
]


@pytest.mark.parametrize("config", MODELS, ids=str)
@pytest.mark.parametrize("bucket", [(12, 3, 3), (5, 1, 1)], ids=str)
def test_law_8_gradients_and_tokens_of_the_graphs_are_those_of_autograd_and_a_host_loop(
    config: ModelConfig, bucket: tuple[int, int, int]
) -> None:
    check_both(config, bucket)


def test_recomputing_the_softmax_gives_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint, "KEPT_SOFTMAX_BYTES", 0)
    check_both(MODELS[0], (10, 3, 2))


def check_both(config: ModelConfig, bucket: tuple[int, int, int]) -> None:
    frames, labels, batch = bucket
    sizes = Bucket(name="eager", frames=frames, labels=labels, batch=batch)
    torch.manual_seed(0)
    model = build_model(config, FEATURES.stack * FEATURES.mel_bins, 6)
    checked = Checked(config, model, parameter_table(model), FEATURES)
    graphs = EagerGraphs(checked, sizes)
    assert check_step(graphs, checked, sizes).error < 1e-4
    check_decode(graphs, checked, sizes)


def test_chunks_divide_padded_frames() -> None:
    assert [padded_frames(t) for t in (2, 10, 11, 13, 23, 25, 100)] == [2, 10, 12, 14, 24, 25, 100]
    assert [chunk_frames(t) for t in (2, 12, 14, 25, 24)] == [2, 4, 7, 5, 4]
    assert all(padded_frames(t) % chunk_frames(padded_frames(t)) == 0 for t in range(2, 500))
