"""Migrations while others work: nothing fails, nobody waits long, and what was interrupted is done again."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Connection, inspect, text

from tests.fakes.old_release import OldRelease
from tests.fakes.wait import eventually, eventually_sync
from turnkeeper_storage.database import Database
from turnkeeper_storage.migrate import HEAD, check_schema, current_revision, upgrade, upgrade_async

ROWS = 20_000
# Generous: what is held up waits for a second at a time, and machines that run tests are slow.
LONGEST_WAIT = 5.0


@contextlib.contextmanager
def at_work(url: str, count: int = 3) -> Iterator[list[OldRelease]]:
    """Processes of the old release at work, each in a thread; what fails in one fails the test."""
    workers = [OldRelease(url) for _ in range(count)]
    stop, errors = threading.Event(), list[BaseException]()

    def work(worker: OldRelease) -> None:
        try:
            while not stop.is_set():
                worker.run_once()
                # writers of SQLite poll for their turn: leave them one
                stop.wait(0.01)
        except BaseException as error:  # noqa: BLE001 - told to the test
            errors.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        yield workers
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
        for worker in workers:
            worker.close()
    assert errors == []


async def fill(url: str) -> None:
    """Rows of earlier days, so that the indexes have something to read."""
    numbers = (
        "generate_series(1, :rows) AS n(i)"
        if url.startswith("postgresql")
        else "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows) SELECT i"
        " FROM n)"
    )
    at = "now()" if url.startswith("postgresql") else "0"
    filled = (
        "INSERT INTO turnkeeper_sessions (session_key, tenant, id, created_at, updated_at)"
        f" SELECT 'k' || i, 'default', 's' || i, {at}, {at} FROM {numbers}",
        "INSERT INTO turnkeeper_runs (session_key, id, tenant, session_id, seq, status, agent, input,"
        " input_digest, created_at) SELECT 'k' || i, 'r' || i, 'default', 's' || i, 1, 'completed',"
        f" 'support', '[]', 'd', {at} FROM {numbers}",
    )
    database = Database(url)
    for statement in filled:
        await database.run_sync(lambda c, s=statement: c.execute(text(s), {"rows": ROWS}).close())  # type: ignore[misc]
    await database.aclose()


async def test_a_migration_under_load_fails_nobody_and_holds_nobody_up(database_url: str) -> None:
    await upgrade_async(database_url, revision="0003")
    await fill(database_url)
    with at_work(database_url) as workers:
        await eventually(lambda: all(worker.finished > 2 for worker in workers))
        await asyncio.to_thread(upgrade, database_url)
        migrated = [worker.finished for worker in workers]
        # and they go on with the new tables
        await eventually(lambda: all(w.finished > n + 2 for w, n in zip(workers, migrated, strict=True)))
    assert max(worker.slowest for worker in workers) < LONGEST_WAIT
    database = Database(database_url)
    await check_schema(database)
    await database.aclose()


async def test_a_migration_that_waits_for_a_lock_lets_others_pass(postgres_database: str) -> None:
    await upgrade_async(postgres_database, revision="0003")
    with psycopg.connect(postgres_database) as long_one, at_work(postgres_database, 1) as workers:
        await eventually(lambda: workers[0].finished > 0)
        # a report that reads for long: it holds a lock that adding a column has to wait for
        long_one.execute("SELECT count(*) FROM turnkeeper_sessions")
        migrating = asyncio.create_task(asyncio.to_thread(upgrade, postgres_database))
        await eventually(lambda: is_waiting(postgres_database), every=0.05)
        before = workers[0].finished
        await eventually(lambda: workers[0].finished > before + 5, within=20)
        assert not migrating.done()
        long_one.rollback()
        await migrating
    assert workers[0].slowest < LONGEST_WAIT


def is_waiting(url: str) -> bool:
    """Whether a migration waits for a lock."""
    asked = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'turnkeeper migrate' AND wait_event_type = 'Lock'"
    )
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(asked).fetchone() is not None


async def test_two_migrations_of_a_database_in_use_take_turns(postgres_database: str) -> None:
    """The one that waits must not be waited for by the index that the other one builds."""
    await upgrade_async(postgres_database, revision="0003")
    with at_work(postgres_database, 1):
        await asyncio.gather(*(asyncio.to_thread(upgrade, postgres_database) for _ in range(3)))


@pytest.mark.parametrize("schema", [None, 'my "odd" schema'])
async def test_an_index_that_was_left_half_built_is_made_again(
    postgres_database: str, schema: str | None
) -> None:
    await upgrade_async(postgres_database, schema=schema, revision="0003")
    await asyncio.to_thread(interrupt, postgres_database, schema)
    database = Database(postgres_database, schema=schema)
    assert await current_revision(database) == "0003"
    await upgrade_async(postgres_database, schema=schema)
    assert await current_revision(database) == HEAD
    assert await database.run_sync(invalid_indexes, writes=False) == []

    def names(connection: Connection) -> set[str | None]:
        return {one["name"] for one in inspect(connection).get_indexes("turnkeeper_runs", schema=schema)}

    made = await database.run_sync(names, writes=False)
    assert made >= {"ix_turnkeeper_runs_deadline", "ix_turnkeeper_runs_queued"}
    await database.aclose()


def interrupt(url: str, schema: str | None) -> None:
    """A migration that is killed while its first index waits for an open transaction."""
    with psycopg.connect(url) as open_one, psycopg.connect(url, autocommit=True) as watcher:
        inside = f'"{schema.replace(chr(34), chr(34) * 2)}".' if schema else ""
        open_one.execute(f"UPDATE {inside}turnkeeper_runs SET tenant = tenant")
        thread = threading.Thread(target=_failing, args=(url, schema))
        thread.start()
        asked = (
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'turnkeeper migrate'"
            " AND query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'"
        )
        waiting = eventually_sync(lambda: watcher.execute(asked).fetchone(), within=20)
        watcher.execute("SELECT pg_terminate_backend(%s)", waiting)
        thread.join(20)
        assert watcher.execute("SELECT count(*) FROM pg_index WHERE NOT indisvalid").fetchone() == (1,)


def _failing(url: str, schema: str | None) -> None:
    with contextlib.suppress(Exception):
        upgrade(url, schema=schema)


def invalid_indexes(connection: Connection) -> list[str]:
    asked = text(
        "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE NOT i.indisvalid"
    )
    return [row[0] for row in connection.execute(asked)]


async def test_old_processes_work_on_a_database_that_was_migrated(database_url: str) -> None:
    await upgrade_async(database_url)
    worker = OldRelease(database_url)
    for _ in range(3):
        worker.run_once()
    worker.close()
    assert worker.finished == 3
