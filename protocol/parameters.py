"""The flat weight vector and its parameter table.

A model is one float32 vector of shape [P] and a table that says which slice of it is which
parameter. Everything between the phone's step and the server's optimiser is arithmetic on such
vectors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from fedvoice.protocol.errors import ErrorCode, FedvoiceError

FlatVector = npt.NDArray[np.float32]
Float32Array = npt.NDArray[np.float32]

ALIGNMENT_FLOATS = 4  # 16 bytes: what the program's kernels need of every gradient they write


class ParameterSpec(BaseModel):
    """One parameter's place: `flat[offset : offset + size].reshape(shape)`; offsets in floats."""

    model_config = ConfigDict(frozen=True)

    name: str
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """Number of floats."""
        return math.prod(self.shape)

    @property
    def place(self) -> slice:
        """Its slice of the flat vector."""
        return slice(self.offset, self.offset + self.size)


class ParameterTable(BaseModel):
    """All parameters of a model, in the order in which a program takes them as inputs."""

    model_config = ConfigDict(frozen=True)

    parameters: tuple[ParameterSpec, ...]
    total_size: int
    """P: length of the flat vector in floats, padding included."""

    @classmethod
    def from_shapes(cls, shapes: Sequence[tuple[str, tuple[int, ...]]]) -> ParameterTable:
        """Lay parameters out so that each whose size divides by 4 starts on 16 bytes.

        The odd-sized ones form a tail, and the vector is padded to a multiple of 4 floats:
        the program writes every aligned gradient straight into its place.
        """
        sizes = [math.prod(shape) for _, shape in shapes]
        aligned = [i for i, size in enumerate(sizes) if size % ALIGNMENT_FLOATS == 0]
        odd = [i for i, size in enumerate(sizes) if size % ALIGNMENT_FLOATS]
        offsets: dict[int, int] = {}
        end = 0
        for i in aligned + odd:
            offsets[i] = end
            end += sizes[i]
        total = -(-end // ALIGNMENT_FLOATS) * ALIGNMENT_FLOATS
        return cls(
            parameters=tuple(
                ParameterSpec(name=name, shape=shape, offset=offsets[i])
                for i, (name, shape) in enumerate(shapes)
            ),
            total_size=total,
        )

    @property
    def parameter_count(self) -> int:
        """Trainable floats, padding excluded."""
        return sum(spec.size for spec in self.parameters)

    @property
    def weights_bytes(self) -> int:
        """Bytes of one flat vector as float32."""
        return 4 * self.total_size

    def views(self, flat: FlatVector) -> list[Float32Array]:
        """Views of `flat` [P], one per parameter in table order; writing to one writes to flat."""
        self.check(flat, "flat vector")
        return [flat[s.offset : s.offset + s.size].reshape(s.shape) for s in self.parameters]

    def pack(self, tensors: Mapping[str, npt.NDArray[Any]], *, where: str) -> FlatVector:
        """Copy named tensors into a new flat vector [P] float32.

        Raises:
            FedvoiceError: `wrong-shape` if a parameter is missing, unknown or of another shape.
        """
        known = {spec.name for spec in self.parameters}
        if set(tensors) != known:
            missing, extra = sorted(known - set(tensors)), sorted(set(tensors) - known)
            raise FedvoiceError(
                ErrorCode.WRONG_SHAPE,
                where=where,
                got=f"missing {missing}, unknown {extra}",
                wanted=f"the {len(known)} parameters of the task",
                next_step="Use weights that were written for this task package.",
            )
        flat = np.zeros(self.total_size, dtype=np.float32)
        for spec, view in zip(self.parameters, self.views(flat), strict=True):
            tensor = tensors[spec.name]
            if tuple(tensor.shape) != spec.shape:
                raise FedvoiceError(
                    ErrorCode.WRONG_SHAPE,
                    where=f"{where}, parameter {spec.name}",
                    got=str(tuple(tensor.shape)),
                    wanted=str(spec.shape),
                    next_step="Use weights that were written for this task package.",
                )
            view[...] = tensor
        return flat

    def unpack(self, flat: FlatVector) -> dict[str, Float32Array]:
        """Named copies of the parameters in `flat` [P]."""
        return {
            spec.name: view.copy()
            for spec, view in zip(self.parameters, self.views(flat), strict=True)
        }

    def check(self, flat: FlatVector, where: str) -> None:
        """Raise `wrong-shape` unless `flat` is a float32 vector [P]."""
        if flat.dtype != np.float32 or flat.shape != (self.total_size,):
            raise FedvoiceError(
                ErrorCode.WRONG_SHAPE,
                where=where,
                got=f"{flat.dtype} {flat.shape}",
                wanted=f"float32 ({self.total_size},)",
                next_step="Use a vector that was made for this task package.",
            )


def read_only(array: Float32Array) -> Float32Array:
    """A view of `array` that cannot be written to: what plug-ins are given."""
    view = array.view()
    view.flags.writeable = False
    return view
