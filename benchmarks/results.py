"""What was measured: figures with their budgets, what they stand beside, and medians of several runs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Budget:
    """What DESIGN asks of a figure: of its value, or of its ratio to what it stands beside."""

    limit: float
    sense: Literal["at most", "at least"] = "at most"
    of: Literal["value", "ratio"] = "value"

    def holds(self, value: float) -> bool:
        return value <= self.limit if self.sense == "at most" else value >= self.limit

    def __str__(self) -> str:
        sign = "≤" if self.sense == "at most" else "≥"
        return f"{sign} {self.limit:g}{' ×' if self.of == 'ratio' else ''}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. `beside` names the figure of the same part that its ratio is taken to.

    `values` are those of each run when it is a median of several.
    """

    part: str
    name: str
    value: float
    unit: str
    beside: str | None = None
    budget: Budget | None = None
    ratio: float | None = None
    values: tuple[float, ...] = ()
    ratios: tuple[float, ...] = ()

    @property
    def is_met(self) -> bool | None:
        """Whether the budget holds; None without one."""
        if self.budget is None:
            return None
        measured = self.value if self.budget.of == "value" else self.ratio
        return measured is not None and self.budget.holds(measured)

    def as_json(self) -> dict[str, Any]:
        told = asdict(self)
        told["budget"] = None if self.budget is None else str(self.budget)
        return told | {"is_met": self.is_met}


@dataclass(frozen=True, slots=True)
class Series:
    """Points for a plot: `lines` maps a name to (x, y) pairs. `log`: which axes are logarithmic."""

    part: str
    title: str
    x: str
    y: str
    lines: dict[str, list[tuple[float, float]]]
    log: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run of one part gave. `notes` say in words what belongs to the figures."""

    figures: Sequence[Figure]
    series: Sequence[Series] = ()
    notes: Sequence[str] = ()


def with_ratios(figures: Iterable[Figure]) -> list[Figure]:
    """The figures of one run, each with its ratio to what it stands beside."""
    listed = list(figures)
    known = {(one.part, one.name): one for one in listed}
    made = []
    for one in listed:
        other = known.get((one.part, one.beside)) if one.beside else None
        made.append(replace(one, ratio=one.value / other.value) if other and other.value else one)
    return made


def medians(runs: Sequence[Sequence[Figure]]) -> list[Figure]:
    """The median of each figure over the runs, also of its ratio, which is taken within each run."""
    found: dict[tuple[str, str], list[Figure]] = {}
    for run in runs:
        for one in with_ratios(run):
            found.setdefault((one.part, one.name), []).append(one)
    made = []
    for ones in found.values():
        ratios = tuple(one.ratio for one in ones if one.ratio is not None)
        values = tuple(one.value for one in ones)
        made.append(
            replace(
                ones[0],
                value=statistics.median(values),
                values=values,
                ratio=statistics.median(ratios) if ratios else None,
                ratios=ratios,
            )
        )
    return made


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of these lie, the nearest one; of an empty list 0."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]
