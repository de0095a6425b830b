"""The arrows between the statuses of a run, as pure functions that return frozen decisions.

    queued ──claim──▶ running ──finish──▶ completed | failed | cancelled
      ▲                  │ park
      └──last decision── awaiting_approval ──cancel──▶ cancelled (queued too)
                                           ──deadline▶ failed (queued too)

A release never sets a run back: `running` without a live lease is runnable again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from turnkeeper_storage.model import EventType, Run, RunStatus

TERMINAL = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})

ARROWS: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.QUEUED: frozenset({RunStatus.RUNNING, RunStatus.CANCELLED, RunStatus.FAILED}),
    RunStatus.RUNNING: TERMINAL | {RunStatus.AWAITING_APPROVAL},
    RunStatus.AWAITING_APPROVAL: frozenset({RunStatus.QUEUED, RunStatus.CANCELLED, RunStatus.FAILED}),
    RunStatus.COMPLETED: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.CANCELLED: frozenset(),
}


def is_allowed(before: RunStatus, after: RunStatus) -> bool:
    """Whether a run may go from one status to the other in one step."""
    return after in ARROWS[before]


# From so many crashes on a run is a suspect, and a process works on so many of them at once (PROTOCOL 2.13).
SUSPECT_AT = 2
MOST_SUSPECTS = 8


@dataclass(frozen=True, slots=True)
class ClaimDecision:
    """What a claim makes of the head: its status, its crashes, and the event to write, if any.

    `is_poisoned`: it crashed its worker too often; the claimer fails it instead of running it. `company`: of
    a suspect, with how many of its kind it may be in one process, itself included; None of any other.
    """

    status: RunStatus
    crashes: int
    event: EventType | None
    is_poisoned: bool
    company: int | None = None


def decide_claim(
    head: Run, *, taken_over: bool, crash_limit: int, suspect: int | None = None
) -> ClaimDecision | None:
    """What to do with the head of a session just leased; None when it cannot run now (parked).

    A crash counts when the claim follows a lease that nobody gave back and the head was running: no progress
    was made since, because progress resets the count (PROTOCOL 2.13). `suspect`: with how many suspects it
    was, or might have been, in the process that had it last. In company nobody knows whose fault a crash was:
    it does not count, and the next company is half as large, until one of them is alone.
    """
    match head.status:
        case RunStatus.QUEUED:
            event = EventType.STARTED if head.started_at is None else None
            return ClaimDecision(RunStatus.RUNNING, head.crashes, event, is_poisoned=False)
        case RunStatus.RUNNING:
            crashes, company = _after_crash(head.crashes, suspect) if taken_over else (head.crashes, suspect)
            is_poisoned = crashes >= crash_limit
            is_suspect = crashes >= SUSPECT_AT and not is_poisoned
            return ClaimDecision(
                RunStatus.RUNNING,
                crashes,
                EventType.TURN_RESTARTED,
                is_poisoned,
                (company or MOST_SUSPECTS) if is_suspect else None,
            )
        case _:
            return None


def _after_crash(crashes: int, suspect: int | None) -> tuple[int, int | None]:
    """The crashes that count, and the company allowed, after one more crash."""
    if crashes >= SUSPECT_AT and suspect is not None and suspect > 1:
        return crashes, suspect // 2
    return crashes + 1, suspect


def choose_company(allowed: Sequence[int]) -> list[int]:
    """Which suspects to take into a process that has none, by their places; each allows so many in all.

    The first one is always taken, so that each has its turn when they are given in the order of their age.
    """
    chosen: list[int] = []
    most = MOST_SUSPECTS
    for place, company in enumerate(allowed):
        if len(chosen) < min(most, company):
            chosen.append(place)
            most = min(most, company)
    return chosen


class CancelEffect(StrEnum):
    """What a cancel does to a run."""

    NOTHING = "nothing"
    END = "end"
    FLAG = "flag"
    HAND_OVER = "hand_over"


def decide_cancel(status: RunStatus, *, needs_worker: bool = False) -> CancelEffect:
    """Queued and awaiting runs end at once; a running one is flagged; an ended one stays as it is.

    `needs_worker`: the run parked, and its session lives in a store that only a worker writes to. It is
    flagged and handed over to one.
    """
    if status in TERMINAL:
        return CancelEffect.NOTHING
    if status is RunStatus.RUNNING:
        return CancelEffect.FLAG
    return CancelEffect.HAND_OVER if needs_worker else CancelEffect.END


END_EVENTS = {
    RunStatus.COMPLETED: EventType.COMPLETED,
    RunStatus.FAILED: EventType.FAILED,
    RunStatus.CANCELLED: EventType.CANCELLED,
}
