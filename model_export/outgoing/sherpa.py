"""Our transducer and CTC models in sherpa-onnx's layout of NeMo's: `nemo_transducer`, `nemo_ctc`.

The blank is the last token there, `<blk>`; the process ends where it is not. Names, types and
shapes are those that sherpa-onnx 2.0.1 gives and takes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fedvoice.model_export.models.ctc import CtcModel
from fedvoice.model_export.models.rnnt import RnntModel
from fedvoice.model_export.outgoing.graphs import CtcGraph, RnntDecoder, RnntEncoder, RnntJoiner
from fedvoice.model_export.outgoing.onnx_file import OnnxSource, needs, write_onnx
from fedvoice.model_export.outgoing.sherpa_features import BINS, SherpaFeatures
from fedvoice.model_export.outgoing.trained import Trained
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import Float32Array
from fedvoice.protocol.task import TaskManifest
from fedvoice.protocol.vocabulary import WORD_BOUNDARY, TargetKind, Vocabulary

TOKENS_FILE = "tokens.txt"
BLANK_NAME = "<blk>"
TRANSDUCER_TYPE = "nemo_transducer"


def write_sherpa(trained: Trained, folder: Path) -> list[Path]:
    """`tokens.txt`, and `encoder.onnx`, `decoder.onnx`, `joiner.onnx` of a transducer or
    `model.onnx` of a CTC model.

    Raises:
        FedvoiceError: `bad-config` for other models, front ends and tokens; `missing-extra`.
    """
    sources = sherpa_sources(trained)
    (folder / TOKENS_FILE).write_text(tokens_text(trained.manifest.vocabulary), encoding="utf-8")
    written = [write_onnx(source, folder / f"{name}.onnx") for name, source in sources.items()]
    return [folder / TOKENS_FILE, *written]


def sherpa_sources(trained: Trained) -> dict[str, OnnxSource]:
    """Graphs by the names of their files, without the ending."""
    model, manifest = trained.model, trained.manifest
    size = manifest.vocabulary.size
    # No multiple of the stack: what holds for multiples alone would be taken for always.
    frames = 5 * manifest.features.stack + 1
    metadata = {
        "vocab_size": str(size - 1),  # NeMo's count leaves out the blank
        "subsampling_factor": str(manifest.features.stack),
        "normalize_type": "",
        "is_giga_am": "1",
    }
    lengths = torch.tensor([frames, frames - 1])
    heard = {"audio_signal": torch.randn(2, BINS, frames), "length": lengths}
    taken: dict[str, tuple[int | str, ...]] = {"audio_signal": ("B", BINS, "T"), "length": ("B",)}
    if isinstance(model, CtcModel):
        metadata["model_type"] = "EncDecCTCModelBPE"
        axes = {**taken, "logprobs": ("B", "frames", size)}
        return {"model": OnnxSource(_Ctc(model, manifest), heard, axes, metadata)}
    if not isinstance(model, RnntModel):
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=f"release, format sherpa, model {manifest.model_kind}",
            got="a model of another kind",
            wanted="rnnt or ctc, which have a layout of sherpa-onnx",
            next_step="Release it as onnx, which onnxruntime runs.",
        )
    joint, hidden = model.config.joint_size, model.config.predictor_size
    metadata |= {
        "pred_rnn_layers": "1",
        "pred_hidden": str(hidden),
        "model_type": "EncDecRNNTBPEModel",
    }
    state = torch.zeros(1, 2, hidden)
    said = {
        "targets": torch.zeros(2, 1, dtype=torch.int32),
        "target_length": torch.ones(2, dtype=torch.int32),
        "states.1": state,
        "onnx::Slice_3": state + 0,
    }
    states: tuple[int | str, ...] = (1, "B", hidden)
    row: tuple[int | str, ...] = ("B", joint, 1)
    pair = {"encoder_outputs": torch.zeros(2, joint, 1), "decoder_outputs": torch.ones(2, joint, 1)}
    return {
        "encoder": OnnxSource(
            _Encoder(model, manifest),
            heard,
            {**taken, "outputs": ("B", joint, "frames"), "encoded_lengths": ("B",)},
            metadata,
        ),
        "decoder": OnnxSource(
            _Decoder(model),
            said,
            {
                "targets": ("B", 1),
                "target_length": ("B",),
                "states.1": states,
                "onnx::Slice_3": states,
                "outputs": row,
                "prednet_lengths": ("B",),
                "states": states,
                "cells": states,
            },
        ),
        "joiner": OnnxSource(
            _Joiner(model),
            pair,
            {"encoder_outputs": row, "decoder_outputs": row, "logits": ("B", 1, 1, size)},
        ),
    }


def tokens_text(vocabulary: Vocabulary) -> str:
    """Lines `token id`, the blank last; a word is preceded by the mark that becomes a space.

    Raises:
        FedvoiceError: `bad-config` for tokens that such a file cannot hold.
    """
    mark = WORD_BOUNDARY if vocabulary.kind is TargetKind.WORD else ""
    names = [mark + token for token in vocabulary.tokens[1:]]
    bad = [name for name in names if not name or name == BLANK_NAME or name.split() != [name]]
    if bad or len(set(names)) < len(names):
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where="release, format sherpa, tokens",
            got=repr(bad[0]) if bad else "a token twice",
            wanted=f"different tokens without white space, none {BLANK_NAME}",
            next_step="Release it as onnx, whose tokens are the task's ids.",
        )
    lines = [*names, BLANK_NAME]
    return "".join(f"{name} {place}\n" for place, name in enumerate(lines))


class SherpaRecogniser:
    """What `write_sherpa` wrote, in sherpa-onnx.

    Raises:
        FedvoiceError: `missing-extra`.
    """

    def __init__(self, folder: Path, sample_rate: int) -> None:
        recogniser = needs("sherpa_onnx").OfflineRecognizer
        files = {path.stem: str(path) for path in folder.glob("*.onnx")}
        tokens = str(folder / TOKENS_FILE)
        self._sample_rate = sample_rate
        self._recogniser: Any
        if "model" in files:
            self._recogniser = recogniser.from_nemo_ctc(files["model"], tokens, feature_dim=BINS)
        else:
            self._recogniser = recogniser.from_transducer(
                files["encoder"],
                files["decoder"],
                files["joiner"],
                tokens,
                feature_dim=BINS,
                model_type=TRANSDUCER_TYPE,
            )

    def transcribe(self, waveform: Float32Array) -> str:
        """The text of a waveform float32 [samples] in +-1."""
        stream = self._recogniser.create_stream()
        stream.accept_waveform(self._sample_rate, waveform)
        self._recogniser.decode_stream(stream)
        return " ".join(str(stream.result.text).split())


class _Encoder(nn.Module):
    """audio_signal [B, 64, T], length int64 [B] -> outputs [B, J, T'], encoded_lengths [B]."""

    def __init__(self, model: RnntModel, manifest: TaskManifest) -> None:
        super().__init__()
        self.features, self.encoder = SherpaFeatures(manifest.features), RnntEncoder(model)

    def forward(self, audio_signal: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        encoded, counts = self.encoder(*self.features(audio_signal, length))
        return encoded.transpose(1, 2), counts


class _Decoder(nn.Module):
    """targets int32 [B, 1], target_length int32 [B], states [1, B, H] twice -> outputs [B, J, 1],
    the length and the next states."""

    def __init__(self, model: RnntModel) -> None:
        super().__init__()
        self.decoder, self.size = RnntDecoder(model), model.vocabulary_size

    def forward(
        self, targets: Tensor, target_length: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, ...]:
        tokens = (targets[:, 0].to(torch.int64) + 1) % self.size  # their last is our first
        predicted, hidden, cell = self.decoder(tokens, hidden, cell)
        return predicted[:, :, None], target_length.clone(), hidden, cell


class _Joiner(nn.Module):
    """encoder_outputs and decoder_outputs [B, J, 1] -> logits [B, 1, 1, V], the blank last."""

    def __init__(self, model: RnntModel) -> None:
        super().__init__()
        self.joiner = RnntJoiner(model)

    def forward(self, encoder_outputs: Tensor, decoder_outputs: Tensor) -> Tensor:
        logits = self.joiner(encoder_outputs[:, :, 0], decoder_outputs[:, :, 0])
        return _blank_last(logits)[:, None, None]


class _Ctc(nn.Module):
    """audio_signal [B, 64, T], length int64 [B] -> logprobs [B, T', V], the blank last."""

    def __init__(self, model: CtcModel, manifest: TaskManifest) -> None:
        super().__init__()
        self.features, self.model = SherpaFeatures(manifest.features), CtcGraph(model)

    def forward(self, audio_signal: Tensor, length: Tensor) -> Tensor:
        logits, _ = self.model(*self.features(audio_signal, length))
        return _blank_last(logits).log_softmax(-1)


def _blank_last(logits: Tensor) -> Tensor:
    return torch.cat([logits[..., 1:], logits[..., :1]], -1)
