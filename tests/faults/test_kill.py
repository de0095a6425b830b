"""Workers that are killed, and workers that stand still and come back, in real processes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sqlalchemy import func, select

from tests.fakes.processes import Process, Processes
from tests.fakes.site import Site, all_ended, echoes, said, start_model
from tests.fakes.wait import eventually
from turnkeeper_client import AsyncClient
from turnkeeper_storage.database import Database
from turnkeeper_storage.tables import session_items, sessions
from turnkeeper_storage.unit_of_work import UnitOfWork

SESSIONS = 20
RUNS = 10  # of each session


async def test_nothing_is_lost_or_doubled_when_one_of_three_workers_is_killed(
    migrated_url: str, redis_url: str, processes: Processes
) -> None:
    site = Site(processes, migrated_url, redis_url, start_model(processes, "--latency", "0.15"))
    workers = site.workers(3)
    async with site.client() as ana, site.client() as ben:
        enqueued = asyncio.gather(enqueue(ana, 0), enqueue(ben, 1))
        async with site.database() as database:
            victim = await eventually(lambda: in_the_middle(database, workers), within=20)
            assert victim is not None
            victim.kill9()
            assert await owners_of_leases(database) >= {victim.pid}
        order = dict(sorted(one for part in await enqueued for one in part))
        await all_ended(ana, SESSIONS * RUNS, within=60)

        per_session: dict[str, list[str]] = {}
        for (session, _), message in order.items():
            per_session.setdefault(session, []).append(message)
        assert sorted(map(len, per_session.values())) == [RUNS] * SESSIONS
        for session, messages in per_session.items():
            assert said(await ana.session(session).get_items()) == echoes(*messages)
    assert await epochs_fall(site) == 0


async def enqueue(client: AsyncClient, which: int) -> list[tuple[tuple[str, int], str]]:
    """Half of the runs, to all sessions in turn: ((session, seq), message) of each."""
    sent = []
    for number in range(RUNS // 2):
        for session in range(SESSIONS):
            message = f"{which}.{number}"
            run = await client.enqueue(f"s{session}", message, agent="support")
            sent.append(((run.session_id, run.seq), message))
    return sent


async def in_the_middle(database: Database, workers: Sequence[Process]) -> Process | None:
    """A worker that has sessions in work, once some runs are done."""
    stored = select(func.count()).select_from(session_items)

    async def look(uow: UnitOfWork) -> bool:
        return int((await uow.execute(stored)).scalar_one()) >= RUNS

    held = await owners_of_leases(database) if await database.read(look) else set()
    return next((worker for worker in workers if worker.pid in held), None)


async def owners_of_leases(database: Database) -> set[int]:
    """The processes in whose name leases stand."""
    owners = select(sessions.c.lease_owner).where(sessions.c.lease_owner.is_not(None))

    async def look(uow: UnitOfWork) -> set[int]:
        return {int(row[0].rpartition(":")[2]) for row in await uow.execute(owners)}

    return await database.read(look)


async def epochs_fall(site: Site) -> int:
    """How many items stand after an item of a later epoch (PROTOCOL §4, I2)."""
    before = session_items.alias()
    pairs = session_items.join(
        before,
        (before.c.session_key == session_items.c.session_key)
        & (before.c.position < session_items.c.position)
        & (before.c.epoch > session_items.c.epoch),
    )

    async def look(uow: UnitOfWork) -> int:
        return int((await uow.execute(select(func.count()).select_from(pairs))).scalar_one())

    async with site.database() as database:
        return await database.read(look)
