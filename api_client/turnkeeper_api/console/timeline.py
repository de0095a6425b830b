"""A run's events, turns and calls as bars over time. Pure: `now` is the caller's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from turnkeeper_api.console.bars import Bar, placed
from turnkeeper_api.console.tool_bars import SETTLED, tool_bars
from turnkeeper_api.console.words import label_of, state_of
from turnkeeper_client import RunEvent, ToolCallSnapshot
from turnkeeper_storage.model import Turn, Usage

_PAUSE = "pause "


@dataclass(slots=True)
class _Open:
    kind: str
    label: str
    begin: datetime


class _Drawing:
    """What was drawn so far. Of each name one bar can be open."""

    def __init__(self, ready: Mapping[int, datetime | None], tokens: Mapping[object, str]) -> None:
        self.bars: list[Bar] = []
        self.open: dict[str, _Open] = {}
        self.epoch: object = None
        self.decided: dict[str, datetime] = {}
        # by turn: when all its calls had their outcome, None for not yet
        self.ready = ready
        self.tokens = tokens
        # since when the model can be asked for the next turn, None for not yet
        self.model_from: datetime | None = None
        self.last_turn: datetime | None = None

    def begin(self, kind: str, label: str, at: datetime, name: str | None = None) -> None:
        self.open.setdefault(name or kind, _Open(kind, label, at))

    def end(
        self, name: str, at: datetime, *, label: str | None = None, note: str = "", lost: bool = False
    ) -> None:
        begun = self.open.pop(name, None)
        # the model was not asked yet when the worker was lost
        if begun is not None and begun.begin <= at:
            self.bars.append(Bar(begun.kind, label or begun.label, begun.begin, at, lost=lost, note=note))

    def ask_model(self, label: str, at: datetime) -> None:
        """A worker is at the run: the model is asked when there is all that it is told."""
        if self.model_from is not None:
            self.begin("turn", label, max(at, self.model_from))

    @property
    def waits(self) -> bool:
        return any(name.startswith(_PAUSE) for name in self.open)


def bars_of(
    events: Sequence[RunEvent],
    now: datetime,
    *,
    calls: Sequence[ToolCallSnapshot] = (),
    turns: Sequence[Turn] = (),
    used: Usage | None = None,
) -> list[Bar]:
    """The bars in the order in which they began: time in the queue, attempts, turns, tools, and pauses.

    `used` is what the run took in all: of its last turn no more is kept than that.
    """
    drawing = _Drawing(_ready(events, calls), _tokens(events, turns, used))
    for event in events:
        if event.created_at is not None:
            _draw(drawing, event, event.created_at)
    last = events[-1].created_at if events else None
    until = max(now, last or now)
    drawing.bars += [
        Bar(begun.kind, begun.label, begun.begin, until, is_open=True)
        for begun in drawing.open.values()
        if begun.begin <= until
    ]
    works = sorted((bar for bar in drawing.bars if bar.kind == "work"), key=lambda bar: bar.begin)
    return placed([*drawing.bars, *tool_bars(_after_turns(events, calls), works, drawing.decided)])


def _after_turns(events: Sequence[RunEvent], calls: Sequence[ToolCallSnapshot]) -> list[ToolCallSnapshot]:
    """The calls, none planned before the event that tells of its turn: one transaction writes both."""
    told = {
        event.data.get("turn"): event.created_at
        for event in events
        if event.type == "turn.finished" and event.created_at is not None
    }
    return [
        replace(call, planned_at=max(call.planned_at, told.get(call.turn, call.planned_at))) for call in calls
    ]


def _ready(events: Sequence[RunEvent], calls: Sequence[ToolCallSnapshot]) -> dict[int, datetime | None]:
    found: dict[int, datetime | None] = {}
    for event in events:
        turn = event.data.get("turn")
        if event.type == "turn.finished" and isinstance(turn, int):
            of_turn = [call for call in calls if call.turn == turn]
            ends = [call.ended_at for call in of_turn if call.ended_at is not None]
            is_open = any(call.ended_at is None and call.status not in SETTLED for call in of_turn)
            found[turn] = None if is_open else max(ends, default=event.created_at)
    return found


def _tokens(events: Sequence[RunEvent], turns: Sequence[Turn], used: Usage | None) -> dict[object, str]:
    found = {turn.turn: (turn.usage.input_tokens, turn.usage.output_tokens) for turn in turns}
    told = [event.data.get("turn") for event in events if event.type == "turn.finished"]
    if used is not None and told and isinstance(told[-1], int) and told[-1] not in found:
        into, out = (sum(counts) for counts in zip((0, 0), *found.values(), strict=True))
        found[told[-1]] = (used.input_tokens - into, used.output_tokens - out)
    return {turn: f"{into} tokens in, {out} out" for turn, (into, out) in found.items()}


def _draw(drawing: _Drawing, event: RunEvent, at: datetime) -> None:
    match event.type:
        case "run.queued":
            drawing.begin("queue", "In the queue", at)
        case "run.started":
            drawing.end("queue", at)
            # a second start without an end in between: the first worker is gone
            for name in ("turn", "work"):
                drawing.end(name, at, lost=True)
            _take_up(drawing, event, at)
            drawing.model_from = at
            drawing.ask_model("Model", at)
        case "turn.restarted":
            drawing.end("turn", at, label="Model, lost", lost=True)
            if event.data.get("epoch") != drawing.epoch:
                # by another worker, or by the same one in another life
                drawing.end("work", at, lost=True)
                _take_up(drawing, event, at)
            drawing.ask_model("Model, again", at)
        case "turn.finished":
            _finish_turn(drawing, event, at)
        case "approval.requested":
            drawing.open.pop("turn", None)
            drawing.end("work", at)
            drawing.begin("pause", _waits(event), at, name=f"{_PAUSE}{event.data.get('approval_id')}")
        case "approval.decided":
            _decide(drawing, event, at)
        case "run.completed" | "run.failed" | "run.cancelled":
            drawing.open.pop("turn", None)
            for name in list(drawing.open):
                drawing.end(name, at)
        case _:
            return


def _waits(event: RunEvent) -> str:
    tool = event.data.get("tool")
    return f"Waits for a person: {label_of(tool)}" if isinstance(tool, str) else "Waits for a person"


def _finish_turn(drawing: _Drawing, event: RunEvent, at: datetime) -> None:
    turn = event.data.get("turn")
    # of a turn after a pause no event tells that it began: the work on the run was taken up then
    work = drawing.open.get("work")
    known = (work.begin if work else None, drawing.last_turn, drawing.model_from)
    drawing.begin("turn", "", max((instant for instant in known if instant is not None), default=at))
    drawing.end("turn", at, label=f"Turn {turn or ''}".strip(), note=drawing.tokens.get(turn, ""))
    drawing.last_turn = at
    drawing.model_from = drawing.ready.get(turn, at) if isinstance(turn, int) else at
    drawing.ask_model("Model", at)


def _decide(drawing: _Drawing, event: RunEvent, at: datetime) -> None:
    data = event.data
    drawing.end(f"{_PAUSE}{data.get('approval_id')}", at, note=_verdict(data.get("status"), data.get("by")))
    if isinstance(data.get("call_id"), str) and data.get("status") == "approved":
        drawing.decided[data["call_id"]] = at
    if not drawing.waits and data.get("status") != "cancelled":
        # no event tells when a worker takes it up again, nor that it is the next one in number
        drawing.begin("work", "Goes on", at)
        if isinstance(drawing.epoch, int):
            drawing.epoch += 1
        drawing.ask_model("Model", at)


def _verdict(status: object, by: object) -> str:
    said = state_of(status) if isinstance(status, str) else ""
    return f"{said} by {by}" if said and isinstance(by, str) and by else said


def _take_up(drawing: _Drawing, event: RunEvent, at: datetime) -> None:
    drawing.epoch = event.data.get("epoch")
    drawing.begin("work", "Worker" if drawing.epoch is None else f"Worker, attempt {drawing.epoch}", at)
