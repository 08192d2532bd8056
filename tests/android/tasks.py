"""The tasks that the Kotlin phone is tested with; `exported` makes packages of them."""

from __future__ import annotations

from fedvoice.model_export.config import BucketConfig, ExportConfig, VocabularyConfig
from fedvoice.model_export.kinds import ModelConfig, from_settings
from fedvoice.model_export.kinds.ctc import CtcConfig
from fedvoice.model_export.kinds.encoder import EncoderConfig
from fedvoice.model_export.kinds.rnnt import RnntConfig
from fedvoice.protocol.task import FeatureSettings
from fedvoice.protocol.vocabulary import TargetKind

WORDS = ("no", "yes")
TEXTS = ("up down left", "go right", "right up", "left left down go", "down")
MODELS: dict[str, ModelConfig] = {
    "rnnt": RnntConfig(
        encoder=EncoderConfig(layers=1, hidden_size=8, bidirectional=True),
        embedding_size=4,
        predictor_size=6,
        joint_size=7,
    ),
    "ctc": CtcConfig(encoder=EncoderConfig(layers=2, hidden_size=8)),
    # Two of the zoo's modules, as people bring them.
    "spotter": from_settings("tests.android.brought:Spotter", {"channels": 4, "dropout": 0.3}),
    "listener": from_settings(
        "tests.android.brought:Listener", {"hidden": 6, "bidirectional": True, "dropout": 0.2}
    ),
}
VOCABULARIES = {
    "rnnt": VocabularyConfig(tokens=("up", "down", "left", "right", "go")),
    "ctc": VocabularyConfig(kind=TargetKind.CHARACTER, tokens=TEXTS),
    "spotter": VocabularyConfig(tokens=("up", "down", "left", "right", "go")),
    "listener": VocabularyConfig(kind=TargetKind.CHARACTER, tokens=TEXTS),
}


def tiny_config(hidden_size: int = 8) -> ExportConfig:
    """A CTC task of two words."""
    return ExportConfig(
        name="tiny",
        model=CtcConfig(
            encoder=EncoderConfig(layers=1, hidden_size=hidden_size, bidirectional=True)
        ),
        features=FeatureSettings(mel_bins=6, stack=2, max_secs=1.0),
        vocabulary=VocabularyConfig(tokens=WORDS),
        buckets=(BucketConfig(frames=16, labels=2, batch=2),),
    )


def config_of(kind: str) -> ExportConfig:
    """A task of two buckets for a kind of model: the demo's transducer, smaller, CTC, or a module
    that is no kind of ours."""
    return ExportConfig(
        name=f"tiny-{kind}",
        model=MODELS[kind],
        features=FeatureSettings(mel_bins=6, stack=2, max_secs=2.0),
        vocabulary=VOCABULARIES[kind],
        buckets=(
            BucketConfig(frames=8, labels=2, batch=2),
            BucketConfig(frames=12, labels=4, batch=4),
        ),
    )
