"""Run a task package on the ExecuTorch runtime.

Importing this module imports torch and executorch. One engine belongs to one thread at a time:
its outputs lie in the program's arenas.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

# Not `portable_lib` beside it, which brings the whole exporter along: four seconds of a phone's
# start. It needs torch's libraries, which the line above loads.
from executorch.extension.pybindings import _C

from fedvoice.device_runtime.quiet import without_processor_notices
from fedvoice.protocol.engine import Batch, Int64Array
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import FlatVector, Float32Array
from fedvoice.protocol.task import (
    PROGRAM_FILE,
    Bucket,
    TaskPackage,
    check_digest,
    check_log_mel,
    check_streams,
)

FEATURES_METHOD = "features"
_CACHED_VECTORS = 2  # the clean weights and FVN's noisy ones
_threadpool_threads: int | None = None


class ExecuTorchEngine:
    """`protocol.engine.Engine` over a package's program; methods are loaded at their first use.

    Args:
        package: its program's bytes are checked against the manifest before they are loaded
            (damaged bytes would end the process).
        threads: size of the runtime's thread pool. It is one per process, set by the first
            engine; worker processes must be spawned, or forked before that.

    Raises:
        FedvoiceError: `wrong-digest`; `bad-package` for a program that cannot be loaded;
            `missing-operator` for methods, operators or delegates that are not there;
            `bad-config` for a second, different number of threads.
    """

    def __init__(self, package: TaskPackage, threads: int = 1) -> None:
        self.manifest = package.manifest
        self._where = str(package.program_path)
        self._program = _read_program(package)
        check_digest(self._program, self.manifest.program_digest, self._where)
        _set_threads(threads)
        try:
            # The runtime reads from these bytes for as long as the module lives: `self._program`
            # is the reference that keeps them.
            self._module = _C._load_for_executorch_from_buffer(self._program)
        except RuntimeError as error:
            raise self._bad_program("loading the program", error) from error
        self._check_program()
        self._views: list[tuple[FlatVector, list[torch.Tensor]]] = []
        self._input_shapes: dict[str, list[tuple[int, ...]]] = {}

    def features(self, waveform: Float32Array) -> Float32Array:
        """Log-mel [frames, mel_bins] of a waveform [samples] in +-1; not yet normalised.

        Raises:
            FedvoiceError: `wrong-shape` if it is shorter than one frame or longer than the task's
                `max_secs`; `bad-package` if the task's examples are not made of log-mel.
        """
        check_log_mel(self.manifest)
        settings = self.manifest.features
        frames = settings.frames(waveform.size)
        limit = int(settings.max_secs * settings.sample_rate)
        if waveform.ndim != 1 or frames < 1 or waveform.size > limit:
            raise FedvoiceError(
                ErrorCode.WRONG_SHAPE,
                where="features",
                got=f"a waveform of shape {waveform.shape}",
                wanted=f"[samples], from {settings.fft_size} to {limit} of them",
                next_step="Leave the utterance out, or cut it.",
            )
        # The program takes whole hops; what is cut off makes no frame.
        used = frames * settings.hop_samples + settings.fft_size - settings.hop_samples
        samples = np.ascontiguousarray(waveform[:used], dtype=np.float32)
        (mel,) = self._run(FEATURES_METHOD, [_tensor(samples.reshape(1, -1))])
        return np.array(mel.numpy()[0])

    def step(self, bucket: Bucket, weights: FlatVector, batch: Batch) -> tuple[float, FlatVector]:
        """Weighted loss and its flat gradient [P] at `weights` [P].

        The gradient lies in the method's arena: the next call of the same bucket overwrites it.

        Raises:
            FedvoiceError: `wrong-shape`; `bad-package` if the runtime refuses the call.
        """
        arrays: list[np.ndarray[Any, Any]] = [
            batch.features,
            batch.targets,
            batch.frame_counts,
            batch.target_counts,
            batch.example_weights,
        ]
        if bucket.draws:
            arrays.append(batch.draws)
        loss, gradient = self._run_with_weights(bucket.step_method, weights, arrays)
        flat: FlatVector = gradient.numpy()
        self.manifest.parameters.check(flat, f"{bucket.step_method}, gradient")
        return float(loss.item()), flat

    def decode(
        self, bucket: Bucket, weights: FlatVector, features: Float32Array, frame_counts: Int64Array
    ) -> list[list[int]]:
        """Greedy transcripts as token ids, one list a row of features [B, T * stack, mel_bins].

        Raises:
            FedvoiceError: as `step`.
        """
        tokens, _ = self._run_with_weights(bucket.decode_method, weights, (features, frame_counts))
        # [T * S, B]: a place holds 0 where nothing was said.
        return [[int(t) for t in row if t] for row in tokens.numpy().T]

    def stream(
        self, weights: FlatVector, features: Float32Array, state: Float32Array
    ) -> tuple[Float32Array, Float32Array]:
        """See `protocol.engine.StreamingEngine`.

        Raises:
            FedvoiceError: as `step`; `bad-package` for a task exported without `[streaming]`.
        """
        method = check_streams(self.manifest).stream_method
        outputs, after = self._run_with_weights(method, weights, (features[None], state))
        return np.array(outputs.numpy()), np.array(after.numpy())

    def predict(
        self, weights: FlatVector, tokens: Int64Array, states: Float32Array
    ) -> tuple[Float32Array, Float32Array]:
        """See `protocol.engine.StreamingEngine`."""
        predictions, after = self._run_with_weights("predict", weights, (tokens, states))
        return np.array(predictions.numpy()), np.array(after.numpy())

    def join(
        self, weights: FlatVector, outputs: Float32Array, predictions: Float32Array
    ) -> Float32Array:
        """See `protocol.engine.StreamingEngine`."""
        (logits,) = self._run_with_weights("join", weights, (outputs, predictions))
        return np.array(logits.numpy())

    def _run_with_weights(
        self, method: str, weights: FlatVector, arrays: Sequence[np.ndarray[Any, Any]]
    ) -> list[torch.Tensor]:
        self.manifest.parameters.check(weights, f"{method}, weights")
        return self._run(method, self._weight_tensors(weights) + [_tensor(a) for a in arrays])

    def _weight_tensors(self, weights: FlatVector) -> list[torch.Tensor]:
        """Views of `weights`, made once a vector: writing to the vector writes to them."""
        for vector, tensors in self._views:
            if vector is weights:
                return tensors
        tensors = [_tensor(view) for view in self.manifest.parameters.views(weights)]
        self._views = [(weights, tensors), *self._views][:_CACHED_VECTORS]
        return tensors

    def _run(self, method: str, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        self._check_shapes(method, inputs)
        try:
            outputs: list[torch.Tensor] = self._module.run_method(
                method, tuple(inputs), clone_outputs=False
            )
        except RuntimeError as error:
            raise self._bad_program(f"method {method}", error) from error
        return outputs

    def _check_shapes(self, method: str, inputs: list[torch.Tensor]) -> None:
        """The runtime may crash on what it does not expect, so nothing reaches it unchecked.

        Only `features` has a dynamic shape, checked by its caller.
        """
        if method == FEATURES_METHOD:
            return
        wanted = self._input_shapes.get(method)
        if wanted is None:
            meta = self._module.method_meta(method)
            wanted = [tuple(meta.input_tensor_meta(i).sizes()) for i in range(meta.num_inputs())]
            self._input_shapes[method] = wanted
        got = [tuple(tensor.shape) for tensor in inputs]
        if got != wanted:
            differing = [i for i, (g, w) in enumerate(zip(got, wanted, strict=False)) if g != w]
            first = differing[0] if differing else min(len(got), len(wanted))
            raise FedvoiceError(
                ErrorCode.WRONG_SHAPE,
                where=f"{method}, input {first}",
                got=str(got[first]) if first < len(got) else f"{len(got)} inputs",
                wanted=str(wanted[first]) if first < len(wanted) else f"{len(wanted)} inputs",
                next_step="Use batches of this bucket and weights of this task package.",
            )

    def _check_program(self) -> None:
        manifest = self.manifest
        methods = {FEATURES_METHOD} if manifest.has_features else set()
        for bucket in manifest.buckets:
            methods |= {bucket.step_method, bucket.decode_method}
        methods |= set(manifest.streaming.methods if manifest.streaming else ())
        for kind, missing in (
            ("method", methods - set(self._module.method_names())),
            ("operator", set(manifest.operators) - set(_C._get_operator_names())),
            (
                "delegate",
                set(manifest.delegates) - set(_C._get_registered_backend_names()),
            ),
        ):
            if missing:
                raise FedvoiceError(
                    ErrorCode.MISSING_OPERATOR,
                    where=self._where,
                    got=f"no {kind} {', '.join(sorted(missing))}",
                    wanted=f"every {kind} that the manifest names",
                    next_step="Export the task for this runtime, or update the runtime.",
                )

    def _bad_program(self, what: str, error: RuntimeError) -> FedvoiceError:
        return FedvoiceError(
            ErrorCode.BAD_PACKAGE,
            where=f"{self._where}, {what}",
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
            wanted="a program that this runtime executes",
            next_step="Export the task again with the runtime's version of executorch.",
        )


def _read_program(package: TaskPackage) -> bytes:
    try:
        return package.program_path.read_bytes()
    except OSError as error:
        raise FedvoiceError(
            ErrorCode.NOT_FOUND,
            where=str(package.program_path),
            got=str(error.strerror or error),
            wanted=f"the package's {PROGRAM_FILE}",
            next_step="Fetch or export the package again.",
        ) from error


def _set_threads(threads: int) -> None:
    global _threadpool_threads
    if _threadpool_threads is None:
        with without_processor_notices():
            _C._unsafe_reset_threadpool(threads)
        _threadpool_threads = threads
    elif _threadpool_threads != threads:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where="ExecuTorchEngine, threads",
            got=str(threads),
            wanted=f"{_threadpool_threads}, as this process's first engine",
            next_step="Use the same number, or another process: the pool is set once.",
        )


def _tensor(array: np.ndarray[Any, Any]) -> torch.Tensor:
    """A tensor over the array's memory; over a copy if it is read-only, unsupported by torch."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())
