"""Models as plain PyTorch modules: LSTM transducer, LSTM CTC, and frame labellers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fedvoice.model_export.models.base import TaskModel
from fedvoice.model_export.models.char_lstm import CharLstmModel
from fedvoice.model_export.models.cnn import CnnModel
from fedvoice.model_export.models.config import (
    CharLstmConfig,
    CnnConfig,
    CtcConfig,
    EncoderConfig,
    ModelConfig,
    RnntConfig,
    TwoLayerConfig,
)
from fedvoice.model_export.models.ctc import CtcModel
from fedvoice.model_export.models.rnnt import RnntModel
from fedvoice.model_export.models.two_layer import TwoLayerModel

MODELS: dict[str, Callable[[Any, int, int], TaskModel]] = {
    "rnnt": RnntModel,
    "ctc": CtcModel,
    "2nn": TwoLayerModel,
    "char-lstm": CharLstmModel,
    "cnn": CnnModel,
}
"""By kind: what makes a model from its configuration, I and V."""


def build_model(config: ModelConfig, input_size: int, vocabulary_size: int) -> TaskModel:
    """The model of `config` for inputs of `input_size` values a frame and V tokens, blank included.

    Initial weights are drawn from torch's global generator: seed it for reproducible packages.

    Raises:
        FedvoiceError: `bad-config` if the model cannot take inputs of this size.
    """
    return MODELS[config.kind](config, input_size, vocabulary_size)


__all__ = [
    "CharLstmConfig",
    "CharLstmModel",
    "CnnConfig",
    "CnnModel",
    "CtcConfig",
    "CtcModel",
    "EncoderConfig",
    "ModelConfig",
    "RnntConfig",
    "RnntModel",
    "TaskModel",
    "TwoLayerConfig",
    "TwoLayerModel",
    "build_model",
]
