"""Bars of a timeline, and where they stand in it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from turnkeeper_api.console.words import duration

WIDTH = 1000.0
LEAST = 3.0
# those that begin at one instant: what is around the others first
_ORDER = ("queue", "work", "turn", "tool", "pause")


@dataclass(frozen=True, slots=True)
class Bar:
    """One span. `kind`: "queue", "work", "turn", "tool" or "pause"; `x` and `width` of WIDTH in all.

    `note` is said beside the label: how it ended, what it took. `is_open`: it has not ended. `lost`: the
    worker died in it, or lost its lease.
    """

    kind: str
    label: str
    begin: datetime
    end: datetime
    x: float = 0.0
    width: float = 0.0
    is_open: bool = False
    lost: bool = False
    note: str = ""

    @property
    def seconds(self) -> float:
        return (self.end - self.begin).total_seconds()

    @property
    def title(self) -> str:
        more = ", goes on" if self.is_open else ", taken over by another worker" if self.lost else ""
        note = f" ({self.note})" if self.note else ""
        return f"{self.label}{note}: {duration(self.seconds)}{more}"


def placed(bars: Sequence[Bar]) -> list[Bar]:
    """The bars in the order in which they began, each with its place."""
    if not bars:
        return []
    first = min(bar.begin for bar in bars)
    whole = max((max(bar.end for bar in bars) - first).total_seconds(), 0.001)

    def at_its_place(bar: Bar) -> Bar:
        width = max(bar.seconds / whole * WIDTH, LEAST)
        x = min((bar.begin - first).total_seconds() / whole * WIDTH, WIDTH - width)
        return replace(bar, x=round(max(x, 0.0), 1), width=round(width, 1))

    return [at_its_place(bar) for bar in sorted(bars, key=lambda bar: (bar.begin, _ORDER.index(bar.kind)))]
