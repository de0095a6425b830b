"""A rolling restart: workers are replaced one after the other while runs flow, and nobody notices."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

from sqlalchemy import select

from tests.fakes import replies
from tests.fakes.model_server import ScriptedModel
from tests.fakes.processes import Processes
from tests.fakes.replies import Reply
from tests.fakes.site import Site, all_ended, ready
from tests.fakes.wait import eventually
from turnkeeper_client import AsyncClient
from turnkeeper_storage.database import Database
from turnkeeper_storage.items import Json
from turnkeeper_storage.tables import runs, sessions
from turnkeeper_storage.unit_of_work import UnitOfWork

SESSIONS = 12
WORKERS = 3
# a tool turn and an answer
TURNS = 2


def answer(body: dict[str, Json]) -> Reply:
    """Look the order up; then say that it is done."""
    if body["input"][-1].get("type") == "function_call_output":
        return replies.text("done")
    return replies.calls(("order_status", {"order_id": "7"}))


async def test_a_rolling_restart_loses_no_run_and_asks_for_no_turn_twice(
    migrated_url: str, redis_url: str, processes: Processes
) -> None:
    async with ScriptedModel(answer=answer, latency=0.2) as model:
        # enough time to end a turn, on a machine that is busy with three workers that start
        site = Site(
            processes,
            migrated_url,
            redis_url,
            model.base_url,
            settings={"TURNKEEPER_GRACE_SECONDS": "30", "TURNKEEPER_LEASE_SECONDS": "30"},
        )
        workers = site.workers(WORKERS)
        async with site.client() as client, site.database() as database:
            enough = asyncio.Event()
            flowing = asyncio.create_task(flow(client, enough))
            async for _ in progress(model):
                if not workers:
                    break
                old = workers.pop()
                old.terminate()
                await asyncio.to_thread(ready, site.start_worker())
                assert await asyncio.to_thread(old.wait, 40) == 0
            enough.set()
            enqueued = await flowing
            await all_ended(client, len(enqueued), within=60)

            asked = Counter((one.run_id, one.turn) for one in model.arrivals)
            assert {turn: count for turn, count in asked.items() if count != 1} == {}
            assert await turns_of(database) == dict.fromkeys(enqueued, TURNS)
            assert set(asked) == {(run, str(turn + 1)) for run in enqueued for turn in range(TURNS)}
            assert await left_behind(database) == ([], [])


async def flow(client: AsyncClient, enough: asyncio.Event) -> list[str]:
    """Enqueue to all sessions in turn, until there is enough; the ids of the runs."""
    sent: list[str] = []
    while not enough.is_set():
        run = await client.enqueue(f"s{len(sent) % SESSIONS}", f"message {len(sent)}", agent="support")
        sent.append(run.id)
        try:
            async with asyncio.timeout(0.05):
                await enough.wait()
        except TimeoutError:
            continue
    return sent


async def progress(model: ScriptedModel) -> AsyncIterator[int]:
    """Goes on when the model was asked some more times, so that each restart meets runs in work."""
    while True:
        before = len(model.arrivals)
        await eventually(lambda before=before: len(model.arrivals) >= before + SESSIONS, within=30)  # type: ignore[misc]
        yield before


async def turns_of(database: Database) -> dict[str, int]:
    """How many turns each run took."""

    async def look(uow: UnitOfWork) -> dict[str, int]:
        return {row[0]: row[1] for row in await uow.execute(select(runs.c.id, runs.c.turn))}

    return await database.read(look)


async def left_behind(database: Database) -> tuple[list[str], list[str]]:
    """Runs that count a crash, and sessions with a lease: a restart leaves neither."""

    async def look(uow: UnitOfWork) -> tuple[list[str], list[str]]:
        crashed = await uow.execute(select(runs.c.id).where(runs.c.crashes > 0))
        leased = await uow.execute(select(sessions.c.id).where(sessions.c.lease_id.is_not(None)))
        return [row[0] for row in crashed], [row[0] for row in leased]

    return await database.read(look)
