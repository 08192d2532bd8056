"""torchaudio's Emformer transducer, with its own loss."""

from __future__ import annotations

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional

RIGHT_CONTEXT, STRIDE = 4, 4


class EmformerTransducer(nn.Module):
    """Shi et al. 2021; greedy decoding emits one token a frame at most."""

    predicts = "frames"

    def __init__(
        self,
        input_size: int,
        vocabulary_size: int,
        dim: int = 128,
        layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = torchaudio.models.emformer_rnnt_model(
            input_dim=input_size,
            encoding_dim=dim,
            num_symbols=vocabulary_size,
            segment_length=16,
            right_context_length=RIGHT_CONTEXT,
            time_reduction_input_dim=dim // STRIDE,
            time_reduction_stride=STRIDE,
            transformer_num_heads=4,
            transformer_ffn_dim=2 * dim,
            transformer_num_layers=layers,
            transformer_dropout=dropout,
            transformer_activation="gelu",
            transformer_left_context_length=8,
            transformer_max_memory_size=0,
            transformer_weight_init_scale_strategy="depthwise",
            transformer_tanh_on_mem=True,
            symbol_embedding_dim=dim // 2,
            num_lstm_layers=1,
            lstm_layer_norm=True,
            lstm_layer_norm_epsilon=1e-3,
            lstm_dropout=dropout,
        )

    def encode(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encodings [B, T / 4, D] and their counts."""
        padded = functional.pad(features, (0, 0, 0, RIGHT_CONTEXT))
        encoded: tuple[Tensor, Tensor] = self.model.transcribe(padded, lengths.clamp(min=STRIDE))
        return encoded

    def predict(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of each frame after the tokens before it, and their counts."""
        encoded, counts = self.encode(features, lengths)
        one = torch.ones_like(counts)
        token = torch.zeros_like(counts)
        context, _, state = self.model.predict(token[:, None], one, None)
        logits = []
        for frame in encoded.split(1, 1):
            joined = self.model.join(frame, one, context, one)[0][:, 0, 0]
            logits.append(joined)
            token = joined.argmax(1)
            emits = (token != 0)[:, None]
            after, _, next_state = self.model.predict(token[:, None], one, state)
            context = torch.where(emits[:, None], after, context)
            state = [
                [torch.where(emits, new, old) for new, old in zip(*layers, strict=True)]
                for layers in zip(next_state, state, strict=True)
            ]
        return torch.stack(logits, 1), counts

    def forward(
        self, features: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor
    ) -> Tensor:
        """Loss of each row."""
        encoded, counts = self.encode(features, lengths)
        after, _, _ = self.model.predict(functional.pad(targets, (1, 0)), target_lengths + 1, None)
        logits, _, _ = self.model.join(encoded, counts, after, target_lengths + 1)
        loss: Tensor = torchaudio.functional.rnnt_loss(
            logits, targets.int(), counts.int(), target_lengths.int(), blank=0, reduction="none"
        )
        return loss
