"""Tables of the server's database, each declared once: a row is a dataclass, and its table follows
from it.

A field's type is its column's; `Key` marks primary keys, `Indexed` a column with an index, `Long`
64-bit integers. No column may be NULL but those of `int | None` with a default: they were added
later, and rows of earlier versions have none.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Integer, MetaData, String, Table

METADATA = MetaData()
TABLES: dict[type, Table] = {}
"""The table of each row type."""

Row = TypeVar("Row")
Key = "key"
Indexed = "index"
Long = Annotated[int, BigInteger]
Added = Annotated[int | None, BigInteger]
"""A column that earlier versions did not have."""
_TYPES: dict[Any, Any] = {str: String, int: Integer, float: Float, bool: Boolean}


def _table(name: str, row_type: type[Row]) -> Table:
    """The table of a row type, with its primary key first."""
    hints = get_type_hints(row_type, include_extras=True)
    # dataclasses.fields wants what mypy cannot know of a type variable.
    columns = [_column(f.name, hints[f.name]) for f in fields(row_type)]  # type: ignore[arg-type]
    columns.sort(key=lambda column: not column.primary_key)
    TABLES[row_type] = Table(name, METADATA, *columns)
    return TABLES[row_type]


def _column(name: str, hint: Any) -> Column[Any]:
    plain, marks = hint, tuple[Any, ...]()
    if get_origin(hint) is Annotated:
        plain, *rest = get_args(hint)
        marks = tuple(rest)
    if Key in marks:
        counted = plain not in (str, int)  # `int | None`: given by the database
        return Column(
            name,
            _TYPES.get(plain, Integer),
            primary_key=True,
            autoincrement=True if counted else "auto",
        )
    kind = BigInteger if BigInteger in marks else _TYPES.get(plain, JSON)
    nullable = NoneType in get_args(plain)
    return Column(name, kind, nullable=nullable, index=True if Indexed in marks else None)


class TrafficKind(StrEnum):
    """What bytes were spent on; CFMQ counts `TRAIN` alone."""

    TRAIN = "train"
    EVALUATE = "evaluate"
    INSTALL = "install"
    """Program and manifest, once a client."""
    IDLE = "idle"
    """Check-ins without work."""


@dataclass(frozen=True)
class MetaRow:
    """A fact of the whole job."""

    key: Annotated[str, Key]
    value: Any


@dataclass(frozen=True)
class ClientRow:
    """A client that has checked in. `capable`: it has every operator that the program needs,
    and the plan's client rule."""

    client_id: Annotated[str, Key]
    train_examples: int
    test_examples: int
    runtime_version: str
    capable: bool
    first_seen_secs: float
    seen_day: Added = None
    """Day since 1970 of its last check-in."""


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
    seq: Annotated[int | None, Key] = None


@dataclass(frozen=True)
class JournalRow:
    """An event of the open round."""

    number: int
    work: str
    event: dict[str, Any]
    seq: Annotated[int | None, Key] = None


@dataclass(frozen=True)
class AssignmentRow:
    """One assignment of a place."""

    assignment_id: Annotated[str, Key]
    number: Annotated[int, Indexed]
    work: str
    client_id: str
    granted_secs: float


@dataclass(frozen=True)
class ReportRow:
    """A report with a final answer: accepted, or refused as bad. Secs are Unix time."""

    client_id: Annotated[str, Key]
    report_id: Annotated[str, Key]
    assignment_id: str
    number: Annotated[int, Indexed]
    work: str
    verdict: int
    detail: str
    received_secs: float
    payload_digest: str
    payload_bytes: Long
    encoding: str
    examples: int
    steps: Long
    loss: float
    train_secs: float
    peak_memory_bytes: Long
    planned_memory_bytes: Long
    skipped_examples: int
    update_norm: float


@dataclass(frozen=True)
class EvaluationRow:
    """One client's errors with the weights of round `number`. chars: None if it counted none."""

    number: Annotated[int, Key]
    client_id: Annotated[str, Key]
    word_errors: Long
    words: Long
    utterances: Long
    char_errors: Added = None
    chars: Added = None


@dataclass(frozen=True)
class TrafficRow:
    """Message bytes with their 5-byte frame headers, from the client's side: down and up."""

    number: Annotated[int, Key]
    kind: Annotated[str, Key]
    client_id: Annotated[str, Key]
    bytes_down: Long
    bytes_up: Long


@dataclass(frozen=True)
class TrafficTotalRow:
    """The same of all clients together: what the books read."""

    number: Annotated[int, Key]
    kind: Annotated[str, Key]
    bytes_down: Long
    bytes_up: Long


@dataclass(frozen=True)
class Closing:
    """How a round ended."""

    phase: str
    ending: str
    started_secs: float
    ended_secs: float
    weights_digest: str = ""
    traffic: tuple[TrafficRow, ...] = field(default=())
    books: dict[str, Any] = field(default_factory=dict)
    """The round's `books` with their sums."""


@dataclass(frozen=True)
class InvitationRow:
    """A one-time token, by its sha256. `key_digest` is empty until it is used; `certificate`: DER,
    hex, what it was answered with."""

    digest: Annotated[str, Key]
    created_secs: float
    expires_secs: float
    key_digest: str = ""
    client_id: str = ""
    used_secs: float = 0.0
    certificate: str = ""


@dataclass(frozen=True)
class CertificateRow:
    """A certificate issued to a phone. `serial`: hex; `key_digest`: sha256 of its public key."""

    serial: Annotated[str, Key]
    client_id: Annotated[str, Indexed]
    key_digest: str
    issued_secs: float
    expires_secs: float
    revoked: bool = False


META = _table("meta", MetaRow)
CLIENTS = _table("clients", ClientRow)
ROUNDS = _table("rounds", StoredRound)
JOURNAL = _table("journal", JournalRow)
ASSIGNMENTS = _table("assignments", AssignmentRow)
REPORTS = _table("reports", ReportRow)
EVALUATIONS = _table("evaluations", EvaluationRow)
TRAFFIC = _table("traffic", TrafficRow)
TRAFFIC_TOTALS = _table("traffic_totals", TrafficTotalRow)
INVITATIONS = _table("invitations", InvitationRow)
CERTIFICATES = _table("certificates", CertificateRow)
