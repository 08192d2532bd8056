"""Speech that comes as features instead of sound, such as AN4's MFCC.

A manifest has one JSON object a line: `feats_filepath` (an npz file, relative to the manifest),
`key` (of an array float32 [frames, bins] in it, 100 frames a second), `text`, `speaker`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from fedvoice.protocol.engine import normalise_features
from fedvoice.protocol.errors import (
    ErrorCode,
    FedvoiceError,
)
from fedvoice.protocol.parameters import Float32Array
from fedvoice.protocol.utterances import Utterance
from fedvoice.protocol.vocabulary import normalise

FRAMES_PER_SEC = 100.0
TEST_EVERY = 10


def read_feature_manifest(path: Path) -> list[Utterance]:
    """Utterances whose `audio_path` is the npz file with the key below it; a tenth of each
    speaker's are test utterances.

    Raises:
        FedvoiceError: `not-found`; `bad-manifest` with file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FedvoiceError(
            ErrorCode.NOT_FOUND,
            where=str(path),
            got=str(error),
            wanted="a manifest of feature files: one JSON object a line",
            next_step="Check the path.",
        ) from error
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            fields = json.loads(line)
            found.append(
                Utterance(
                    audio_path=path.parent / fields["feats_filepath"] / fields["key"],
                    text=normalise(fields["text"]),
                    duration_secs=float(fields["num_frames"]) / FRAMES_PER_SEC,
                    speaker=str(fields["speaker"]),
                    source=str(fields.get("source", "")),
                )
            )
        except (ValueError, KeyError, TypeError) as error:
            raise FedvoiceError(
                ErrorCode.BAD_MANIFEST,
                where=f"{path}:{number}",
                got=f"{type(error).__name__}: {error}",
                wanted="feats_filepath, key, text, num_frames and speaker",
                next_step="Correct the line.",
            ) from error
    return _with_test_utterances(found)


def _with_test_utterances(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Each tenth of a speaker's, from another place on for each speaker: where all say the same
    prompts in the same order, as in AN4, no prompt is left to the tests alone."""
    by_speaker: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        by_speaker[utterance.speaker].append(utterance)
    return [
        replace(u, split="test" if (place + number) % TEST_EVERY == TEST_EVERY - 1 else "train")
        for number, speaker in enumerate(sorted(by_speaker))
        for place, u in enumerate(by_speaker[speaker])
    ]


class FeatureFiles:
    """Arrays of npz files by `file.npz/key`, normalised as features of sounds are."""

    def get(self, path: Path) -> Float32Array:
        """Features float32 [frames, bins].

        Raises:
            FedvoiceError: `missing-audio` naming file and key.
        """
        try:
            return _arrays(path.parent)[path.name]
        except (OSError, KeyError, ValueError, BadZipFile) as error:
            raise FedvoiceError(
                ErrorCode.MISSING_AUDIO,
                where=str(path.parent),
                got=f"{type(error).__name__}: {error}",
                wanted=f"an npz file with an array {path.name!r}",
                next_step="Paths are relative to the manifest: move it or correct the line.",
            ) from error


@lru_cache(maxsize=512)
def _arrays(path: Path) -> dict[str, Float32Array]:
    with np.load(path) as stored:
        return {key: normalise_features(stored[key]) for key in stored.files}
