"""Messages with extreme values, and bytes that were messages once."""

from __future__ import annotations

import random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

_TEXTS = ["", "a", "phone-1", "x" * 129, "a\nb", "\x1b[2J", "../x", "0" * 64, "é" * 64, "\u2028"]
_NUMBERS = [0, 1, 2, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1]
_REALS = [0.0, -0.0, 1.0, -1.0, 1e308, -1e308, 5e-324, float("inf"), float("-inf"), float("nan")]


def hostile(message: Message, draw: random.Random) -> bytes:
    """A message with extreme values, or bytes that were one."""
    if draw.random() < 0.6:
        distort(message, draw)
        sent = message.SerializeToString()
    else:
        sent = mutated(message.SerializeToString(), draw)
    return sent


def decodes(kind: type[Message], sent: bytes) -> bool:
    """Whether bytes are a message of this kind."""
    try:
        kind.FromString(sent)
    except DecodeError:
        return False
    return True


def distort(message: Message, draw: random.Random) -> None:
    """Set some fields, at any depth, to extreme values."""
    for each in message.DESCRIPTOR.fields:
        if draw.random() < 0.25 and not each.is_repeated:
            if each.message_type is not None:
                distort(getattr(message, each.name), draw)
            else:
                setattr(message, each.name, _extreme(each, draw))
        elif draw.random() < 0.05 and each.is_repeated and each.message_type is None:
            entries = [_extreme(each, draw) for _ in range(draw.choice([1, 300, 5000]))]
            getattr(message, each.name).extend(entries)


def _extreme(each: FieldDescriptor, draw: random.Random) -> Any:
    kinds = FieldDescriptor
    if each.cpp_type == kinds.CPPTYPE_STRING:
        return (
            draw.choice(_TEXTS).encode() if each.type == kinds.TYPE_BYTES else draw.choice(_TEXTS)
        )
    if each.cpp_type == kinds.CPPTYPE_DOUBLE:
        return draw.choice(_REALS)
    if each.cpp_type == kinds.CPPTYPE_BOOL:
        return draw.random() < 0.5
    most = 2**64 if each.cpp_type == kinds.CPPTYPE_UINT64 else 2**32
    if each.cpp_type == kinds.CPPTYPE_ENUM:
        most = 16
    return draw.choice(_NUMBERS) % most


def mutated(data: bytes, draw: random.Random) -> bytes:
    """Bytes changed, cut, repeated or put in between."""
    found = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(found) + 1)
        kind = draw.randrange(4)
        if kind == 0 and at < len(found):
            found[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del found[at:]
        elif kind == 2:
            found[at:at] = found[: draw.randrange(32)]
        else:
            found[at:at] = draw.randbytes(draw.randrange(16))
    return bytes(found)
