"""Whether a phone's line can carry a round's work in the time that is left."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from statistics import median

from fedvoice.algorithm.events import CheckedIn, Grant
from fedvoice.algorithm.rounds import RoundState, Work, step
from fedvoice.protocol.codec import largest_payload_bytes
from fedvoice.protocol.cost import human_bytes
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.server.rounds.job import Job

log = logging.getLogger("fedvoice.server")

_REMEMBERED = 65
_ENOUGH = 5
"""Updates of which there is something typical: half of them must agree, whatever one claims."""


class Typical:
    """What the last accepted updates took: medians."""

    def __init__(self) -> None:
        self._train_secs: deque[float] = deque(maxlen=_REMEMBERED)
        self._payload_bytes: deque[int] = deque(maxlen=_REMEMBERED)

    def note(self, train_secs: float, payload_bytes: int) -> None:
        """An update was accepted."""
        self._train_secs.append(train_secs)
        self._payload_bytes.append(payload_bytes)

    @property
    def train_secs(self) -> float:
        """Of the training; 0: not known."""
        return median(self._train_secs) if len(self._train_secs) >= _ENOUGH else 0.0

    @property
    def payload_bytes(self) -> float | None:
        """Of the update; None: not known."""
        return median(self._payload_bytes) if len(self._payload_bytes) >= _ENOUGH else None


class Lines:
    """What a coordinator asks before it gives work away."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.typical = Typical()

    def why_not(
        self,
        state: RoundState,
        event: CheckedIn,
        request: pb.CheckInRequest,
        weights: pb.Blob,
    ) -> str:
        """Why the client gets no place that it would have got; empty: it may have it, or would not
        have got it anyway.

        An assignment that it has already is never taken from it.

        Args:
            weights: of the round.
        """
        conditions, margin = request.conditions, self._job.config.line_margin
        known = conditions.up_bytes_per_sec or conditions.down_bytes_per_sec
        place = state.places.get(event.client_id)
        if margin == 0 or not known or (place is not None and place.assignment_id):
            return ""
        load = load_of(self._job, state, weights, request.cached_digests, self.typical)
        left_secs = min(state.rules.lease_secs, state.deadline_secs - event.time_secs)
        slow = too_slow(load, conditions, left_secs, margin)
        if slow:
            _, commands = step(state, event)
            if any(isinstance(command, Grant) for command in commands):
                log.info("line too slow client=%s: %s", event.client_id, slow)
                return slow
        return ""


@dataclass(frozen=True)
class Load:
    """What a phone has to move for an assignment, and how long its training takes."""

    down_bytes: float
    up_bytes: float
    train_secs: float


def load_of(
    job: Job, state: RoundState, weights: pb.Blob, held: Collection[str], typical: Typical
) -> Load:
    """The load of a phone that holds the blobs with these digests."""
    blobs = (job.manifest_blob, job.program_blob, weights)
    down = sum(blob.size_bytes for blob in blobs if blob.digest not in held)
    if state.rules.work is Work.EVALUATE:
        return Load(down, 0, 0.0)
    up = typical.payload_bytes
    if up is None:
        up = largest_payload_bytes(job.plan_for(state.rules.number).update_encoding, job.size)
    return Load(down, up, typical.train_secs)


def too_slow(load: Load, conditions: pb.Conditions, left_secs: float, margin: float) -> str:
    """Why a phone could not do it in `left_secs`, in words; empty: it can, or is not known.

    The transfers at the rates that the phone reported, times `margin`, must fit what the training
    leaves; that is held to take half of the time at most, for it is not the line's fault. What a
    phone has not sent yet is held to go up as fast as it came down, at best; a rate down that is
    not known counts as boundless.
    """
    down = conditions.down_bytes_per_sec
    up = conditions.up_bytes_per_sec or down
    secs = (load.down_bytes / down if down else 0.0) + (load.up_bytes / up if up else 0.0)
    if margin * secs <= left_secs - min(load.train_secs, left_secs / 2):
        return ""
    moved = [
        f"{human_bytes(size)} {way} at {human_bytes(rate)}/s"
        for size, way, rate in ((load.down_bytes, "down", down), (load.up_bytes, "up", up))
        if size and rate
    ]
    training = f" and training {load.train_secs:.0f} s" if load.train_secs else ""
    return f"{', '.join(moved)} take {secs:.0f} s{training}; {left_secs:.0f} s are left"
