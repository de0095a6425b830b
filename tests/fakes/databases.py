"""Databases of a test's own, on servers that others use too."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import redis
from psycopg import sql
from sqlalchemy.engine import make_url

_TAKEN_FOR = 3600  # seconds that a Redis database stays ours if we die


class NoDatabaseFree(Exception):
    """All of Redis' databases 1 to 15 are in use; the text says what to do."""


@contextmanager
def postgres_database(server_url: str, *, template: str | None = None) -> Iterator[str]:
    """A new database on the server of `server_url`, dropped at the end; yields `postgresql://…`.

    `template`: the name of a database to copy, to which nobody is connected.
    """
    name = f"tk_test_{secrets.token_hex(6)}"
    origin = sql.SQL(" TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
    _execute(server_url, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)) + origin)
    try:
        yield make_url(driverless(server_url)).set(database=name).render_as_string(hide_password=False)
    finally:
        _execute(server_url, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def driverless(url: str) -> str:
    """A PostgreSQL URL as asyncpg and psycopg both take it: `postgresql://…`."""
    named = make_url(url.replace("postgres://", "postgresql://", 1))
    return named.set(drivername="postgresql").render_as_string(hide_password=False)


def database_name(url: str) -> str:
    """The name of the database in a URL."""
    name = make_url(url).database
    assert name is not None
    return name


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{path}"


def checkpoint_sqlite(path: Path) -> None:
    """Move what lies in the log into the file, so that a copy of the file is whole."""
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


@contextmanager
def redis_database(server_url: str) -> Iterator[str]:
    """An empty database of a Redis server, flushed at the end; yields its URL.

    It is one of 1 to 15 that holds nothing and that no other tests took. The mark of that lies in database 0
    and expires, so that a test may flush its own database without losing it to others.
    """
    mark = secrets.token_hex(8)
    with redis.Redis.from_url(numbered(server_url, 0), socket_timeout=10) as marks:
        number = _take(server_url, marks, mark)
        url, key = numbered(server_url, number), _mark_of(number)
        try:
            yield url
        finally:
            with redis.Redis.from_url(url, socket_timeout=10) as own:
                own.flushdb()
            if marks.get(key) == mark.encode():
                marks.delete(key)


def numbered(url: str, number: int) -> str:
    """The URL of database `number` on the server of `url`."""
    return urlsplit(url)._replace(path=f"/{number}").geturl()


def _take(server_url: str, marks: redis.Redis, mark: str) -> int:
    for number in range(1, 16):
        if not marks.set(_mark_of(number), mark, nx=True, ex=_TAKEN_FOR):
            continue
        with redis.Redis.from_url(numbered(server_url, number), socket_timeout=10) as candidate:
            if candidate.dbsize() == 0:
                return number
        marks.delete(_mark_of(number))
    raise NoDatabaseFree("Redis' databases 1 to 15 are all in use; empty one or give another server")


def _mark_of(number: int) -> str:
    return f"turnkeeper-test:taken:{number}"


def _execute(server_url: str, statement: sql.Composed) -> None:
    url = driverless(server_url)
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        connection.execute(statement)
