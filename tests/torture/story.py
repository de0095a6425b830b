"""What is told at the end: what was injected, what was checked, how soon it went on, and what went wrong."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Sequence

from tests.fakes import invariants
from tests.fakes.invariants import Pictured
from tests.torture.faults import Faults
from tests.torture.people import People
from tests.torture.place import Place

_RUN = re.compile(r"run_[0-9a-z]+")


def report(place: Place, faults: Faults, people: People, seen: Pictured, found: Sequence[str]) -> str:
    """All of it as one text."""
    lines = [
        f"seed {place.options.seed}, {place.options.database} and {place.options.broker}, "
        f"{place.options.minutes:g} minutes, {place.options.workers} workers",
        "injected: " + _counts(faults.injected),
        f"model failures: {place.model_faults.total()}; model calls: {len(place.model.requests)}",
        "people: " + _counts(people.did),
        "runs: " + _counts(_statuses(seen)),
        f"checked: I1 to I14 over {len(seen.runs)} runs, {len(seen.items)} items, {len(seen.calls)} calls, "
        f"{len(seen.approvals)} approvals, {len(seen.events)} events",
        f"recovery after a kill -9: {_recovery(faults.recoveries)}",
        f"violations: {len(found)}",
        *found,
    ]
    for run_id in dict.fromkeys(match for line in found for match in _RUN.findall(line)):
        lines += ["", *story(run_id, place, seen)]
    return "\n".join(lines)


def story(run_id: str, place: Place, seen: Pictured) -> Iterator[str]:
    """All that is known of one run, without its texts."""
    row = next((one for one in seen.runs if one.id == run_id), None)
    if row is None:
        yield f"of {run_id} the database knows nothing"
        return
    yield f"the story of {run_id}: seq {row.seq} of session {row.session_key}, {row.status}, {row.error}"
    for event in seen.events:
        if event.run_id == run_id:
            yield f"  event {event.n} {event.type} at {event.created_at:%H:%M:%S.%f} {event.data}"
    for turn in seen.turns:
        if turn.run_id == run_id:
            yield f"  turn {turn.turn} of epoch {turn.epoch} at {turn.created_at:%H:%M:%S.%f}"
    for call in seen.calls:
        if call.run_id == run_id:
            yield f"  call {call.call_id} of {call.name} in turn {call.turn}: {call.status}"
    for approval in seen.approvals:
        if approval.run_id == run_id:
            yield f"  approval {approval.id} of {approval.call_id}: {approval.reason}, {approval.status}"
    for item in seen.items:
        if item.run_id == run_id:
            yield f"  item at {item.position}: turn {item.turn}, epoch {item.epoch}"
    for effect in invariants.read_effects(place.effects):
        if effect.run == run_id:
            yield f"  effect of {effect.tool}, call {effect.call}"
    asked = sum(one.run_id == run_id for one in place.model.arrivals)
    yield f"  the model was asked {asked} times, and failed {place.model_faults[run_id]} times"


def _statuses(seen: Pictured) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in seen.runs:
        name = row.status if row.error is None else f"{row.status} ({row.error['code']})"
        counts[name] = counts.get(name, 0) + 1
    return counts


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "nothing"


def _recovery(seconds: Sequence[float]) -> str:
    if not seconds:
        return "no worker was killed that held a session"
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"p50 {statistics.median(ordered):.2f} s, p99 {p99:.2f} s, of {len(ordered)}"
