"""Why sherpa-onnx's transcripts differ from ours: how much of its features changes how many.

    python -m benchmarks.sherpa_gap --task runs/streaming-models/rnnt \
        --manifest runs/streaming-models/heldout.jsonl

Each arm makes features in PyTorch with one thing as sherpa-onnx has it, and counts the transcripts
that stay as they are with our own features. A shift begins every window so many samples earlier;
sherpa-onnx's begin up to 16 earlier. The last line of stdout is one JSON object.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer
from torch import Tensor

from fedvoice.model_export.log_mel import of_torchaudio
from fedvoice.model_export.outgoing.sherpa_features import energy_weights, their_bins
from fedvoice.model_export.outgoing.speech import Heard, read_speech
from fedvoice.model_export.outgoing.trained import read_trained
from fedvoice.protocol.engine import normalise_features
from fedvoice.protocol.task import FeatureSettings

Energies = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
"""Spectrogram [257, frames] -> energies [mel_bins, frames]."""


def main(
    task: Annotated[Path, typer.Option(help="Folder of a run.")],
    manifest: Annotated[Path, typer.Option(help="Speech: JSON lines.")],
    every: Annotated[int, typer.Option(min=1, help="Only every so many-th utterance.")] = 3,
) -> None:
    """Count."""
    torch.set_num_threads(1)
    trained = read_trained(task)
    settings = trained.manifest.features
    heard = read_speech(manifest, trained.manifest, most=10**6)[0][::every]
    triangles = of_torchaudio("functional", "melscale_fbanks")(
        settings.fft_size // 2 + 1, 0.0, settings.sample_rate / 2, settings.mel_bins, 16000
    )
    ours = triangles.double().numpy().T
    _, bins, emphasis = their_bins()
    weights = energy_weights(settings.mel_bins)
    arms: dict[str, tuple[int, Energies]] = {
        "ours": (0, lambda spectrum: ours @ spectrum),
        "windows 8 samples earlier": (8, lambda spectrum: ours @ spectrum),
        "windows 16 samples earlier": (16, lambda spectrum: ours @ spectrum),
        "their mel bins": (0, lambda spectrum: weights @ ((bins * emphasis) @ spectrum)),
        "both": (16, lambda spectrum: weights @ ((bins * emphasis) @ spectrum)),
    }
    greedy = trained.model.greedy
    wanted = [greedy(one.features, one.lengths)[0].tokens for one in heard]
    same = dict.fromkeys(arms, 0)
    for one, tokens in zip(heard, wanted, strict=True):
        for name, (shift, energies) in arms.items():
            features = _features(one, settings, shift, energies)
            same[name] += greedy(features, one.lengths)[0].tokens == tokens
    for name, count in same.items():
        print(f"{name}: {count} of {len(heard)}")
    print(json.dumps({"utterances": len(heard), "same": same}))


def _features(one: Heard, settings: FeatureSettings, shift: int, energies: Energies) -> Tensor:
    spectrogram = of_torchaudio("transforms", "Spectrogram")(
        settings.fft_size, settings.window_samples, settings.hop_samples, center=False
    )
    waveform = np.concatenate([np.zeros(shift, np.float32), one.waveform])
    found = energies(spectrogram(torch.from_numpy(waveform)).double().numpy())
    frames = settings.frames(one.waveform.size)
    log_mel = np.log(found + settings.log_floor).T[:frames].astype(np.float32)
    whole = one.features.new_zeros(int(one.lengths) * settings.stack, settings.mel_bins)
    whole[:frames] = torch.from_numpy(normalise_features(log_mel))
    return whole.reshape(1, int(one.lengths), -1)


if __name__ == "__main__":
    typer.run(main)
