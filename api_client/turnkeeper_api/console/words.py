"""What programs do, in words for people. Pure: texts in, texts out; whoever shows them escapes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from turnkeeper_client import ApprovalSnapshot
from turnkeeper_storage.items import Json

SHORT = 160
_STATES = {
    "queued": "queued",
    "running": "running",
    "awaiting_approval": "waits for approval",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
    "pending": "waiting",
    "approved": "approved",
    "rejected": "rejected",
    "expired": "expired",
}
_EVENTS = {
    "run.queued": "Queued",
    "run.started": "Taken up by a worker",
    "turn.finished": "Turn finished",
    "turn.restarted": "Turn asked again",
    "approval.requested": "Approval asked for",
    "approval.decided": "Approval decided",
    "run.completed": "Completed",
    "run.failed": "Failed",
    "run.cancelled": "Cancelled",
}
_OUTCOMES = {
    "happened": "said that it had happened",
    "not_happened": "said that it had not happened",
    "abort": "aborted the run",
}
_LOST = {
    "expired": "Its time was over before the decision came.",
    "changed": "The call was changed meanwhile; look at it again.",
    "not_available": "The call may still be at work; decide a little later.",
}


@dataclass(frozen=True, slots=True)
class Said:
    """One argument of a call: its name as people write it, and its value."""

    label: str
    value: str


def label_of(name: str) -> str:
    """`order_id` and `orderId` as people write them: order id."""
    parts: list[str] = []
    for piece in name.replace("-", "_").split("_"):
        word = ""
        for before, char in zip(" " + piece, piece, strict=False):
            if char.isupper() and before.islower():
                parts.append(word)
                word = ""
            word += char
        parts.append(word)
    return (
        " ".join(part if part.isupper() and len(part) > 1 else part.lower() for part in parts if part) or name
    )


def value_of(value: Json, limit: int | None = SHORT) -> str:
    """A value in a sentence, cut after `limit` characters, whole for None."""
    match value:
        case None:
            text = "nothing"
        case bool():
            text = "yes" if value else "no"
        case str():
            text = f"“{value}”"
        case int() | float():
            text = str(value)
        case _:
            text = json.dumps(value, ensure_ascii=False)
    return text if limit is None or len(text) <= limit else f"{text[: limit - 1]}…"


def arguments_of(arguments: Json, limit: int | None = SHORT) -> list[Said]:
    """The arguments of a call, one by one; what is no object is one value. `limit` as of `value_of`."""
    if isinstance(arguments, Mapping):
        return [Said(label_of(str(name)), value_of(value, limit)) for name, value in arguments.items()]
    return [Said("as it came", value_of(arguments, limit))]


def sentence(tool: str, arguments: Json) -> str:
    """What a call would do, in one line: `refund with order id “7” and amount 120`."""
    said = [f"{one.label} {one.value}" for one in arguments_of(arguments)]
    return label_of(tool) if not said else f"{label_of(tool)} with {listed(said)}"


def listed(texts: Sequence[str]) -> str:
    """a, b and c."""
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}" if texts else ""


def state_of(status: str) -> str:
    """A status of a run or an approval."""
    return _STATES.get(status, status)


def event_of(kind: str) -> str:
    """A durable event's type."""
    return _EVENTS.get(kind, kind)


def decided(approval: ApprovalSnapshot) -> str:
    """Who decided an approval, and how; for one that nobody decided, what became of it."""
    who = approval.decided_by
    if approval.status.value == "pending":
        return "Nobody has decided yet."
    if approval.outcome in _OUTCOMES:
        return f"{who or 'Somebody'} {_OUTCOMES[approval.outcome]}."
    if approval.status.value == "expired":
        return "Nobody decided in time."
    if approval.status.value == "cancelled":
        return "The run ended before anybody decided."
    edited = " with other arguments" if approval.edited_arguments is not None else ""
    return f"{who or 'Somebody'} {approval.status.value} it{edited}."


def lost(state: str, approval: ApprovalSnapshot | None) -> str:
    """What somebody is told whose decision came second."""
    if state in _LOST:
        return _LOST[state]
    if state.startswith("run_"):
        return f"The run was {state_of(state.removeprefix('run_'))} before the decision came."
    return f"Someone was faster: {decided(approval)}" if approval else "Someone was faster."


def duration(seconds: float) -> str:
    """A span of time in its two largest units."""
    if seconds < 1:
        return f"{round(max(seconds, 0) * 1000)} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    parts: list[str] = []
    left = round(seconds)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def between(begin: datetime | None, end: datetime | None) -> str:
    """From one instant to another, to now for None; nothing without a beginning."""
    if begin is None:
        return ""
    return duration(((end or datetime.now(UTC)) - begin).total_seconds())


def pretty(value: Json) -> str:
    """JSON to read; a text stands as it is."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
