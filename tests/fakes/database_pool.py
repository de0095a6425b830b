"""Migrated PostgreSQL databases that tests take one after the other, emptied in between.

To make a database and to drop it makes the server flush its disk, which takes longer than most tests do. A
database that a test has changed otherwise than by writing rows, or filled, is dropped all the same.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import cast

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from tests.fakes import databases
from turnkeeper_storage.migrate import VERSION_TABLE

Connection = psycopg.Connection[TupleRow]
# what else is empty: above this, earlier tests wrote so much that a new database is the better one
MOST_BYTES = 16 * 1024 * 1024

# whoever is left of the test before: its fixtures have ended, so these are processes that were killed
_EVICT = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_TABLES = """
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname <> %s ORDER BY relname
"""
_RESTART = "SELECT setval(seqrelid::regclass, seqstart, false) FROM pg_sequence"
_SIZE = """
SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""
# Whatever is made, changed or granted writes a row of these catalogs anew.
_CATALOGS = {
    "pg_class": "relnamespace NOT IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace)",
    "pg_attribute": "attrelid >= 16384",
    "pg_constraint": "oid >= 16384",
    "pg_attrdef": "oid >= 16384",
    "pg_trigger": "oid >= 16384",
    "pg_type": "oid >= 16384",
    "pg_proc": "oid >= 16384",
    "pg_namespace": "true",
    "pg_extension": "true",
    "pg_default_acl": "true",
    "pg_database": "datname = current_database()",
    "pg_db_role_setting": "setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())",
}


class DatabasePool:
    """Databases of one process, copies of a template; one with more than `most_bytes` is not taken again."""

    def __init__(self, server_url: str, template: str, *, most_bytes: int = MOST_BYTES) -> None:
        self._server_url, self._template, self._most_bytes = server_url, template, most_bytes
        self._made = ExitStack()
        self._marks: dict[str, str] = {}
        self._idle: list[str] = []

    def take(self) -> str:
        """The URL of a database with the template's schema and no rows."""
        while self._idle:
            url = self._idle.pop()
            if self._is_empty_again(url):
                return url
        made = databases.postgres_database(self._server_url, template=self._template)
        url = self._made.enter_context(made)
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            self._marks[url] = _mark(connection)
        return url

    def give_back(self, url: str) -> None:
        """The test is over; what it started may still run."""
        self._idle.append(url)

    def close(self) -> None:
        """Drop all of them."""
        self._made.close()

    def _is_empty_again(self, url: str) -> bool:
        try:
            with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
                connection.execute(_EVICT)
                if not self._is_as_made(url, connection):
                    return False
                _empty(connection)
                return True
        except psycopg.Error:  # it was dropped, or is used in a way that only a drop ends
            return False

    def _is_as_made(self, url: str, connection: Connection) -> bool:
        (size,) = cast("tuple[int]", connection.execute(_SIZE).fetchone())
        return size <= self._most_bytes and _mark(connection) == self._marks[url]


def _empty(connection: Connection) -> None:
    tables = [name for (name,) in connection.execute(_TABLES, [VERSION_TABLE]).fetchall()]
    # one statement, so that it does not matter which table refers to which
    parts = [
        sql.SQL("{} AS (DELETE FROM {})").format(sql.Identifier(f"of_{name}"), sql.Identifier(name))
        for name in tables
    ]
    with connection.transaction():
        connection.execute("SET LOCAL synchronous_commit = off")
        connection.execute("SET LOCAL statement_timeout = '10s'")
        connection.execute(sql.SQL("WITH {} SELECT 1").format(sql.SQL(", ").join(parts)))
        connection.execute(_RESTART)


def _mark(connection: Connection) -> str:
    """What changes with the schema, with rights, with settings of the database, and with its version."""
    rows = [
        sql.SQL("SELECT {} || ctid::text || xmin::text AS row FROM {} WHERE ").format(
            sql.Literal(name), sql.Identifier(name)
        )
        + sql.SQL(condition)
        for name, condition in _CATALOGS.items()
    ]
    rows.append(sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(VERSION_TABLE)))
    query = sql.SQL("SELECT md5(string_agg(row, ' ' ORDER BY row)) FROM ({}) AS rows").format(
        sql.SQL(" UNION ALL ").join(rows)
    )
    return cast("tuple[str]", connection.execute(query).fetchone())[0]
