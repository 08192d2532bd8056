"""Model kinds of user-defined `nn.Module`s with a loss.

    class Spotter(nn.Module):
        predicts = "label"                                          # what `predict` returns
        def __init__(self, input_size: int, vocabulary_size: int, hidden: int = 64): ...
        def loss(self, batch: TensorBatch) -> Tensor: ...           # [B], differentiable
        def predict(self, batch: TensorBatch) -> Tensor: ...        # logits; see `Predicts`

In place of `loss`, `forward` may take the batch by name (`kinds.named`), and `predict` likewise.
`decode(batch) -> list[list[int]]` in place of `predict` evaluates on the fast engine alone. The
class may say `takes_audio = True`, `scoring = "words"` (CTC's defaults) and its front end,
`features = {"mel_bins": 80, "stack": 1}`, or `{"normalise": "utterance"}` of one whose `forward`
takes `waveform`. It is named in settings as
`kind = "mypkg.spotter:Spotter"`, or registered under a name with
`@MODEL_KINDS.register("spotter")`. `module_kind` takes the loss as a separate function.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import StrEnum
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, model_validator

from fedvoice.model_export.kinds.base import KindConfig, ModelKind
from fedvoice.model_export.kinds.named import taken
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import ParameterTable
from fedvoice.protocol.scoring import Scoring
from fedvoice.protocol.task import Bucket, FeatureSettings
from fedvoice.protocol.vocabulary import TargetKind

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fedvoice.model_export.batch import TensorBatch
    from fedvoice.model_export.models.base import TaskModel

    Factory = Callable[..., nn.Module]
    Loss = Callable[[Any, TensorBatch], Tensor]
    Decode = Callable[[Any, TensorBatch], list[list[int]]]

GIVEN = ("input_size", "vocabulary_size")
"""Optional arguments of a factory: I, values a frame, and V, tokens with the blank."""


def module_kind(
    factory: Factory,
    *,
    loss: Loss | None = None,
    decode: Decode | None = None,
    takes_audio: bool | None = None,
    scoring: Scoring | str | None = None,
) -> ModuleKind:
    """A model kind of the modules that `factory(**settings)` makes.

    Args:
        factory: its keyword arguments are the model's settings (numbers, flags, texts);
            `input_size` and `vocabulary_size` are passed if it names them.
        loss: (module, batch) -> loss of each row [B], differentiable, independent of other
            rows and of padding beyond a row's counts. None: `module.loss(batch)`.
        decode: (module, batch without targets) -> token ids, a list a row. None:
            `module.decode(batch)`, which evaluation requires.
        takes_audio: whether examples are made from recordings. None: `factory.takes_audio`, or
            only where `factory.predicts` is "ctc".
        scoring: unit of errors, words or labels. None: `factory.scoring`, or words for CTC and
            else labels.
    """
    is_ctc = getattr(factory, "predicts", None) == "ctc"
    if takes_audio is None:
        takes_audio = bool(getattr(factory, "takes_audio", is_ctc))
    usual = Scoring.WORDS if is_ctc else Scoring.LABELS
    scored = Scoring(getattr(factory, "scoring", usual) if scoring is None else scoring)
    return ModuleKind(factory, loss, decode, takes_audio, scored)


@cache
def as_kind(name: str, plugin: Any) -> ModelKind[Any]:
    """The kind of a registered or named module class or factory.

    Raises:
        FedvoiceError: `bad-plugin` for anything else.
    """
    if not callable(plugin):
        raise FedvoiceError(
            ErrorCode.BAD_PLUGIN,
            where=f"model kind {name}",
            got=type(plugin).__name__,
            wanted="a ModelKind, or a class or function that makes an nn.Module",
            next_step="See `model_export/kinds/module.py`.",
        )
    return module_kind(plugin)


class Predicts(StrEnum):
    """What a module's `predict` returns, and so how tokens come of it; the blank is 0."""

    CTC = "ctc"
    """Logits [B, T', V], or these and their counts int64 [B]: best path, without repeats."""
    LABEL = "label"
    """Logits [B, V]: the likeliest token."""
    FRAMES = "frames"
    """Logits [B, T, V]: the likeliest token of each frame."""


class ModuleKind(ModelKind[Any]):
    """See `module_kind`."""

    vmaps = True

    def __init__(
        self,
        factory: Factory,
        loss: Loss | None,
        decode: Decode | None,
        takes_audio: bool,
        scoring: Scoring,
    ) -> None:
        self._factory, self._loss, self._decode = factory, loss, decode
        self.takes_audio, self.scoring = takes_audio, scoring
        # Its class is nobody's kind: without a name in a module it can be imported nowhere.
        self.__qualname__ = f"<kind of {getattr(factory, '__qualname__', factory)}>"
        parameters = inspect.signature(factory).parameters.values()
        self._takes = {p.name for p in parameters if p.kind in _BY_NAME}
        open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
        self.config = _config_class(None if open_ended else frozenset(self._takes))

    def task_defaults(self) -> dict[str, Any]:
        """Tables `features` and `vocabulary` of a task of this module, where a person says none:
        the front end that its class names, characters for CTC and words for labels."""
        predicts = getattr(self._factory, "predicts", None)
        kind = TargetKind.CHARACTER if predicts == Predicts.CTC else TargetKind.WORD
        features = dict(getattr(self._factory, "features", {}))
        return {"features": features, "vocabulary": {"kind": kind.value}}

    @property
    def takes_waveform(self) -> bool:
        """Whether its class is trained on samples by name."""
        if self._loss is not None or hasattr(self._factory, "loss"):
            return False
        forward = getattr(self._factory, "forward", None)
        return forward is not None and "waveform" in taken(forward)

    def check_features(self, features: FeatureSettings) -> None:
        """See `ModelKind`: log-mel is no waveform."""
        if self.takes_audio and self.takes_waveform and not features.is_waveform:
            raise ValueError(
                "forward takes `waveform`, and these features are log-mel: set kind = 'waveform' "
                "in the table features and leave out the sizes of log-mel; a module that trains "
                "from arrays alone says takes_audio = False"
            )

    def build(self, config: KindConfig, input_size: int, vocabulary_size: int) -> TaskModel:
        """See `ModelKind`."""
        from fedvoice.model_export.models.module import ModuleModel

        given = {"input_size": input_size, "vocabulary_size": vocabulary_size}
        settings = config.model_dump(exclude={"kind"})
        known = {name: given[name] for name in GIVEN if name in self._takes}
        make = partial(self._factory, **known, **settings)
        return ModuleModel(config.kind, make, self._loss, self._decode, vocabulary_size, input_size)

    def graphs(
        self, config: KindConfig, table: ParameterTable, bucket: Bucket, model: TaskModel
    ) -> tuple[nn.Module, nn.Module]:
        """See `ModelKind`: both are traced.

        Raises:
            FedvoiceError: `bad-config` for what cannot be traced, or a module without `predict`.
        """
        from fedvoice.model_export.models.module import ModuleModel
        from fedvoice.model_export.traced.step import traced_graphs

        assert isinstance(model, ModuleModel)
        return traced_graphs(model, table, bucket)


_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _config_class(allowed: frozenset[str] | None) -> type[KindConfig]:
    """Settings of any name, or only those that the factory accepts."""

    class ModuleConfig(KindConfig):
        model_config = ConfigDict(frozen=True, extra="allow")

        @model_validator(mode="after")
        def _only_what_the_factory_takes(self) -> ModuleConfig:
            for name, value in (self.model_extra or {}).items():
                if name in GIVEN or (allowed is not None and name not in allowed):
                    settings = sorted((allowed or frozenset()) - set(GIVEN))
                    raise ValueError(f"setting {name!r}: wanted one of {', '.join(settings)}")
                if not isinstance(value, int | float | bool | str):
                    raise ValueError(f"setting {name!r}: wanted a number, a flag or a text")
            return self

    return ModuleConfig
