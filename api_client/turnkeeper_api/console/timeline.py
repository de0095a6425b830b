"""A run's events as bars over time. Pure: `now` is the caller's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from turnkeeper_api.console.words import duration
from turnkeeper_client import RunEvent

WIDTH = 1000.0
LEAST = 3.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One span. `kind`: "queue", "work", "turn", "pause" or "end"; `x` and `width` of WIDTH in all.

    `is_open`: it has not ended. `lost`: the worker died in it, or lost its lease.
    """

    kind: str
    label: str
    begin: datetime
    end: datetime
    x: float = 0.0
    width: float = 0.0
    is_open: bool = False
    lost: bool = False

    @property
    def seconds(self) -> float:
        return (self.end - self.begin).total_seconds()

    @property
    def title(self) -> str:
        more = ", goes on" if self.is_open else ", taken over by another worker" if self.lost else ""
        return f"{self.label}: {duration(self.seconds)}{more}"


@dataclass(slots=True)
class _Open:
    kind: str
    label: str
    begin: datetime


class _Drawing:
    def __init__(self) -> None:
        self.bars: list[Bar] = []
        self.open: dict[str, _Open] = {}
        self.waits = 0
        self.epoch: object = None

    def begin(self, kind: str, label: str, at: datetime) -> None:
        self.open.setdefault(kind, _Open(kind, label, at))

    def end(self, kind: str, at: datetime, *, label: str | None = None, lost: bool = False) -> None:
        begun = self.open.pop(kind, None)
        if begun is not None:
            self.bars.append(Bar(kind, label or begun.label, begun.begin, at, lost=lost))


def bars_of(events: Sequence[RunEvent], now: datetime) -> list[Bar]:
    """The bars in the order in which they began: time in the queue, attempts, turns, and pauses."""
    drawing = _Drawing()
    for event in events:
        if event.created_at is not None:
            _draw(drawing, event, event.created_at)
    last = events[-1].created_at if events else None
    for begun in list(drawing.open.values()):
        until = max(now, last or now)
        drawing.bars.append(Bar(begun.kind, begun.label, begun.begin, until, is_open=True))
    return _placed(sorted(drawing.bars, key=lambda bar: (bar.begin, bar.kind != "queue", bar.kind == "turn")))


def _draw(drawing: _Drawing, event: RunEvent, at: datetime) -> None:
    match event.type:
        case "run.queued":
            drawing.begin("queue", "In the queue", at)
        case "run.started":
            for kind in ("queue", "pause"):
                drawing.end(kind, at)
            # a second start without an end in between: the first worker is gone
            for kind in ("turn", "work"):
                drawing.end(kind, at, lost=True)
            _take_up(drawing, event, at)
            drawing.begin("turn", "Model", at)
        case "turn.restarted":
            drawing.end("turn", at, label="Model, lost", lost=True)
            if event.data.get("epoch") != drawing.epoch:
                # by another worker, or by the same one in another life
                drawing.end("work", at, lost=True)
                _take_up(drawing, event, at)
            drawing.begin("turn", "Model, again", at)
        case "turn.finished":
            drawing.begin("turn", "", _work_since(drawing, at))
            drawing.end("turn", at, label=f"Turn {event.data.get('turn', '')}")
            drawing.begin("turn", "Tools, then the model", at)
        case "approval.requested":
            drawing.waits += 1
            drawing.open.pop("turn", None)
            drawing.end("work", at)
            drawing.begin("pause", "Waits for a person", at)
        case "approval.decided":
            drawing.waits -= 1
            if drawing.waits <= 0:
                drawing.end("pause", at)
                # no event tells when a worker takes it up again
                drawing.begin("work", "Goes on", at)
        case "run.completed" | "run.failed" | "run.cancelled":
            drawing.open.pop("turn", None)
            for kind in ("queue", "pause", "work"):
                drawing.end(kind, at)
        case _:
            return


def _take_up(drawing: _Drawing, event: RunEvent, at: datetime) -> None:
    drawing.epoch = event.data.get("epoch")
    drawing.begin("work", "Worker" if drawing.epoch is None else f"Worker, attempt {drawing.epoch}", at)


def _work_since(drawing: _Drawing, at: datetime) -> datetime:
    """Where a turn began of which no event tells that: where the work on the run was taken up."""
    work = drawing.open.get("work")
    return work.begin if work is not None else at


def _placed(bars: list[Bar]) -> list[Bar]:
    if not bars:
        return []
    first = min(bar.begin for bar in bars)
    whole = max((max(bar.end for bar in bars) - first).total_seconds(), 0.001)
    placed: list[Bar] = []
    for bar in bars:
        width = max(bar.seconds / whole * WIDTH, LEAST)
        x = min((bar.begin - first).total_seconds() / whole * WIDTH, WIDTH - width)
        shape = (bar.kind, bar.label, bar.begin, bar.end, round(max(x, 0.0), 1), round(width, 1))
        placed.append(Bar(*shape, bar.is_open, bar.lost))
    return placed
