"""A process that stands still in the middle of a statement holds no session for longer than its time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from functools import partial

import psycopg
import pytest

from tests.fakes.bell import Bell
from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import text
from tests.fakes.wait import eventually
from tests.fakes.worker import running_worker
from turnkeeper_client import AsyncClient
from turnkeeper_storage.database import Database
from turnkeeper_storage.engine import APPLICATION_NAME
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.repositories import standing_still
from turnkeeper_worker.agents import Agent

pytestmark = pytest.mark.postgres

AGENT = Agent(name="support", model="gpt-5.2")
LOCK = "SELECT session_key FROM turnkeeper_sessions FOR NO KEY UPDATE"
WRITE = b"UPDATE turnkeeper_sessions SET updated_at = updated_at"
# as asyncpg asks for the types of a statement that it has not sent on this connection before
PREPARES = "prepares"
# and as it sends a statement for many rows
EXECUTES = "executes"


@contextmanager
def stood_still(url: str, doing: str, name: str = APPLICATION_NAME) -> Iterator[psycopg.Connection]:
    """A connection whose client has locked all sessions, and stopped in the middle of its next statement."""
    with closing(psycopg.connect(url, autocommit=True, application_name=name)) as connection:
        connection.execute("SET idle_in_transaction_session_timeout = 200")
        connection.execute("BEGIN")
        connection.execute(LOCK)
        driver = connection.pgconn
        driver.enter_pipeline_mode()
        if doing == PREPARES:
            driver.send_prepare(b"next", WRITE)
        else:
            driver.send_query_params(WRITE, None)
        driver.send_flush_request()
        driver.flush()
        yield connection


@pytest.fixture
async def database(migrated_postgres: str) -> AsyncIterator[Database]:
    """A database with a session to lock."""
    async with AsyncClient(database_url=migrated_postgres, broker_url="memory://", doorbell=Bell()) as client:
        await client.enqueue("s", "hello", agent="support")
    database = Database(migrated_postgres)
    yield database
    await database.aclose()


def is_there(url: str, connection: psycopg.Connection) -> bool:
    """Whether the server still has the backend of this connection."""
    with psycopg.connect(url) as other:
        asked = other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [connection.info.backend_pid])
        return asked.fetchone() is not None


def is_in_a_statement(url: str, connection: psycopg.Connection) -> bool:
    """Whether the backend waits for its client in the middle of a statement."""
    with psycopg.connect(url) as other:
        (state,) = other.execute(
            "SELECT (state, wait_event) = ('active', 'ClientRead') FROM pg_stat_activity WHERE pid = %s",
            [connection.info.backend_pid],
        ).fetchone() or (False,)
        return bool(state)


@pytest.mark.parametrize("doing", [PREPARES, EXECUTES])
async def test_a_session_whose_row_such_a_process_holds_goes_on(migrated_postgres: str, doing: str) -> None:
    async with (
        ScriptedModel(text("Hello."), text("Again.")) as model,
        running_worker(
            migrated_postgres,
            model,
            agents=[AGENT],
            lease_seconds=2.0,
            heartbeat_seconds=0.6,
            sweep_seconds=0.5,
        ) as worker,
    ):
        assert (await (await worker.client.enqueue("s", "one", agent="support")).wait(20)).output == "Hello."
        await eventually(lambda: worker.holds == 0)
        with stood_still(migrated_postgres, doing):
            run = await worker.client.enqueue("s", "two", agent="support")
            assert (await run.wait(20)).status is RunStatus.COMPLETED


@pytest.mark.parametrize("doing", [PREPARES, EXECUTES])
async def test_it_is_ended_after_its_time_and_not_before(
    migrated_postgres: str, database: Database, doing: str
) -> None:
    with stood_still(migrated_postgres, doing) as connection:
        await eventually(partial(is_in_a_statement, migrated_postgres, connection))
        assert await database.read(lambda uow: standing_still.end(uow, 600)) == 0
        assert is_there(migrated_postgres, connection)

        async def end() -> bool:
            return await database.read(lambda uow: standing_still.end(uow, 0.3)) == 1

        await eventually(end)
        await eventually(lambda: not is_there(migrated_postgres, connection))


async def test_connections_of_other_programs_are_none_of_our_business(
    migrated_postgres: str, database: Database
) -> None:
    with stood_still(migrated_postgres, EXECUTES, "somebody") as connection:
        await eventually(partial(is_in_a_statement, migrated_postgres, connection))
        assert await database.read(lambda uow: standing_still.end(uow, 0)) == 0
        assert is_there(migrated_postgres, connection)


async def test_who_has_locked_nothing_may_stand_still(migrated_postgres: str, database: Database) -> None:
    with closing(
        psycopg.connect(migrated_postgres, autocommit=True, application_name=APPLICATION_NAME)
    ) as connection:
        connection.pgconn.enter_pipeline_mode()
        connection.pgconn.send_prepare(b"next", WRITE)
        connection.pgconn.send_flush_request()
        connection.pgconn.flush()
        await eventually(partial(is_in_a_statement, migrated_postgres, connection))
        assert await database.read(lambda uow: standing_still.end(uow, 0)) == 0
        assert is_there(migrated_postgres, connection)
