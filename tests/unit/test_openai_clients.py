"""Sessions in the Conversations API that are given no client: whose they use, and when it is closed."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from tests.fakes.conversations_server import ConversationsServer
from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.items import Item, user_message
from turnkeeper_storage.sessions import openai_clients
from turnkeeper_storage.sessions.conversation_ids import MemoryConversationIds
from turnkeeper_storage.sessions.conversations import OpenAIConversationsSession
from turnkeeper_storage.sessions.openai_clients import Where, hold, let_go

HELLO: list[Item] = [user_message("hello")]
HERE = Where("test", "http://127.0.0.1:9/v1")


@pytest.fixture
async def server() -> AsyncIterator[ConversationsServer]:
    async with ConversationsServer() as scripted:
        yield scripted


@pytest.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    yield
    await openai_clients.close_all()


async def test_a_key_and_an_address_are_enough(server: ConversationsServer) -> None:
    async with OpenAIConversationsSession("s", api_key="test", base_url=server.base_url) as session:
        await session.add_items(HELLO)
        assert await session.get_items() == HELLO


async def test_without_them_the_settings_say(
    server: ConversationsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    async with OpenAIConversationsSession("s") as session:
        await session.add_items(HELLO)
        assert await session.get_items() == HELLO


async def test_a_missing_key_is_told_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    session = OpenAIConversationsSession("s")
    assert await session.get_items() == []
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
            await session.add_items(HELLO)


async def test_a_wrong_key_is_told_and_not_shown(server: ConversationsServer) -> None:
    async with OpenAIConversationsSession("s", api_key="sk-wrong", base_url=server.base_url) as session:
        with pytest.raises(ConfigurationError, match="refuses the key") as caught:
            await session.add_items(HELLO)
    assert "sk-wrong" not in repr(caught.value)
    assert "sk-wrong" not in repr(Where("sk-wrong"))


async def test_an_address_that_is_none_is_told() -> None:
    with pytest.raises(ConfigurationError, match="base_url"):
        await hold(Where("k", "http://host:port/v1"))


async def test_sessions_of_a_loop_share_a_client_until_the_last_gives_it_back() -> None:
    first, second = await asyncio.gather(hold(HERE), hold(HERE))
    other = await hold(Where("another", HERE.base_url))
    assert first is second is not other
    await let_go(HERE)
    assert not first.is_closed()
    await let_go(HERE)
    assert first.is_closed()
    assert not other.is_closed()
    await let_go(HERE)

    again = await hold(HERE)
    await openai_clients.close_all()
    assert again.is_closed()
    assert other.is_closed()


async def test_a_hold_that_is_cancelled_is_given_back() -> None:
    holding = asyncio.create_task(hold(HERE))
    await asyncio.sleep(0)
    holding.cancel()
    await asyncio.wait([holding])
    made = await hold(HERE)
    await let_go(HERE)
    assert made.is_closed()


async def test_a_session_whose_shared_client_was_closed_takes_another(server: ConversationsServer) -> None:
    known = MemoryConversationIds()
    session = OpenAIConversationsSession("s", api_key="test", base_url=server.base_url, conversations=known)
    await session.add_items(HELLO)
    await openai_clients.close_all()
    assert await session.get_items() == HELLO


def test_each_loop_has_a_client_of_its_own() -> None:
    async def use() -> bool:
        made = await hold(HERE)
        same = await hold(HERE)
        await openai_clients.close_all()
        return made is same

    assert asyncio.run(use())
    assert asyncio.run(use())
    gc.collect()


def test_a_missing_library_is_named_with_its_extra() -> None:
    code = (
        "import asyncio, sys\n"
        "sys.modules['openai'] = None\n"
        "from turnkeeper_storage import ConfigurationError, OpenAIConversationsSession\n"
        "async def main():\n"
        "    session = OpenAIConversationsSession('s', api_key='k')\n"
        "    print(await session.get_items())\n"
        "    await session.add_items([{'role': 'user', 'content': 'hi'}])\n"
        "try:\n"
        "    asyncio.run(main())\n"
        "except ConfigurationError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    assert done.stdout.startswith("[]\nsessions in the Conversations API need openai")
    assert "pip install 'turnkeeper[worker]'" in done.stdout
