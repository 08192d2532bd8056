"""Progress of local training on the phone's disk: `kill -9` costs what was done since the last.

File: sha256 of the rest (32 bytes), length of the header (8 bytes little-endian), header (JSON),
weights float32 [P], then momentum float32 [P] if the plan has it, or what the plan's client rule
remembers (the header's `rule` names it in order). It is replaced atomically; one
that a power cut left damaged fails its digest and is ignored.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fedvoice.device_runtime.optimizer import ClientState
from fedvoice.protocol.files import write_file
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import TrainingPlan

_DIGEST_BYTES = 32
_LENGTH_BYTES = 8
_COUNTERS = ("steps", "examples_seen", "loss_sum", "train_secs", "peak_memory_bytes")


def checkpoint_key(
    plan: TrainingPlan,
    initial: FlatVector,
    sizes: Sequence[tuple[int, int]],
    *,
    program_digest: str,
    client_id: str,
    round_number: int,
) -> str:
    """A digest of everything that decides the course of training, hex.

    Args:
        sizes: (feature frames, tokens) of the examples used, in order.

    A checkpoint of another key (another plan, other weights, examples added since) is no use.
    """
    facts = [plan.model_dump(), program_digest, client_id, round_number, list(sizes)]
    digest = hashlib.sha256(json.dumps(facts).encode())
    digest.update(np.ascontiguousarray(initial).data)
    return digest.hexdigest()


class Checkpoint:
    """The checkpoint of one phone.

    Args:
        path: the file; its folder exists.
        every_secs: write at most this often; 0: after every step.
        clock: seconds, monotonic.
    """

    def __init__(
        self, path: Path, every_secs: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = path
        self._every_secs = every_secs
        self._clock = clock
        self._written_at = clock()

    def due(self) -> bool:
        """Whether it is time to write again."""
        return self._clock() - self._written_at >= self._every_secs

    def save(self, key: str, state: ClientState) -> None:
        """Replace the file by `state`."""
        fields = {name: getattr(state, name) for name in _COUNTERS}
        fields |= {"key": key, "momentum": state.momentum is not None}
        if state.rule_state is not None:
            fields["rule"] = list(state.rule_state)
        header = json.dumps(fields).encode()
        parts = [len(header).to_bytes(_LENGTH_BYTES, "little"), header, state.weights.tobytes()]
        if state.momentum is not None:
            parts.append(state.momentum.tobytes())
        parts += [vector.tobytes() for vector in (state.rule_state or {}).values()]
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        write_file(self.path, b"".join((digest.digest(), *parts)))
        self._written_at = self._clock()

    def load(self, key: str) -> ClientState | None:
        """The saved state, or None if there is none, or it is damaged or of another key."""
        try:
            data = self.path.read_bytes()
        except OSError:
            return None
        digest, body = data[:_DIGEST_BYTES], memoryview(data)[_DIGEST_BYTES:]
        if hashlib.sha256(body).digest() != digest:
            return None
        header_end = _LENGTH_BYTES + int.from_bytes(body[:_LENGTH_BYTES], "little")
        header = json.loads(bytes(body[_LENGTH_BYTES:header_end]))
        if header["key"] != key:
            return None
        vectors = np.frombuffer(body[header_end:], dtype=np.float32)
        names = header.get("rule")
        weights, *others = vectors.reshape(1 + header["momentum"] + len(names or ()), -1)
        return ClientState(
            weights=weights.copy(),
            momentum=others.pop(0).copy() if header["momentum"] else None,
            rule_state=None
            if names is None
            else {name: vector.copy() for name, vector in zip(names, others, strict=True)},
            **{name: header[name] for name in _COUNTERS},
        )

    def delete(self) -> None:
        """Remove the file, if there is one."""
        self.path.unlink(missing_ok=True)
