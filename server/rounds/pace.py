"""Pace steering (Bonawitz et al. 2019, section 2.3): when a client without work calls again."""

from __future__ import annotations

from dataclasses import dataclass

from fedvoice.algorithm.rounds import Phase, RoundState
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.server.config import ServerConfig


@dataclass(frozen=True)
class Window:
    """Call again at a time drawn uniformly between the two. too_slow: why the client's line is."""

    min_secs: float
    max_secs: float
    finished: bool = False
    too_slow: str = ""

    def to_message(self) -> pb.RetryWindow:
        """As a protocol message."""
        return pb.RetryWindow(
            min_secs=self.min_secs,
            max_secs=self.max_secs,
            finished=self.finished,
            reason=pb.REASON_LINE_TOO_SLOW if self.too_slow else pb.REASON_UNSPECIFIED,
            detail=self.too_slow,
        )


FINISHED = Window(0.0, 0.0, finished=True)


def window(config: ServerConfig, wait_secs: float, clients: int = 0) -> Window:
    """The retry window for a client that could have work in `wait_secs`.

    `clients`, all of which are told one like it, offer no more calls a second than the server is
    set to take: neither over time (its middle lies `clients / most_calls_per_sec` ahead) nor at the
    moment for which they wait (so many seconds is its width). `benchmarks.pace_day` shows a day.
    """
    retry = config.retry
    most = retry.most_secs
    if config.selection == "sampled":
        # An invitation must not run out while the client waits as it was told to.
        most = min(most, config.lease_secs / 2)
    start = max(min(retry.least_secs, most), min(wait_secs, most))
    end = min(start * (1 + retry.spread), max(most, start))
    least_secs = clients / retry.most_calls_per_sec
    return Window(start, max(end, start + least_secs, 2 * least_secs - start))


def invitation_secs(config: ServerConfig, clients: int) -> float:
    """How long an invited client has to check in: a lease, or longer where so many clients are
    known that they are told to wait longer."""
    longest = window(config, config.retry.most_secs, clients).max_secs
    return config.lease_secs if longest <= config.lease_secs else 1.5 * longest


def expected_wait_secs(state: RoundState, last_duration_secs: float | None, now: float) -> float:
    """Seconds until the round probably ends; 0: it may begin or end at any moment."""
    if state.phase is not Phase.TRAINING:
        return 0.0
    elapsed = now - state.started_secs
    if last_duration_secs is None:
        # Nothing is known of the clients yet: as long again as it has lasted. Two clients at hand
        # begin at once, and thousands call only as often as the logarithm of the round's length.
        return elapsed
    return max(0.0, last_duration_secs - elapsed)
