"""What a worker process is called, and the lock that says that it lives (PostgreSQL)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator

from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import ConfigurationError, DatabaseUnavailable, TurnkeeperError
from turnkeeper_storage.owner_lock import OwnerLock
from turnkeeper_storage.owner_names import OwnerName, name_of_this_process
from turnkeeper_storage.settings import Settings

# After a database restart or failover all workers take their locks anew: give them time before judging any.
SETTLE_SECONDS = 5.0
log = logging.getLogger(__name__)


class Presence:
    """The name of this process, with a lock or, when there is none to be had, without one.

    Leases are taken in a name that says which: a name with a lock only while the lock is held and seen.
    """

    def __init__(
        self,
        name: OwnerName | None = None,
        *,
        database: Database | None = None,
        lock: OwnerLock | None = None,
    ) -> None:
        self._name = name or name_of_this_process()
        self._database = database
        self._lock = lock
        self._is_seen = False
        self._judges_from = 0.0
        # set when the lock is lost
        self.broken = asyncio.Event()
        if lock is not None:
            lock.on_broken = self.broken.set

    @property
    def owner(self) -> str:
        """The name to take a lease in now."""
        return self._name.locked if self.is_locked else self._name.plain

    @property
    def process(self) -> str:
        """The one name of this process, whether its lock is held or not."""
        return self._name.plain

    @property
    def can_lock(self) -> bool:
        """Whether there is a lock to keep."""
        return self._lock is not None

    @property
    def is_locked(self) -> bool:
        """Whether the lock is held, and was seen from another connection."""
        return self._is_seen and self._lock is not None and self._lock.backend is not None

    @property
    def may_judge(self) -> bool:
        """Whether the locks that this process sees say something about others."""
        return self.is_locked and time.monotonic() >= self._judges_from

    def is_in(self, held: dict[int, int]) -> bool:
        """Whether our own lock is among these: else they are not those of the server that we work on."""
        return self._lock is not None and held.get(self._lock.key) == self._lock.backend is not None

    async def take(self) -> str | None:
        """Take the lock; why it is no good, None when it is held and seen. Raises DatabaseUnavailable."""
        if self._lock is None or self._database is None:
            return "there is no lock"
        self._is_seen = False
        await self._lock.take()
        fault = await self._lock.fault(self._database)
        self._is_seen = fault is None
        return fault

    async def keep(self) -> None:
        """Make sure that the lock is held, and take it anew if not; logs what goes wrong."""
        self.broken.clear()
        if self._lock is None or (self.is_locked and await self._lock.is_well()):
            return
        was_seen, self._is_seen = self._is_seen, False
        if was_seen:
            log.warning("the connection with this worker's lock broke: others may take its sessions early")
        self._judges_from = time.monotonic() + SETTLE_SECONDS
        try:
            fault = await self.take()
        except TurnkeeperError as error:
            fault = type(error).__name__
        if fault is None:
            log.info("this worker's lock is held again")
        elif was_seen:
            log.warning("no lock for this worker (%s): should it die, its leases run out", fault)

    async def doubt(self) -> None:
        """Others do not see our lock: give it up, and be named without it until it is seen again."""
        self._is_seen = False
        if self._lock is not None:
            await self._lock.drop()
        log.warning("this worker's lock is not seen by its other connections: taking it anew")


@contextlib.asynccontextmanager
async def present(settings: Settings, database: Database) -> AsyncIterator[Presence]:
    """The presence of this process until the block ends.

    Raises ConfigurationError when `fast_recovery` is "on" and there can be no lock, DatabaseUnavailable.
    """
    wanted = settings.fast_recovery
    if wanted == "off" or database.dialect != "postgresql":
        if wanted == "on":
            raise ConfigurationError(
                "TURNKEEPER_FAST_RECOVERY is 'on', and SQLite has no such locks; use 'auto', or PostgreSQL"
            )
        yield Presence()
        return
    name = name_of_this_process()
    lock = OwnerLock(settings.direct_url, name.locked, lease_seconds=settings.lease_seconds)
    async with contextlib.aclosing(lock):
        presence = Presence(name, database=database, lock=lock)
        try:
            fault = await presence.take()
        except DatabaseUnavailable as error:
            if wanted == "on":
                raise
            log.warning("no lock for this worker yet: %s", error)
            fault = None  # it is tried again
        if fault is None:
            yield presence
        elif wanted == "on":
            raise ConfigurationError(
                f"TURNKEEPER_FAST_RECOVERY is 'on', and {fault}; use 'auto', or set "
                "TURNKEEPER_DIRECT_DATABASE_URL to the address of PostgreSQL itself"
            )
        else:
            log.warning("no fast recovery: %s; after a crash, leases run out", fault)
            await lock.drop()
            yield Presence(name)
