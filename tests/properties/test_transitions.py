"""The arrows between statuses, and that every decision follows one."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from turnkeeper_storage.model import EventType, Run, RunOptions, RunStatus
from turnkeeper_storage.transitions import (
    ARROWS,
    END_EVENTS,
    TERMINAL,
    CancelEffect,
    decide_cancel,
    decide_claim,
    is_allowed,
)

STATUSES = st.sampled_from(RunStatus)


def a_run(status: RunStatus, crashes: int, *, started: bool) -> Run:
    at = datetime(2026, 1, 1, tzinfo=UTC) if started else None
    return Run("k", "s", "t", "r", 1, status, "a", [], RunOptions(), crashes=crashes, started_at=at)


RUNS = st.builds(a_run, STATUSES, st.integers(0, 9), started=st.booleans())


def test_every_status_has_its_arrows() -> None:
    assert set(ARROWS) == set(RunStatus)


@settings(deadline=None)
@given(STATUSES, STATUSES)
def test_no_arrow_leads_out_of_a_terminal_status(before: RunStatus, after: RunStatus) -> None:
    assert not (before in TERMINAL and is_allowed(before, after))
    assert before.is_terminal == (before in TERMINAL)


@settings(deadline=None)
@given(STATUSES)
def test_every_status_reaches_a_terminal_one(status: RunStatus) -> None:
    reached, new = {status}, {status}
    while new:
        new = {after for before in new for after in ARROWS[before]} - reached
        reached |= new
    assert reached & TERMINAL


@settings(deadline=None)
@given(RUNS, st.booleans(), st.integers(1, 9))
def test_a_claim_starts_what_may_run_and_leaves_the_rest(head: Run, taken_over: bool, limit: int) -> None:
    decision = decide_claim(head, taken_over=taken_over, crash_limit=limit)
    if head.status in TERMINAL or head.status is RunStatus.AWAITING_APPROVAL:
        assert decision is None
        return
    assert decision is not None
    assert decision.status is RunStatus.RUNNING
    assert head.status is RunStatus.RUNNING or is_allowed(head.status, decision.status)


@settings(deadline=None)
@given(RUNS, st.booleans(), st.integers(1, 9))
def test_only_a_run_that_worked_under_a_lease_nobody_gave_back_counts_a_crash(
    head: Run, taken_over: bool, limit: int
) -> None:
    decision = decide_claim(head, taken_over=taken_over, crash_limit=limit)
    if decision is not None:
        counted = taken_over and head.status is RunStatus.RUNNING
        assert decision.crashes == head.crashes + counted
        assert not decision.is_poisoned or decision.crashes >= limit


@settings(deadline=None)
@given(RUNS, st.integers(1, 9))
def test_a_run_starts_once_and_every_later_claim_restarts_its_turn(head: Run, limit: int) -> None:
    decision = decide_claim(head, taken_over=False, crash_limit=limit)
    if decision is None:
        return
    if head.status is RunStatus.RUNNING:
        assert decision.event is EventType.TURN_RESTARTED
    else:
        assert decision.event is (EventType.STARTED if head.started_at is None else None)


@settings(deadline=None)
@given(STATUSES)
def test_a_cancel_ends_what_waits_flags_what_works_and_leaves_the_rest(status: RunStatus) -> None:
    match decide_cancel(status):
        case CancelEffect.NOTHING:
            assert status.is_terminal
        case CancelEffect.END:
            assert is_allowed(status, RunStatus.CANCELLED)
            assert status is not RunStatus.RUNNING
        case CancelEffect.FLAG:
            assert status is RunStatus.RUNNING


def test_every_ending_has_its_event() -> None:
    assert set(END_EVENTS) == TERMINAL
    assert len(set(END_EVENTS.values())) == len(TERMINAL)
