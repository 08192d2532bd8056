"""One round as a pure state machine: `step(state, event) -> (state, commands)`.

    selecting -> training -> committing -> committed
                     \\-> abandoned

No I/O and no clock: events carry the time. The driver journals the events that changed the state;
replaying them restores the state after a crash.

A round has a fixed number of places. A client is invited to a place (sampled rounds) or takes one
at check-in (rounds open to all; and any training round that would miss its goal with nobody left in
line; while the line is short, who comes uninvited joins its end). Both an invitation and an
assignment are leases: when one runs out the place goes to the next client of the queue, and the
client that lost it goes to the queue's end. A round ends by goal, by timeout with enough updates,
or is abandoned, and its state records which (law 5).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from fedvoice.algorithm.events import (
    Abandon,
    CheckedIn,
    Command,
    Commit,
    Committed,
    Event,
    Grant,
    ReportAccepted,
    ReportRejected,
    Started,
    Ticked,
    TurnedAway,
)
from fedvoice.algorithm.influence import UNLIMITED, Influence


class Work(StrEnum):
    """What the clients of a round do."""

    TRAIN = "train"
    EVALUATE = "evaluate"


class Phase(StrEnum):
    """Where a round stands."""

    SELECTING = "selecting"
    TRAINING = "training"
    COMMITTING = "committing"
    COMMITTED = "committed"
    ABANDONED = "abandoned"


class Ending(StrEnum):
    """Why a round ended."""

    GOAL = "goal"
    TIMEOUT = "timeout"
    TOO_FEW = "too-few"
    NOBODY = "nobody"


@dataclass(frozen=True)
class RoundRules:
    """Settings of one round; counts are clients."""

    job: str
    number: int
    work: Work
    goal: int
    """Accepted reports that end the round."""
    places: int
    """Clients that work at once or have reported."""
    min_fraction: float
    lease_secs: float
    timeout_secs: float
    open_to_all: bool = False
    invitation_secs: float = 0.0
    """An invited client checks in within this time; 0: within a lease."""


@dataclass(frozen=True)
class Place:
    """A lease. `assignment_id` is empty until the invited client checks in."""

    assignment_id: str
    expires_secs: float
    examples: int = 0
    """What the client declared when it was given the assignment; 0: not known."""


@dataclass(frozen=True)
class RoundState:
    """The state of one round."""

    rules: RoundRules
    phase: Phase = Phase.SELECTING
    started_secs: float = 0.0
    goal: int = 0
    """The rules' goal, or as many clients as there are."""
    queue: tuple[str, ...] = ()
    """Clients next in line for a free place."""
    places: Mapping[str, Place] = field(default_factory=dict)
    accepted: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()
    """Clients whose report was refused for good."""
    grants: int = 0
    ending: Ending | None = None
    influence: Influence = UNLIMITED
    """The limits of one client's update."""

    @property
    def deadline_secs(self) -> float:
        """When the round ends with the reports it has."""
        return self.started_secs + self.rules.timeout_secs

    @property
    def minimum(self) -> int:
        """Accepted reports that suffice at the deadline."""
        return max(1, math.ceil(self.rules.min_fraction * self.goal - 1e-9))

    @property
    def closed(self) -> bool:
        """No further event changes anything."""
        return self.phase in (Phase.COMMITTED, Phase.ABANDONED)


def may_report(state: RoundState, client_id: str, assignment_id: str, time_secs: float) -> bool:
    """Whether the client holds this assignment now."""
    place = state.places.get(client_id)
    return (
        state.phase is Phase.TRAINING
        and place is not None
        and place.assignment_id == assignment_id != ""
        and time_secs < min(place.expires_secs, state.deadline_secs)
    )


def lost(before: RoundState, state: RoundState) -> list[str]:
    """Clients whose assignment has ended between two states without an accepted report."""
    return [
        client
        for client, place in before.places.items()
        if place.assignment_id
        and client not in state.accepted
        and (now := state.places.get(client)) is not place
        and (now is None or now.assignment_id != place.assignment_id)
    ]


def weight_of(state: RoundState, client_id: str, examples: int) -> int:
    """What an update of n_k = `examples` counts with, of a client that `may_report`."""
    place = state.places.get(client_id)
    return state.influence.weight(examples, place.examples if place else 0)


def goal_of(rules: RoundRules, candidates: int) -> int:
    """Accepted reports that end a round with so many clients to invite."""
    return rules.goal if rules.open_to_all else min(rules.goal, candidates)


def next_deadline(state: RoundState) -> float | None:
    """When the next `Ticked` will change something; None: time alone changes nothing."""
    if state.phase is not Phase.TRAINING:
        return None
    return min([state.deadline_secs, *(place.expires_secs for place in state.places.values())])


def step(state: RoundState, event: Event) -> tuple[RoundState, tuple[Command, ...]]:
    """Advance the machine. Events that do not fit the phase change nothing."""
    if isinstance(event, Committed):
        if state.phase is not Phase.COMMITTING:
            return state, ()
        return replace(state, phase=Phase.COMMITTED), ()
    if isinstance(event, Started):
        return _start(state, event) if state.phase is Phase.SELECTING else (state, ())
    if state.phase is not Phase.TRAINING:
        return state, ()
    if event.time_secs >= state.deadline_secs:
        return _close(state)
    state = _refill(_expire(state, event.time_secs), event.time_secs)
    match event:
        case CheckedIn():
            return _check_in(state, event)
        case ReportAccepted():
            return _accept(state, event)
        case ReportRejected():
            state = replace(
                state,
                places=_without(state.places, event.client_id),
                excluded=state.excluded | {event.client_id},
            )
            return _refill(state, event.time_secs), ()
        case TurnedAway():
            return _refill(_turn_away(state, event.client_id), event.time_secs), ()
        case Ticked():
            return state, ()


def _start(state: RoundState, event: Started) -> tuple[RoundState, tuple[Command, ...]]:
    rules = state.rules
    goal = goal_of(rules, len(event.candidates))
    if goal == 0:
        return replace(state, phase=Phase.ABANDONED, ending=Ending.NOBODY), (Abandon(),)
    started = replace(
        state,
        phase=Phase.TRAINING,
        started_secs=event.time_secs,
        goal=goal,
        queue=() if rules.open_to_all else event.candidates,
        influence=Influence(event.weight_cap, event.norm_bound),
    )
    return _refill(started, event.time_secs), ()


def _check_in(state: RoundState, event: CheckedIn) -> tuple[RoundState, tuple[Command, ...]]:
    client, rules = event.client_id, state.rules
    place = state.places.get(client)
    if place is not None and place.assignment_id:
        return state, (Grant(client, place.assignment_id, place.expires_secs - event.time_secs),)
    free = _free_places(state)
    if rules.work is Work.TRAIN and not rules.open_to_all and not state.queue:
        # Nobody is left in line: whoever comes may help the round to its goal.
        free = state.goal - len(state.places) - len(state.accepted)
        open_now = True
    else:
        open_now = rules.open_to_all
    takes_free_place = (
        open_now and free > 0 and client not in state.accepted and client not in state.excluded
    )
    if place is None and not takes_free_place:
        return _lined_up(state, client), ()
    grants = state.grants + 1
    granted = Place(
        assignment_id=f"{rules.job}-{rules.work}-{rules.number}-{grants}",
        expires_secs=event.time_secs + rules.lease_secs,
        examples=event.examples,
    )
    state = replace(state, places={**state.places, client: granted}, grants=grants)
    return state, (Grant(client, granted.assignment_id, rules.lease_secs),)


def _lined_up(state: RoundState, client: str) -> RoundState:
    """A client that came uninvited, at the end of a short line: where a phone that was invited has
    gone for good, its place must not be offered to itself until the round's time is up."""
    rules = state.rules
    joins = (
        rules.work is Work.TRAIN
        and not rules.open_to_all
        and len(state.queue) < rules.places
        and client not in state.queue
        and client not in state.accepted
        and client not in state.excluded
    )
    return replace(state, queue=(*state.queue, client)) if joins else state


def _turn_away(state: RoundState, client_id: str) -> RoundState:
    place = state.places.get(client_id)
    if place is not None and not place.assignment_id:
        state = replace(state, places=_without(state.places, client_id))
    return replace(state, queue=tuple(c for c in state.queue if c != client_id))


def _accept(state: RoundState, event: ReportAccepted) -> tuple[RoundState, tuple[Command, ...]]:
    if event.client_id not in state.places:
        return state, ()
    state = replace(
        state,
        places=_without(state.places, event.client_id),
        accepted=state.accepted | {event.client_id},
    )
    if len(state.accepted) < state.goal:
        return state, ()
    return replace(state, phase=Phase.COMMITTING, ending=Ending.GOAL), (Commit(),)


def _close(state: RoundState) -> tuple[RoundState, tuple[Command, ...]]:
    if len(state.accepted) >= state.minimum:
        return replace(state, phase=Phase.COMMITTING, ending=Ending.TIMEOUT), (Commit(),)
    return replace(state, phase=Phase.ABANDONED, ending=Ending.TOO_FEW), (Abandon(),)


def _expire(state: RoundState, time_secs: float) -> RoundState:
    expired = tuple(c for c, place in state.places.items() if place.expires_secs <= time_secs)
    if not expired:
        return state
    return replace(
        state,
        places={c: place for c, place in state.places.items() if c not in expired},
        queue=state.queue if state.rules.open_to_all else state.queue + expired,
    )


def _refill(state: RoundState, time_secs: float) -> RoundState:
    count = min(_free_places(state), len(state.queue))
    if count <= 0:
        return state
    rules = state.rules
    invitation = Place("", time_secs + (rules.invitation_secs or rules.lease_secs))
    invited = {client: invitation for client in state.queue[:count]}
    return replace(state, places={**state.places, **invited}, queue=state.queue[count:])


def _free_places(state: RoundState) -> int:
    return state.rules.places - len(state.places) - len(state.accepted)


def _without(places: Mapping[str, Place], client_id: str) -> dict[str, Place]:
    return {client: place for client, place in places.items() if client != client_id}
