"""Pace steering (Bonawitz et al. 2019, section 2.3): when a client without work calls again."""

from __future__ import annotations

from dataclasses import dataclass

from fedvoice.algorithm.rounds import Phase, RoundState
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.server.config import ServerConfig


@dataclass(frozen=True)
class Window:
    """Call again at a time drawn uniformly between the two."""

    min_secs: float
    max_secs: float
    finished: bool = False

    def to_message(self) -> pb.RetryWindow:
        """As a protocol message."""
        return pb.RetryWindow(
            min_secs=self.min_secs, max_secs=self.max_secs, finished=self.finished
        )


FINISHED = Window(0.0, 0.0, finished=True)


def window(config: ServerConfig, wait_secs: float) -> Window:
    """The retry window for a client that could have work in `wait_secs`.

    Never later than half a lease when clients are invited: an invitation must not run out while
    the client waits as it was told to.
    """
    retry = config.retry
    most = retry.most_secs
    if config.selection == "sampled":
        most = min(most, config.lease_secs / 2)
    start = max(min(retry.least_secs, most), min(wait_secs, most))
    return Window(start, min(start * (1 + retry.spread), max(most, start)))


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
