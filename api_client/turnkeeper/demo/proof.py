"""A claim of the demo, and small words that claims are made of. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from turnkeeper.demo.facts import Facts
from turnkeeper_storage.model import ApprovalStatus


@dataclass(frozen=True, slots=True)
class Proof:
    """A claim with its figures; it holds when there is no fault."""

    text: str
    faults: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        return not self.faults


def proof_of(text: str, faults: Iterable[str], *, none_if: bool = False) -> Proof:
    """The claim with its faults; `none_if`: there is nothing to see it from, a fault too."""
    found = tuple(faults)
    return Proof(text, found or ("there is nothing to prove it with",) if none_if else found)


def seconds_between(start: datetime, end: datetime) -> float:
    """The seconds from one instant to the other, negative when they are the other way round."""
    return (end - start).total_seconds()


def effect_key(run_id: str, call_id: str) -> str:
    """How the shop's log names a call: its idempotency key."""
    return f"{run_id}:{call_id}"


def rejected_calls(facts: Facts) -> set[tuple[str, str]]:
    """Run and call of each approval that was rejected: calls that have an output and no effect."""
    return {(one.run_id, one.call_id) for one in facts.approvals if one.status is ApprovalStatus.REJECTED}


def counted(count: int, noun: str) -> str:
    """`1 turn`, `2 turns`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
