"""How long one waits when there is nothing to wait for: model latency 0, one run at a time, one worker.

- hand-over: from one request of a session with a queue to its next run's request; the model answers at once.
- enqueue → first model call: from before the call of `enqueue` to the request's arrival.
- decision → completed: from before `approve` to the return of `wait`: the decision, the tool, one more model
  call, the finish, and the word of it. Three of its transactions wait for the disk, one after the other: the
  decision, the record of the call, the finish. So a commit by itself is told as well.
"""

from __future__ import annotations

import importlib
import itertools
import time

import asyncpg

from benchmarks.ground import Ground
from benchmarks.results import Budget, Figure, Measured, percentile
from turnkeeper_client import AsyncClient

PART = "latency"
ROUNDS = 200


async def measure(ground: Ground) -> Measured:
    """All three, beside a bare Celery task and back."""
    rounds = ground.scale.of(ROUNDS, 10)
    async with ground.site(1) as site, site.client() as client:
        await _first_calls(ground, client, 20, "warm")
        first = await _first_calls(ground, client, rounds, "first")
        handed = await _hand_overs(ground, client, rounds)
        await _decisions(client, 10, "warm")
        decided = await _decisions(client, rounds, "gated")
        commits = await _commits(site.database_url, rounds)
    celery = await importlib.import_module("benchmarks.peers.bare_celery").round_trip(ground, rounds)
    ground.say(
        f"hand-over {percentile(handed, 0.5) * 1000:.1f} ms, decision {percentile(decided, 0.5) * 1000:.1f}"
    )
    return Measured(
        [
            *_told("hand-over", handed, Budget(8)),
            *_told("enqueue → first model call", first, None),
            *_told("decision → completed", decided, Budget(10)),
            *_told("bare Celery: there and back", celery, None),
            *_told("a commit by itself", commits, None),
        ]
    )


def _told(name: str, seconds: list[float], budget: Budget | None) -> list[Figure]:
    beside = None if name.startswith("bare Celery") else "bare Celery: there and back, p50"
    return [
        Figure(PART, f"{name}, p50", percentile(seconds, 0.5) * 1000, "ms", beside, budget),
        Figure(PART, f"{name}, p99", percentile(seconds, 0.99) * 1000, "ms"),
    ]


async def _first_calls(ground: Ground, client: AsyncClient, rounds: int, prefix: str) -> list[float]:
    asked: dict[str, float] = {}
    await ground.model.reset()
    for number in range(rounds):
        at = time.monotonic()
        handle = await client.enqueue(f"{prefix}{number}", "hello", agent="plain")
        asked[handle.id] = at
        await handle.wait(30)
    arrivals = {run_id: at for run_id, _, at in (await ground.model.stats())["arrivals"]}
    return [arrivals[run_id] - at for run_id, at in asked.items()]


async def _hand_overs(ground: Ground, client: AsyncClient, rounds: int) -> list[float]:
    """One session at a time with 20 runs in its queue, which is what a worker drains at once."""
    found: list[float] = []
    for session in range(max(1, rounds // 20)):
        await ground.model.reset()
        name = f"queue{session}"
        # behind one that takes a while, so that they are all in the queue when it ends
        await client.enqueue(name, "wait", agent="tenth")
        handles = [await client.enqueue(name, f"message {n}", agent="plain") for n in range(19)]
        await handles[-1].wait(60)
        at = [one[2] for one in (await ground.model.stats())["arrivals"]][1:]
        found += [later - earlier for earlier, later in itertools.pairwise(at)]
    return found


async def _commits(url: str, rounds: int) -> list[float]:
    """Insert a row, with the driver alone."""
    connection = await asyncpg.connect(url)
    found: list[float] = []
    try:
        await connection.execute("CREATE TABLE bench_commits (n INTEGER)")
        for number in range(rounds):
            at = time.monotonic()
            await connection.fetch("INSERT INTO bench_commits VALUES ($1)", number)
            found.append(time.monotonic() - at)
    finally:
        await connection.close()
    return found


async def _decisions(client: AsyncClient, rounds: int, prefix: str) -> list[float]:
    found: list[float] = []
    for number in range(rounds):
        handle = await client.enqueue(f"{prefix}{number}", "hello", agent="gated")
        parked = await handle.wait(30)
        (approval,) = parked.approvals
        at = time.monotonic()
        await client.approve(approval.id, by="ana")
        done = await handle.wait(30)
        found.append(time.monotonic() - at)
        assert done.status == "completed", done.error
    return found
