"""Enqueue inside the caller's own transaction: the run stands or falls with it, the bell rings after it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tests.fakes.bell import Bell
from tests.fakes.wait import eventually, eventually_sync
from turnkeeper_client import AsyncClient, Client
from turnkeeper_storage import ids
from turnkeeper_storage.engine import async_url
from turnkeeper_storage.errors import IdempotencyConflict, InvalidInput, NotFound, QueueFull
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.settings import load_settings

DRIVERS = {"postgresql": "postgresql+psycopg", "sqlite": "sqlite+pysqlite"}
KEY = ids.session_key("default", "s")


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def client(migrated_url: str, bell: Bell) -> Iterator[Client]:
    with Client(database_url=migrated_url, doorbell=bell) as made:
        yield made


@pytest.fixture
async def async_client(migrated_url: str, bell: Bell) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(database_url=migrated_url, doorbell=bell) as made:
        yield made


@pytest.fixture
def engine(migrated_url: str) -> Iterator[Engine]:
    """The caller's own engine, made as callers make theirs."""
    url = make_url(migrated_url)
    made = create_engine(url.set(drivername=DRIVERS[url.get_backend_name()]))
    with made.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id INTEGER)"))
    yield made
    made.dispose()


@pytest.fixture
async def async_engine(migrated_url: str, engine: Engine) -> AsyncIterator[AsyncEngine]:
    made = create_async_engine(async_url(migrated_url))
    yield made
    await made.dispose()


def _orders(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM orders")).scalar_one())


def _order_and_enqueue(client: Client, connection: Connection) -> str:
    connection.execute(text("INSERT INTO orders VALUES (7)"))
    return client.enqueue("s", "Refund order 7", agent="support", connection=connection).id


def test_a_commit_gives_the_run_and_then_the_bell(client: Client, engine: Engine, bell: Bell) -> None:
    with engine.begin() as connection:
        run_id = _order_and_enqueue(client, connection)
        assert bell.rung == []
    eventually_sync(lambda: bell.rung == [KEY])
    assert client.get(run_id).status is RunStatus.QUEUED
    assert _orders(engine) == 1


def test_a_run_is_visible_when_its_bell_rings(client: Client, engine: Engine, bell: Bell) -> None:
    with engine.connect() as connection:
        run_id = _order_and_enqueue(client, connection)
        with pytest.raises(NotFound):
            client.get(run_id)
        assert bell.rung == []
        connection.commit()
    eventually_sync(lambda: bell.rung)
    assert client.get(run_id).seq == 1


def test_a_rollback_leaves_no_run_and_no_bell(client: Client, engine: Engine, bell: Bell) -> None:
    with engine.connect() as connection:
        gone = _order_and_enqueue(client, connection)
        connection.rollback()
        connection.execute(text("INSERT INTO orders VALUES (8)"))
        connection.commit()
    with pytest.raises(NotFound):
        client.get(gone)
    client.close()  # which waits for bells that are still to ring
    assert bell.rung == []
    assert _orders(engine) == 1


def test_an_exception_in_the_callers_block_leaves_no_run(client: Client, engine: Engine, bell: Bell) -> None:
    with contextlib.suppress(ZeroDivisionError), engine.begin() as connection:
        _order_and_enqueue(client, connection)
        raise ZeroDivisionError
    assert client.runs().runs == ()
    assert _orders(engine) == 0


def test_a_savepoint_that_is_rolled_back_takes_its_run_along(
    client: Client, engine: Engine, bell: Bell
) -> None:
    with engine.begin() as connection:
        kept = client.enqueue("s", "Hello", agent="support", connection=connection).id
        savepoint = connection.begin_nested()
        client.enqueue("s", "Never mind", agent="support", connection=connection)
        savepoint.rollback()
    assert [run.id for run in client.runs().runs] == [kept]
    client.close()
    assert bell.rung == [KEY]


def test_runs_of_one_transaction_keep_their_order(client: Client, engine: Engine, bell: Bell) -> None:
    with engine.begin() as connection:
        places = [
            client.enqueue("s", f"message {n}", agent="support", connection=connection).seq for n in range(3)
        ]
    assert places == [1, 2, 3]
    eventually_sync(lambda: len(bell.rung) == 3)


def test_a_connection_serves_one_transaction_after_the_other(
    client: Client, engine: Engine, bell: Bell
) -> None:
    with engine.connect() as connection:
        for n in range(1, 4):
            client.enqueue("s", "Hello", agent="support", connection=connection)
            connection.commit()
            eventually_sync(lambda n=n: len(bell.rung) == n)  # type: ignore[misc]


def test_the_same_key_within_a_transaction_gives_the_same_run(client: Client, engine: Engine) -> None:
    with engine.begin() as connection:
        first = client.enqueue("s", "Hello", agent="a", idempotency_key="k", connection=connection)
        again = client.enqueue("s", "Hello", agent="a", idempotency_key="k", connection=connection)
        with pytest.raises(IdempotencyConflict):
            client.enqueue("s", "Goodbye", agent="a", idempotency_key="k", connection=connection)
    assert (again.id, again.created) == (first.id, False)
    assert client.get(first.id).seq == 1
    assert client.enqueue("s", "Hello", agent="a").seq == 2


def test_a_close_right_after_the_commit_still_rings(migrated_url: str, engine: Engine, bell: Bell) -> None:
    with Client(database_url=migrated_url, doorbell=bell) as client, engine.begin() as connection:
        client.enqueue("s", "Hello", agent="support", connection=connection)
    assert bell.rung == [KEY]


def test_a_closed_connection_is_refused(client: Client, engine: Engine) -> None:
    connection = engine.connect()
    connection.close()
    with pytest.raises(InvalidInput, match="connection: is closed"):
        client.enqueue("s", "Hello", agent="support", connection=connection)


def test_a_connection_without_transactions_is_refused(client: Client, engine: Engine) -> None:
    with (
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        pytest.raises(InvalidInput, match="AUTOCOMMIT"),
    ):
        client.enqueue("s", "Hello", agent="support", connection=connection)


def test_a_joined_enqueue_finds_the_tables_of_its_schema(postgres_database: str, bell: Bell) -> None:
    from turnkeeper_storage.migrate import upgrade

    upgrade(postgres_database, schema="agents")
    url = make_url(postgres_database).set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    with Client(database_url=postgres_database, schema="agents", doorbell=bell) as client:
        with engine.begin() as connection:
            run_id = client.enqueue("s", "Hello", agent="support", connection=connection).id
            assert "schema_translate_map" not in connection.get_execution_options()
        assert client.get(run_id).seq == 1
        eventually_sync(lambda: bell.rung == [KEY])
    engine.dispose()


def test_a_connection_to_another_database_fails_without_telling_the_input(
    client: Client, tmp_path: Path
) -> None:
    elsewhere = create_engine(f"sqlite:///{tmp_path / 'elsewhere.db'}")
    with elsewhere.connect() as connection, pytest.raises(SQLAlchemyError) as caught:
        client.enqueue("secret-id", "secret-word", agent="support", connection=connection)
    assert "secret" not in str(caught.value)
    elsewhere.dispose()


def test_a_schema_is_no_matter_to_sqlite(migrated_sqlite: str, bell: Bell) -> None:
    engine = create_engine(migrated_sqlite)
    with Client(database_url=migrated_sqlite, schema="agents", doorbell=bell) as client:
        with engine.begin() as connection:
            run_id = client.enqueue("s", "Hello", agent="support", connection=connection).id
        assert client.get(run_id).seq == 1
    engine.dispose()


async def test_an_async_commit_gives_the_run_and_then_the_bell(
    async_client: AsyncClient, async_engine: AsyncEngine, bell: Bell
) -> None:
    async with async_engine.begin() as connection:
        await connection.execute(text("INSERT INTO orders VALUES (7)"))
        handle = await async_client.enqueue("s", "Refund", agent="support", connection=connection)
        assert bell.rung == []
    await eventually(lambda: bell.rung == [KEY])
    assert (await handle.get()).status is RunStatus.QUEUED


async def test_an_async_rollback_leaves_no_run_and_no_bell(
    async_client: AsyncClient, async_engine: AsyncEngine, engine: Engine, bell: Bell
) -> None:
    async with async_engine.connect() as connection:
        await connection.execute(text("INSERT INTO orders VALUES (7)"))
        handle = await async_client.enqueue("s", "Refund", agent="support", connection=connection)
        await connection.rollback()
    with pytest.raises(NotFound):
        await handle.get()
    await async_client.aclose()
    assert bell.rung == []
    assert _orders(engine) == 0


def test_no_listener_is_left_on_the_callers_engine(client: Client, engine: Engine) -> None:
    with engine.begin() as connection:
        client.enqueue("s", "Hello", agent="support", connection=connection)
    assert not list(engine.dispatch.commit)


def test_a_joined_run_has_its_deadline(client: Client, engine: Engine) -> None:
    with engine.begin() as connection:
        own = client.enqueue("s", "Hi", agent="support", deadline_seconds=60, connection=connection)
        none = client.enqueue("s", "Hi", agent="support", connection=connection)
    assert own.get().deadline is not None
    assert none.get().deadline is None


def test_a_refusal_by_a_full_queue_leaves_the_callers_transaction_as_it_was(
    migrated_url: str, engine: Engine, bell: Bell
) -> None:
    settings = load_settings(database_url=migrated_url, max_queued_per_session=1)
    with Client(settings=settings, doorbell=bell) as client:
        with engine.begin() as connection:
            first = _order_and_enqueue(client, connection)
            with pytest.raises(QueueFull):
                client.enqueue("s", "Hi", agent="support", connection=connection)
        assert _orders(engine) == 1
        assert [run.id for run in client.runs("s").runs] == [first]
        with pytest.raises(QueueFull):
            client.enqueue("s", "Hi", agent="support")


async def test_an_async_refusal_leaves_the_callers_transaction_as_it_was(
    migrated_url: str, async_engine: AsyncEngine, bell: Bell
) -> None:
    settings = load_settings(database_url=migrated_url, max_queued_per_session=1)
    async with AsyncClient(settings=settings, doorbell=bell) as client:
        async with async_engine.begin() as connection:
            first = await client.enqueue("s", "Hi", agent="support", connection=connection)
            with pytest.raises(QueueFull):
                await client.enqueue("s", "Hi", agent="support", connection=connection)
        assert [run.id for run in (await client.runs("s")).runs] == [first.id]
