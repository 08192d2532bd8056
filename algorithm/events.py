"""What happens in a round, and what its driver is to do: inputs and outputs of `rounds.step`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Started:
    """Enough clients are known. `candidates`: those to invite, in the order drawn. The rest is the
    round's `Influence`; journals of 0.1.0 have none."""

    time_secs: float
    candidates: tuple[str, ...] = ()
    weight_cap: int = 0
    norm_bound: float = 0.0


@dataclass(frozen=True)
class CheckedIn:
    """A client that may work asks for work. `examples`: to train on, as it says; 0: not known."""

    time_secs: float
    client_id: str
    examples: int = 0


@dataclass(frozen=True)
class ReportAccepted:
    """A report that `may_report` allowed has passed all checks."""

    time_secs: float
    client_id: str


@dataclass(frozen=True)
class ReportRejected:
    """A report that `may_report` allowed is refused for good."""

    time_secs: float
    client_id: str


@dataclass(frozen=True)
class TurnedAway:
    """A client that was invited cannot do the work in time: its turn goes to the next one."""

    time_secs: float
    client_id: str


@dataclass(frozen=True)
class Ticked:
    """Time has passed."""

    time_secs: float


@dataclass(frozen=True)
class Committed:
    """The round's result is stored."""

    time_secs: float


Event = Started | CheckedIn | ReportAccepted | ReportRejected | TurnedAway | Ticked | Committed
_EVENTS: dict[str, type[Event]] = {
    kind.__name__: kind
    for kind in (
        Started,
        CheckedIn,
        ReportAccepted,
        ReportRejected,
        TurnedAway,
        Ticked,
        Committed,
    )
}


@dataclass(frozen=True)
class Grant:
    """Give the client this assignment: a new one, or the one it has if it asks again."""

    client_id: str
    assignment_id: str
    lease_secs: float


@dataclass(frozen=True)
class Commit:
    """Finalise the round: aggregate, store, then send `Committed`."""


@dataclass(frozen=True)
class Abandon:
    """The round has failed; weights stay as they were."""


Command = Grant | Commit | Abandon


def event_to_dict(event: Event) -> dict[str, Any]:
    """An event as a JSON object, for the journal."""
    return {"kind": type(event).__name__, **asdict(event)}


def event_from_dict(fields: Mapping[str, Any]) -> Event:
    """The event of a journal's JSON object."""
    values = dict(fields)
    kind = _EVENTS[values.pop("kind")]
    if "candidates" in values:
        values["candidates"] = tuple(values["candidates"])
    return kind(**values)
