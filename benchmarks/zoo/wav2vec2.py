"""wav2vec 2.0 on raw samples with a CTC head, of torchaudio and of transformers."""

from __future__ import annotations

from typing import Any

import torchaudio
from torch import Tensor, nn

from benchmarks.zoo.losses import ctc


class TorchaudioWav2Vec2(nn.Module):
    """torchaudio's `wav2vec2_model`."""

    predicts = "ctc"

    def __init__(
        self,
        vocabulary_size: int,
        dim: int = 96,
        channels: int = 64,
        layers: int = 1,
        dropout: float = 0.0,
        layer_drop: float = 0.0,
    ) -> None:
        super().__init__()
        front = [(channels, 10, 5)] + [(channels, 3, 2)] * 4 + [(channels, 2, 2)] * 2
        self.model = torchaudio.models.wav2vec2_model(
            extractor_mode="group_norm",
            extractor_conv_layer_config=front,
            extractor_conv_bias=False,
            encoder_embed_dim=dim,
            encoder_projection_dropout=dropout,
            encoder_pos_conv_kernel=32,
            encoder_pos_conv_groups=4,
            encoder_num_layers=layers,
            encoder_num_heads=4,
            encoder_attention_dropout=dropout,
            encoder_ff_interm_features=2 * dim,
            encoder_ff_interm_dropout=dropout,
            encoder_dropout=dropout,
            encoder_layer_norm_first=False,
            encoder_layer_drop=layer_drop,
            aux_num_out=vocabulary_size,
        )

    def predict(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of every 320th sample, and their counts."""
        logits, counts = self.model(waveform, lengths)
        return logits, counts.clamp(min=1)  # rows that fill up are one sample long

    def forward(
        self, waveform: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor
    ) -> Tensor:
        """Loss of each row."""
        return ctc(*self.predict(waveform, lengths), targets, target_lengths)


class TransformersWav2Vec2(nn.Module):
    """`Wav2Vec2ForCTC` of transformers."""

    predicts = "ctc"

    def __init__(
        self,
        vocabulary_size: int,
        dim: int = 96,
        channels: int = 64,
        layers: int = 1,
        dropout: float = 0.0,
        layer_drop: float = 0.0,
    ) -> None:
        super().__init__()
        from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

        config = Wav2Vec2Config(
            vocab_size=vocabulary_size,
            num_hidden_layers=layers,
            intermediate_size=2 * dim,
            layerdrop=layer_drop,
            final_dropout=dropout,
            pad_token_id=0,
            **encoder_settings(dim, channels, dropout),
        )
        self.model = Wav2Vec2ForCTC(config)

    def predict(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of every 320th sample, and their counts."""
        counts: Tensor = self.model._get_feat_extract_output_lengths(lengths)
        return self.model(waveform).logits, counts.clamp(min=1)

    def forward(
        self, waveform: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor
    ) -> Tensor:
        """Loss of each row."""
        return ctc(*self.predict(waveform, lengths), targets, target_lengths)


def encoder_settings(dim: int, channels: int, dropout: float) -> dict[str, Any]:
    """What transformers' models of this family call their sizes."""
    return {
        "hidden_size": dim,
        "conv_dim": (channels,) * 7,
        "num_conv_pos_embeddings": 32,
        "num_conv_pos_embedding_groups": 4,
        "num_attention_heads": 4,
        "hidden_dropout": dropout,
        "attention_dropout": dropout,
        "activation_dropout": dropout,
        "feat_proj_dropout": dropout,
        "mask_time_prob": 0.0,
        "apply_spec_augment": False,
    }
