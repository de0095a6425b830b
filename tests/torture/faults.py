"""What goes wrong, at random: each fault is one short coroutine, and is counted by its name."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import psycopg
import redis as redis_library
from sqlalchemy import select

from tests.fakes.crashing import Crash
from tests.fakes.databases import driverless
from tests.fakes.own_redis import OwnRedis
from tests.fakes.wait import eventually, pause
from tests.torture.place import Place, now, owner_pid
from turnkeeper_storage import crash_points
from turnkeeper_storage.doorbell import Doorbell, make_celery
from turnkeeper_storage.tables import sessions
from turnkeeper_storage.unit_of_work import UnitOfWork

# not in a transaction of SQLite: its one writer would stand still with everybody behind it
STOPS = ("model.answered", "tool.calling", "tool.returned")


@dataclass(slots=True)
class Faults:
    """Injects one after the other until told to stop. `recoveries`: seconds from a death to the take-over."""

    place: Place
    injected: Counter[str] = field(default_factory=Counter)
    deaths: int = 0
    recoveries: list[float] = field(default_factory=list)
    log: list[tuple[float, str]] = field(default_factory=list)
    _watches: set[asyncio.Task[None]] = field(default_factory=set)

    async def until(self, stop: asyncio.Event) -> None:
        """Something every half second or so."""
        random = self.place.random
        kinds: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("kill -9", self._kill),
            ("kill -9", self._kill),
            ("death at a crash point", self._crash),
            ("death at a crash point", self._crash),
            ("standing still", self._stand_still),
            ("shutdown", self._terminate),
            ("forged and doubled bells", self._forge),
            ("redis emptied", self._flush),
            ("redis killed and started", self._restart_redis),
        ]
        if self.place.options.database == "postgres":
            kinds.append(("database connections cut", self._cut))
        while not stop.is_set():
            name, deed = random.choice(kinds)
            self.injected[name] += 1
            self.log.append((now(), name))
            await deed()
            self._replace()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(random.uniform(0.2, 1.2)):
                    await stop.wait()

    async def settle(self) -> None:
        """No more faults: everything that stood still goes on, and there are workers enough."""
        for worker in self.place.living():
            worker.cont()
        self._replace()
        await asyncio.gather(*self._watches, return_exceptions=True)
        await self.place.ready()

    def _replace(self) -> None:
        while len(self.place.living()) < self.place.options.workers:
            self.place.start_worker()

    async def _kill(self) -> None:
        victim = self.place.random.choice(self.place.living())
        held = await self._held(victim.pid)
        self.deaths += 1
        await asyncio.to_thread(victim.kill9)
        if held:
            watch = asyncio.create_task(self._watch(victim.pid, now()))
            self._watches.add(watch)

    async def _crash(self) -> None:
        """One more worker, which dies at a place of its own choosing; an old one makes room in time."""
        random = self.place.random
        at = random.choice(sorted(crash_points.POINTS - {"bell.ringing"}))
        self.deaths += 1
        self.place.start_worker(Crash(at, "kill", random.randint(1, 6)))

    async def _stand_still(self) -> None:
        victim = self.place.random.choice(self.place.living())
        self.deaths += 1
        victim.stop()
        await pause(self.place.random.uniform(0.5, 3.5))
        victim.cont()

    async def _terminate(self) -> None:
        victim = self.place.random.choice(self.place.living())
        victim.terminate()
        # what it may not have ended in time is asked again
        self.deaths += 1

    async def _forge(self) -> None:
        site = self.place.site
        bell = Doorbell(make_celery(site.broker_url, site.queue), site.queue, 1.0)
        keys = [row[0] for row in await self.place.database.read(_keys)]
        for _ in range(5):
            for key in [*keys, "no-such-session"]:
                bell.ring(key)
        await asyncio.to_thread(bell.close)

    async def _flush(self) -> None:
        await asyncio.to_thread(_flush_all, self.place.redis)

    async def _restart_redis(self) -> None:
        redis = self.place.redis
        await asyncio.to_thread(redis.process.kill9)
        await pause(self.place.random.uniform(0.0, 1.0))
        await asyncio.to_thread(redis.start)

    async def _cut(self) -> None:
        await asyncio.to_thread(_cut_all, self.place.site.database_url)

    async def _held(self, pid: int) -> list[str]:
        rows = await self.place.database.read(_owners)
        return [key for key, owner in rows if owner_pid(owner) == pid]

    async def _watch(self, pid: int, since: float) -> None:
        """Until no lease stands in the name of the dead."""

        async def is_taken_over() -> bool:
            return not await self._held(pid)

        with contextlib.suppress(AssertionError):
            await eventually(is_taken_over, within=30, every=0.05)
            self.recoveries.append(now() - since)


async def _keys(uow: UnitOfWork) -> list[tuple[str]]:
    return [(row[0],) for row in await uow.execute(select(sessions.c.session_key))]


async def _owners(uow: UnitOfWork) -> list[tuple[str, str]]:
    held = select(sessions.c.session_key, sessions.c.lease_owner).where(sessions.c.lease_owner.is_not(None))
    return [(row[0], row[1]) for row in await uow.execute(held)]


def _flush_all(redis: OwnRedis) -> None:
    with contextlib.suppress(redis_library.RedisError), redis_library.Redis.from_url(redis.url) as client:
        client.flushall()


def _cut_all(url: str) -> None:
    """End every other connection to the database, whatever it is in the middle of."""
    with psycopg.connect(driverless(url), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
