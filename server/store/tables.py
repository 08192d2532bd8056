"""Tables of the server's database, and their rows as dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Integer, MetaData, String, Table

METADATA = MetaData()


class TrafficKind(StrEnum):
    """What bytes were spent on; CFMQ counts `TRAIN` alone."""

    TRAIN = "train"
    EVALUATE = "evaluate"
    INSTALL = "install"
    """Program and manifest, once a phone."""
    IDLE = "idle"
    """Check-ins without work."""


META = Table(
    "meta", METADATA, Column("key", String, primary_key=True), Column("value", JSON, nullable=False)
)
CLIENTS = Table(
    "clients",
    METADATA,
    Column("client_id", String, primary_key=True),
    Column("train_examples", Integer, nullable=False),
    Column("test_examples", Integer, nullable=False),
    Column("runtime_version", String, nullable=False),
    Column("capable", Boolean, nullable=False),
    Column("first_seen_secs", Float, nullable=False),
)
ROUNDS = Table(
    "rounds",
    METADATA,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("number", Integer, nullable=False),
    Column("work", String, nullable=False),
    Column("phase", String, nullable=False),
    Column("ending", String, nullable=False),
    Column("rules", JSON, nullable=False),
    Column("books", JSON, nullable=False),
    Column("started_secs", Float, nullable=False),
    Column("ended_secs", Float, nullable=False),
    Column("weights_digest", String, nullable=False),
)
JOURNAL = Table(
    "journal",
    METADATA,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("number", Integer, nullable=False),
    Column("work", String, nullable=False),
    Column("event", JSON, nullable=False),
)
ASSIGNMENTS = Table(
    "assignments",
    METADATA,
    Column("assignment_id", String, primary_key=True),
    Column("number", Integer, nullable=False, index=True),
    Column("work", String, nullable=False),
    Column("client_id", String, nullable=False),
    Column("granted_secs", Float, nullable=False),
)
REPORTS = Table(
    "reports",
    METADATA,
    Column("client_id", String, primary_key=True),
    Column("report_id", String, primary_key=True),
    Column("assignment_id", String, nullable=False),
    Column("number", Integer, nullable=False, index=True),
    Column("work", String, nullable=False),
    Column("verdict", Integer, nullable=False),
    Column("detail", String, nullable=False),
    Column("received_secs", Float, nullable=False),
    Column("payload_digest", String, nullable=False),
    Column("payload_bytes", BigInteger, nullable=False),
    Column("encoding", String, nullable=False),
    Column("examples", Integer, nullable=False),
    Column("steps", BigInteger, nullable=False),
    Column("loss", Float, nullable=False),
    Column("train_secs", Float, nullable=False),
    Column("peak_memory_bytes", BigInteger, nullable=False),
    Column("planned_memory_bytes", BigInteger, nullable=False),
    Column("skipped_examples", Integer, nullable=False),
    Column("update_norm", Float, nullable=False),
)
EVALUATIONS = Table(
    "evaluations",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("client_id", String, primary_key=True),
    Column("word_errors", BigInteger, nullable=False),
    Column("words", BigInteger, nullable=False),
    Column("utterances", BigInteger, nullable=False),
)
TRAFFIC = Table(
    "traffic",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("client_id", String, primary_key=True),
    Column("bytes_down", BigInteger, nullable=False),
    Column("bytes_up", BigInteger, nullable=False),
)
INVITATIONS = Table(
    "invitations",
    METADATA,
    Column("digest", String, primary_key=True),
    Column("created_secs", Float, nullable=False),
    Column("expires_secs", Float, nullable=False),
    Column("key_digest", String, nullable=False),
    Column("client_id", String, nullable=False),
    Column("used_secs", Float, nullable=False),
    Column("certificate", String, nullable=False),
)
CERTIFICATES = Table(
    "certificates",
    METADATA,
    Column("serial", String, primary_key=True),
    Column("client_id", String, nullable=False, index=True),
    Column("key_digest", String, nullable=False),
    Column("issued_secs", Float, nullable=False),
    Column("expires_secs", Float, nullable=False),
    Column("revoked", Boolean, nullable=False),
)


@dataclass(frozen=True)
class ClientRow:
    """A phone that has checked in. `capable`: it has every operator that the program needs."""

    client_id: str
    train_examples: int
    test_examples: int
    runtime_version: str
    capable: bool
    first_seen_secs: float


@dataclass(frozen=True)
class StoredRound:
    """A round as stored. `books`: plan and sizes for the ledger; `weights_digest`: its result."""

    number: int
    work: str
    phase: str
    ending: str
    rules: dict[str, Any]
    books: dict[str, Any]
    started_secs: float = 0.0
    ended_secs: float = 0.0
    weights_digest: str = ""
    seq: int | None = None


@dataclass(frozen=True)
class AssignmentRow:
    """One grant of a place."""

    assignment_id: str
    number: int
    work: str
    client_id: str
    granted_secs: float


@dataclass(frozen=True)
class ReportRow:
    """A report that was answered for good: accepted, or refused as bad. Secs are Unix time."""

    client_id: str
    report_id: str
    assignment_id: str
    number: int
    work: str
    verdict: int
    detail: str
    received_secs: float
    payload_digest: str
    payload_bytes: int
    encoding: str
    examples: int
    steps: int
    loss: float
    train_secs: float
    peak_memory_bytes: int
    planned_memory_bytes: int
    skipped_examples: int
    update_norm: float


@dataclass(frozen=True)
class EvaluationRow:
    """One phone's word errors with the weights of round `number`."""

    number: int
    client_id: str
    word_errors: int
    words: int
    utterances: int


@dataclass(frozen=True)
class TrafficRow:
    """Message bytes with their 5-byte frame headers, from the phone's side: down and up."""

    number: int
    kind: str
    client_id: str
    bytes_down: int
    bytes_up: int


@dataclass(frozen=True)
class Closing:
    """How a round ended."""

    phase: str
    ending: str
    started_secs: float
    ended_secs: float
    weights_digest: str = ""
    traffic: tuple[TrafficRow, ...] = field(default=())


@dataclass(frozen=True)
class InvitationRow:
    """A one-time token, by its sha256. `key_digest` is empty until it is used; `certificate`: DER,
    hex, what it was answered with."""

    digest: str
    created_secs: float
    expires_secs: float
    key_digest: str = ""
    client_id: str = ""
    used_secs: float = 0.0
    certificate: str = ""


@dataclass(frozen=True)
class CertificateRow:
    """A certificate issued to a phone. `serial`: hex; `key_digest`: sha256 of its public key."""

    serial: str
    client_id: str
    key_digest: str
    issued_secs: float
    expires_secs: float
    revoked: bool = False
