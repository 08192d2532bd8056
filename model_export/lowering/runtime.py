"""The stock ExecuTorch runtime, for checks at export time."""

from __future__ import annotations

from collections.abc import Iterable

from executorch.extension.pybindings.portable_lib import (
    _get_operator_names,
    _load_for_executorch_from_buffer,
)
from torch import Tensor

from fedvoice.protocol.errors import ErrorCode, FedvoiceError


def demand_operators(operators: Iterable[str]) -> None:
    """Refuse a program that the stock runtime would give up in the middle of.

    Raises:
        FedvoiceError: `missing-operator` naming those that have no kernel there.
    """
    missing = sorted(set(operators) - set(_get_operator_names()))
    if missing:
        raise FedvoiceError(
            ErrorCode.MISSING_OPERATOR,
            where="export, operators of the program",
            got=f"{', '.join(missing)}, which the stock runtime has no kernel for",
            wanted="operators that phones have",
            next_step="Compute the same otherwise; docs/your-model.md lists what is rewritten.",
        )


class LoadedProgram:
    """A program in the runtime. Load only bytes just made or verified by digest."""

    def __init__(self, data: bytes) -> None:
        self._data = data  # the runtime reads from these bytes as long as it lives
        self._module = _load_for_executorch_from_buffer(data)

    def run(self, method: str, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        """Outputs of a method. They lie in its arena: the next call overwrites them."""
        outputs: list[Tensor] = self._module.run_method(method, inputs, clone_outputs=False)
        return outputs
