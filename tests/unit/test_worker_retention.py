"""Retention: sessions that are kept no longer are deleted by the sweeper, and no others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import literal, update

from tests.conformance.desk import Desk, key
from tests.fakes.bell import Bell
from tests.fakes.model_server import ScriptedModel, echo
from tests.fakes.wait import eventually
from tests.fakes.worker import running_worker
from turnkeeper_client import AsyncClient
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import NotFound
from turnkeeper_storage.items import user_message
from turnkeeper_storage.session_edits import EditAction
from turnkeeper_storage.sessions.memory import MemorySession
from turnkeeper_storage.sessions.protocol import Session
from turnkeeper_storage.sessions.sqlalchemy import SQLAlchemySession
from turnkeeper_storage.sql_types import SECONDS, after
from turnkeeper_storage.tables import session_edits
from turnkeeper_storage.tables import sessions as sessions_table
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.audit_retention import AuditRetention
from turnkeeper_worker.retention import Retention

HELLO = user_message("hello")
DAY = 86_400.0


@pytest.fixture
async def database(migrated_url: str) -> AsyncIterator[Database]:
    opened = Database(migrated_url)
    yield opened
    await opened.aclose()


@pytest.fixture
async def client(migrated_url: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(database_url=migrated_url, doorbell=Bell()) as made:
        yield made


def retention(
    database: Database,
    default: float | None = None,
    page: int = 200,
    opened: Callable[[str, str], Session] | None = None,
) -> Retention:
    def ours(tenant: str, session_id: str) -> Session:
        return SQLAlchemySession(session_id, database=database, tenant=tenant)

    return Retention(database, opened or ours, "tests", default, page)


async def is_old(database: Database, *sessions: str, seconds: float = DAY) -> None:
    """Nothing has happened in these sessions for so long."""
    for session in sessions:
        statement = update(sessions_table).where(sessions_table.c.session_key == key(session))
        await Desk(database).sql(statement.values(updated_at=after(literal(-seconds, SECONDS))))


async def there(client: AsyncClient) -> list[str]:
    return [one.id for one in (await client.sessions()).sessions]


async def test_what_is_old_is_deleted_and_the_audit_says_so(client: AsyncClient, database: Database) -> None:
    for name in ("old", "young"):
        await client.session(name).add_items([HELLO])
    await is_old(database, "old")
    assert await retention(database, default=DAY / 2).sweep() == 1
    assert await there(client) == ["young"]
    edit = (await client.session_edits("old")).edits[0]
    assert (edit.action, edit.by) == (EditAction.EXPIRE, "retention")


async def test_without_a_setting_only_sessions_that_say_so_end(
    client: AsyncClient, database: Database
) -> None:
    for name in ("kept", "short"):
        await client.session(name).add_items([HELLO])
    await client.update_session("short", retention_seconds=60)
    await is_old(database, "kept", "short")
    assert await retention(database).sweep() == 1
    assert await there(client) == ["kept"]


async def test_what_a_session_says_goes_before_the_setting(client: AsyncClient, database: Database) -> None:
    await client.session("long").add_items([HELLO])
    await client.update_session("long", retention_seconds=10 * DAY)
    await is_old(database, "long")
    assert await retention(database, default=60).sweep() == 0
    await is_old(database, "long", seconds=11 * DAY)
    assert await retention(database, default=60).sweep() == 1


async def test_a_session_with_a_run_that_has_not_ended_stays(client: AsyncClient, database: Database) -> None:
    run = await client.enqueue("s", "Hello", agent="support")
    await is_old(database, "s")
    assert await retention(database, default=60).sweep() == 0
    desk = Desk(database)
    job = await desk.take()
    await is_old(database, "s")
    assert await retention(database, default=60).sweep() == 0
    await desk.finish(job, go_on=False)
    await is_old(database, "s")
    assert await retention(database, default=60).sweep() == 1
    with pytest.raises(NotFound):
        await client.get(run.id)


async def test_each_sweep_looks_at_a_page_and_all_are_seen(client: AsyncClient, database: Database) -> None:
    names = [f"s{n}" for n in range(7)]
    for name in names:
        await client.session(name).add_items([HELLO])
    await is_old(database, *names)
    walker = retention(database, default=60, page=3)
    assert [await walker.sweep() for _ in range(4)] == [3, 3, 1, 0]
    assert await there(client) == []


async def test_a_store_outside_is_emptied_first_and_one_that_fails_is_tried_again(
    migrated_url: str, database: Database
) -> None:
    store = MemorySession("s")
    away = True

    def opened(tenant: str, session_id: str) -> Session:
        if away:
            raise OSError("the store is away")
        return store

    async with AsyncClient(
        database_url=migrated_url, session_factory=lambda id: store, doorbell=Bell()
    ) as client:
        await client.session("s").add_items([HELLO])
        await is_old(database, "s")
        walker = retention(database, default=60, opened=opened)
        assert await walker.sweep() == 0
        away = False
        assert await walker.sweep() == 1
        assert await store.get_items() == []
        assert await there(client) == []


async def test_a_session_of_a_store_that_this_worker_does_not_have_stays(
    migrated_url: str, database: Database
) -> None:
    store = MemorySession("s")
    async with AsyncClient(
        database_url=migrated_url, session_factory=lambda id: store, doorbell=Bell()
    ) as client:
        await client.session("s").add_items([HELLO])
        await is_old(database, "s")
        assert await retention(database, default=60).sweep() == 0
        assert await there(client) == ["s"]
        assert await store.get_items() == [HELLO]


async def test_a_run_that_comes_while_the_store_is_emptied_is_not_lost(
    migrated_url: str, database: Database
) -> None:
    async with AsyncClient(
        database_url=migrated_url, session_factory=lambda id: store, doorbell=Bell()
    ) as client:

        class Slow(MemorySession):
            async def clear_session(self) -> None:
                await client.enqueue("s", "Hello", agent="support")
                await super().clear_session()

        store = Slow("s")
        await client.session("s").add_items([HELLO])
        await is_old(database, "s")
        assert await retention(database, default=60, opened=lambda tenant, id: store).sweep() == 0
        assert (await client.session_info("s")).runs == 1
        assert await Desk(database).is_runnable()
        assert (await Desk(database).take()).run.seq == 1


async def test_a_worker_deletes_by_itself(migrated_url: str) -> None:
    agent = Agent(name="support", model="gpt-5.2")
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(
            migrated_url, model, agents=[agent], sweep_seconds=0.1, session_retention_seconds=0.2
        ) as worker,
    ):
        await worker.client.session("s").add_items([HELLO])

        async def is_gone() -> bool:
            return (await worker.client.sessions()).sessions == ()

        await eventually(is_gone)


async def edits_are_old(database: Database, *session_ids: str, seconds: float = DAY) -> None:
    for session_id in session_ids:
        statement = update(session_edits).where(session_edits.c.session_id == session_id)
        await Desk(database).sql(statement.values(created_at=after(literal(-seconds, SECONDS))))


async def audited(client: AsyncClient) -> set[str]:
    return {edit.session_id for edit in (await client.session_edits()).edits}


async def test_edits_that_are_kept_no_longer_leave_the_audit(client: AsyncClient, database: Database) -> None:
    for name in ("old", "young"):
        await client.session(name).add_items([HELLO])
    await edits_are_old(database, "old")
    assert await AuditRetention(database, 2 * DAY).sweep() == 0
    assert await AuditRetention(database, DAY / 2).sweep() == 1
    assert await audited(client) == {"young"}
    assert await there(client) == ["old", "young"]


async def test_the_audit_is_walked_a_page_at_a_time(client: AsyncClient, database: Database) -> None:
    names = [f"s{n}" for n in range(7)]
    for name in names:
        await client.session(name).add_items([HELLO])
    await edits_are_old(database, *names[:5])
    walker = AuditRetention(database, DAY / 2, page=3)
    assert sum([await walker.sweep() for _ in range(3)]) == 5
    assert await audited(client) == {"s5", "s6"}
    await edits_are_old(database, "s5")
    assert [await walker.sweep(), await walker.sweep()] == [1, 0]


async def test_a_worker_ends_the_audit_as_its_setting_says_or_keeps_it(
    migrated_url: str,
) -> None:
    agent = Agent(name="support", model="gpt-5.2")
    async with ScriptedModel(answer=echo) as model:
        async with running_worker(migrated_url, model, agents=[agent], sweep_seconds=0.05) as worker:
            await worker.client.session("s").add_items([HELLO])
            await edits_are_old(worker.database, "s", seconds=3600 * DAY)
            await worker.client.session("t").add_items([HELLO])
            await worker.client.update_session("t", retention_seconds=0.01)

            async def is_gone() -> bool:  # so whole walks are over
                return [one.id for one in (await worker.client.sessions()).sessions] == ["s"]

            await eventually(is_gone)
            assert "s" in await audited(worker.client)
        async with running_worker(
            migrated_url, model, agents=[agent], sweep_seconds=0.05, audit_retention_seconds=60
        ) as worker:

            async def is_forgotten() -> bool:
                return await audited(worker.client) == {"t"}

            await eventually(is_forgotten)
