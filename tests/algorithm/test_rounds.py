"""Stories of the state machine: no I/O, time is a number. Law 5: a dead phone holds nothing."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fedvoice.algorithm.cohort import SHUFFLED_WHOLE, draw_cohort
from fedvoice.algorithm.events import (
    Abandon,
    CheckedIn,
    Commit,
    Committed,
    Grant,
    ReportAccepted,
    ReportRejected,
    Started,
    Ticked,
    TurnedAway,
    event_from_dict,
    event_to_dict,
)
from fedvoice.algorithm.rounds import (
    Ending,
    Phase,
    RoundRules,
    RoundState,
    Work,
    may_report,
    next_deadline,
    step,
)

RULES = RoundRules(
    job="job",
    number=1,
    work=Work.TRAIN,
    goal=2,
    places=2,
    min_fraction=0.5,
    lease_secs=10,
    timeout_secs=100,
)


def play(state, *events):
    commands = []
    for event in events:
        state, more = step(state, event)
        commands += more
    return state, commands


def begun(rules=RULES, candidates=("a", "b", "c")):
    return play(RoundState(rules), Started(0, candidates))[0]


def grants(commands):
    return [c.client_id for c in commands if isinstance(c, Grant)]


def test_a_round_ends_by_goal():
    state, commands = play(
        begun(),
        CheckedIn(1, "a"),
        CheckedIn(2, "b"),
        ReportAccepted(3, "a"),
        ReportAccepted(4, "b"),
    )
    assert grants(commands) == ["a", "b"]
    assert commands[-1] == Commit()
    assert (state.phase, state.ending) == (Phase.COMMITTING, Ending.GOAL)
    assert step(state, Committed(5))[0].phase is Phase.COMMITTED


def test_a_phone_that_was_not_drawn_gets_nothing():
    state, commands = play(begun(), CheckedIn(1, "c"), CheckedIn(1, "stranger"))
    assert commands == []
    assert set(state.places) == {"a", "b"}


def test_a_phone_that_asks_twice_gets_the_same_assignment_and_what_is_left_of_the_lease():
    state, first = play(begun(), CheckedIn(1, "a"))
    again, second = play(state, CheckedIn(5, "a"))
    assert again == state
    assert first[0].assignment_id == second[0].assignment_id
    assert (first[0].lease_secs, second[0].lease_secs) == (10, 6)


def test_law_5_the_place_of_a_phone_that_never_comes_is_given_away():
    state, commands = play(begun(), CheckedIn(1, "a"), Ticked(10), CheckedIn(10, "c"))
    assert grants(commands) == ["a", "c"]
    # The one that never came is at the end of the queue, and gets a place only if one falls free.
    assert play(state, CheckedIn(10.5, "b"))[1] == []


def test_law_5_the_place_of_a_phone_that_dies_at_work_is_given_away():
    state, _ = play(begun(), CheckedIn(1, "a"), CheckedIn(1, "b"))
    assert may_report(state, "a", state.places["a"].assignment_id, 10.9)
    assignment_id = state.places["a"].assignment_id
    assert not may_report(state, "a", assignment_id, 11)
    state, commands = play(state, ReportAccepted(5, "b"), Ticked(11), CheckedIn(12, "c"))
    assert grants(commands) == ["c"]
    assert not may_report(state, "a", assignment_id, 12)


def test_law_5_with_nobody_else_in_line_the_phone_itself_may_come_again():
    _state, commands = play(begun(candidates=("a", "b")), CheckedIn(1, "a"), CheckedIn(20, "a"))
    assert len(grants(commands)) == 2
    assert commands[0].assignment_id != commands[1].assignment_id


def test_law_5_a_round_ends_by_timeout_with_the_minimum():
    state, commands = play(begun(), CheckedIn(1, "a"), ReportAccepted(2, "a"), Ticked(100))
    assert commands[-1] == Commit()
    assert state.ending is Ending.TIMEOUT


def test_law_5_a_round_with_too_few_reports_is_abandoned():
    rules = replace(RULES, min_fraction=1.0)
    state, commands = play(begun(rules), CheckedIn(1, "a"), ReportAccepted(2, "a"), Ticked(100))
    assert commands[-1] == Abandon()
    assert (state.phase, state.ending) == (Phase.ABANDONED, Ending.TOO_FEW)
    assert state.closed


def test_law_5_an_evaluation_that_nobody_can_do_is_abandoned_at_once():
    state, commands = play(RoundState(replace(RULES, work=Work.EVALUATE)), Started(0, ()))
    assert (commands, state.ending) == ([Abandon()], Ending.NOBODY)


def test_a_rejected_phone_loses_its_place_for_this_round():
    _state, commands = play(
        begun(), CheckedIn(1, "a"), ReportRejected(2, "a"), CheckedIn(3, "a"), CheckedIn(3, "c")
    )
    assert grants(commands) == ["a", "c"]


def test_a_client_that_is_turned_away_gives_its_turn_to_the_next_and_keeps_what_it_was_given():
    state, commands = play(
        begun(), CheckedIn(1, "a"), TurnedAway(2, "a"), TurnedAway(2, "b"), CheckedIn(3, "c")
    )
    assert grants(commands) == ["a", "c"]
    assert set(state.places) == {"a", "c"}
    assert play(state, TurnedAway(4, "stranger"))[0] == state


def test_an_open_round_takes_whoever_comes_until_it_is_full():
    _state, commands = play(
        begun(replace(RULES, open_to_all=True), ()),
        CheckedIn(1, "x"),
        CheckedIn(1, "y"),
        CheckedIn(1, "z"),
        ReportAccepted(2, "x"),
        CheckedIn(3, "x"),
    )
    assert grants(commands) == ["x", "y"]


def test_over_selection_asks_more_phones_and_ends_with_the_goal():
    state, commands = play(
        begun(replace(RULES, places=3)),
        *(CheckedIn(1, c) for c in "abc"),
        ReportAccepted(2, "c"),
        ReportAccepted(2, "a"),
    )
    assert grants(commands) == ["a", "b", "c"]
    assert state.ending is Ending.GOAL
    assert not may_report(state, "b", state.places["b"].assignment_id, 3)


def test_a_goal_beyond_the_population_is_lowered_to_it():
    assert begun(candidates=("a",)).goal == 1


def test_the_next_deadline_is_the_first_thing_that_time_alone_changes():
    state = begun()
    assert next_deadline(state) == 10
    state, _ = play(state, CheckedIn(1, "a"), CheckedIn(2, "b"))
    assert next_deadline(state) == 11
    assert next_deadline(RoundState(RULES)) is None


def test_of_very_many_clients_as_many_are_drawn_as_a_round_may_need():
    ids = [f"client-{i:06}" for i in range(3 * SHUFFLED_WHOLE)]
    drawn = draw_cohort(1, 3, reversed(ids), places=200)
    assert drawn == draw_cohort(1, 3, ids, places=200)
    assert len(set(drawn)) == len(drawn) == 2000
    assert set(drawn) <= set(ids)
    # Uniform: the mean place of 2000 draws of 30,000 lies within five standard errors.
    places = [int(name[-6:]) for name in drawn]
    assert abs(sum(places) / len(places) - 15_000) < 5 * 30_000 / (12 * 2000) ** 0.5
    assert len(draw_cohort(1, 3, ids)) == len(ids)


def test_law_5_a_newcomer_takes_the_place_of_a_phone_that_went_away_for_good():
    """Nobody else is in line: its place would be offered to itself, again and again."""
    state, commands = play(
        begun(candidates=("a", "gone")),
        CheckedIn(1, "a"),
        CheckedIn(1, "gone"),
        ReportAccepted(2, "a"),
        CheckedIn(3, "new"),
    )
    assert (grants(commands), state.queue) == (["a", "gone"], ("new",))
    state, commands = play(state, Ticked(12), CheckedIn(13, "new"), CheckedIn(13, "gone"))
    assert grants(commands) == ["new"]
    state, _ = play(state, ReportAccepted(14, "new"))
    assert (state.phase, state.ending) == (Phase.COMMITTING, Ending.GOAL)


def test_newcomers_join_a_short_line_alone():
    state, _ = play(
        begun(), *(CheckedIn(1, name) for name in ("x", "y", "z", "x")), ReportRejected(2, "a")
    )
    assert state.queue == ("x",)  # c had been in line already, and took the place of a
    state, _ = play(state, CheckedIn(3, "a"))
    assert state.queue == ("x",)  # refused for good


def test_a_newcomer_helps_a_round_that_nobody_is_in_line_for():
    state, commands = play(begun(candidates=("a", "b")), CheckedIn(1, "a"), CheckedIn(1, "new"))
    assert grants(commands) == ["a"]  # b is still expected
    state, commands = play(
        state, ReportRejected(2, "a"), CheckedIn(3, "new"), CheckedIn(3, "other")
    )
    assert grants(commands) == ["new"]
    state, commands = play(
        state, CheckedIn(4, "a"), CheckedIn(4, "b"), *(ReportAccepted(5, c) for c in ("new", "b"))
    )
    assert grants(commands) == ["b"]
    assert state.ending is Ending.GOAL


def test_an_invitation_may_last_longer_than_a_lease():
    state = begun(replace(RULES, invitation_secs=50))
    state, commands = play(state, CheckedIn(49, "a"), CheckedIn(51, "b"))
    assert grants(commands) == ["a"]
    assert state.places["a"].expires_secs == 59


def test_cohorts_are_drawn_from_the_seed_and_the_round_whatever_the_order_of_arrival():
    ids = [f"client-{i}" for i in range(20)]
    assert draw_cohort(1, 3, ids) == draw_cohort(1, 3, reversed(ids))
    assert sorted(draw_cohort(1, 3, ids)) == sorted(ids)
    assert len({draw_cohort(1, n, ids) for n in range(10)}) == 10


clients = st.sampled_from("abcdef")
events = st.lists(
    st.tuples(
        st.floats(0, 40, allow_nan=False),
        st.sampled_from(["in", "accepted", "rejected", "away", "tick"]),
        clients,
    ),
    max_size=60,
)


@given(events, st.booleans(), st.integers(2, 4))
def test_whatever_happens_places_are_never_oversold_and_the_journal_gives_the_state_back(
    happened, open_to_all, places
):
    rules = replace(RULES, open_to_all=open_to_all, places=places)
    journal = [Started(0.0, tuple("abcdef"))]
    state, _ = step(RoundState(rules), journal[0])
    now = 0.0
    for delay, kind, client in happened:
        now += delay
        if kind == "in":
            event = CheckedIn(now, client)
        elif kind == "tick":
            event = Ticked(now)
        elif kind == "away":
            event = TurnedAway(now, client)
        else:
            place = state.places.get(client)
            if place is None or not may_report(state, client, place.assignment_id, now):
                continue
            event = (ReportAccepted if kind == "accepted" else ReportRejected)(now, client)
        before = state
        state, _commands = step(state, event)
        if state != before:
            journal.append(event)
        assert len(state.places) + len(state.accepted) <= places
        assert len(state.accepted) <= state.goal
        assert not set(state.places) & state.accepted
        if now >= state.deadline_secs:
            assert state.phase is not Phase.TRAINING
    replayed = RoundState(rules)
    for event in journal:
        stored = json.loads(json.dumps(event_to_dict(event)))
        replayed, _ = step(replayed, event_from_dict(stored))
    assert replayed == state
