"""Many runs at once in one process: steady arrivals of runs that wait 10 s for their model, and bursts.

Time from claim to finish is told by the database's clock. Memory is what the process shares with nobody, over
what it had before, by the runs that were at the model's at the most.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from benchmarks.ground import Ground, Site, memory_bytes
from benchmarks.producing import all_ended, enqueued, steadily, took
from benchmarks.results import Budget, Figure, Measured, percentile
from turnkeeper_client import AsyncClient
from turnkeeper_storage.database import Database

PART = "in_flight"
MODEL_SECONDS = 10.0
BURST_MODEL_SECONDS = 2.0
BURST = 1000


async def measure(ground: Ground) -> Measured:
    """1,000 and 5,000 in flight, then bursts of 1,000."""
    figures: list[Figure] = []
    for count, budgets in ((1000, True), (5000, False)):
        figures += await steady(ground, count, has_budgets=budgets)
    return Measured([*figures, *await burst(ground)])


async def steady(ground: Ground, count: int, *, has_budgets: bool) -> list[Figure]:
    """So many in flight, for as long as the model takes, twice: to get there, and to be measured."""
    count = ground.scale.of(count, 20)
    lag_file = ground.folder / f"lag-{count}"
    settings = {"TURNKEEPER_CONCURRENCY": str(count * 2), "LAG_FILE": str(lag_file)}
    async with ground.site(1, **settings) as site, site.client() as client:
        database = Database(site.database_url)
        try:
            await enqueued(client, "plain", [f"warm{number}" for number in range(50)])
            await all_ended(database, 30)
            await ground.model.reset()
            before = memory_bytes(site.workers[0].pid)
            began = time.monotonic()
            ids, memory = await _flown(site, client, count)
            await all_ended(database, 120)
            at_model = int((await ground.model.stats())["peak"])
            found = [one.worked for one in await took(database, ids)]
            late = [one for at, one in lag(lag_file) if at >= began]
        finally:
            await database.aclose()
    half = found[len(found) // 2 :]
    ground.say(f"{at_model} at the model's at most, p99 {percentile(half, 0.99):.2f} s of 10")
    name = f"{count:,} in flight"
    return [
        Figure(
            PART,
            f"{name}: p99 of claim → finish, by 10 s",
            percentile(half, 0.99) / MODEL_SECONDS,
            "×",
            budget=Budget(1.1) if has_budgets else None,
        ),
        Figure(
            PART,
            f"{name}: memory",
            (memory - before) / 1024 / at_model,
            "KiB/run",
            budget=Budget(100) if has_budgets else None,
        ),
        Figure(PART, f"{name}: loop lag p99", percentile(late, 0.99) * 1000, "ms"),
        Figure(PART, f"{name}: at the model's at most", at_model, "runs"),
    ]


async def _flown(site: Site, client: AsyncClient, count: int) -> tuple[list[str], int]:
    """Arrivals that keep `count` in flight; their ids, and the most memory that was seen."""
    rate = count / MODEL_SECONDS
    arriving = asyncio.create_task(steadily(client, "ten", rate, 2 * MODEL_SECONDS, "s"))
    most = 0
    while not arriving.done():
        most = max(most, memory_bytes(site.workers[0].pid))
        await asyncio.wait({arriving}, timeout=1.0)
    return await arriving, most


async def burst(ground: Ground) -> list[Figure]:
    """1,000 runs that are enqueued as fast as one producer can, on an idle process."""
    count = ground.scale.of(BURST, 20)
    async with ground.site(1, TURNKEEPER_CONCURRENCY="1100") as site, site.client() as client:
        database = Database(site.database_url)
        try:
            await enqueued(client, "plain", [f"warm{number}" for number in range(50)])
            await all_ended(database, 30)
            began = time.monotonic()
            ids = await enqueued(client, "two", [f"s{number}" for number in range(count)])
            accepted = time.monotonic() - began
            await all_ended(database, 120)
            seconds = time.monotonic() - began
            await took(database, ids)
        finally:
            await database.aclose()
    ground.say(f"a burst of {count}: {seconds:.2f} s, accepted within {accepted:.2f} s")
    wall = seconds / BURST_MODEL_SECONDS
    return [
        Figure(PART, f"burst of {count:,}: wall, by 2 s", wall, "×", budget=Budget(2.5)),
        Figure(PART, f"burst of {count:,}: accepted within", accepted, "s"),
    ]


def lag(path: Path) -> list[tuple[float, float]]:
    """(monotonic seconds, how late) of each sample that a worker wrote."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [(float(at), float(late)) for at, late in (line.split() for line in lines)]
