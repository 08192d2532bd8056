"""What a phone keeps over a restart: its assignment and its finished report."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from fedvoice.protocol.codec import digest_of
from fedvoice.protocol.files import write_file
from fedvoice.protocol.generated import fedvoice_pb2 as pb

_TIME = struct.Struct("<d")


@dataclass(frozen=True)
class PendingReport:
    """A finished piece of work that the server has not acknowledged."""

    header: pb.ReportHeader
    payload: bytes


class Outbox:
    """At most one report. The header is written last: a report with one is complete."""

    def __init__(self, directory: Path) -> None:
        self._header_path = directory / "report.header"
        self._payload_path = directory / "report.payload"

    def put(self, report: PendingReport) -> None:
        """Keep a report until `clear`; durable when this returns."""
        self._header_path.unlink(missing_ok=True)
        write_file(self._payload_path, report.payload, durably=True)
        write_file(self._header_path, report.header.SerializeToString(), durably=True)

    def pending(self) -> PendingReport | None:
        """The report kept, if there is a whole one."""
        try:
            header = pb.ReportHeader.FromString(self._header_path.read_bytes())
            payload = self._payload_path.read_bytes()
        except (OSError, DecodeError):
            return None
        if header.payload.size_bytes and digest_of(payload) != header.payload.digest:
            return None
        return PendingReport(header, payload)

    def clear(self) -> None:
        """Forget the report."""
        self._header_path.unlink(missing_ok=True)
        self._payload_path.unlink(missing_ok=True)


@dataclass(frozen=True)
class HeldAssignment:
    """An assignment and when it came (Unix time): its lease counts from then."""

    assignment: pb.Assignment
    received_secs: float

    @property
    def lease_end_secs(self) -> float:
        """Unix time."""
        return self.received_secs + self.assignment.lease_secs


class AssignmentFile:
    """The assignment in work, so that a killed phone can resume it."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "assignment"

    def put(self, held: HeldAssignment) -> None:
        """Keep an assignment; one lost in a power cut costs a lease, so it is not synced."""
        stamp = _TIME.pack(held.received_secs)
        write_file(self._path, stamp + held.assignment.SerializeToString())

    def get(self) -> HeldAssignment | None:
        """The assignment kept, if there is one."""
        try:
            data = self._path.read_bytes()
            (received_secs,) = _TIME.unpack_from(data)
            return HeldAssignment(pb.Assignment.FromString(data[_TIME.size :]), received_secs)
        except (OSError, struct.error, DecodeError):
            return None

    def clear(self) -> None:
        """Forget it."""
        self._path.unlink(missing_ok=True)
