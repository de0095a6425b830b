"""Tool calls as bars: each while a worker was at it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from turnkeeper_api.console.bars import Bar
from turnkeeper_api.console.words import label_of
from turnkeeper_client import ToolCallSnapshot
from turnkeeper_storage.model import CallStatus

SETTLED = frozenset({CallStatus.DONE, CallStatus.DENIED, CallStatus.CLOSED})
_NOTES = {
    CallStatus.DONE: "done",
    CallStatus.DENIED: "rejected",
    CallStatus.CLOSED: "closed",
    CallStatus.IN_DOUBT: "in doubt",
}


def tool_bars(
    calls: Sequence[ToolCallSnapshot], works: Sequence[Bar], decided: Mapping[str, datetime]
) -> list[Bar]:
    """The bars of all calls. `works`: when workers were at the run; `decided`: calls that a person let pass.

    Of a call that may run twice no start is noted: it begins when its turn was committed, or anew with the
    worker that took the run over. A call without an end lasts as long as the work on the run: open while that
    goes on, lost with the worker that died in it.
    """
    return [bar for call in calls for bar in _bars_of(call, works, decided.get(call.call_id))]


def _bars_of(call: ToolCallSnapshot, works: Sequence[Bar], decided: datetime | None) -> list[Bar]:
    never_began = call.started_at is None and call.status in (CallStatus.DENIED, CallStatus.CLOSED)
    # of what an earlier release did, or another database, no end is noted
    is_unknown = call.ended_at is None and call.status in SETTLED
    if call.status is CallStatus.AWAITING or never_began or is_unknown:
        return []
    # one that a person said to run again has the start of the time before
    is_noted = call.started_at is not None and call.status is not CallStatus.PLANNED
    begin = call.started_at if call.started_at is not None and is_noted else call.planned_at
    if not is_noted and decided is not None:
        begin = max(begin, decided)
    found = [bar for work in works if (bar := _within(call, begin, work)) is not None]
    # what began at the end of one, or ended at the beginning of another, was not at work there
    found = [bar for bar in found if bar.seconds > 0] or found[:1]
    return found[:1] if is_noted else found


def _within(call: ToolCallSnapshot, begin: datetime, work: Bar) -> Bar | None:
    first, last = max(begin, work.begin), work.end if call.ended_at is None else min(call.ended_at, work.end)
    if first > last:
        return None
    bar = Bar("tool", label_of(call.name), first, last)
    has_ended = call.ended_at is not None and call.ended_at <= work.end
    if has_ended:
        return replace(bar, note=_NOTES.get(call.status, ""))
    if work.lost:
        in_doubt = call.status is CallStatus.IN_DOUBT
        return replace(bar, lost=True, note="in doubt" if in_doubt else "no answer")
    return replace(bar, is_open=work.is_open, note="" if work.is_open else "no answer")
