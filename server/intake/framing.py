"""Chunks on the wire without a protobuf object for each: a quarter of a large transfer's time.

They are `fedvoice.v1.Chunk` and `fedvoice.v1.ReportRequest` all the same: a field of bytes is a
tag, its length as a varint, and the bytes.
"""

from __future__ import annotations

from functools import lru_cache

from fedvoice.protocol.generated import fedvoice_pb2 as pb

_LARGEST_MESSAGE_BYTES = 1024 * 1024
SERVER_OPTIONS = [
    # Two servers on one port would each get half of the calls.
    ("grpc.so_reuseport", 0),
    # Without probing, flow control stays at its small window: a sender that is not being read
    # waits, and N uploads need N small windows (law 3).
    ("grpc.http2.bdp_probe", 0),
    ("grpc.max_receive_message_length", _LARGEST_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _LARGEST_MESSAGE_BYTES),
    # What one connection may open; more wait on its side.
    ("grpc.max_concurrent_streams", 100),
    # Frees the handler of a client that vanished in mid-call.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Phones ping to keep their line open; by default a few pings without data end the connection.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 0),
]
"""Of the main address."""

_DATA = 0x0A  # Chunk.data: field 1, bytes
_CHUNK = 0x12  # ReportRequest.chunk: field 2, message
_HEADS_BYTES = range(4, 13)  # of both fields, for chunks of 1 byte to 2 GB


def chunk_message(data: bytes) -> bytes:
    """`Chunk(data=data)`, serialised."""
    return b"".join((_head(_DATA, len(data)), data))


def chunk_data(message: bytes) -> memoryview | None:
    """The data of a serialised `ReportRequest` that holds a chunk, not copied; None for a header.

    Raises:
        google.protobuf.message.DecodeError: not a ReportRequest.
    """
    for head in _report_heads(len(message)):
        if message.startswith(head):
            return memoryview(message)[len(head) :]
    # Anything else that protobuf allows: an empty chunk, unknown fields, another order.
    parsed = pb.ReportRequest.FromString(message)
    return memoryview(parsed.chunk.data) if parsed.HasField("chunk") else None


@lru_cache(maxsize=256)
def _report_heads(message_bytes: int) -> tuple[bytes, ...]:
    """What a message of this length with a chunk in it may begin with."""
    sizes = ((before, message_bytes - before) for before in _HEADS_BYTES)
    heads = ((before, _report_head(size)) for before, size in sizes if size > 0)
    return tuple(head for before, head in heads if before == len(head))


def _report_head(size: int) -> bytes:
    inner = _head(_DATA, size)
    return _head(_CHUNK, len(inner) + size) + inner


def _head(tag: int, size: int) -> bytes:
    made = bytearray([tag])
    while size > 127:
        made.append(size & 127 | 128)
        size >>= 7
    made.append(size)
    return bytes(made)
