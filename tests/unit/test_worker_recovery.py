"""Workers that died are found by their locks, and nobody else is taken for dead."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import psycopg
import pytest
from sqlalchemy import select

from tests.conformance.desk import CRASH_LIMIT, LEASE_SECONDS, Desk, key
from tests.fakes.wait import eventually
from turnkeeper_storage import ids
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.migrate import upgrade_async
from turnkeeper_storage.owner_lock import OwnerLock
from turnkeeper_storage.owner_names import OwnerName, holds_a_lock, lock_key, name_of_this_process
from turnkeeper_storage.repositories import owners
from turnkeeper_storage.settings import Settings, load_settings
from turnkeeper_storage.tables import sessions
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.claim import Claimant, Job, claim
from turnkeeper_worker import presence as presences
from turnkeeper_worker.presence import Presence, present
from turnkeeper_worker.recovery import Recovery

NAME = OwnerName("web-1", "00112233445566ff", 4711)


def settings(url: str, **more: object) -> Settings:
    return load_settings(database_url=url, recovery_seconds=0.05, **more)


@dataclass
class Watcher:
    """A worker that does nothing but look for others; `swept` counts what followed."""

    url: str
    presence: Presence
    desk: Desk
    recovery: Recovery = field(init=False)
    swept: int = 0

    def __post_init__(self) -> None:
        self.recovery = Recovery(self.desk.database, self.presence, self._sweep, 0.05, ask_every=3600)

    async def _sweep(self) -> int:
        self.swept += 1
        return len(await self.desk.sweep())

    async def claim_as(self, owner: str, session: str) -> Job:
        await self.desk.enqueue(session)
        who = Claimant(ids.new_lease_id(), owner, LEASE_SECONDS, CRASH_LIMIT)
        job = await self.desk.database.transact(lambda uow: claim(uow, key(session), who))
        assert job is not None
        return job

    async def owner_of(self, session: str) -> str | None:
        async def look(uow: UnitOfWork) -> str | None:
            where = sessions.c.session_key == key(session)
            found: str | None = (
                await uow.execute(select(sessions.c.lease_owner).where(where))
            ).scalar_one_or_none()
            return found

        return await self.desk.database.read(look)

    async def kill_backend(self, backend: int | None) -> None:
        """What a restart, a network or an administrator does to one connection."""

        def kill() -> None:
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute("SELECT pg_terminate_backend(%s)", [backend])

        await asyncio.to_thread(kill)


@pytest.fixture
async def watcher(migrated_postgres: str) -> AsyncIterator[Watcher]:
    database = Database(migrated_postgres)
    try:
        async with present(settings(migrated_postgres), database) as presence:
            yield Watcher(migrated_postgres, presence, Desk(database))
    finally:
        await database.aclose()


@contextlib.asynccontextmanager
async def another(url: str, name: OwnerName = NAME) -> AsyncIterator[OwnerLock]:
    """The lock of another worker."""
    async with contextlib.aclosing(OwnerLock(url, name.locked)) as lock:
        await lock.take()
        yield lock


def test_names_tell_who_holds_a_lock_and_end_with_the_process_id() -> None:
    assert holds_a_lock(NAME.locked)
    for other in (NAME.plain, "web-1:4711", "lock-00112233445566ff:4711", "x:lock-1:7", ""):
        assert not holds_a_lock(other)
    assert {name.rpartition(":")[2] for name in (NAME.plain, NAME.locked)} == {"4711"}
    assert name_of_this_process() != name_of_this_process()


def test_keys_are_positive_and_the_same_in_every_process() -> None:
    assert lock_key(NAME.locked) == 6074039826207217670
    assert 0 < lock_key(NAME.plain) < 2**63


async def test_a_worker_on_postgresql_is_seen_by_its_lock(watcher: Watcher) -> None:
    assert watcher.presence.is_locked
    assert holds_a_lock(watcher.presence.owner)
    held = await watcher.desk.database.read(owners.held_locks)
    assert list(held) == [lock_key(watcher.presence.owner)]


@pytest.mark.parametrize("wanted", ["auto", "off"])
async def test_a_worker_on_sqlite_has_a_name_without_a_lock(migrated_sqlite: str, wanted: str) -> None:
    async with (
        contextlib.aclosing(Database(migrated_sqlite)) as database,
        present(settings(migrated_sqlite, fast_recovery=wanted), database) as presence,
    ):
        assert not presence.can_lock
        assert not holds_a_lock(presence.owner)


async def test_off_means_off_on_postgresql_too(migrated_postgres: str) -> None:
    async with (
        contextlib.aclosing(Database(migrated_postgres)) as database,
        present(settings(migrated_postgres, fast_recovery="off"), database) as presence,
    ):
        assert not presence.can_lock
        assert await database.read(owners.held_locks) == {}


async def test_what_is_wanted_and_cannot_be_had_stops_the_start(migrated_sqlite: str) -> None:
    async with contextlib.aclosing(Database(migrated_sqlite)) as database:
        with pytest.raises(ConfigurationError, match="TURNKEEPER_FAST_RECOVERY is 'on', and SQLite"):
            async with present(settings(migrated_sqlite, fast_recovery="on"), database):
                pass


async def test_behind_a_pooler_workers_do_without_locks_or_do_not_start(
    migrated_postgres: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # a pooler answers a connecting client itself, with a process id that is no backend's
    monkeypatch.setattr("asyncpg.Connection.get_server_pid", lambda _: 1)
    async with contextlib.aclosing(Database(migrated_postgres)) as database:
        async with present(settings(migrated_postgres), database) as presence:
            assert not presence.can_lock
            assert not holds_a_lock(presence.owner)
            assert await database.read(owners.held_locks) == {}
        assert "no fast recovery: a pooler is between" in caplog.text
        with pytest.raises(ConfigurationError, match="set TURNKEEPER_DIRECT_DATABASE_URL"):
            async with present(settings(migrated_postgres, fast_recovery="on"), database):
                pass


async def test_a_lock_that_other_connections_do_not_see_is_no_lock(
    migrated_postgres: str, postgres_database: str
) -> None:
    await upgrade_async(postgres_database)
    async with (
        contextlib.aclosing(Database(migrated_postgres)) as database,
        another(postgres_database) as lock,  # in another database, as after a failover
    ):
        fault = await lock.fault(database)
        assert fault == "the lock of one connection is not seen by another one"
        presence = Presence(NAME, database=database, lock=lock)
        assert await presence.take() == fault
        assert presence.owner == NAME.plain


async def test_the_sessions_of_a_worker_whose_lock_is_gone_are_taken_at_once(watcher: Watcher) -> None:
    async with another(watcher.url):
        await watcher.claim_as(NAME.locked, "s")
        assert await watcher.recovery.look() == 0
        assert await watcher.owner_of("s") == NAME.locked
    assert await watcher.recovery.look() == 1
    assert await watcher.owner_of("s") == "tests"


async def test_a_worker_that_died_before_this_one_came_is_found_by_the_first_look(watcher: Watcher) -> None:
    await watcher.claim_as(NAME.locked, "s")
    assert await watcher.recovery.look() == 1


async def test_owners_that_never_held_a_lock_are_left_to_their_leases(watcher: Watcher) -> None:
    names = (NAME.plain, "web-1:4711", "another")
    for at, name in enumerate(names):
        await watcher.claim_as(name, f"s{at}")
    assert await watcher.recovery.look() == 0
    assert [await watcher.owner_of(f"s{at}") for at in range(3)] == list(names)


async def test_sessions_are_asked_only_when_a_lock_is_gone(watcher: Watcher) -> None:
    async with another(watcher.url):
        for _ in range(3):
            await watcher.recovery.look()
        assert watcher.swept == 1  # the first look
    for _ in range(3):
        await watcher.recovery.look()
    assert watcher.swept == 2


async def test_a_worker_that_lived_between_two_looks_is_found_when_sessions_are_asked(
    watcher: Watcher,
) -> None:
    watcher.recovery._ask_every = 0.0
    await watcher.recovery.look()
    async with another(watcher.url):
        await watcher.claim_as(NAME.locked, "s")
    assert await watcher.recovery.look() == 1
    await watcher.recovery.look()
    assert watcher.swept == 2  # the first look, and when it was found


async def test_a_lock_that_is_taken_anew_meanwhile_says_that_its_worker_lives(watcher: Watcher) -> None:
    async with another(watcher.url) as lock:
        await watcher.claim_as(NAME.locked, "s")
        await watcher.recovery.look()
        await lock.drop()
        read, looks = watcher.desk.database.read, list[object]()

        async def reread(work):  # type: ignore[no-untyped-def]
            answer = await read(work)
            looks.append(work)
            if looks.count(owners.held_locks) == 2:  # it was missed, and will be asked for once more
                await lock.take()
            return answer

        watcher.desk.database.read = reread  # type: ignore[method-assign]
        assert await watcher.recovery.look() == 0
        assert looks.count(owners.held_locks) == 3
        assert await watcher.owner_of("s") == NAME.locked


async def test_a_worker_whose_connection_breaks_takes_its_lock_anew_under_its_name(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, lock = watcher.presence.owner, watcher.presence._lock
    assert lock is not None
    task = asyncio.create_task(watcher.recovery.run())
    broken = lock.backend
    await watcher.kill_backend(broken)
    await eventually(lambda: watcher.presence.is_locked and lock.backend != broken)
    assert watcher.presence.owner == before
    # others may have lost theirs by the same cause, and are taking them anew
    assert not watcher.presence.may_judge
    assert presences.SETTLE_SECONDS > 1
    task.cancel()


async def test_while_the_lock_is_lost_leases_are_taken_in_a_name_without_one(watcher: Watcher) -> None:
    lock = watcher.presence._lock
    assert lock is not None
    await watcher.kill_backend(lock.backend)
    await eventually(lambda: not watcher.presence.is_locked)
    assert not holds_a_lock(watcher.presence.owner)
    assert await watcher.recovery.look() == 0
    await watcher.presence.keep()
    assert holds_a_lock(watcher.presence.owner)


async def test_a_worker_that_does_not_see_its_own_lock_judges_nobody(watcher: Watcher) -> None:
    await watcher.claim_as(NAME.locked, "s")
    await watcher.kill_backend(watcher.presence._lock.backend if watcher.presence._lock else None)
    watcher.presence._is_seen = True
    assert await watcher.recovery.look() == 0
    assert await watcher.owner_of("s") == NAME.locked


async def test_a_worker_that_ends_gives_its_lock_free(migrated_postgres: str) -> None:
    async with contextlib.aclosing(Database(migrated_postgres)) as database:
        async with present(settings(migrated_postgres), database):
            assert len(await database.read(owners.held_locks)) == 1

        async def is_free() -> bool:
            return not await database.read(owners.held_locks)

        await eventually(is_free)
