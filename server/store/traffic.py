"""Bytes of messages, counted as they pass and stored from time to time."""

from __future__ import annotations

import threading
from collections import defaultdict

from google.protobuf.message import Message

from fedvoice.server.store.tables import TrafficKind, TrafficRow

FRAME_HEADER_BYTES = 5
"""gRPC puts a flag and a length before every message."""


def wire_bytes(message: Message) -> int:
    """Bytes of an uncompressed message on a gRPC stream."""
    return message.ByteSize() + FRAME_HEADER_BYTES


class TrafficBook:
    """Counts not yet stored. Safe to call from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[int, str, str], list[int]] = defaultdict(lambda: [0, 0])

    def add(
        self, number: int, kind: TrafficKind, client_id: str, *, down: int = 0, up: int = 0
    ) -> None:
        """Count bytes that a client received (down) or sent (up) in round `number`."""
        with self._lock:
            entry = self._counts[number, kind.value, client_id]
            entry[0] += down
            entry[1] += up

    def drain(self) -> tuple[TrafficRow, ...]:
        """What has been counted since the last call."""
        with self._lock:
            counts, self._counts = self._counts, defaultdict(lambda: [0, 0])
        return tuple(TrafficRow(*key, down, up) for key, (down, up) in counts.items())


def chunk_wire_bytes(data_bytes: int) -> int:
    """`wire_bytes` of `Chunk(data=...)`, without making the message again to measure it."""
    return FRAME_HEADER_BYTES + _field_bytes(data_bytes)


def report_chunk_wire_bytes(data_bytes: int) -> int:
    """`wire_bytes` of `ReportRequest(chunk=Chunk(data=...))`."""
    inner = _field_bytes(data_bytes)
    return FRAME_HEADER_BYTES + 1 + _length_bytes(inner) + inner


def _field_bytes(data_bytes: int) -> int:
    # proto3: tag, length, bytes; an empty field is not sent.
    return 1 + _length_bytes(data_bytes) + data_bytes if data_bytes else 0


def _length_bytes(value: int) -> int:
    return max(1, -(-value.bit_length() // 7))
