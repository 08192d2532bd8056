"""What a gRPC client sent over a line without TLS, taken apart: RFC 9113 frames, gRPC messages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_HEAD_BYTES = 9
_PADDED = 0x8


@dataclass(frozen=True)
class Frame:
    """One frame; stream 0 is the connection itself."""

    kind: int
    stream: int
    payload: bytes


def frames(sent: bytes) -> Iterator[Frame]:
    """The frames of one connection, from its preface to its last byte."""
    assert sent.startswith(PREFACE), sent[:40]
    at = len(PREFACE)
    while at < len(sent):
        size = int.from_bytes(sent[at : at + 3])
        kind, flags = sent[at + 3], sent[at + 4]
        stream = int.from_bytes(sent[at + 5 : at + 9])
        payload = sent[at + _HEAD_BYTES : at + _HEAD_BYTES + size]
        assert len(payload) == size, "the connection ends within a frame"
        assert not (kind == DATA and flags & _PADDED), "padding is not looked into"
        yield Frame(kind, stream, payload)
        at += _HEAD_BYTES + size


def messages(sent: list[Frame]) -> Iterator[bytes]:
    """The serialised messages of every call, uncompressed, in the calls' order."""
    calls: defaultdict[int, bytes] = defaultdict(bytes)
    for frame in sent:
        if frame.kind == DATA:
            calls[frame.stream] += frame.payload
    for data in calls.values():
        at = 0
        while at < len(data):
            assert data[at] == 0, "a compressed message"
            size = int.from_bytes(data[at + 1 : at + 5])
            assert at + 5 + size <= len(data), "a message that was broken off"
            yield data[at + 5 : at + 5 + size]
            at += 5 + size
