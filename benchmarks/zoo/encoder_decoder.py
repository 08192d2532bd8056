"""Encoder-decoder recognisers of transformers: Whisper and SpeechT5."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from benchmarks.zoo.losses import END, START, greedy, sequence_loss, with_start
from benchmarks.zoo.wav2vec2 import encoder_settings


class Whisper(nn.Module):
    """Radford et al. 2022. Features are filled up to `frames`, all of which it attends to."""

    predicts = "frames"

    def __init__(
        self,
        input_size: int,
        vocabulary_size: int,
        frames: int = 200,
        dim: int = 96,
        layers: int = 1,
        dropout: float = 0.0,
        most_tokens: int = 4,
    ) -> None:
        super().__init__()
        from transformers import WhisperConfig, WhisperForConditionalGeneration

        self.frames, self.most_tokens = frames, most_tokens
        config = WhisperConfig(
            vocab_size=vocabulary_size,
            num_mel_bins=input_size,
            max_source_positions=frames // 2,
            max_target_positions=32,
            d_model=dim,
            encoder_layers=layers,
            decoder_layers=layers,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=2 * dim,
            decoder_ffn_dim=2 * dim,
            dropout=dropout,
            pad_token_id=0,
            bos_token_id=START,
            eos_token_id=END,
            decoder_start_token_id=START,
            use_cache=False,
        )
        self.model = WhisperForConditionalGeneration(config)

    def encode(self, features: Tensor) -> tuple[Tensor]:
        """The encoder's outputs, as the decoder takes them."""
        missing = self.frames - features.shape[1]
        padded = functional.pad(features, (0, 0, 0, missing)).transpose(1, 2)
        return (self.model.model.encoder(padded).last_hidden_state,)

    def predict(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of `most_tokens` tokens, and how many come before the end."""
        encoded = self.encode(features)
        return greedy(
            lambda tokens: self.model(encoder_outputs=encoded, decoder_input_ids=tokens).logits,
            len(features),
            self.most_tokens,
        )

    def forward(self, features: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
        """Loss of each row."""
        encoded, given = self.encode(features), with_start(targets)
        logits = self.model(encoder_outputs=encoded, decoder_input_ids=given).logits
        return sequence_loss(logits, targets, target_lengths)


class SpeechT5(nn.Module):
    """Ao et al. 2022: speech to text on raw samples."""

    predicts = "frames"

    def __init__(
        self,
        vocabulary_size: int,
        dim: int = 96,
        channels: int = 64,
        layers: int = 1,
        dropout: float = 0.0,
        layer_drop: float = 0.0,
        most_tokens: int = 4,
    ) -> None:
        super().__init__()
        from transformers import SpeechT5Config, SpeechT5ForSpeechToText

        self.most_tokens = most_tokens
        settings = encoder_settings(dim, channels, dropout)
        heads = settings.pop("num_attention_heads")
        config = SpeechT5Config(
            vocab_size=vocabulary_size,
            max_text_positions=32,
            max_speech_positions=100,
            encoder_layers=layers,
            decoder_layers=layers,
            encoder_attention_heads=heads,
            decoder_attention_heads=heads,
            encoder_ffn_dim=2 * dim,
            decoder_ffn_dim=2 * dim,
            encoder_layerdrop=layer_drop,
            decoder_layerdrop=layer_drop,
            positional_dropout=dropout,
            pad_token_id=0,
            bos_token_id=START,
            eos_token_id=END,
            decoder_start_token_id=START,
            use_cache=False,
            **settings,
        )
        self.model = SpeechT5ForSpeechToText(config)

    def predict(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of `most_tokens` tokens, and how many come before the end."""
        encoded = (self.model.speecht5.encoder(waveform).last_hidden_state,)
        return greedy(
            lambda tokens: self.model(encoder_outputs=encoded, decoder_input_ids=tokens).logits,
            len(waveform),
            self.most_tokens,
        )

    def forward(self, waveform: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
        """Loss of each row."""
        logits = self.model(waveform, decoder_input_ids=with_start(targets)).logits
        return sequence_loss(logits, targets, target_lengths)
