"""How PostgreSQL goes about the statements of the hot path when it holds a million runs.

The real verbs on 200,000 sessions with their runs, items and events (see `tests.fakes.filled`), each
statement explained just before it is executed, with what it read. Nothing here is a time.
"""

from __future__ import annotations

import asyncio

from benchmarks.ground import Ground
from benchmarks.results import Budget, Figure, Measured
from tests.fakes.counting import counted_worker
from tests.fakes.explaining import Plan, explained
from tests.fakes.filled import fill
from tests.fakes.hot_path import NOT_HOT, READS_WORK, whole_path

PART = "plans"
RUNS = 1_000_000
# a sort of so many rows that are not given is no harm
HANDFUL = 100


async def measure(ground: Ground) -> Measured:
    """The plans of all statements, the worst of each verb as a figure, and all of them as notes."""
    async with ground.database() as url:
        filled = await asyncio.to_thread(fill, url, ground.scale.of(RUNS, 10_000))
        ground.say(f"plans: {filled.runs:,} runs in {filled.sessions:,} sessions")
        async with counted_worker(url) as counted:
            with explained() as taken:
                await whole_path(counted, filled)
    plans = [plan for plan in taken.worst() if plan.verb not in NOT_HOT]
    return Measured([*_bad(plans), *_verbs(plans)], notes=_notes(plans))


def _bad(plans: list[Plan]) -> list[Figure]:
    whole = [plan for plan in plans if plan.whole_scans]
    growing = [plan for plan in plans if plan.whole_indexes and plan.verb not in READS_WORK]
    sorts = [plan for plan in plans if plan.wasted > HANDFUL and plan.verb not in READS_WORK]
    return [
        Figure(PART, "statements that were planned", len(plans), ""),
        Figure(PART, "statements that read a table whole", len(whole), "", None, Budget(0)),
        Figure(PART, "statements that read an index whole", len(growing), "", None, Budget(0)),
        Figure(PART, "statements that sort what they do not give", len(sorts), "", None, Budget(0)),
    ]


def _verbs(plans: list[Plan]) -> list[Figure]:
    """The statement of each verb that looks at most pages."""
    worst: dict[str, Plan] = {}
    for plan in plans:
        if plan.verb not in worst or worst[plan.verb].buffers < plan.buffers:
            worst[plan.verb] = plan
    figures = []
    for verb, plan in worst.items():
        figures.append(Figure(PART, f"{verb}: pages of its dearest statement", plan.buffers, ""))
        figures.append(Figure(PART, f"{verb}: rows that it looks at", plan.read, ""))
    return figures


def _notes(plans: list[Plan]) -> list[str]:
    lines = [
        "| verb | statement | pages | rows read | given | sorted | cost | indexes | read whole |",
        "| --- | --- | --: | --: | --: | --: | --: | --- | --- |",
    ]
    for plan in sorted(plans, key=lambda one: (one.verb, -one.buffers)):
        # what it does to which table is told by its verb; the rest is long
        kind = f"{plan.statement.split()[0]} {plan.table}"
        numbers = f"{plan.buffers} | {plan.read} | {plan.given} | {plan.sorted_rows} | {plan.cost:.0f}"
        indexes, whole = ", ".join(plan.indexes), ", ".join(plan.whole_scans + plan.whole_indexes)
        lines.append(f"| {plan.verb} | {kind} | {numbers} | {indexes} | {whole} |")
    return lines
