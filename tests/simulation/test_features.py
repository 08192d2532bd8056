"""Features of waveforms are cached for what they are of, and say what they need."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fedvoice.data.references import ArrayReference, HeldArray
from fedvoice.model_export.models.loss import rnnt_nll
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import Float32Array
from fedvoice.protocol.task import FeatureSettings
from fedvoice.simulation.speech import FeatureLibrary

SETTINGS = FeatureSettings()


def noise(seed: int) -> Float32Array:
    return np.random.default_rng(seed).normal(scale=0.1, size=16000).astype(np.float32)


@dataclass
class Drawn(ArrayReference):
    """A user's reference, made anew whenever a client is asked for its examples."""

    seed: int
    text: str = "up"
    duration_secs: float = 1.0
    arrays: list[int] = field(default_factory=list)

    def array(self) -> Float32Array:
        self.arrays.append(self.seed)
        return noise(self.seed)


@dataclass
class Named(Drawn):
    @property
    def key(self) -> str:  # type: ignore[override]
        return f"drawn {self.seed}"


def test_no_reference_gets_the_features_of_another() -> None:
    library = FeatureLibrary(SETTINGS)
    for seed in range(20):  # freed at once: the next one has its place in memory, its id
        found = library.features_of(Drawn(seed))
        np.testing.assert_array_equal(found, FeatureLibrary(SETTINGS).features_of(Drawn(seed)))
    assert library.held_bytes == 0


def test_a_key_is_what_features_are_cached_under() -> None:
    library = FeatureLibrary(SETTINGS)
    assert library.features_of(Named(1)) is library.features_of(Named(1))
    assert library.features_of(Named(1)) is not library.features_of(Named(2))
    held = HeldArray("a", noise(1), 1.0)
    assert (held.key, Drawn(1).key) == ("a", None)
    assert library.features_of(held) is library.features_of(HeldArray("a", noise(1), 1.0))


def test_a_file_that_is_written_again_has_its_own_features(tmp_path: Path) -> None:
    path, library = tmp_path / "a.wav", FeatureLibrary(SETTINGS)
    soundfile.write(path, noise(1), 16000)
    first = library.get(path)
    assert library.get(path) is first
    soundfile.write(path, noise(2), 16000)
    later = path.stat().st_mtime_ns + 1_000_000_000  # on file systems of coarse times, too
    os.utime(path, ns=(later, later))
    again = library.get(path)
    np.testing.assert_array_equal(again, FeatureLibrary(SETTINGS).get(path))
    assert not np.array_equal(again, first)
    path.unlink()
    with pytest.raises(FedvoiceError) as caught:
        library.get(path)
    assert caught.value.code is ErrorCode.MISSING_AUDIO


def test_without_torchaudio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchaudio", None)  # as if it were not installed
    one = torch.ones(1, 1, dtype=torch.int64)
    for use in (
        lambda: FeatureLibrary(SETTINGS).features_of(HeldArray("a", noise(1), 1.0)),
        lambda: rnnt_nll(torch.zeros(1, 1, 2, 3), one, one[0], one[0]),
    ):
        with pytest.raises(FedvoiceError, match=r"fedvoice\[fast\]") as caught:
            use()
        assert caught.value.code is ErrorCode.MISSING_EXTRA
