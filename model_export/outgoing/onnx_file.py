"""One ONNX file of one graph, and a session that runs it."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.export import Dim

from fedvoice.protocol.errors import ErrorCode, FedvoiceError, missing_extra

OPSET = 20
IR_VERSION = 10
"""onnxruntime 1.32 reads 14 too, which onnx 1.23 writes by default; sherpa-onnx 2.0 reads 13 at
most."""

Arrays = Mapping[str, npt.NDArray[Any]]
Axes = tuple[int | str, ...]


class OnnxSource(NamedTuple):
    """A graph to write.

    inputs: examples by name; axes: name of an input or output -> its shape, names for axes that
    may have any size. metadata: texts that the file carries.
    """

    graph: nn.Module
    inputs: dict[str, Tensor]
    axes: dict[str, Axes]
    metadata: dict[str, str] = {}  # noqa: RUF012 - never changed


def write_onnx(source: OnnxSource, path: Path) -> Path:
    """Write a graph as one ONNX file with its weights inside.

    Raises:
        FedvoiceError: `bad-config` for what PyTorch cannot export; `missing-extra`.
    """
    needs("onnxscript")
    outputs = [name for name in source.axes if name not in source.inputs]
    # No names: by them recurrent layers are now taken, now refused, now fixed at the example's
    # length. What an axis has become is looked at below.
    dynamic = tuple(
        {i: Dim.AUTO for i, axis in enumerate(source.axes[name]) if isinstance(axis, str)}
        for name in source.inputs
    )
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                source.graph.eval(),
                tuple(source.inputs.values()),
                dynamo=True,
                input_names=list(source.inputs),
                output_names=outputs,
                dynamic_shapes=dynamic,
                opset_version=OPSET,
                verbose=False,
                external_data=False,
            )
        except Exception as error:  # of any type, from three libraries
            said = [line for line in str(error.__cause__ or error).splitlines() if line.strip()]
            raise FedvoiceError(
                ErrorCode.BAD_CONFIG,
                where=f"release, {path.name}",
                got=said[0][:300] if said else type(error).__name__,
                wanted="a model that torch.onnx.export can trace for any batch and length",
                next_step="Let `predict` read no numbers from tensors, or leave out this format.",
            ) from error
    assert program is not None
    model: Any = program.model
    model.ir_version = IR_VERSION
    model.metadata_props.clear()
    model.metadata_props.update(source.metadata)
    for given in model.graph.inputs:
        _demand_free(source.axes[given.name], given, path)
        given.shape = type(given.shape)(source.axes[given.name])
    for output in model.graph.outputs:
        # The exporter writes sizes of the example for some, which is wrong for any other.
        output.shape = type(output.shape)(source.axes[output.name])
    program.save(path)
    return path


class Session:
    """An ONNX file in onnxruntime, on one thread.

    Raises:
        FedvoiceError: `missing-extra`.
    """

    def __init__(self, path: Path) -> None:
        runtime = needs("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3  # errors
        self._name = path.name
        self._session = runtime.InferenceSession(str(path), options, ["CPUExecutionProvider"])

    def run(self, inputs: Arrays) -> list[npt.NDArray[Any]]:
        """Outputs in order.

        Raises:
            FedvoiceError: `release-check` for inputs that the file does not take after all.
        """
        given = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        try:
            found: list[npt.NDArray[Any]] = self._session.run(None, given)
        except Exception as error:  # of onnxruntime's own types
            sizes = ", ".join(f"{name} {list(array.shape)}" for name, array in given.items())
            raise FedvoiceError(
                ErrorCode.RELEASE_CHECK,
                where=f"release, {self._name}",
                got=f"onnxruntime ends at {sizes}: {str(error).splitlines()[0][:300]}",
                wanted="a file that takes any batch and length",
                next_step="Let recurrent layers of `predict` take rows first (batch_first=True), "
                "and no Python loop run over frames; or leave out this format.",
            ) from error
        return found


def needs(package: str) -> Any:
    """A package of the extra `release`, imported now.

    Raises:
        FedvoiceError: `missing-extra`.
    """
    from importlib import import_module

    try:
        return import_module(package)
    except ImportError as error:
        raise missing_extra(
            "release", where="fedvoice release", got=str(error), wanted=package
        ) from error


def _demand_free(axes: Axes, given: Any, path: Path) -> None:
    """Raise `bad-config` where an axis has become the example's size."""
    for axis, size in zip(axes, given.shape, strict=True):
        if isinstance(axis, str) and isinstance(size, int):
            raise FedvoiceError(
                ErrorCode.BAD_CONFIG,
                where=f"release, {path.name}, input {given.name}",
                got=f"axis {axis} fixed at {size}, the example's size",
                wanted="a model for any batch and length",
                next_step="Let `predict` make no Python number of a size (len(x), int(...)).",
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes to its own developers."""
    loggers = [logging.getLogger(n) for n in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
