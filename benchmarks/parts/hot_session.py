"""What 1,000 runs that queue in one session do to the others: their p99 with it and without, in turns."""

from __future__ import annotations

from benchmarks.ground import Ground
from benchmarks.producing import all_ended, enqueued, steadily, took
from benchmarks.results import Budget, Figure, Measured, percentile
from turnkeeper_client import AsyncClient
from turnkeeper_storage.database import Database

PART = "hot_session"
QUEUED = 1000
# runs a second of the others, each in a session of its own, whose model takes 0.1 s
RATE = 40.0
SECONDS = 8.0
TURNS = 3


async def measure(ground: Ground) -> Measured:
    """Turns without and with a hot session, on one worker."""
    without: list[float] = []
    beside: list[float] = []
    async with ground.site(1) as site, site.client() as client:
        database = Database(site.database_url)
        try:
            await enqueued(client, "plain", [f"warm{number}" for number in range(50)])
            await all_ended(database, 30)
            for turn in range(TURNS):
                without += await _others(ground, client, database, f"cold{turn}-")
                await enqueued(client, "tenth", [f"hot{turn}"] * ground.scale.of(QUEUED, 20))
                beside += await _others(ground, client, database, f"warm{turn}-")
                await _cooled(client, f"hot{turn}")
        finally:
            await database.aclose()
    name = "others' p99"
    ground.say(
        f"{name} {percentile(without, 0.99) * 1000:.0f} ms, {percentile(beside, 0.99) * 1000:.0f} beside"
    )
    return Measured(
        [
            Figure(PART, f"{name} alone", percentile(without, 0.99) * 1000, "ms"),
            Figure(
                PART,
                f"{name} beside a hot session",
                percentile(beside, 0.99) * 1000,
                "ms",
                f"{name} alone",
                Budget(1.2, of="ratio"),
            ),
            Figure(PART, "others' p50 alone", percentile(without, 0.5) * 1000, "ms"),
            Figure(PART, "others' p50 beside a hot session", percentile(beside, 0.5) * 1000, "ms"),
        ]
    )


async def _others(ground: Ground, client: AsyncClient, database: Database, prefix: str) -> list[float]:
    ids = await steadily(client, "tenth", RATE, max(1.0, SECONDS * ground.scale.share), prefix)
    for run_id in ids:
        await client.wait(run_id, 60)
    return [one.in_all for one in await took(database, ids)]


async def _cooled(client: AsyncClient, session: str) -> None:
    """Cancel what is left of the hot session."""
    while True:
        page = await client.runs(session_id=session, status="queued", limit=500)
        for run in page.runs:
            await client.cancel(run.id)
        if not page.runs:
            return
