"""What a message may hold, in one place: the length and characters of every text, the number of
entries of every list. What is larger or not printable never reaches memory, store or log."""

from __future__ import annotations

from typing import TypeVar

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from fedvoice.server.calls import RefusedError

LONGEST_TEXT = 128
"""Characters of identifiers, versions, names and of each entry of a list."""
MOST_ENTRIES = 256
_LONGEST = {"fedvoice.v1.EnrolRequest.token": 512}
_MOST = {"fedvoice.v1.Capabilities.operators": 4096}


M = TypeVar("M", bound=Message)


def parsed(kind: type[M], data: bytes) -> M:
    """A message within the limits. Handlers are given bytes: what is no message must not be gRPC's
    affair, which leaks memory and answers UNKNOWN.

    Raises:
        RefusedError: INVALID_ARGUMENT for bytes that are none, or beyond the limits.
    """
    try:
        message = kind.FromString(data)
    except DecodeError:
        name = kind.DESCRIPTOR.name
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, f"bytes that are no {name}") from None
    check_limits(message)
    return message


def check_limits(message: Message) -> None:
    """Raise `RefusedError` (INVALID_ARGUMENT) naming the first field that is out of bounds."""
    for field, value in message.ListFields():
        if field.is_repeated:
            most = _MOST.get(field.full_name, MOST_ENTRIES)
            if len(value) > most:
                raise _refused(field, f"{len(value)} entries, at most {most} wanted")
            for entry in value:
                _check(field, entry)
        else:
            _check(field, value)


def _check(field: FieldDescriptor, value: object) -> None:
    if isinstance(value, Message):
        check_limits(value)
    elif isinstance(value, str):
        longest = _LONGEST.get(field.full_name, LONGEST_TEXT)
        if len(value) > longest or not value.isprintable():
            raise _refused(field, f"at most {longest} printable characters wanted")


def _refused(field: FieldDescriptor, text: str) -> RefusedError:
    return RefusedError(grpc.StatusCode.INVALID_ARGUMENT, f"{field.name}: {text}")
