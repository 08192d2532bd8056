"""The models as tasks of tiny sizes, by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fedvoice.model_export.config import BucketConfig, ExportConfig, VocabularyConfig
from fedvoice.protocol.task import FeatureSettings

TOKENS = tuple(f"t{i}" for i in range(1, 32))
"""With the blank, 32."""


@dataclass(frozen=True)
class Entry:
    """A model with its sizes.

    Attributes:
        kind: `module:class` in this package.
        bins: values of a frame; 0: the model takes the waveform, whose frames are samples.
        frames, labels, batch: of the bucket that is timed, the largest of `config`'s.
        settings: of the class.
        needs: a library beside fedvoice's own.
    """

    kind: str
    bins: int = 80
    frames: int = 100
    labels: int = 8
    batch: int = 4
    settings: dict[str, Any] = field(default_factory=dict)
    needs: str = ""

    def config(self, name: str, *, three_sizes: bool = False, **changed: int) -> ExportConfig:
        """The task; `changed` sizes of the bucket or settings of the model.

        three_sizes: two smaller buckets too, one of single rows, one of an odd number of frames.
        """
        frames, labels, batch = (
            changed.pop(key, getattr(self, key)) for key in ("frames", "labels", "batch")
        )
        buckets = [BucketConfig(frames=frames, labels=labels, batch=batch)]
        if three_sizes:
            fewer, more = (labels + 1) // 2, batch + 1
            buckets += [
                BucketConfig(frames=frames * 3 // 4, labels=labels, batch=1),
                BucketConfig(frames=frames // 2 + 1 - frames // 2 % 2, labels=fewer, batch=more),
            ]
        features = FeatureSettings.model_validate(
            {"mel_bins": self.bins, "stack": 1} if self.bins else {"kind": "waveform"}
        )
        return ExportConfig.model_validate(
            {
                "name": name,
                "model": {"kind": f"benchmarks.zoo.{self.kind}", **self.settings, **changed},
                "features": features,
                "vocabulary": VocabularyConfig(tokens=TOKENS, as_given=True),
                "buckets": tuple(buckets),
            }
        )


_DROPS = {"dropout": 0.1}
_SAMPLES: dict[str, Any] = {"bins": 0, "frames": 16000, "batch": 2}
ZOO: dict[str, Entry] = {
    "conformer": Entry("conformer:ConformerCtc", settings=_DROPS),
    "conformer-group-norm": Entry("conformer:ConformerCtc", settings={"group_norm": True}),
    "emformer-rnnt": Entry("emformer:EmformerTransducer", frames=64),
    "deepspeech": Entry("recognisers:DeepSpeechCtc", bins=40),
    "wav2letter": Entry("recognisers:Wav2LetterCtc", bins=40, batch=2),
    "wav2vec2-torchaudio": Entry("wav2vec2:TorchaudioWav2Vec2", **_SAMPLES),
    "wav2vec2-transformers": Entry(
        "wav2vec2:TransformersWav2Vec2", **_SAMPLES, needs="transformers"
    ),
    "whisper": Entry(
        "encoder_decoder:Whisper", frames=200, batch=2, settings=_DROPS, needs="transformers"
    ),
    "speecht5": Entry("encoder_decoder:SpeechT5", **_SAMPLES, needs="transformers"),
    "tdnn": Entry("classifiers:Tdnn", bins=40, batch=8, labels=1),
    "keywords": Entry("classifiers:KeywordSpotter", bins=40, batch=8, labels=1, settings=_DROPS),
    "gru": Entry("recurrent:RecurrentCtc", bins=40, batch=8, settings={"cell": "gru"}),
    "bilstm": Entry(
        "recurrent:RecurrentCtc",
        bins=40,
        batch=8,
        settings={"cell": "lstm", "bidirectional": True},
    ),
    "mamba": Entry("mamba:MambaCtc", bins=40),
    "zipformer": Entry("zipformer:ZipformerCtc"),
    "lora-int8": Entry("lora:LoraCtc"),
}


def refused(name: str, why: str) -> dict[str, Any]:
    """The result of a model that has no program."""
    numbers = dict.fromkeys(("gradient_error", "ratio", "arena_bytes"))
    return {"name": name, "exports": False, **numbers, "refused": why}
