"""A session in the Conversations API: what it asks for, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import pytest
from openai import AsyncOpenAI, DefaultAioHttpClient

from tests.fakes.conversations_server import (
    BROKEN,
    ConversationsServer,
)
from turnkeeper_storage import ids
from turnkeeper_storage.errors import (
    ConfigurationError,
    InvalidInput,
    NotFound,
    SessionChanged,
)
from turnkeeper_storage.items import Item, user_message
from turnkeeper_storage.sessions.conversation_ids import MemoryConversationIds
from turnkeeper_storage.sessions.conversations import OpenAIConversationsSession
from turnkeeper_storage.sessions.protocol import ResumableSession

SECRET = "hunter2-swordfish"
NOWHERE = "http://127.0.0.1:9/v1"
Opener = Callable[..., OpenAIConversationsSession]


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried when the server says."""
    monkeypatch.setattr("turnkeeper_storage.retrying.JITTER", 0.0)


@pytest.fixture
async def server() -> AsyncIterator[ConversationsServer]:
    async with ConversationsServer() as scripted:
        yield scripted


@pytest.fixture
async def client(server: ConversationsServer) -> AsyncIterator[AsyncOpenAI]:
    """With retries of its own, which would be seen."""
    http = DefaultAioHttpClient()
    made = AsyncOpenAI(base_url=server.base_url, api_key="test", max_retries=5, http_client=http)
    yield made
    await made.close()


@pytest.fixture
def known() -> MemoryConversationIds:
    return MemoryConversationIds()


@pytest.fixture
def opened(client: AsyncOpenAI, known: MemoryConversationIds) -> Opener:
    """Opens sessions, each time anew, that find their conversations again."""
    return lambda id="s", **more: OpenAIConversationsSession(
        id, **{"client": client, "conversations": known, **more}
    )


@pytest.fixture
def session(opened: Opener) -> OpenAIConversationsSession:
    return opened()


def messages(count: int, start: int = 0) -> list[Item]:
    return [user_message(f"message {n}") for n in range(start, start + count)]


def kept(server: ConversationsServer) -> list[str]:
    """The texts in the one conversation of the server."""
    return [item["content"][0]["text"] for item in server.only().items]


# --- what it asks for -----------------------------------------------------------------------------


async def test_a_conversation_is_made_by_the_first_add(
    server: ConversationsServer, session: OpenAIConversationsSession
) -> None:
    assert await session.get_items() == []
    assert await session.pop_item() is None
    assert await session.mark() == ""
    assert await session.items_after("") == []
    await session.clear_session()
    await session.add_items([])
    assert server.requests == []

    await session.add_items(messages(1))
    await session.add_items(messages(1, start=1))
    assert server.requests == ["create", "add", "list", "add"]
    assert session.conversation_id == server.only().id
    assert server.only().metadata == {"turnkeeper_session": ids.session_key("default", "s")}


@pytest.mark.parametrize(("count", "chunks"), [(20, 1), (21, 2), (60, 3)])
async def test_a_large_add_goes_in_chunks_in_order(
    server: ConversationsServer, session: OpenAIConversationsSession, count: int, chunks: int
) -> None:
    await session.add_items(messages(count))

    assert kept(server) == [f"message {n}" for n in range(count)]
    assert server.count("add") == chunks


@pytest.mark.parametrize(("count", "pages"), [(100, 1), (101, 2), (230, 3)])
async def test_all_items_come_in_order_page_by_page(
    server: ConversationsServer, session: OpenAIConversationsSession, count: int, pages: int
) -> None:
    await session.add_items(messages(count))
    assert await session.get_items() == messages(count)
    assert server.count("list") == pages
    assert {query["order"] for query in server.queries if "order" in query} == {"asc"}


@pytest.mark.parametrize(("limit", "asked"), [(1, ["1"]), (7, ["7"]), (100, ["100"]), (150, ["100", "100"])])
async def test_a_limit_reads_no_more_than_it_takes(
    server: ConversationsServer, session: OpenAIConversationsSession, limit: int, asked: list[str]
) -> None:
    await session.add_items(messages(230))

    assert await session.get_items(limit=limit) == messages(230)[-limit:]
    assert [query["limit"] for query in server.queries if "limit" in query] == asked


async def test_what_the_api_shows_only_when_asked_is_read_too(
    session: OpenAIConversationsSession,
) -> None:
    reasoning: Item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}
    shown: Item = {"type": "message", "role": "user", "content": [picture]}
    await session.add_items([reasoning, shown])

    assert await session.get_items() == [{**reasoning, "content": []}, shown]


async def test_a_reasoning_item_that_the_api_refuses_is_left_out(
    server: ConversationsServer, session: OpenAIConversationsSession
) -> None:
    shell: Item = {"type": "reasoning", "summary": []}
    await session.add_items([shell])
    assert server.requests == []
    await session.add_items([shell, *messages(1), shell])
    assert await session.get_items() == messages(1)


async def test_an_unreadable_entry_takes_a_place_and_is_popped_on_the_way(
    server: ConversationsServer, session: OpenAIConversationsSession
) -> None:
    await session.add_items(messages(3))
    server.only().items[-1] = {"id": "odd_1", "type": "message", "content": []}

    assert await session.get_items(limit=2) == messages(3)[1:2]
    assert await session.pop_item() == messages(3)[1]
    assert kept(server) == ["message 0"]


async def test_a_pop_deletes_the_newest_at_the_api(
    server: ConversationsServer, session: OpenAIConversationsSession
) -> None:
    await session.add_items(messages(2))

    assert await session.pop_item() == messages(2)[1]
    assert kept(server) == ["message 0"]


async def test_pops_of_two_processes_take_each_item_once(server: ConversationsServer, opened: Opener) -> None:
    await opened().add_items(messages(2))
    server.hold("remove")
    pops = [asyncio.create_task(opened().pop_item()) for _ in range(3)]
    await server.wait_for("remove", 3)
    server.release("remove")

    popped = [item for item in await asyncio.gather(*pops) if item is not None]
    assert sorted(map(repr, popped)) == sorted(map(repr, messages(2)))


@pytest.mark.parametrize(("during", "standing"), [("create", 0), ("add", 20)])
async def test_of_an_add_that_is_cancelled_the_request_ends_that_is_begun(
    server: ConversationsServer, session: OpenAIConversationsSession, during: str, standing: int
) -> None:
    server.hold(during)
    adding = asyncio.create_task(session.add_items(messages(30)))
    await server.wait_for(during, 1)
    waiting = asyncio.create_task(session.add_items(messages(1)))
    await asyncio.sleep(0)
    for task in (adding, waiting):
        task.cancel()
        await asyncio.wait([task])
    server.release(during)

    # what is read next stands behind it
    assert await session.get_items() == messages(standing)
    assert len(server.kept) == 1
    assert server.count("add") == (1 if standing else 0)


# --- which conversation ---------------------------------------------------------------------------


async def test_a_cleared_session_deletes_its_conversation_and_makes_a_new_one(
    server: ConversationsServer, session: OpenAIConversationsSession
) -> None:
    await session.add_items(messages(1))
    first = server.only().id
    await session.clear_session()
    assert server.kept == {}
    assert session.conversation_id is None

    await session.add_items(messages(1, start=5))
    assert server.only().id != first
    assert await session.get_items() == messages(1, start=5)


@pytest.mark.parametrize("by", ["id", "argument"])
async def test_a_conversation_that_was_given_is_used_and_emptied_and_stays(
    server: ConversationsServer, client: AsyncOpenAI, by: str
) -> None:
    own = OpenAIConversationsSession("own", client=client)
    await own.add_items(messages(1))
    given = server.only().id
    if by == "id":
        session = OpenAIConversationsSession(given, client=client)
    else:
        session = OpenAIConversationsSession("s", client=client, conversation_id=given)

    assert session.conversation_id == given
    assert await session.get_items() == messages(1)
    await session.add_items(messages(2, start=1))
    await session.clear_session()
    assert kept(server) == []
    await session.add_items(messages(1, start=7))
    assert kept(server) == ["message 7"]
    assert server.count("create") == 1


async def test_an_id_does_not_lead_past_what_is_remembered(
    server: ConversationsServer, client: AsyncOpenAI, opened: Opener
) -> None:
    """To a conversation of another tenant, say."""
    await OpenAIConversationsSession("own", client=client).add_items(messages(1))
    guessed = opened(server.only().id)

    assert await guessed.get_items() == []
    await guessed.add_items(messages(1, start=1))
    assert await guessed.get_items() == messages(1, start=1)
    assert len(server.kept) == 2


async def test_a_session_object_alone_remembers_its_conversation(
    server: ConversationsServer, client: AsyncOpenAI
) -> None:
    first, second = (OpenAIConversationsSession("s", client=client) for _ in range(2))
    await first.add_items(messages(1))
    await second.add_items(messages(1, start=1))

    assert await first.get_items() == messages(1)
    assert await second.get_items() == messages(1, start=1)


async def test_tenants_do_not_share_a_conversation(opened: Opener) -> None:
    ours, theirs = opened(tenant="ours"), opened(tenant="theirs")
    await ours.add_items(messages(1))
    await theirs.clear_session()

    assert await theirs.get_items() == []
    assert await ours.get_items() == messages(1)


async def test_two_first_users_agree_on_one_conversation_and_leave_no_other(
    server: ConversationsServer, opened: Opener
) -> None:
    server.hold("create")
    adds = [asyncio.create_task(opened().add_items(messages(2, start=10 * n))) for n in range(3)]
    await server.wait_for("create", 3)
    server.release("create")
    await asyncio.gather(*adds)

    got = await opened().get_items()
    assert sorted(map(repr, got)) == sorted(
        repr(item) for n in range(3) for item in messages(2, start=10 * n)
    )
    assert len(server.only().items) == 6


async def test_a_conversation_that_cannot_be_deleted_by_the_loser_is_named_in_the_log(
    server: ConversationsServer, opened: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    server.plan("delete", BROKEN, BROKEN, BROKEN)
    server.hold("create")
    adds = [asyncio.create_task(opened().add_items(messages(1))) for _ in range(2)]
    await server.wait_for("create", 2)
    server.release("create")
    with caplog.at_level(logging.WARNING):
        await asyncio.gather(*adds)

    (orphan,) = (one for one in server.kept.values() if not one.items)
    assert f"{orphan.id} is without a session" in caplog.text
    assert len(await opened().get_items()) == 2


async def test_an_add_finds_the_conversation_that_another_process_made_instead(
    server: ConversationsServer, opened: Opener
) -> None:
    await opened().add_items(messages(1))
    server.hold("add")
    adding = asyncio.create_task(opened().add_items(messages(1, start=1)))
    await server.wait_for("add", 2)
    await opened().clear_session()
    server.release("add")
    await adding

    assert await opened().get_items() == messages(1, start=1)
    assert len(server.kept) == 1


async def test_a_read_of_a_session_that_is_cleared_meanwhile_is_empty(
    server: ConversationsServer, opened: Opener
) -> None:
    await opened().add_items(messages(1))
    server.hold("list")
    reading = asyncio.create_task(opened().get_items())
    await server.wait_for("list", 1)
    await opened().clear_session()
    server.release("list")

    assert await reading == []


async def test_a_conversation_that_is_gone_is_named(server: ConversationsServer, opened: Opener) -> None:
    session = opened()
    await session.add_items(messages(1))
    gone = server.only().id
    server.kept.clear()

    for call in (session.get_items, session.pop_item, session.mark, lambda: session.add_items(messages(1))):
        with pytest.raises(NotFound) as caught:
            await call()
        assert (caught.value.kind, caught.value.id) == ("conversation", gone)
    await session.clear_session()
    await session.add_items(messages(1))
    assert await session.get_items() == messages(1)


async def test_a_given_conversation_that_is_gone_is_named_and_can_be_cleared(client: AsyncOpenAI) -> None:
    session = OpenAIConversationsSession("conv_gone", client=client)
    with pytest.raises(NotFound, match="conv_gone"):
        await session.get_items()
    await session.clear_session()


# --- the end that an add comes after --------------------------------------------------------------


async def test_a_mark_names_the_conversation_and_its_last_item(
    server: ConversationsServer, session: OpenAIConversationsSession
) -> None:
    assert isinstance(session, ResumableSession)
    await session.add_items(messages(45))
    mark = await session.mark()
    assert mark == f"{server.only().id}:{server.only().items[-1]['id']}"
    assert await session.items_after(mark) == []
    await session.add_items(messages(45, start=45))

    assert await session.items_after(mark) == messages(45, start=45)
    assert await session.items_after("") == messages(90)
    assert await session.items_after(f"{server.only().id}:") == messages(90)


async def test_a_mark_of_an_empty_conversation_has_no_item(
    server: ConversationsServer, session: OpenAIConversationsSession
) -> None:
    await session.add_items(messages(1))
    await session.pop_item()

    assert await session.mark() == f"{server.only().id}:"


async def test_a_mark_that_is_gone_is_told(
    server: ConversationsServer, session: OpenAIConversationsSession
) -> None:
    await session.add_items(messages(1))
    mark = await session.mark()
    await session.pop_item()
    with pytest.raises(SessionChanged):
        await session.items_after(mark)
    await session.clear_session()
    with pytest.raises(SessionChanged):
        await session.items_after(mark)
    await session.add_items(messages(1))
    with pytest.raises(SessionChanged):
        await session.items_after(mark)


async def test_what_cannot_be_read_is_an_empty_item_after_a_mark(
    server: ConversationsServer, session: OpenAIConversationsSession
) -> None:
    await session.add_items(messages(2))
    server.only().items[-1] = {"id": "odd_1", "type": "message", "content": []}

    assert await session.items_after("") == [*messages(1), {}]


async def test_an_add_after_a_mark_asks_no_more_for_the_end(
    server: ConversationsServer, session: OpenAIConversationsSession
) -> None:
    await session.add_items(messages(1))
    await session.mark()
    await session.add_items(messages(1))
    assert server.requests == ["create", "add", "list", "add"]


# --- how it is opened -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({"session_id": ""}, InvalidInput, "session_id"),
        ({"session_id": "conv_../../files"}, InvalidInput, "conversation's id"),
        ({"conversation_id": "conv/1"}, InvalidInput, "conversation_id"),
        ({"conversation_id": ""}, InvalidInput, "conversation_id"),
        ({"tenant": ""}, InvalidInput, "tenant"),
        (
            {"conversation_id": "conv_1", "conversations": MemoryConversationIds()},
            ConfigurationError,
            "either",
        ),
    ],
)
def test_what_names_no_conversation_is_refused(
    given: dict[str, object], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        OpenAIConversationsSession(**{"session_id": "s", **given})  # type: ignore[arg-type]


async def test_a_client_and_a_key_are_not_given_together(client: AsyncOpenAI) -> None:
    for more in ({"api_key": "k"}, {"base_url": NOWHERE}):
        with pytest.raises(ConfigurationError, match="either client"):
            OpenAIConversationsSession("s", client=client, **more)  # type: ignore[arg-type]


async def test_a_client_that_was_given_stays_open(opened: Opener, client: AsyncOpenAI) -> None:
    async with opened() as session:
        await session.add_items(messages(1))
    assert not client.is_closed()
    assert await opened().get_items() == messages(1)
