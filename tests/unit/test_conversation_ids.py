"""How sessions find their conversations again, in every process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from openai import AsyncOpenAI

from tests.fakes.conversations_server import ConversationsServer
from turnkeeper_client import AsyncClient
from turnkeeper_storage import ids
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import SchemaMismatch
from turnkeeper_storage.items import Item, user_message
from turnkeeper_storage.sessions.conversation_ids import (
    ConversationIds,
    DatabaseConversationIds,
    MemoryConversationIds,
)
from turnkeeper_storage.sessions.conversations import OpenAIConversationsSession

KEY = ids.session_key("default", "s")
OTHER = ids.session_key("other", "s")
HELLO: list[Item] = [user_message("hello")]


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def kept_in(request: pytest.FixtureRequest) -> str | None:
    """A migrated database, None for memory."""
    if request.param == "memory":
        return None
    return str(request.getfixturevalue(f"migrated_{request.param}"))


@pytest.fixture
async def known(kept_in: str | None) -> AsyncIterator[ConversationIds]:
    if kept_in is None:
        yield MemoryConversationIds()
        return
    database = Database(kept_in)
    yield DatabaseConversationIds(database)
    await database.aclose()


async def test_the_first_conversation_of_a_session_is_kept(known: ConversationIds) -> None:
    assert await known.get(KEY) is None
    assert await known.set_if_absent(KEY, "conv_1") == "conv_1"
    assert await known.set_if_absent(KEY, "conv_2") == "conv_1"
    assert await known.get(KEY) == "conv_1"
    assert await known.get(OTHER) is None


async def test_of_many_first_users_all_are_given_the_same(known: ConversationIds) -> None:
    given = await asyncio.gather(*(known.set_if_absent(KEY, f"conv_{n}") for n in range(10)))
    assert len(set(given)) == 1
    assert await known.get(KEY) == given[0]


async def test_only_the_conversation_that_is_named_is_forgotten(known: ConversationIds) -> None:
    await known.set_if_absent(KEY, "conv_1")
    await known.set_if_absent(OTHER, "conv_1")
    await known.forget(KEY, "conv_2")
    assert await known.get(KEY) == "conv_1"
    await known.forget(KEY, "conv_1")
    await known.forget(KEY, "conv_1")
    assert await known.get(KEY) is None
    assert await known.get(OTHER) == "conv_1"
    assert await known.set_if_absent(KEY, "conv_2") == "conv_2"


async def test_tables_are_made_on_an_empty_database_at_first_use(database_url: str) -> None:
    async with DatabaseConversationIds.from_url(database_url, create_tables=True) as first:
        await first.set_if_absent(KEY, "conv_1")
    async with DatabaseConversationIds.from_url(database_url) as second:
        assert await second.get(KEY) == "conv_1"


async def test_an_empty_database_says_to_migrate(sqlite_url: str) -> None:
    async with DatabaseConversationIds.from_url(sqlite_url) as known:
        with pytest.raises(SchemaMismatch, match="turnkeeper migrate"):
            await known.get(KEY)


async def test_an_engine_that_was_given_stays_open(migrated_sqlite: str) -> None:
    database = Database(migrated_sqlite)
    async with DatabaseConversationIds(engine=database.engine) as known:
        await known.set_if_absent(KEY, "conv_1")
    assert await DatabaseConversationIds(database).get(KEY) == "conv_1"
    await database.aclose()


def test_either_a_database_or_an_engine_is_asked_for() -> None:
    with pytest.raises(ValueError, match="either"):
        DatabaseConversationIds()


async def test_a_deleted_session_leaves_neither_a_conversation_nor_its_row(migrated_url: str) -> None:
    async with ConversationsServer() as server:
        openai = AsyncOpenAI(base_url=server.base_url, api_key="test")

        def opened(session_id: str, tenant: str, database: Database) -> OpenAIConversationsSession:
            known = DatabaseConversationIds(database)
            return OpenAIConversationsSession(session_id, client=openai, conversations=known, tenant=tenant)

        async with AsyncClient(
            database_url=migrated_url, broker_url="memory://", session_factory=opened
        ) as client:
            await client.session("s").add_items(HELLO)
            assert await client.session("s").get_items() == HELLO
            assert server.only().metadata == {"turnkeeper_session": KEY}
            await client.delete_session("s")
            await client.session("s").add_items(HELLO)
            assert await client.session("s").get_items() == HELLO
            server.kept.clear()  # as if somebody deleted it at the API
            await client.delete_session("s")
        await openai.close()

        assert server.kept == {}
        async with DatabaseConversationIds.from_url(migrated_url) as known:
            assert await known.get(KEY) is None
