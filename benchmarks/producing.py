"""Runs at a steady rate or all at once, and how long they took by the database's own clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from turnkeeper_client import AsyncClient
from turnkeeper_storage.database import Database
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.tables import OPEN, runs
from turnkeeper_storage.unit_of_work import UnitOfWork

R = runs.c
# enqueues that are under way at once
PRODUCERS = 16


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds of one run: from its acceptance to its claim, and from there to its end."""

    waited: float
    worked: float

    @property
    def in_all(self) -> float:
        return self.waited + self.worked


async def at_once(work: Callable[[int], Awaitable[str]], count: int, width: int = PRODUCERS) -> list[str]:
    """Do `work` for 0 to `count - 1`, `width` of them at once; what each gave, in order."""
    numbers = iter(range(count))
    found: list[str] = [""] * count

    async def serve() -> None:
        for number in numbers:
            found[number] = await work(number)

    await asyncio.gather(*(serve() for _ in range(width)))
    return found


async def enqueued(client: AsyncClient, agent: str, names: Sequence[str]) -> list[str]:
    """One run in each of these sessions, all at once; their ids."""

    async def one(number: int) -> str:
        return (await client.enqueue(names[number], f"message {number}", agent=agent)).id

    return await at_once(one, len(names))


async def steadily(client: AsyncClient, agent: str, rate: float, seconds: float, prefix: str) -> list[str]:
    """Runs in sessions of their own at `rate` a second for so many seconds; their ids.

    Each is sent when it is due, whether the one before was accepted or not.
    """
    began = time.monotonic()
    tasks: list[asyncio.Task[str]] = []

    async def one(number: int) -> str:
        return (await client.enqueue(f"{prefix}{number}", f"message {number}", agent=agent)).id

    for number in range(round(rate * seconds)):
        wait = began + number / rate - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(one(number)))
    return list(await asyncio.gather(*tasks))


_ALL = select(
    R.id,
    func.extract("epoch", R.started_at - R.created_at),
    func.extract("epoch", R.finished_at - R.started_at),
).where(R.status == RunStatus.COMPLETED.value)
_LEFT = select(func.count()).select_from(runs).where(OPEN)


async def left(database: Database) -> int:
    """Runs that have not ended."""

    async def look(uow: UnitOfWork) -> int:
        return int((await uow.execute(_LEFT)).scalar_one())

    return await database.read(look)


async def all_ended(database: Database, within: float) -> None:
    """Return when no run is left; AssertionError when some are after so many seconds."""
    limit = time.monotonic() + within
    while count := await left(database):
        assert time.monotonic() < limit, f"{count} runs have not ended after {within:g} s"
        await asyncio.sleep(0.05)


async def took(database: Database, ids: Sequence[str]) -> list[Took]:
    """How long each of these runs took. AssertionError when one did not complete."""

    async def look(uow: UnitOfWork) -> dict[str, Took]:
        return {row[0]: Took(float(row[1]), float(row[2])) for row in await uow.execute(_ALL)}

    found = await database.read(look)
    missing = [run_id for run_id in ids if run_id not in found]
    assert not missing, f"{len(missing)} of {len(ids)} runs did not complete"
    return [found[run_id] for run_id in ids]
