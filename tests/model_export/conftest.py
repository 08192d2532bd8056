"""Tiny tasks, exported once for all tests: sizes that divide by 4 and sizes that do not."""

from __future__ import annotations

import pytest
import torch

from fedvoice.model_export.config import (
    BucketConfig,
    ExportConfig,
    StreamingConfig,
    VocabularyConfig,
)
from fedvoice.model_export.kinds.ctc import CtcConfig
from fedvoice.model_export.kinds.encoder import EncoderConfig
from fedvoice.model_export.kinds.rnnt import RnntConfig
from fedvoice.model_export.package import ExportSummary
from fedvoice.protocol.task import FeatureSettings
from tests.shared import exported as export_once

torch.set_num_threads(1)

FEATURES = FeatureSettings(mel_bins=5, stack=2, max_secs=2.0)
WORDS = VocabularyConfig(tokens=("up", "down", "left", "right", "go"))


def rnnt(layers: int, *, bidirectional: bool) -> RnntConfig:
    """A transducer of a few hundred parameters."""
    encoder = EncoderConfig(layers=layers, hidden_size=6, bidirectional=bidirectional)
    return RnntConfig(encoder=encoder, embedding_size=3, predictor_size=5, joint_size=7)


CONFIGS = {
    "rnnt": ExportConfig(
        name="tiny-rnnt",
        model=rnnt(2, bidirectional=False),
        features=FEATURES,
        vocabulary=WORDS,
        buckets=(BucketConfig(frames=10, labels=4, batch=4),),
        streaming=StreamingConfig(frames=3, rows=2),
    ),
    "rnnt-bidirectional": ExportConfig(
        name="tiny-rnnt-bidirectional",
        model=rnnt(1, bidirectional=True),
        features=FEATURES,
        vocabulary=WORDS,
        buckets=(BucketConfig(frames=11, labels=3, batch=4),),
    ),
    "ctc-bidirectional": ExportConfig(
        name="tiny-ctc",
        model=CtcConfig(encoder=EncoderConfig(layers=1, hidden_size=6, bidirectional=True)),
        features=FEATURES,
        vocabulary=WORDS,
        buckets=(
            BucketConfig(frames=9, labels=3, batch=4),
            BucketConfig(frames=5, labels=2, batch=4),
        ),
    ),
}


@pytest.fixture(scope="session", params=sorted(CONFIGS))
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> ExportSummary:
    """Each tiny task in turn, exported once."""
    return export_once(CONFIGS[request.param], tmp_path_factory)
