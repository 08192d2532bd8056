"""The Kotlin phone: a JVM with Android's ExecuTorch binary, and a task that it trains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fedvoice.android_harness.emulation.jvm import find_phone
from fedvoice.protocol.task import TaskPackage
from tests.device_runtime.tiny import WORDS
from tests.shared import exported

if TYPE_CHECKING:
    import pytest

HIDDEN_SIZE = 176
"""1.1 MB of weights and 1.1 MB an update: several chunks each."""
LEARNING = {
    "batch_size": 2,
    "local_epochs": 10,
    "client_rate": 0.05,
    "clip_norm": 3.0,
    "client_momentum": 0.9,
    "fvn_std": 0.01,
}


def package(factory: pytest.TempPathFactory) -> TaskPackage:
    """A CTC task of two words, with everything in its plan that a checkpoint must hold."""
    from fedvoice.model_export.config import BucketConfig, ExportConfig, VocabularyConfig
    from fedvoice.model_export.kinds.ctc import CtcConfig
    from fedvoice.model_export.kinds.encoder import EncoderConfig
    from fedvoice.protocol.plan import TrainingPlan
    from fedvoice.protocol.task import FeatureSettings

    encoder = EncoderConfig(layers=1, hidden_size=HIDDEN_SIZE, bidirectional=True)
    config = ExportConfig(
        name="faults",
        model=CtcConfig(encoder=encoder),
        features=FeatureSettings(mel_bins=6, stack=2, max_secs=1.0),
        vocabulary=VocabularyConfig(tokens=WORDS),
        buckets=(BucketConfig(frames=16, labels=2, batch=2),),
        plan=TrainingPlan.model_validate(LEARNING),
    )
    return exported(config, factory).package


def command(
    state: Path, invitation: str, corpus: Path, speaker: str, point: str, marker: Path
) -> list[str]:
    """See `PhoneKind.command`; `<state>.conditions` says how the phone fares, MARKER.clock turns
    its clock."""
    phone = find_phone()
    libraries = phone.environment()["LD_LIBRARY_PATH"]
    words = ["run", "--state", str(state), "--invitation", invitation, "--client-id", speaker]
    words += ["--data", str(corpus), "--speaker", speaker, "--checkpoint-secs", "0"]
    words += ["--conditions", f"{state}.conditions", "--grace-secs", "0.2"]
    words += ["--recheck-secs", "0.1", "--clock", f"{marker}.clock"]
    return ["env", f"LD_LIBRARY_PATH={libraries}", *phone.command(*words)]
