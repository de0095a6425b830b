"""The databases that tests take after each other: each finds its own empty and as it was migrated."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.fakes.database_pool import DatabasePool
from turnkeeper_client import Client

pytestmark = pytest.mark.postgres


@pytest.fixture
def pool(postgres_server_url: str, postgres_template: str) -> Iterator[DatabasePool]:
    """A pool of this test's own."""
    pool = DatabasePool(postgres_server_url, postgres_template)
    yield pool
    pool.close()


def execute(url: str, statement: bytes) -> None:
    """What a test does to its database behind everybody's back."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def test_a_database_that_was_written_to_comes_again_and_is_empty(pool: DatabasePool) -> None:
    url = pool.take()
    with Client(database_url=url, broker_url="memory://") as client:
        client.enqueue("s", "hello", agent="support")
    pool.give_back(url)
    assert pool.take() == url
    with Client(database_url=url, broker_url="memory://") as client:
        assert client.runs().runs == ()
        assert client.sessions().sessions == ()


def test_two_tests_at_once_have_a_database_each(pool: DatabasePool) -> None:
    assert pool.take() != pool.take()


CHANGES = {
    "a table": b"CREATE TABLE mine (n integer)",
    "a column": b"ALTER TABLE turnkeeper_runs ADD COLUMN mine integer",
    "an index": b"CREATE INDEX mine ON turnkeeper_runs (status)",
    "a right": b"GRANT SELECT ON turnkeeper_runs TO PUBLIC",
    "a setting": b"DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET jit = off'; END $$",
    "its version": b"UPDATE turnkeeper_alembic_version SET version_num = '9999'",
    "a function": b"CREATE FUNCTION mine() RETURNS integer LANGUAGE sql RETURN 1",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_database_that_is_not_as_it_was_migrated_does_not_come_again(
    pool: DatabasePool, change: bytes
) -> None:
    url = pool.take()
    execute(url, change)
    pool.give_back(url)
    assert pool.take() != url


def test_a_database_that_has_grown_does_not_come_again(
    postgres_server_url: str, postgres_template: str
) -> None:
    pool = DatabasePool(postgres_server_url, postgres_template, most_bytes=0)
    try:
        url = pool.take()
        pool.give_back(url)
        assert pool.take() != url
    finally:
        pool.close()


def test_who_is_left_of_the_test_before_is_cut_off(pool: DatabasePool) -> None:
    url = pool.take()
    with psycopg.connect(url) as left:
        left.execute("SELECT pg_advisory_lock(1), count(*) FROM turnkeeper_runs")
        pool.give_back(url)
        assert pool.take() == url
        with pytest.raises(psycopg.OperationalError):
            left.execute("SELECT 1")
