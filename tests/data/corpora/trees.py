"""Small trees of published corpora, written by hand: their text files, and sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

RATE = 16000


def write_sound(path: Path, secs: float = 0.5, rate: int = RATE, **how: str) -> None:
    """A quiet tone of so many seconds, in the format of the file's name or of `how`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.1 * np.sin(np.arange(round(secs * rate)) / 5)
    soundfile.write(path, wave.astype(np.float32), rate, **how)


def write(path: Path, text: str) -> None:
    """A text file in UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
