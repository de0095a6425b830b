"""Connections to PostgreSQL through a pooler such as PgBouncer, and how one is noticed.

In transaction mode a pooler gives each transaction whichever of its backends is free. So nothing that lasts
longer than a transaction may be asked for there: no settings, no locks of a session, and names of statements
only where the pooler sees to it that each backend knows them.
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterable, MutableMapping, Sequence
from typing import Any

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy.util import LRUCache

from turnkeeper_storage.errors import ConfigurationError, PoolerBetween

# descriptions of statements that a connection keeps, as many as asyncpg keeps of named ones
MOST_DESCRIBED = 100
CONNECT_SECONDS = 10.0
# what poolers take from a client, and set anew on each backend that they give it
_TAKEN = ("application_name",)
# PgBouncer's words; its errors have no states of their own
_REFUSES_SETTINGS = "unsupported startup parameter"
_REFUSES_TRANSACTIONS = "statement pooling mode"
_STATEMENT_MODE = (
    "TURNKEEPER_DATABASE_URL leads to a pooler with pool_mode = statement, where no transaction has two "
    "statements; set pool_mode = transaction there"
)


class PooledConnection(asyncpg.Connection):  # type: ignore[misc]
    """A connection of asyncpg through a pooler that keeps the names of statements, as PgBouncer 1.21 can."""

    __slots__ = ()


class UnnamedConnection(PooledConnection):
    """One whose statements have no names, so that any backend can serve the next one.

    Only what a statement takes and gives is kept here: it goes out in full each time, in one round trip.
    """

    __slots__ = ("_described",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._described: MutableMapping[str, PreparedStatement] = LRUCache(MOST_DESCRIBED)

    async def prepare(self, query: str, *, name: str | None = None, **options: Any) -> PreparedStatement:
        """As asyncpg's, without a name in the server."""
        return await super().prepare(query, name=name or "", **options)

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """As asyncpg's."""
        return list(await (await self._describe(query)).fetch(*args))

    async def executemany(self, command: str, args: Iterable[Sequence[Any]]) -> None:
        """As asyncpg's."""
        await (await self._describe(command)).executemany(args)

    async def _describe(self, query: str) -> PreparedStatement:
        if query not in self._described:
            self._described[query] = await self.prepare(query)
        return self._described[query]


def is_pooled(connection: object) -> bool:
    """Whether a driver's connection goes through a pooler."""
    # asyncpg takes each of its connections for an instance of each of its classes
    return PooledConnection in type(connection).__mro__


class Connector:
    """Opens the connections of one engine. What it found out about a pooler holds for later ones."""

    def __init__(self, *, needs_backend: bool = False) -> None:
        """`needs_backend`: for what lasts longer than a transaction; behind a pooler raises PoolerBetween."""
        self._needs_backend = needs_backend
        self._is_pooled = self._is_unnamed = False

    async def __call__(self, **options: Any) -> asyncpg.Connection:
        """A connection, as `asyncpg.connect` makes it. Raises its errors, ConfigurationError, OSError."""
        if not self._is_pooled:
            straight = await _connect_straight(options)
            if straight is not None:
                return straight
            if self._needs_backend:
                raise PoolerBetween
            self._is_pooled = True
        if not self._is_unnamed:
            named = await _connect_through(options, PooledConnection)
            if await _keeps_names(named):
                return named
            self._is_unnamed = True
        # without a cache asyncpg sends a statement in full each time
        return await _connect_through({**options, "statement_cache_size": 0}, UnnamedConnection)


async def _connect_straight(options: dict[str, Any]) -> asyncpg.Connection | None:
    """A connection to PostgreSQL itself; None when a pooler answers."""
    try:
        connection = await asyncpg.connect(**options)
    except asyncpg.ProtocolViolationError as error:
        if _REFUSES_SETTINGS not in str(error):
            raise
        return None
    try:
        # a pooler answers a connecting client itself, with a process id that is no backend's
        if await _ask(connection, "SELECT pg_backend_pid()") == connection.get_server_pid():
            return connection
        await connection.close(timeout=CONNECT_SECONDS)
    except BaseException:
        connection.terminate()
        raise
    return None


async def _connect_through(options: dict[str, Any], kind: type[PooledConnection]) -> PooledConnection:
    given = options.get("server_settings", {})
    taken = {name: given[name] for name in _TAKEN if name in given}
    connection: PooledConnection = await asyncpg.connect(
        **{**options, "server_settings": taken, "connection_class": kind}
    )
    return connection


async def _keeps_names(connection: PooledConnection) -> bool:
    """Whether each backend knows the statements that this connection named; it is closed when not.

    A pooler that sees to that gives them names of its own there. Raises ConfigurationError in statement mode.
    """
    name = f"turnkeeper_{secrets.token_hex(8)}"
    try:
        await connection.execute("BEGIN", timeout=CONNECT_SECONDS)
        await connection.prepare("SELECT 1", name=name, timeout=CONNECT_SECONDS)
        found = await _ask(connection, f"SELECT count(*) FROM pg_prepared_statements WHERE name = '{name}'")  # noqa: S608
        if found:
            await connection.execute(f"DEALLOCATE {name}", timeout=CONNECT_SECONDS)
        await connection.execute("COMMIT", timeout=CONNECT_SECONDS)
        if found:
            await connection.close(timeout=CONNECT_SECONDS)
    except BaseException as error:
        connection.terminate()
        if _REFUSES_TRANSACTIONS in str(error):
            raise ConfigurationError(_STATEMENT_MODE) from None
        raise
    return not found


async def _ask(connection: asyncpg.Connection, question: str) -> int:
    # COPY needs no statement to be prepared, which in a pool would stay behind
    told = io.BytesIO()
    await connection.copy_from_query(question, output=told, timeout=CONNECT_SECONDS)
    return int(told.getvalue())
