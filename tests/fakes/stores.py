"""Every session class and wrapper stack, each opened on a store of its own: what the suites run over.

A new class is one more entry of STORES; it is then held by every suite that takes `params`.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import fakeredis
import pytest
import redis.asyncio
from openai import AsyncOpenAI, DefaultAioHttpClient

from examples.file_session import FileSession
from tests.fakes.conversations_server import ConversationsServer
from turnkeeper_storage.database import Database
from turnkeeper_storage.sessions.conversation_ids import MemoryConversationIds
from turnkeeper_storage.sessions.conversations import OpenAIConversationsSession
from turnkeeper_storage.sessions.encrypted import EncryptedSession
from turnkeeper_storage.sessions.memory import MemorySession
from turnkeeper_storage.sessions.protocol import Session
from turnkeeper_storage.sessions.redis import RedisSession
from turnkeeper_storage.sessions.sqlalchemy import SQLAlchemySession

# Opens a session: (id, session_settings=None, tenant="default"), the last where the store has tenants. The
# same id a second time opens the same conversation, except in memory.
Open: TypeAlias = Callable[..., Session]
Given: TypeAlias = Mapping[str, Any]
Make: TypeAlias = Callable[[Given, AsyncExitStack], Open | Awaitable[Open]]


@dataclass(frozen=True, slots=True)
class Store:
    """How to open sessions of one class: with the values of these fixtures, on the test's own loop.

    `takes_any_item`: whether it keeps every JSON object as it is; a service refuses what it does not know.
    `has_tenants`: whether it is opened for one. `can_be_repaired`: whether single items can be taken out.
    """

    make: Make
    fixtures: tuple[str, ...] = ()
    takes_any_item: bool = True
    has_tenants: bool = True
    can_be_repaired: bool = True


@dataclass(frozen=True, slots=True)
class Place:
    """A store whose servers are there."""

    store: Store
    given: Given

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Open]:
        """What opens sessions in it, until the block ends."""
        async with AsyncExitStack() as stack:
            made = self.store.make(self.given, stack)
            yield await made if inspect.isawaitable(made) else made


def _memory(given: Given, stack: AsyncExitStack) -> Open:
    return MemorySession


def _file(given: Given, stack: AsyncExitStack) -> Open:
    folder: Path = given["tmp_path"]
    return lambda id, session_settings=None: FileSession(id, folder, session_settings)


def _sqlalchemy(given: Given, stack: AsyncExitStack) -> Open:
    (url,) = given.values()
    database = Database(url)
    stack.push_async_callback(database.aclose)
    return lambda id, **options: SQLAlchemySession(id, database=database, **options)


async def _redis(given: Given, stack: AsyncExitStack) -> Open:
    client = redis.asyncio.Redis.from_url(given["redis_url"])
    stack.push_async_callback(client.aclose)
    return lambda id, **options: RedisSession(id, client=client, **options)


async def _fakeredis(given: Given, stack: AsyncExitStack) -> Open:
    client = fakeredis.FakeAsyncRedis()
    stack.push_async_callback(client.aclose)
    return lambda id, **options: RedisSession(id, client=client, **options)


KEYS = {"2025": bytes(range(32)), "2026": bytes(range(32, 64))}


def _encrypted(inner: Make) -> Make:
    """The sessions of another store, sealed."""

    async def make(given: Given, stack: AsyncExitStack) -> Open:
        made = inner(given, stack)
        opens: Open = await made if inspect.isawaitable(made) else made
        return lambda id, **options: EncryptedSession(opens(id, **options), keys=KEYS)

    return make


async def _conversations(given: Given, stack: AsyncExitStack) -> Open:
    server = await stack.enter_async_context(ConversationsServer())
    http = DefaultAioHttpClient()
    client = AsyncOpenAI(base_url=server.base_url, api_key="test", max_retries=0, http_client=http)
    stack.push_async_callback(client.close)
    ids = MemoryConversationIds()
    return lambda id, **options: OpenAIConversationsSession(id, client=client, conversations=ids, **options)


STORES: dict[str, Store] = {
    "memory": Store(_memory, has_tenants=False),
    "file": Store(_file, ("tmp_path",), has_tenants=False, can_be_repaired=False),
    "sqlite": Store(_sqlalchemy, ("migrated_sqlite",)),
    "postgres": Store(_sqlalchemy, ("shared_postgres",)),
    "redis": Store(_redis, ("redis_url",)),
    "fakeredis": Store(_fakeredis),
    "conversations": Store(_conversations, takes_any_item=False),
    "encrypted-memory": Store(_encrypted(_memory), has_tenants=False),
    "encrypted-file": Store(_encrypted(_file), ("tmp_path",), has_tenants=False, can_be_repaired=False),
    "encrypted-sqlite": Store(_encrypted(_sqlalchemy), ("migrated_sqlite",)),
    "encrypted-postgres": Store(_encrypted(_sqlalchemy), ("shared_postgres",)),
    "encrypted-redis": Store(_encrypted(_redis), ("redis_url",)),
    "encrypted-conversations": Store(_encrypted(_conversations)),
    "encrypted-twice": Store(_encrypted(_encrypted(_memory)), has_tenants=False),
}
_MARKS = {"shared_postgres": pytest.mark.postgres, "redis_url": pytest.mark.redis}


def params(*without: str) -> list[Any]:
    """The stores as parameters of a fixture, marked with the servers that they need."""
    return [
        pytest.param(name, id=name, marks=[_MARKS[one] for one in store.fixtures if one in _MARKS])
        for name, store in STORES.items()
        if name not in without
    ]


def place(name: str, request: pytest.FixtureRequest) -> Place:
    """The store of that name; for a fixture that is not async, so that others can be asked for."""
    store = STORES[name]
    return Place(store, {fixture: request.getfixturevalue(fixture) for fixture in store.fixtures})
