"""Recognisers as ONNX can have them: padded rows of any length, no packed sequences, no loops."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.models.ctc import CtcModel
from fedvoice.model_export.models.lstm import SingleBiasLSTM
from fedvoice.model_export.models.module import ModuleModel
from fedvoice.model_export.models.rnnt import RnntModel
from fedvoice.model_export.outgoing.recurrent import ordered


class Encoder(nn.Module):
    """`SingleBiasLSTM.encode`: x float32 [B, T, I], lengths int64 [B] -> [B, T, D * H].

    The backward direction reads each row from its own end, by index: what a packed sequence gives.
    """

    def __init__(self, lstm: SingleBiasLSTM) -> None:
        super().__init__()
        ways = [""] + (["_reverse"] if lstm.bidirectional else [])
        self.layers = nn.ModuleList(
            nn.ModuleList(_one_way(lstm, f"_l{layer}{way}") for way in ways)
            for layer in range(lstm.num_layers)
        )

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """See the class."""
        places = torch.arange(x.shape[1])[None, :]
        ends = lengths[:, None]
        backward = torch.where(places < ends, ends - 1 - places, places)
        for ways in self.layers:
            assert isinstance(ways, nn.ModuleList)
            outputs = [ways[0](x)[0]]
            if len(ways) > 1:
                outputs.append(ordered(ways[1](ordered(x, backward))[0], backward))
            x = torch.cat(outputs, 2)
        return x


class CtcGraph(nn.Module):
    """features [B, T, I], lengths int64 [B] -> logits [B, T, V], lengths."""

    def __init__(self, model: CtcModel) -> None:
        super().__init__()
        self.encoder, self.output = Encoder(model.encoder), model.output

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        return self.output(self.encoder(features, lengths)), lengths.clone()


class ModuleGraph(nn.Module):
    """features [B, T, I], lengths int64 [B] -> what the person's `predict` gives: logits, and how
    many frames of a row count."""

    def __init__(self, model: ModuleModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        # Not `to_transcribe`: it reads the number of rows, which would then be the example's.
        batch = TensorBatch(features, lengths[:, None] * 0, lengths, lengths * 0, lengths * 0.0)
        logits, counts = self.model.predictions(self.model.module, batch)
        return logits, counts.clone()


class RnntEncoder(nn.Module):
    """features [B, T, I], lengths int64 [B] -> encoded [B, T, J], lengths."""

    def __init__(self, model: RnntModel) -> None:
        super().__init__()
        self.encoder, self.joint = Encoder(model.encoder), model.joint_encoder

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        return self.joint(self.encoder(features, lengths)), lengths.clone()


class RnntDecoder(nn.Module):
    """tokens int64 [B], hidden and cell [1, B, H] of the tokens before -> predicted [B, J], and the
    next two. The first token is the blank, 0, with states of zeros."""

    def __init__(self, model: RnntModel) -> None:
        super().__init__()
        self.embedding, self.joint = model.embedding, model.joint_predictor
        self.lstm = _one_way(model.predictor, "_l0")

    def forward(self, tokens: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        outputs, (hidden, cell) = self.lstm(self.embedding(tokens[:, None]), (hidden, cell))
        return self.joint(outputs[:, 0]), hidden, cell


class RnntJoiner(nn.Module):
    """encoded and predicted [B, J] -> logits [B, V]."""

    def __init__(self, model: RnntModel) -> None:
        super().__init__()
        self.output = model.output

    def forward(self, encoded: Tensor, predicted: Tensor) -> Tensor:
        """See the class."""
        logits: Tensor = self.output(torch.tanh(encoded + predicted))
        return logits


def _one_way(lstm: SingleBiasLSTM, suffix: str) -> nn.LSTM:
    """One layer and direction, as PyTorch's own."""
    weight: Tensor = getattr(lstm, f"weight_ih{suffix}")
    made = nn.LSTM(weight.shape[1], lstm.hidden_size, batch_first=True)
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(made, f"{name}_l0").copy_(getattr(lstm, f"{name}{suffix}"))
    return made
