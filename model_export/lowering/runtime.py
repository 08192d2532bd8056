"""The stock ExecuTorch runtime, for checks at export time."""

from __future__ import annotations

from executorch.extension.pybindings.portable_lib import _load_for_executorch_from_buffer
from torch import Tensor


class LoadedProgram:
    """A program in the runtime. Load only bytes just made or verified by digest."""

    def __init__(self, data: bytes) -> None:
        self._data = data  # the runtime reads from these bytes as long as it lives
        self._module = _load_for_executorch_from_buffer(data)

    def run(self, method: str, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        """Outputs of a method. They lie in its arena: the next call overwrites them."""
        outputs: list[Tensor] = self._module.run_method(method, inputs, clone_outputs=False)
        return outputs
