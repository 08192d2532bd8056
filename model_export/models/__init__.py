"""LSTM transducer and LSTM CTC models as plain PyTorch modules."""

from model_export.models.config import CtcConfig, EncoderConfig, ModelConfig, RnntConfig
from model_export.models.ctc import CtcModel
from model_export.models.rnnt import RnntModel

SpeechModel = RnntModel | CtcModel


def build_model(config: ModelConfig, input_size: int, vocabulary_size: int) -> SpeechModel:
    """The model of `config` for inputs of `input_size` values a frame and V tokens, blank included.

    Initial weights are drawn from torch's global generator: seed it for reproducible packages.
    """
    if isinstance(config, RnntConfig):
        return RnntModel(config, input_size, vocabulary_size)
    return CtcModel(config, input_size, vocabulary_size)


__all__ = [
    "CtcConfig",
    "CtcModel",
    "EncoderConfig",
    "ModelConfig",
    "RnntConfig",
    "RnntModel",
    "SpeechModel",
    "build_model",
]
