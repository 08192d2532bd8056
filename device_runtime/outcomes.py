"""The outcomes of a session, and a phone's reaction to each verdict on its report."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from fedvoice.device_runtime.conditions import Requirements
from fedvoice.device_runtime.retries import CallPolicy
from fedvoice.protocol.generated import fedvoice_pb2 as pb


class Happened(StrEnum):
    """How a session ended."""

    TRAINED = "trained"  # the update was accepted
    EVALUATED = "evaluated"  # the counts were accepted
    NO_WORK = "no-work"  # the server said when to call again
    LINE_TOO_SLOW = "line-too-slow"  # the server has work that this phone could not bring in time
    NOT_READY = "not-ready"  # conditions do not allow work; the server was not called
    INTERRUPTED = "interrupted"  # stopped between steps; resumes from the checkpoint
    LEASE_EXPIRED = "lease-expired"  # too slow: the work was dropped
    GAVE_UP = "gave-up"  # diverged or nothing usable: an empty report gave the place back
    REPORT_DROPPED = "report-dropped"  # the server will never take it: see `verdict`
    REPORT_KEPT = "report-kept"  # the server cannot take it now: sent again next time


class Reaction(StrEnum):
    """What a phone does with a report after a verdict."""

    DROP = "drop"
    RESUME = "resume"  # ask ReportStatus and send the rest, a bounded number of times
    RESEND = "resend"  # send all of it again, a bounded number of times
    WAIT = "wait"  # keep it and try in the next session


REACTIONS: dict[pb.Verdict, Reaction] = {
    pb.VERDICT_ACCEPTED: Reaction.DROP,
    pb.VERDICT_LATE: Reaction.DROP,
    pb.VERDICT_UNKNOWN_ASSIGNMENT: Reaction.DROP,
    pb.VERDICT_WRONG_SHAPE: Reaction.DROP,
    pb.VERDICT_NOT_FINITE: Reaction.DROP,
    pb.VERDICT_NORM_TOO_LARGE: Reaction.DROP,
    pb.VERDICT_INVALID_STATISTICS: Reaction.DROP,
    pb.VERDICT_WRONG_DIGEST: Reaction.RESEND,
    pb.VERDICT_WRONG_OFFSET: Reaction.RESUME,
    pb.VERDICT_NO_SPACE: Reaction.WAIT,
}
"""Reports with an unknown verdict (of a newer server) are dropped."""


@dataclass(frozen=True)
class SessionSettings:
    """Settings of a phone's sessions, independent of the task.

    checkpoint_secs: 0: after every step; None: no checkpoints.
    recheck_secs: pause after a session that the server gave no time for.
    client_rules: those that a server's plan may name here; None: all that have a name
        (`CLIENT_RULES.names()`). A plan never makes a phone import anything else.
    """

    requirements: Requirements = field(default_factory=Requirements)
    calls: CallPolicy = field(default_factory=CallPolicy)
    checkpoint_secs: float | None = 1.0
    grace_secs: float = 5.0
    recheck_secs: float = 60.0
    report_attempts: int = 3
    feature_cache_bytes: int = 32 << 20
    runtime_version: str = ""
    operators: tuple[str, ...] = ()
    client_rules: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Outcome:
    """The result of one session.

    bytes_up, bytes_down: of this session's messages. attempts: calls made, repetitions included.
    """

    happened: Happened
    next_contact_secs: float
    finished: bool = False
    round_number: int | None = None
    statistics: pb.Statistics | None = None
    verdict: pb.Verdict | None = None
    detail: str = ""
    bytes_up: int = 0
    bytes_down: int = 0
    attempts: int = 0
