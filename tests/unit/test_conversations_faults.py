"""What a session in the Conversations API does when the API fails, refuses or says nothing."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable

import pytest
from openai import AsyncOpenAI, DefaultAioHttpClient

from tests.fakes.conversations_server import (
    BROKEN,
    BUSY,
    LOCKED,
    ConversationsServer,
    Drop,
    Fail,
    Fault,
    Garble,
    Hang,
)
from turnkeeper_storage.errors import (
    ConfigurationError,
    InvalidInput,
    StoreUnavailable,
    TurnkeeperError,
)
from turnkeeper_storage.items import Item, user_message
from turnkeeper_storage.sessions.conversation_ids import MemoryConversationIds
from turnkeeper_storage.sessions.conversations import OpenAIConversationsSession

SECRET = "hunter2-swordfish"
NOWHERE = "http://127.0.0.1:9/v1"
# carried out, and reported as failed
DONE = Fail(500, headers={"retry-after-ms": "1"}, applied=True)
Opener = Callable[..., OpenAIConversationsSession]
# the client's two transports have errors of their own
BOTH = pytest.mark.parametrize("client", ["httpx", "aiohttp"], indirect=True)


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried when the server says."""
    monkeypatch.setattr("turnkeeper_storage.retrying.JITTER", 0.0)


@pytest.fixture
async def server() -> AsyncIterator[ConversationsServer]:
    async with ConversationsServer() as scripted:
        yield scripted


@pytest.fixture
async def client(request: pytest.FixtureRequest, server: ConversationsServer) -> AsyncIterator[AsyncOpenAI]:
    """With retries of its own, which would be seen."""
    http = None if getattr(request, "param", "") == "httpx" else DefaultAioHttpClient()
    made = AsyncOpenAI(base_url=server.base_url, api_key="test", max_retries=5, http_client=http)
    yield made
    await made.close()


@pytest.fixture
def opened(client: AsyncOpenAI) -> Opener:
    """Opens a session."""
    known = MemoryConversationIds()
    return lambda **more: OpenAIConversationsSession("s", client=client, conversations=known, **more)


@pytest.fixture
def session(opened: Opener) -> OpenAIConversationsSession:
    return opened()


def messages(count: int, start: int = 0) -> list[Item]:
    return [user_message(f"message {n}") for n in range(start, start + count)]


def kept(server: ConversationsServer) -> list[str]:
    """The texts in the one conversation of the server."""
    return [item["content"][0]["text"] for item in server.only().items]


@pytest.mark.parametrize("fault", [BUSY, BROKEN, LOCKED], ids=["busy", "broken", "locked"])
@pytest.mark.parametrize("operation", ["create", "add", "list", "remove", "delete"])
async def test_what_passes_is_tried_again(
    server: ConversationsServer, session: OpenAIConversationsSession, operation: str, fault: Fault
) -> None:
    server.plan(operation, fault, fault)
    await session.add_items(messages(2))
    assert await session.get_items() == messages(2)
    assert await session.pop_item() == messages(2)[1]
    assert await session.get_items() == messages(1)
    await session.clear_session()

    assert server.kept == {}


async def test_it_is_not_tried_for_ever(
    server: ConversationsServer, session: OpenAIConversationsSession
) -> None:
    await session.add_items(messages(1))
    server.plan("list", *[BUSY] * 5)
    with pytest.raises(StoreUnavailable, match="HTTP 429") as caught:
        await session.get_items()

    assert caught.value.store == "conversations"
    assert server.count("list") == 3


async def test_a_server_that_asks_for_minutes_is_not_waited_for(
    server: ConversationsServer, session: OpenAIConversationsSession
) -> None:
    server.plan("create", Fail(503, headers={"retry-after": "120"}))
    with pytest.raises(StoreUnavailable, match="HTTP 503"):
        await session.add_items(messages(1))
    assert server.count("create") == 1


@BOTH
@pytest.mark.parametrize("known_end", [True, False], ids=["end known", "end asked for"])
@pytest.mark.parametrize(
    "fault",
    [
        Drop(applied=True),
        Hang(applied=True),
        DONE,
        Garble("no JSON"),
        Garble("{}"),
        Garble('{"data": [{}]}'),
        Garble('{"data": []}'),
    ],
    ids=repr,
)
async def test_an_add_that_was_applied_and_whose_answer_was_lost_stands_once(
    server: ConversationsServer, opened: Opener, fault: Fault, known_end: bool
) -> None:
    session = opened(timeout=0.3)
    # what stands before says the same
    await session.add_items(messages(3))
    if known_end:
        await session.mark()
    server.plan("add", fault)
    await session.add_items(messages(3))

    assert await session.get_items() == [*messages(3), *messages(3)]


@BOTH
@pytest.mark.parametrize("fault", [Drop(), Hang(), Fail(501, headers={"x-should-retry": "false"})], ids=repr)
async def test_an_add_that_may_still_come_is_not_tried_again(
    server: ConversationsServer, opened: Opener, fault: Fault
) -> None:
    session = opened(timeout=0.2)
    await session.add_items(messages(3))
    server.plan("add", fault)
    with pytest.raises(StoreUnavailable):
        await session.add_items(messages(3))

    assert server.count("add") == 2
    assert await session.get_items() == messages(3)


async def test_an_add_of_several_requests_goes_on_where_an_answer_was_lost(
    server: ConversationsServer, session: OpenAIConversationsSession
) -> None:
    server.plan("add", BROKEN, Drop(applied=True), DONE)
    await session.add_items(messages(50))

    assert kept(server) == [f"message {n}" for n in range(50)]


async def test_a_beginning_stands_when_the_api_goes_away_in_between(
    server: ConversationsServer, session: OpenAIConversationsSession
) -> None:
    server.plan("add", DONE, *[BROKEN] * 3)
    with pytest.raises(StoreUnavailable):
        await session.add_items(messages(50))

    assert kept(server) == [f"message {n}" for n in range(20)]


async def test_a_pop_between_a_mark_and_an_add_does_not_hide_the_add(
    server: ConversationsServer, session: OpenAIConversationsSession
) -> None:
    await session.add_items(messages(2))
    await session.mark()
    await session.pop_item()
    server.plan("add", Drop(applied=True))
    await session.add_items(messages(1, start=5))

    assert kept(server) == ["message 0", "message 5"]


async def test_an_add_cannot_be_told_from_others_when_its_end_is_gone(
    server: ConversationsServer, session: OpenAIConversationsSession
) -> None:
    await session.add_items(messages(1))
    await session.mark()
    server.only().items.clear()
    server.plan("add", Drop(applied=True))
    with pytest.raises(StoreUnavailable, match="changed"):
        await session.add_items(messages(1))


async def test_a_pop_whose_answer_was_lost_takes_one_item(
    server: ConversationsServer, session: OpenAIConversationsSession
) -> None:
    await session.add_items(messages(3))
    server.plan("remove", DONE)

    assert await session.pop_item() == messages(3)[2]
    assert kept(server) == ["message 0", "message 1"]


async def test_refused_items_are_named_by_their_place_and_none_of_them_stays(
    server: ConversationsServer, session: OpenAIConversationsSession
) -> None:
    await session.add_items(messages(1))
    shell: Item = {"type": "reasoning", "summary": []}
    bad = {**user_message(SECRET), SECRET: 1}
    with pytest.raises(InvalidInput) as caught:
        await session.add_items([shell, *messages(43), bad, *messages(3)])

    assert caught.value.field == "items[44]"
    assert "unknown_parameter" in str(caught.value)
    assert SECRET not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert kept(server) == ["message 0"]


async def test_what_stays_of_a_refused_add_is_told_to_the_log(
    server: ConversationsServer, session: OpenAIConversationsSession, caplog: pytest.LogCaptureFixture
) -> None:
    server.plan("remove", Fail(403))
    with caplog.at_level(logging.WARNING), pytest.raises(InvalidInput):
        await session.add_items([*messages(20), {"type": "hologram"}])

    assert f"stay in {server.only().id}" in caplog.text


@pytest.mark.parametrize("status", [401, 403])
async def test_a_wrong_key_is_a_matter_of_configuration(
    server: ConversationsServer, session: OpenAIConversationsSession, status: int
) -> None:
    server.plan("create", Fail(status, "invalid_api_key", message=f"Incorrect API key: {SECRET}"))
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY") as caught:
        await session.add_items(messages(1))
    assert SECRET not in str(caught.value)
    assert server.count("create") == 1


async def test_a_server_without_the_api_is_a_matter_of_configuration(
    server: ConversationsServer, session: OpenAIConversationsSession
) -> None:
    server.plan("create", Fail(404))
    with pytest.raises(ConfigurationError, match="no Conversations API"):
        await session.add_items(messages(1))


async def test_an_account_without_quota_is_told(
    server: ConversationsServer, session: OpenAIConversationsSession
) -> None:
    server.plan("create", Fail(429, "insufficient_quota"))
    with pytest.raises(StoreUnavailable, match="quota"):
        await session.add_items(messages(1))
    assert server.count("create") == 1


@pytest.mark.parametrize("operation", ["list", "remove"])
async def test_a_request_that_is_refused_for_good_is_told_without_content(
    server: ConversationsServer, session: OpenAIConversationsSession, operation: str
) -> None:
    await session.add_items(messages(1))
    server.plan(operation, Fail(400, "invalid_value", message=SECRET))
    with pytest.raises(InvalidInput, match="invalid_value") as caught:
        await session.pop_item()
    assert caught.value.field == "conversation_id"
    assert SECRET not in str(caught.value)


@BOTH
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Hang(), "no answer within 0.2 s"),
        (Drop(), "the connection broke"),
        (Garble("no JSON"), "no JSON"),
        (Garble("[]"), "no list"),
        (Garble('{"data": {}}'), "no list"),
        (Garble('{"data": [{"id": 7}]}'), "no id"),
        (Garble('{"data": [{"id": "m", "type": "message"}], "has_more": true}'), "do not come to an end"),
    ],
    ids=repr,
)
async def test_an_answer_that_is_none_makes_the_store_unavailable(
    server: ConversationsServer, opened: Opener, fault: Fault, told: str
) -> None:
    session = opened(timeout=0.2)
    await session.add_items(messages(1))
    server.plan("list", fault, fault)
    with pytest.raises(StoreUnavailable, match=told):
        await session.get_items()


@BOTH
async def test_a_server_that_cannot_be_reached_is_tried_again_and_told(
    client: AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnkeeper_storage.retrying.FIRST_DELAY", 0.01)
    away = client.with_options(base_url=NOWHERE)
    with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
        await OpenAIConversationsSession("s", client=away).add_items([user_message(SECRET)])

    trace: BaseException | None = caught.value
    while trace is not None:  # the client's errors hold the request
        assert isinstance(trace, TurnkeeperError)
        trace = trace.__cause__


@BOTH
@pytest.mark.parametrize("key", ["line\nbreak", "schlüssel\u2026"])
async def test_a_key_that_is_none_is_a_matter_of_configuration(client: AsyncOpenAI, key: str) -> None:
    session = OpenAIConversationsSession("s", client=client.with_options(api_key=key))
    with pytest.raises(ConfigurationError, match="api_key") as caught:
        await session.add_items(messages(1))
    assert key not in str(caught.value)


@BOTH
@pytest.mark.parametrize("url", ["ftp://host/v1", "not a url"])
async def test_an_address_that_is_none_is_a_matter_of_configuration(client: AsyncOpenAI, url: str) -> None:
    session = OpenAIConversationsSession("s", client=client.with_options(base_url=url))
    with pytest.raises(ConfigurationError, match="base_url"):
        await session.add_items(messages(1))


async def test_items_that_are_popped_while_they_are_read_are_told(
    server: ConversationsServer, session: OpenAIConversationsSession
) -> None:
    await session.add_items(messages(150))
    server.plan("list", Garble('{"data": [{"id": "msg_gone", "type": "message"}], "has_more": true}'))
    with pytest.raises(StoreUnavailable, match="changed while it was read"):
        await session.get_items()
