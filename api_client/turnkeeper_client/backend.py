"""What a client holds open, made at first use: the database, the bell, the names of the agents."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncEngine

from turnkeeper_client.live_reader import Feed, Hub
from turnkeeper_storage.admission import check_agent
from turnkeeper_storage.broker import reach_broker
from turnkeeper_storage.database import Database
from turnkeeper_storage.doorbell import Doorbell, Rings, make_celery
from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.migrate import Standing, check_schema, read_standing
from turnkeeper_storage.model import Run, RunStatus
from turnkeeper_storage.publisher import Publisher, live_publisher
from turnkeeper_storage.repositories import agents, runs
from turnkeeper_storage.sessions import openai_clients
from turnkeeper_storage.settings import Settings
from turnkeeper_storage.verbs.enqueue import Enqueued

if TYPE_CHECKING:
    from celery import Celery

NAMES_SECONDS = 30.0
# how long a commit may take after its event, and how often one looks
VISIBLE_WITHIN = 2.0
FIRST_LOOK = 0.005
LAST_LOOK = 0.25
log = logging.getLogger(__name__)


class Backend:
    """The outside world of one AsyncClient. It belongs to the loop and the process that used it first."""

    def __init__(
        self,
        settings: Settings,
        *,
        engine: AsyncEngine | None = None,
        celery: Celery | None = None,
        doorbell: Rings | None = None,
    ) -> None:
        self.settings = settings
        self._engine = engine
        self._celery = celery
        self._given_bell = doorbell
        self._bell: Doorbell | None = None
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None
        self._database: Database | None = None
        self._publisher: Publisher | None = None
        self._hub: Hub | None = None
        self._is_checked = False
        self._opening = asyncio.Lock()
        self._names: frozenset[str] = frozenset()
        self._names_until = 0.0
        self._watchers: set[asyncio.Task[None]] = set()

    async def database(self) -> Database:
        """The database, opened, and its schema checked, once.

        Raises SchemaMismatch, DatabaseUnavailable, ConfigurationError.
        """
        self._check_home()
        if self._database is not None and self._is_checked:
            return self._database
        async with self._opening:
            if self._database is None:
                self._database = self._make_database()
            if not self._is_checked:
                await check_schema(self._database)
                self._is_checked = True
            return self._database

    async def standing(self) -> Standing:
        """Which revision the database is at, looked at anew; raises as `database`, but SchemaMismatch."""
        self._check_home()
        async with self._opening:
            if self._database is None:
                self._database = self._make_database()
        return await read_standing(self._database)

    async def reach_broker(self, seconds: float) -> None:
        """Return when the broker takes a connection; a bell that was given is asked nothing.

        Raises what its library raises.
        """
        if self._given_bell is None:
            app = await asyncio.to_thread(self._make_celery)
            await asyncio.to_thread(reach_broker, app, seconds)

    async def status(self, key: str, run_id: str, tenant: str) -> RunStatus | None:
        """Where a run stands, None when there is no such run for this tenant."""
        look = partial(runs.status, key=key, run_id=run_id, tenant=tenant)
        return await (await self.database()).read(look)

    def feed(self, run_id: str, *, deltas: bool) -> Feed:
        """What is told of a run over Redis; a feed that is never live without one. To be closed."""
        url = self.settings.live_url
        if self._hub is None and url is not None:
            self._hub = Hub(url, self.settings.redis_prefix)
        return self._hub.open(run_id, deltas=deltas) if self._hub else Feed(None, run_id, deltas=deltas)

    async def check_agent(self, name: str) -> None:
        """Raise UnknownAgent when workers have registered agents, and none of this name."""
        if time.monotonic() >= self._names_until or (self._names and name not in self._names):
            records = await (await self.database()).read(agents.list_agents)
            self._names = frozenset(record.name for record in records)
            self._names_until = time.monotonic() + NAMES_SECONDS
        check_agent(name, sorted(self._names))

    def tell_cancel(self, run_id: str) -> None:
        """Tell the worker of a run that its cancel is committed; without a Redis its next beat sees it."""
        if self._publisher is not None:
            self._publisher.tell_cancel(run_id)

    async def ring(self, session_key: str) -> None:
        """Wake workers soon. A broker that is away costs nothing: the sweeper finds the session."""
        bell = self._given_bell or self._bell
        if bell is None:
            async with self._opening:
                if self._bell is None:
                    # Celery takes a while to import: not on the caller's loop
                    self._bell = await asyncio.to_thread(self._make_bell)
                bell = self._bell
        bell.ring(session_key)

    def ring_once_visible(self, accepted: Enqueued) -> None:
        """Ring for a run whose transaction is about to commit. From any thread, once the client is in use."""
        if self._home is not None and not self._home[1].is_closed():
            self._home[1].call_soon_threadsafe(self._watch, accepted)

    async def aclose(self) -> None:
        """Let watchers end, publish what waits, close the pool. The client can be used again after."""
        if self._home is None or self._home[0] != os.getpid():
            return
        self._check_home()
        while self._watchers:
            await asyncio.wait(set(self._watchers))
        hub, self._hub = self._hub, None
        if hub is not None:
            await hub.aclose()
        bell, self._bell = self._bell, None
        if bell is not None:
            await _close_bell(bell)
        database, self._database = self._database, None
        if database is not None:
            await database.aclose()
        # of sessions that a factory opens, and nobody closes
        await openai_clients.close_all()
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            await publisher.aclose()
        self._home, self._is_checked, self._names_until = None, False, 0.0
        self._opening = asyncio.Lock()

    def _check_home(self) -> None:
        here = (os.getpid(), asyncio.get_running_loop())
        if self._home is None:
            self._home = here
        elif self._home != here:
            what = "event loop" if self._home[0] == here[0] else "process"
            raise ConfigurationError(
                f"this AsyncClient belongs to another {what}: make one per {what}, or use Client"
            )

    def _make_database(self) -> Database:
        given = self.settings
        self._publisher = live_publisher(given)
        return Database(
            None if self._engine is not None else given.database_url,
            engine=self._engine,
            schema=given.db_schema,
            pool_size=given.pool_size,
            lease_seconds=given.lease_seconds,
            on_events=self._publisher.tell if self._publisher is not None else None,
        )

    def _make_bell(self) -> Doorbell:
        return Doorbell(self._make_celery(), self.settings.queue, self.settings.publish_timeout)

    def _make_celery(self) -> Celery:
        return self._celery or make_celery(self.settings.broker_url, self.settings.queue)

    def _watch(self, accepted: Enqueued) -> None:
        task = asyncio.ensure_future(self._ring_once_there(accepted.run))
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)

    async def _ring_once_there(self, run: Run) -> None:
        pause = FIRST_LOOK
        limit = time.monotonic() + VISIBLE_WITHIN
        try:
            while time.monotonic() < limit:
                await asyncio.sleep(pause)
                pause = min(pause * 2, LAST_LOOK)
                if await self.status(run.session_key, run.id, run.tenant) is not None:
                    await self.ring(run.session_key)
                    return
        except Exception as error:  # noqa: BLE001 - nobody waits for this task: the sweeper does the rest
            log.warning(
                "no wake-up after a joined commit (%s): the sweeper will find it", type(error).__name__
            )


async def _close_bell(bell: Doorbell) -> None:
    try:
        await asyncio.to_thread(bell.close)
    except RuntimeError:  # the interpreter ends: no thread can be had, and nobody else is on the loop
        bell.close()
