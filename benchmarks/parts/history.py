"""Histories: what a long one costs a run, and what one call of each session class takes."""

from __future__ import annotations

from benchmarks.ground import Ground
from benchmarks.parts import long_runs, stores
from benchmarks.results import Measured

PART = "history"


async def measure(ground: Ground) -> Measured:
    """Runs on long histories, then the session classes by themselves."""
    runs = await long_runs.measure(ground)
    calls = await stores.measure(ground)
    return Measured(
        [*runs.figures, *calls.figures], [*runs.series, *calls.series], [*runs.notes, *calls.notes]
    )
