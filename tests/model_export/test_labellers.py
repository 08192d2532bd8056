"""Frame labellers: the federated-averaging paper's models, as eager modules and as graphs."""

from __future__ import annotations

import math

import pytest
import torch

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.config import BucketConfig, ExportConfig, VocabularyConfig
from fedvoice.model_export.gradient_check import Checked, check_decode, check_step
from fedvoice.model_export.graphs.labeller import frame_loss_gradient
from fedvoice.model_export.graphs.methods import task_methods
from fedvoice.model_export.kinds import ModelConfig, build_model
from fedvoice.model_export.kinds.char_lstm import CharLstmConfig
from fedvoice.model_export.kinds.cnn import CnnConfig
from fedvoice.model_export.kinds.two_layer import TwoLayerConfig
from fedvoice.model_export.models.labeller import frame_nll
from fedvoice.model_export.models.loss import loss_of
from fedvoice.model_export.package import parameter_table
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.task import Bucket, FeatureSettings
from tests.model_export.eager import EagerGraphs

SIZES: dict[str, tuple[ModelConfig, FeatureSettings]] = {
    "2nn": (TwoLayerConfig(hidden_size=5), FeatureSettings(mel_bins=3, stack=2)),
    "char-lstm": (
        CharLstmConfig(embedding_size=3, hidden_size=4, layers=2),
        FeatureSettings(mel_bins=1, stack=1),
    ),
    "cnn": (
        CnnConfig(channels1=2, channels2=3, dense_size=4),
        FeatureSettings(mel_bins=8, stack=8),
    ),
}
VOCABULARY = 6


def checked_model(kind: str) -> Checked:
    config, features = SIZES[kind]
    torch.manual_seed(0)
    model = build_model(config, features.stack * features.mel_bins, VOCABULARY)
    return Checked(config, model, parameter_table(model), features)


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("sizes", [(6, 3, 3), (6, 6, 2), (1, 1, 1)], ids=str)
def test_law_8_gradients_and_tokens_of_the_graphs_are_those_of_autograd_and_a_host_loop(
    kind: str, sizes: tuple[int, int, int]
) -> None:
    frames, labels, batch = sizes
    checked = checked_model(kind)
    bucket = Bucket(name="eager", frames=frames, labels=labels, batch=batch)
    graphs = EagerGraphs(checked, bucket)
    assert check_step(graphs, checked, bucket).error < 1e-4
    check_decode(graphs, checked, bucket)


@pytest.mark.parametrize(
    ("config", "inputs", "vocabulary", "parameters"),
    [
        # 784*200 + 200, 200*200 + 200, 200*10 + 10: the paper's 199,210
        (TwoLayerConfig(), 784, 11, 199_210),
        # 76*8, 4*256*(8 + 256 + 1), 4*256*(256 + 256 + 1), 256*76 + 76
        (CharLstmConfig(), 1, 77, 816_812),
        # 32*25 + 32, 64*32*25 + 64, 512*64*49 + 512, 10*512 + 10: the paper's 1,663,370
        (CnnConfig(), 784, 11, 1_663_370),
    ],
    ids=["2nn", "char-lstm", "cnn"],
)
def test_models_have_as_many_parameters_as_their_layers_say(
    config: ModelConfig, inputs: int, vocabulary: int, parameters: int
) -> None:
    assert parameter_table(build_model(config, inputs, vocabulary)).parameter_count == parameters


def test_the_loss_of_a_row_is_the_mean_over_its_labels() -> None:
    # Frame 0 gives token 1 the probability 1/2, frame 1 gives token 2 a quarter; frame 2 has no
    # label. (log 2 + log 4) / 2; the second row has no labels at all.
    log_p = torch.log(torch.tensor([[0.5, 0.5], [0.75, 0.25], [0.5, 0.5]]))
    logits = torch.stack([log_p, log_p])
    y, y_lens = torch.tensor([[1, 2], [1, 1]]), torch.tensor([2, 0])
    wanted = [1.5 * math.log(2), 0.0]
    assert frame_nll(logits, y, y_lens).tolist() == pytest.approx(wanted)
    nll, gradient = frame_loss_gradient(logits, y, y_lens, torch.tensor([2.0, 1.0]))
    assert nll.tolist() == pytest.approx(wanted)
    # weight 2 / 2 labels * (probability - one-hot)
    assert gradient[0].flatten().tolist() == pytest.approx([-0.5, 0.5, 0.75, -0.75, 0, 0])
    assert gradient[1].abs().max().item() == 0


def test_one_function_gives_the_loss_of_every_kind_of_model() -> None:
    checked = checked_model("2nn")
    x, one = torch.zeros(2, 1, 6), torch.ones(2, dtype=torch.int64)
    batch = TensorBatch(x, one.reshape(2, 1), one, one, torch.tensor([0.25, 0.75]))
    loss = loss_of(checked.model, batch)
    row = loss_of(checked.model, batch.of(slice(1))._replace(example_weights=torch.ones(1)))
    assert loss.item() == pytest.approx(row.item())


def test_the_character_0_is_no_character_and_the_output_has_no_blank() -> None:
    checked = checked_model("char-lstm")
    model = checked.model
    silence = model(torch.zeros(1, 2, 1))
    with torch.no_grad():
        model.embedding.weight.zero_()
    assert torch.equal(model(torch.tensor([[[1.0], [5.0]]])), silence)
    assert silence.shape == (1, 2, VOCABULARY - 1)


@pytest.mark.parametrize("kind", SIZES)
def test_a_program_without_a_front_end_has_no_features(kind: str) -> None:
    checked = checked_model(kind)
    bucket = Bucket(name="t2", frames=2, labels=2, batch=2)
    methods = task_methods(
        checked.config, checked.table, (bucket,), checked.features, checked.model
    )
    assert set(methods) == {"step_t2", "decode_t2"}


def test_a_character_model_wants_one_number_a_frame() -> None:
    with pytest.raises(FedvoiceError, match="40 values a frame") as caught:
        build_model(CharLstmConfig(), 40, 5)
    assert caught.value.code is ErrorCode.BAD_CONFIG


def test_every_label_needs_a_frame_and_speech_needs_two() -> None:
    words = VocabularyConfig(tokens=("a", "b"))
    with pytest.raises(ValueError, match="3 labels in 2 frames"):
        ExportConfig(
            name="crowded",
            model=TwoLayerConfig(),
            vocabulary=words,
            buckets=(BucketConfig(frames=2, labels=3),),
        )
    with pytest.raises(ValueError, match="at least 2"):
        ExportConfig(
            name="short",
            model={"kind": "ctc"},
            vocabulary=words,
            buckets=(BucketConfig(frames=1, labels=1),),
        )
