"""The character LSTM of McMahan et al. 2016: embedding of characters, a stack of LSTM layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedvoice.model_export.kinds.base import KindConfig
from fedvoice.model_export.kinds.labeller import LabellerKind
from fedvoice.protocol.parameters import ParameterTable
from fedvoice.protocol.task import Bucket

if TYPE_CHECKING:
    from fedvoice.model_export.graphs.labeller import LabellerNet
    from fedvoice.model_export.models.base import TaskModel


class CharLstmConfig(KindConfig):
    """Sizes of a character LSTM."""

    kind: Literal["char-lstm"] = "char-lstm"
    embedding_size: int = Field(default=8, ge=1)
    hidden_size: int = Field(default=256, ge=1)
    layers: int = Field(default=2, ge=1, le=12)


class CharLstm(LabellerKind[CharLstmConfig]):
    """See the module."""

    config = CharLstmConfig

    def build(self, config: CharLstmConfig, input_size: int, vocabulary_size: int) -> TaskModel:
        """See `ModelKind`."""
        from fedvoice.model_export.models.char_lstm import CharLstmModel

        return CharLstmModel(config, input_size, vocabulary_size)

    def net(self, config: CharLstmConfig, table: ParameterTable, bucket: Bucket) -> LabellerNet:
        """See `LabellerKind`."""
        from fedvoice.model_export.graphs.char_lstm import CharLstmNet

        return CharLstmNet(config, bucket.frames, bucket.batch)


CHAR_LSTM = CharLstm()
