"""AsyncClient on both databases: enqueue, look, wait, cancel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from tests.fakes.bell import Bell
from turnkeeper_client import AsyncClient
from turnkeeper_storage import ids
from turnkeeper_storage.admission import EnqueueRequest
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    IdempotencyConflict,
    NotFound,
    SchemaMismatch,
    UnknownAgent,
    WaitTimeout,
)
from turnkeeper_storage.model import AgentRecord, RunStatus
from turnkeeper_storage.repositories import agents
from turnkeeper_storage.settings import Settings
from turnkeeper_storage.unit_of_work import UnitOfWork


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
async def client(migrated_url: str, bell: Bell) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(database_url=migrated_url, doorbell=bell) as made:
        yield made


async def _execute(url: str, statement: str, **values: object) -> None:
    async def work(uow: UnitOfWork) -> None:
        await uow.execute(text(statement), values)

    database = Database(url)
    try:
        await database.transact(work)
    finally:
        await database.aclose()


async def _register(url: str, *names: str) -> None:
    records = [AgentRecord(name, "digest", "turnkeeper", []) for name in names]
    database = Database(url)
    try:
        await database.transact(lambda uow: agents.register(uow, records))
    finally:
        await database.aclose()


async def test_an_enqueued_run_can_be_read_back(client: AsyncClient) -> None:
    handle = await client.enqueue(
        "customer-42", "Hello", agent="support", metadata={"order": 7}, idempotency_key="req-1"
    )
    snapshot = await handle.get()
    assert handle.created
    assert (handle.session_id, handle.seq) == ("customer-42", 1)
    assert (snapshot.id, snapshot.session_id, snapshot.seq) == (handle.id, "customer-42", 1)
    assert (snapshot.status, snapshot.agent, snapshot.tenant) == (RunStatus.QUEUED, "support", "default")
    assert (snapshot.metadata, snapshot.idempotency_key) == ({"order": 7}, "req-1")
    assert snapshot.created_at is not None
    assert (snapshot.output, snapshot.error, snapshot.started_at, snapshot.approvals) == (
        None,
        None,
        None,
        (),
    )


async def test_an_enqueue_rings_for_its_session(client: AsyncClient, bell: Bell) -> None:
    await client.enqueue("s", "Hello", agent="support")
    assert bell.rung == [ids.session_key("default", "s")]


async def test_runs_of_one_session_take_their_places_in_order(client: AsyncClient) -> None:
    handles = [await client.enqueue("s", f"message {n}", agent="support") for n in range(3)]
    assert [handle.seq for handle in handles] == [1, 2, 3]


async def test_the_same_key_gives_the_same_run(client: AsyncClient) -> None:
    first = await client.enqueue("s", "Hello", agent="support", idempotency_key="k")
    again = await client.enqueue("s", "Hello", agent="support", idempotency_key="k")
    assert (again.id, again.seq, again.created) == (first.id, first.seq, False)
    assert len((await client.runs()).runs) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"input": "Goodbye"},
        {"agent": "sales"},
        {"max_turns": 3},
        {"stream": True},
        {"metadata": {"a": 1}},
        {"deadline_seconds": 60},
        {"token_limit": 1_000},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_used_key_with_another_request_is_a_conflict(
    client: AsyncClient, other: dict[str, object]
) -> None:
    same: dict[str, object] = {"input": "Hello", "agent": "support"}
    first = await client.enqueue("s", idempotency_key="k", **same)  # type: ignore[arg-type]
    with pytest.raises(IdempotencyConflict) as caught:
        await client.enqueue("s", idempotency_key="k", **{**same, **other})  # type: ignore[arg-type]
    assert (caught.value.key, caught.value.run_id) == ("k", first.id)


async def test_an_unknown_agent_lists_the_known_ones(migrated_url: str, client: AsyncClient) -> None:
    await _register(migrated_url, "support", "sales")
    with pytest.raises(UnknownAgent, match="use one of: sales, support") as caught:
        await client.enqueue("s", "Hello", agent="suport")
    assert (caught.value.field, caught.value.known) == ("agent", ("sales", "support"))
    assert (await client.runs()).runs == ()


async def test_an_agent_that_a_worker_registers_later_is_found_at_once(
    migrated_url: str, client: AsyncClient
) -> None:
    await _register(migrated_url, "support")
    await client.enqueue("s", "Hello", agent="support")
    await _register(migrated_url, "sales")
    assert (await client.enqueue("s", "Hello", agent="sales")).seq == 2
    assert [record.name for record in await client.agents()] == ["sales", "support"]


async def test_what_the_caller_changes_later_does_not_reach_the_run(client: AsyncClient) -> None:
    metadata, content = {"tags": ["a"]}, [{"role": "user", "content": "Hello"}]
    new = await client.prepare(EnqueueRequest("s", content, "support", metadata=metadata))
    metadata["tags"].append("b")
    content[0]["content"] = "Goodbye"
    assert new.options.metadata == {"tags": ["a"]}
    assert new.input == [{"role": "user", "content": "Hello"}]


async def test_another_tenants_run_is_not_found(migrated_url: str, client: AsyncClient) -> None:
    handle = await client.enqueue("s", "Hello", agent="support")
    async with AsyncClient(database_url=migrated_url, tenant="other", doorbell=Bell()) as other:
        for look in (other.get, other.wait, other.cancel):
            with pytest.raises(NotFound):
                await look(handle.id)
        assert (await other.runs()).runs == ()
        assert (await other.sessions()).sessions == ()
        assert (await other.enqueue("s", "Hello", agent="support")).seq == 1
    assert (await client.get(handle.id)).status is RunStatus.QUEUED


async def test_an_unknown_run_is_not_found(client: AsyncClient) -> None:
    unknown = ids.new_run_id(ids.session_key("default", "s"))
    for look in (client.get, client.wait, client.cancel):
        with pytest.raises(NotFound):
            await look(unknown)


async def test_runs_come_in_pages_newest_first(client: AsyncClient) -> None:
    made = [(await client.enqueue(f"s{n % 2}", "Hello", agent="support")).id for n in range(5)]
    newest_first = sorted(made, reverse=True)
    seen: list[str] = []
    cursor: str | None = None
    for size in (2, 2, 1):
        page = await client.runs(limit=2, cursor=cursor)
        assert len(page.runs) == size
        seen += [run.id for run in page.runs]
        cursor = page.next_cursor
    assert seen == newest_first
    assert cursor is None


async def test_a_page_that_ends_exactly_with_the_last_run_has_no_cursor(client: AsyncClient) -> None:
    for _ in range(2):
        await client.enqueue("s", "Hello", agent="support")
    assert (await client.runs(limit=2)).next_cursor is None


async def test_runs_are_filtered_by_session_status_and_agent(client: AsyncClient) -> None:
    one = await client.enqueue("s1", "Hello", agent="support")
    two = await client.enqueue("s1", "Hello", agent="sales")
    three = await client.enqueue("s2", "Hello", agent="support")
    await client.cancel(two.id)
    by_session = await client.runs(session_id="s1")
    by_status = await client.runs(status="cancelled")
    by_agent = await client.runs(agent="support", status=RunStatus.QUEUED)
    assert {run.id for run in by_session.runs} == {one.id, two.id}
    assert [run.id for run in by_status.runs] == [two.id]
    assert {run.id for run in by_agent.runs} == {one.id, three.id}


async def test_a_queued_run_is_cancelled_at_once_and_again_with_no_effect(client: AsyncClient) -> None:
    handle = await client.enqueue("s", "Hello", agent="support")
    cancelled = await handle.cancel()
    assert cancelled.status is RunStatus.CANCELLED
    assert cancelled.finished_at is not None
    assert await client.cancel(handle.id) == cancelled


async def test_the_cancel_of_a_head_rings_for_the_next(client: AsyncClient, bell: Bell) -> None:
    head = await client.enqueue("s", "Hello", agent="support")
    await client.enqueue("s", "Hello", agent="support")
    before = len(bell.rung)
    await head.cancel()
    assert bell.rung[before:] == [ids.session_key("default", "s")]


async def test_a_wait_past_its_time_out_tells_the_status_and_leaves_the_run(client: AsyncClient) -> None:
    handle = await client.enqueue("s", "Hello", agent="support")
    began = time.monotonic()
    with pytest.raises(WaitTimeout) as caught:
        await handle.wait(timeout=0.1)
    assert time.monotonic() - began < 5
    assert (caught.value.run_id, caught.value.status, caught.value.timeout) == (handle.id, "queued", 0.1)
    assert (await handle.get()).status is RunStatus.QUEUED


async def test_a_wait_of_no_time_looks_once(client: AsyncClient) -> None:
    handle = await client.enqueue("s", "Hello", agent="support")
    with pytest.raises(WaitTimeout):
        await handle.wait(timeout=0)
    await handle.cancel()
    assert (await handle.wait(timeout=0)).status is RunStatus.CANCELLED


async def test_a_wait_ends_when_the_run_does(client: AsyncClient) -> None:
    handle = await client.enqueue("s", "Hello", agent="support")
    waiting = asyncio.ensure_future(handle.wait(timeout=10))
    await handle.cancel()
    assert (await waiting).status is RunStatus.CANCELLED


async def test_a_wait_ends_when_the_run_awaits_an_approval(migrated_url: str, client: AsyncClient) -> None:
    handle = await client.enqueue("s", "Hello", agent="support")
    waiting = asyncio.ensure_future(handle.wait(timeout=10))
    await _execute(
        migrated_url, "UPDATE turnkeeper_runs SET status = 'awaiting_approval' WHERE id = :id", id=handle.id
    )
    assert (await waiting).status is RunStatus.AWAITING_APPROVAL


async def test_a_database_that_is_not_migrated_is_told_with_the_remedy(database_url: str) -> None:
    async with AsyncClient(database_url=database_url, doorbell=Bell()) as client:
        with pytest.raises(SchemaMismatch, match="run `turnkeeper migrate`") as caught:
            await client.enqueue("s", "Hello", agent="support")
    assert caught.value.found is None


async def test_a_database_that_is_migrated_too_far_is_refused(migrated_url: str) -> None:
    await _execute(migrated_url, "UPDATE turnkeeper_alembic_version SET version_num = '9999'")
    await _execute(migrated_url, "UPDATE turnkeeper_compatibility SET oldest_code = '9998'")
    async with AsyncClient(database_url=migrated_url, doorbell=Bell()) as client:
        with pytest.raises(SchemaMismatch, match="newer") as caught:
            await client.get(ids.new_run_id(ids.session_key("default", "s")))
    assert caught.value.found == "9999"


async def test_a_client_recovers_once_the_database_is_migrated(sqlite_url: str) -> None:
    from turnkeeper_storage.migrate import upgrade_async

    async with AsyncClient(database_url=sqlite_url, doorbell=Bell()) as client:
        with pytest.raises(SchemaMismatch):
            await client.runs()
        await upgrade_async(sqlite_url)
        assert (await client.runs()).runs == ()


async def test_a_database_that_is_down_is_told_within_a_second() -> None:
    async with AsyncClient(database_url="postgresql://x@127.0.0.1:1/x", doorbell=Bell()) as client:
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="TURNKEEPER_DATABASE_URL"):
            await client.enqueue("s", "Hello", agent="support")
    assert time.monotonic() - began < 5


async def test_a_database_that_is_not_there_is_a_wrong_setting(postgres_database: str) -> None:
    async with AsyncClient(database_url=postgres_database.replace("tk_test_", "tk_none_")) as client:
        with pytest.raises(ConfigurationError, match="create it"):
            await client.runs()


async def test_a_dead_broker_neither_fails_nor_holds_up_an_enqueue(migrated_url: str) -> None:
    settings = Settings(publish_timeout=0.2)
    dead = "redis://127.0.0.1:1/0"
    async with AsyncClient(database_url=migrated_url, broker_url=dead, settings=settings) as client:
        began = time.monotonic()
        handles = [await client.enqueue(f"s{n}", "Hello", agent="support") for n in range(3)]
        assert time.monotonic() - began < 5
        assert [(await handle.get()).status for handle in handles] == [RunStatus.QUEUED] * 3


async def test_a_real_broker_gets_a_wake_up_for_the_session(migrated_url: str, redis_url: str) -> None:
    import redis

    settings = Settings(queue="bells")
    async with AsyncClient(database_url=migrated_url, broker_url=redis_url, settings=settings) as client:
        await client.enqueue("s", "Hello", agent="support")
    with redis.Redis.from_url(redis_url) as broker:
        assert broker.llen("bells") == 1
        assert ids.session_key("default", "s").encode() in broker.lindex("bells", 0)


async def test_many_enqueues_at_once_all_stand(client: AsyncClient) -> None:
    handles = await asyncio.gather(*(client.enqueue("s", f"message {n}", agent="support") for n in range(20)))
    assert sorted(handle.seq for handle in handles) == list(range(1, 21))


async def test_a_closed_client_opens_again(client: AsyncClient) -> None:
    handle = await client.enqueue("s", "Hello", agent="support")
    await client.aclose()
    await client.aclose()
    assert (await client.get(handle.id)).id == handle.id


async def test_a_client_on_a_second_loop_says_what_to_do(client: AsyncClient) -> None:
    await client.runs()
    with pytest.raises(ConfigurationError, match="one per event loop"):
        await asyncio.to_thread(lambda: asyncio.run(_list(client)))


async def _list(client: AsyncClient) -> None:
    await client.runs()


async def test_everything_lies_in_the_schema_that_was_given(postgres_database: str) -> None:
    from turnkeeper_storage.migrate import upgrade_async

    await upgrade_async(postgres_database, schema="agents")
    async with AsyncClient(database_url=postgres_database, schema="agents", doorbell=Bell()) as client:
        handle = await client.enqueue("s", "Hello", agent="support")
        assert (await client.get(handle.id)).seq == 1
        assert (await client.sessions()).sessions[0].runs == 1
    async with AsyncClient(database_url=postgres_database, doorbell=Bell()) as outside:
        with pytest.raises(SchemaMismatch):
            await outside.runs()
