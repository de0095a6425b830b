"""Transactions: retried when the database says so, never torn, errors that tell nothing."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Executable, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tests.fakes.processes import Processes
from tests.fakes.wait import eventually
from turnkeeper_storage.database import Database
from turnkeeper_storage.engine import async_url
from turnkeeper_storage.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    InvalidInput,
    SchemaMismatch,
    TurnkeeperError,
)
from turnkeeper_storage.tables import agents
from turnkeeper_storage.unit_of_work import UnitOfWork

INSERT = text("INSERT INTO counters (name, n) VALUES (:name, 1)")
MAKE = text("CREATE TABLE counters (name TEXT PRIMARY KEY, n INTEGER)")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    made = Database(database_url)
    await write(made, MAKE)
    yield made
    await made.aclose()


@pytest.fixture
async def postgres(postgres_database: str) -> AsyncIterator[Database]:
    made = Database(postgres_database, lease_seconds=30)
    await write(made, MAKE)
    yield made
    await made.aclose()


async def write(database: Database, statement: Executable, **values: object) -> None:
    async def once(uow: UnitOfWork) -> None:
        await uow.execute(statement, values)

    await database.transact(once)


async def scalar(database: Database, query: str) -> object:
    async def once(uow: UnitOfWork) -> object:
        return (await uow.execute(text(query))).scalar_one()

    return await database.read(once)


def connections_out(database: Database) -> int:
    """How many of the pool's connections are in use."""
    return int(database.engine.pool.checkedout())  # type: ignore[attr-defined]


async def test_what_work_returns_is_committed_and_returned(database: Database) -> None:
    async def work(uow: UnitOfWork) -> str:
        await uow.execute(INSERT, {"name": "a"})
        return "done"

    assert await database.transact(work) == "done"
    assert await scalar(database, "SELECT count(*) FROM counters") == 1


async def test_an_error_in_work_rolls_back_and_is_raised_as_it_is(database: Database) -> None:
    class Ours(Exception):
        pass

    async def work(uow: UnitOfWork) -> None:
        await uow.execute(INSERT, {"name": "a"})
        raise Ours

    with pytest.raises(Ours):
        await database.transact(work)
    assert await scalar(database, "SELECT count(*) FROM counters") == 0


async def test_a_cancelled_caller_leaves_a_whole_transaction_and_no_connection_behind(
    database: Database,
) -> None:
    half_way, go_on = asyncio.Event(), asyncio.Event()

    async def work(uow: UnitOfWork) -> None:
        await uow.execute(INSERT, {"name": "first"})
        half_way.set()
        await go_on.wait()
        await uow.execute(INSERT, {"name": "second"})

    caller = asyncio.create_task(database.transact(work))
    await half_way.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    await eventually(lambda: connections_out(database) == 0)
    assert await scalar(database, "SELECT count(*) FROM counters") == 2


async def test_closing_waits_for_transactions_that_run(database_url: str) -> None:
    database = Database(database_url)
    await write(database, MAKE)
    half_way, go_on = asyncio.Event(), asyncio.Event()

    async def work(uow: UnitOfWork) -> None:
        await uow.execute(INSERT, {"name": "a"})
        half_way.set()
        await go_on.wait()

    running = asyncio.create_task(database.transact(work))
    await half_way.wait()
    closing = asyncio.create_task(database.aclose())
    done, _ = await asyncio.wait([closing], timeout=0.05)
    assert not done
    go_on.set()
    await closing
    await running


async def test_many_writers_of_one_process_all_succeed(database: Database) -> None:
    await write(database, INSERT, name="a")

    async def add_one(uow: UnitOfWork) -> None:
        await uow.execute(text("UPDATE counters SET n = n + 1 WHERE name = 'a'"))

    await asyncio.gather(*(database.transact(add_one) for _ in range(50)))
    assert await scalar(database, "SELECT n FROM counters") == 51


async def test_a_table_that_is_not_there_says_to_migrate(database: Database) -> None:
    async def work(uow: UnitOfWork) -> None:
        await uow.execute(agents.select())

    with pytest.raises(SchemaMismatch, match="turnkeeper migrate"):
        await database.read(work)


@pytest.mark.parametrize("bad", ["lone \ud83d", "nul \x00"])
async def test_a_text_that_cannot_be_stored_is_refused_without_being_told(
    postgres: Database, bad: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await write(postgres, INSERT, name=f"my secret {bad}")
    assert "my secret" not in str(caught.value)
    assert caught.value.__suppress_context__


async def test_no_parameter_stands_in_an_error_of_the_database(database: Database) -> None:
    await write(database, INSERT, name="my secret")
    with pytest.raises(DBAPIError) as caught:
        await write(database, INSERT, name="my secret")
    assert "parameters: " not in str(caught.value)


async def test_no_parameter_stands_in_an_error_on_an_engine_that_was_given(database_url: str) -> None:
    engine = create_async_engine(async_url(database_url))
    database = Database(engine=engine)
    await write(database, MAKE)
    await write(database, INSERT, name="my secret")
    with pytest.raises(DBAPIError) as caught:
        await write(database, INSERT, name="my secret")
    assert "[parameters" not in str(caught.value)
    await engine.dispose()


async def test_a_value_that_is_no_json_is_refused_as_such(migrated_url: str) -> None:
    database = Database(migrated_url)

    async def work(uow: UnitOfWork) -> None:
        await uow.execute(agents.insert().values(name="a", digest="d", queue="q", tools={"my secret": {1}}))

    with pytest.raises(InvalidInput) as caught:
        await database.transact(work)
    assert "my secret" not in str(caught.value)
    await database.aclose()


# --- the database is away -------------------------------------------------------------------------


async def test_a_database_that_is_away_is_told_quickly() -> None:
    with socket.socket() as taken:  # bound and not listening: nobody can answer here
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        database = Database(f"postgresql://someone:my-password@127.0.0.1:{port}/name")
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable) as caught:
            await scalar(database, "SELECT 1")
        assert time.monotonic() - began < 5
    assert "my-password" not in str(caught.value)
    assert "TURNKEEPER_DATABASE_URL" in str(caught.value)
    await database.aclose()


async def test_a_database_of_a_wrong_name_is_a_matter_of_configuration(postgres_database: str) -> None:
    missing = make_url(postgres_database).set(database="tk_test_not_there")
    database = Database(missing.render_as_string(hide_password=False))
    with pytest.raises(ConfigurationError, match="create it"):
        await scalar(database, "SELECT 1")
    await database.aclose()


def test_a_folder_that_is_not_there_is_a_matter_of_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="make it"):
        Database(f"sqlite:///{tmp_path}/no/such/folder.db")


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
        "mysql://host/db",
        "nonsense",
    ],
)
def test_a_url_that_cannot_work_is_refused_with_the_remedy(url: str) -> None:
    with pytest.raises(ConfigurationError, match="sqlite:///"):
        Database(url)


async def test_connections_that_the_server_closed_are_replaced(postgres: Database) -> None:
    assert await scalar(postgres, "SELECT 1") == 1
    killer = Database(postgres.engine.url.render_as_string(hide_password=False))
    await scalar(
        killer,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    await write(postgres, INSERT, name="a")
    assert await scalar(postgres, "SELECT count(*) FROM counters") == 1
    await killer.aclose()


async def test_work_that_cannot_be_repeated_is_repeated_when_nothing_was_committed(
    postgres: Database,
) -> None:
    """The connection goes before the commit is asked for, so nothing can stand."""
    attempts = 0

    async def work(uow: UnitOfWork) -> None:
        nonlocal attempts
        attempts += 1
        await uow.execute(INSERT, {"name": "a"})
        if attempts == 1:
            await uow.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    await postgres.transact_once(work)
    assert attempts == 2
    assert await scalar(postgres, "SELECT count(*) FROM counters") == 1


async def cut_at_commit(database: Database, *, repeatable: bool) -> int:
    """How often work ran whose connection is cut by the commit itself."""
    attempts = 0

    async def work(uow: UnitOfWork) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            await uow.execute(text("INSERT INTO dies_at_commit VALUES (1)"))

    await (database.transact if repeatable else database.transact_once)(work)
    return attempts


@pytest.fixture
async def dying(postgres: Database) -> Database:
    """A table whose insert ends the connection while it is committed: the answer to the commit is lost."""
    await write(postgres, text("CREATE TABLE dies_at_commit (n INTEGER)"))
    body = "BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5); RETURN NULL; END"
    await write(postgres, text(f"CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $${body}$$"))
    await write(
        postgres,
        text(
            "CREATE CONSTRAINT TRIGGER dies AFTER INSERT ON dies_at_commit DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION die()"
        ),
    )
    return postgres


async def test_a_commit_whose_answer_is_lost_is_asked_for_again(dying: Database) -> None:
    assert await cut_at_commit(dying, repeatable=True) == 2


async def test_a_commit_that_must_not_be_repeated_is_unknown_to_the_caller(dying: Database) -> None:
    """A pop asked for twice would remove two items."""
    with pytest.raises(DatabaseUnavailable):
        await cut_at_commit(dying, repeatable=False)


# --- conflicts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03"])
async def test_a_transaction_that_lost_against_another_is_tried_again(postgres: Database, state: str) -> None:
    attempts = 0

    async def work(uow: UnitOfWork) -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            await uow.execute(text(f"DO $$BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '{state}'; END$$"))

    await postgres.transact(work)
    assert attempts == 3


async def test_two_transactions_that_deadlock_both_succeed(postgres: Database) -> None:
    for name in ("a", "b"):
        await write(postgres, INSERT, name=name)
    first_has_a, second_has_b = asyncio.Event(), asyncio.Event()
    add = text("UPDATE counters SET n = n + 1 WHERE name = :name")

    async def first(uow: UnitOfWork) -> None:
        await uow.execute(add, {"name": "a"})
        first_has_a.set()
        await second_has_b.wait()
        await uow.execute(add, {"name": "b"})

    async def second(uow: UnitOfWork) -> None:
        await uow.execute(add, {"name": "b"})
        second_has_b.set()
        await first_has_a.wait()
        await uow.execute(add, {"name": "a"})

    await asyncio.gather(postgres.transact(first), postgres.transact(second))
    assert await scalar(postgres, "SELECT sum(n) FROM counters") == 6


async def test_a_plan_cached_before_a_migration_is_made_anew(postgres: Database) -> None:
    every = text("SELECT * FROM counters")
    await write(postgres, every)
    other = Database(postgres.engine.url.render_as_string(hide_password=False))
    await write(other, text("ALTER TABLE counters ADD COLUMN more TEXT"))
    await write(postgres, every)
    await other.aclose()


async def test_a_lock_that_is_never_given_back_ends_as_unavailable(
    postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnkeeper_storage.database.ATTEMPTS", 2)
    impatient = Database(postgres.engine.url.render_as_string(hide_password=False), lease_seconds=0.4)
    await write(postgres, INSERT, name="a")
    lock = text("SELECT * FROM counters FOR UPDATE")

    async def held(uow: UnitOfWork) -> None:
        await uow.execute(lock)
        with pytest.raises(DatabaseUnavailable):
            await write(impatient, lock)

    await postgres.transact(held)
    await impatient.aclose()


async def test_our_transactions_read_what_is_committed_and_wait_less_than_a_third_of_a_lease(
    postgres: Database,
) -> None:
    assert await scalar(postgres, "SHOW transaction_isolation") == "read committed"
    assert await scalar(postgres, "SHOW lock_timeout") == "7500ms"
    assert await scalar(postgres, "SHOW idle_in_transaction_session_timeout") == "7500ms"


@pytest.fixture
async def given_engine(postgres_database: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(async_url(postgres_database), isolation_level="REPEATABLE READ")
    yield engine
    await engine.dispose()


async def test_an_engine_that_was_given_is_used_by_our_rules_and_left_as_it_was(
    given_engine: AsyncEngine,
) -> None:
    database = Database(engine=given_engine, lease_seconds=30)
    seen: list[object] = []

    async def work(uow: UnitOfWork) -> None:
        for name in ("transaction_isolation", "lock_timeout"):
            seen.append((await uow.execute(text(f"SHOW {name}"))).scalar_one())

    await database.transact(work)
    await database.aclose()
    assert seen == ["read committed", "7500ms"]
    async with given_engine.connect() as connection:
        assert await connection.scalar(text("SHOW transaction_isolation")) == "repeatable read"
        assert await connection.scalar(text("SHOW lock_timeout")) == "0"


# --- SQLite ---------------------------------------------------------------------------------------


async def test_sqlite_writes_ahead_and_locks_before_it_reads(sqlite_url: str, tmp_path: Path) -> None:
    database = Database(sqlite_url)
    await write(database, MAKE)
    assert await scalar(database, "PRAGMA journal_mode") == "wal"
    outside = sqlite3.connect(tmp_path / "turnkeeper.db", timeout=0)

    async def only_reads(uow: UnitOfWork) -> None:
        await uow.execute(text("SELECT 1"))
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            outside.execute("BEGIN IMMEDIATE")

    await database.transact(only_reads)
    outside.close()
    await database.aclose()


async def test_a_given_sqlite_engine_locks_before_it_reads_too(sqlite_url: str, tmp_path: Path) -> None:
    engine = create_async_engine(async_url(sqlite_url))
    database = Database(engine=engine)
    await write(database, MAKE)
    outside = sqlite3.connect(tmp_path / "turnkeeper.db", timeout=0)

    async def only_reads(uow: UnitOfWork) -> None:
        await uow.execute(text("SELECT * FROM counters"))
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            outside.execute("BEGIN IMMEDIATE")
        await uow.execute(INSERT, {"name": "a"})

    await database.transact(only_reads)
    assert await scalar(database, "SELECT count(*) FROM counters") == 1
    outside.close()
    await engine.dispose()


async def test_a_reader_on_sqlite_does_not_wait_for_a_writer(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    await write(database, MAKE)

    async def writing(uow: UnitOfWork) -> object:
        await uow.execute(INSERT, {"name": "a"})
        return await asyncio.wait_for(scalar(database, "SELECT count(*) FROM counters"), 2)

    assert await database.transact(writing) == 0
    await database.aclose()


WRITER = """
import asyncio, sys
from sqlalchemy import text
from turnkeeper_storage.database import Database

async def main():
    database = Database(sys.argv[1])
    async def add(uow):
        n = (await uow.execute(text("SELECT n FROM counters"))).scalar_one()
        await uow.execute(text("UPDATE counters SET n = :n"), {"n": n + 1})
    for _ in range(50):
        await database.transact(add)
    await database.aclose()

asyncio.run(main())
"""


async def test_two_processes_that_write_at_once_both_succeed(sqlite_url: str, processes: Processes) -> None:
    database = Database(sqlite_url)
    await write(database, MAKE)
    await write(database, INSERT, name="a")
    both = [processes(sys.executable, "-c", WRITER, sqlite_url) for _ in range(2)]
    for one in both:
        assert await asyncio.to_thread(one.wait, 30) == 0
    assert await scalar(database, "SELECT n FROM counters") == 101
    await database.aclose()


def test_either_a_url_or_an_engine_is_asked_for() -> None:
    with pytest.raises(ValueError, match="either"):
        Database()


def test_all_that_storage_raises_on_purpose_has_one_root() -> None:
    assert issubclass(DatabaseUnavailable, TurnkeeperError)
    assert issubclass(SchemaMismatch, TurnkeeperError)
