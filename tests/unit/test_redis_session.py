"""What is special about sessions in Redis: keys, time to live, whole changes, and Redis when it is away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.fakes.proxy import Proxy
from tests.fakes.wait import eventually
from turnkeeper_storage.errors import ConfigurationError, InvalidInput, StoreUnavailable
from turnkeeper_storage.items import Item, user_message
from turnkeeper_storage.sessions.redis import RedisSession

HELLO = user_message("hello")


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    made = redis.asyncio.Redis.from_url(redis_url)
    yield made
    await made.aclose()


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(redis_url) as made:
        yield made


async def keys(client: redis.asyncio.Redis) -> list[str]:
    return sorted(str(key) for key in await client.keys("*") if ":once:" not in str(key))


def messages(count: int) -> list[Item]:
    return [user_message(str(n)) for n in range(count)]


async def test_all_keys_of_a_session_are_in_one_slot_whatever_its_id(client: redis.asyncio.Redis) -> None:
    for session_id in ("s", "{a}b", "a:b", "}{", "ünïcode \u2028", "x" * 255):
        session = RedisSession(session_id, client=client)
        assert session.key == f"turnkeeper:session:{{{session.session_key}}}"
        await session.add_items([user_message(session_id)])
        assert await RedisSession(session_id, client=client).get_items() == [user_message(session_id)]
    assert len(await keys(client)) == 6


async def test_prefixes_and_tenants_keep_sessions_apart(client: redis.asyncio.Redis) -> None:
    apart = [
        RedisSession("s", client=client),
        RedisSession("s", client=client, key_prefix="other"),
        RedisSession("s", client=client, tenant="acme"),
    ]
    for number, session in enumerate(apart):
        await session.add_items(messages(number + 1))
    assert [len(await session.get_items()) for session in apart] == [1, 2, 3]
    await apart[0].clear_session()
    assert [len(await session.get_items()) for session in apart] == [0, 2, 3]


async def test_a_session_without_a_time_to_live_stays(client: redis.asyncio.Redis) -> None:
    session = RedisSession("s", client=client)
    await session.add_items([HELLO])
    assert await client.pttl(session.key) == -1


async def test_every_change_begins_the_time_to_live_anew(client: redis.asyncio.Redis) -> None:
    session = RedisSession("s", client=client, ttl_seconds=100)
    for change in (
        session.add_items(messages(3)),
        session.pop_item(),
        session.replace_items(messages(2)),
    ):
        await change
        assert 90_000 < await client.pttl(session.key) <= 100_000
        await client.pexpire(session.key, 5_000)
    await session.get_items()
    assert await client.pttl(session.key) <= 5_000


async def test_a_session_whose_time_is_over_is_empty(client: redis.asyncio.Redis) -> None:
    session = RedisSession("s", client=client, ttl_seconds=0.001)
    await session.add_items([HELLO])

    async def is_gone() -> bool:
        return await session.get_items() == []

    await eventually(is_gone)
    assert await session.pop_item() is None


async def test_a_very_long_add_is_whole_and_in_order(client: redis.asyncio.Redis) -> None:
    session = RedisSession("s", client=client)
    await session.add_items(messages(12_345))
    assert await session.get_items() == messages(12_345)
    assert await session.get_items(2) == messages(12_345)[-2:]


async def test_a_window_reads_no_more_than_it_shows(client: redis.asyncio.Redis) -> None:
    session = RedisSession("s", client=client)
    await session.add_items(messages(500))
    before = int((await client.info("stats"))["total_net_output_bytes"])
    await session.get_items(2)
    after = int((await client.info("stats"))["total_net_output_bytes"])
    whole = len(str(messages(500)))
    # INFO itself is some kilobytes
    assert after - before < whole / 2


async def test_adds_of_many_writers_stand_whole_and_one_after_the_other(client: redis.asyncio.Redis) -> None:
    session = RedisSession("s", client=client)
    adds = [[user_message(f"{writer}.{n}") for n in range(5)] for writer in range(20)]
    await asyncio.gather(*(session.add_items(add) for add in adds))
    found = await session.get_items()
    groups = [found[start : start + 5] for start in range(0, 100, 5)]
    assert sorted(map(str, groups)) == sorted(map(str, adds))


async def test_a_replace_is_seen_whole_by_every_reader(client: redis.asyncio.Redis) -> None:
    session = RedisSession("s", client=client)
    await session.add_items(messages(3))
    seen: list[int] = []

    async def read() -> None:
        for _ in range(50):
            seen.append(len(await session.get_items()))

    async def replace() -> None:
        for size in (7, 3) * 10:
            await session.replace_items(messages(size))

    await asyncio.gather(read(), replace())
    assert set(seen) <= {3, 7}


async def test_unreadable_items_are_left_out_and_removed_by_pop(client: redis.asyncio.Redis) -> None:
    session = RedisSession("s", client=client)
    await session.add_items([HELLO])
    await client.rpush(session.key, "{", b"\xff\xfe", "[]")
    assert await session.get_items() == [HELLO]
    assert await session.get_items(2) == []
    assert await session.pop_item() == HELLO
    assert await session.pop_item() is None


@pytest.mark.parametrize("decodes", [False, True])
async def test_a_client_that_decodes_answers_does_as_well(redis_url: str, decodes: bool) -> None:
    client = redis.asyncio.Redis.from_url(redis_url, decode_responses=decodes)
    session = RedisSession("s", client=client)
    odd: Item = {"type": "message", "role": "user", "content": "ü\ud800\0"}
    await session.add_items([odd])
    assert await session.get_items() == [odd]
    assert await session.pop_item() == odd
    await client.aclose()


async def test_a_session_of_a_url_has_a_client_of_its_own(redis_url: str) -> None:
    async with RedisSession.from_url("s", url=redis_url, ttl_seconds=60) as session:
        await session.add_items([HELLO])
        assert await session.get_items() == [HELLO]


async def test_a_given_client_stays_open(client: redis.asyncio.Redis) -> None:
    async with RedisSession("s", client=client) as session:
        await session.add_items([HELLO])
    assert await client.ping()


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"url": "postgresql://user:secret@host"}, "url"),
        ({"url": "localhost:6379"}, "url"),
        ({"url": None}, "url"),
        ({"url": "redis://host:port/0"}, "url"),
        ({"key_prefix": ""}, "key_prefix"),
        ({"key_prefix": "a{b}"}, "key_prefix"),
        ({"ttl_seconds": 0}, "ttl_seconds"),
        ({"ttl_seconds": -1}, "ttl_seconds"),
        ({"ttl_seconds": True}, "ttl_seconds"),
        ({"ttl_seconds": float("inf")}, "ttl_seconds"),
        ({"timeout": 0}, "timeout"),
        ({"session_id": ""}, "session_id"),
        ({"tenant": "a\n"}, "tenant"),
    ],
)
def test_what_cannot_be_is_an_error_that_names_it(given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as error:
        RedisSession.from_url(**{"session_id": "s", "url": "redis://127.0.0.1:1", **given})
    assert error.value.field == field
    assert "secret" not in str(error.value)


async def test_a_redis_that_refuses_is_told_without_its_url() -> None:
    async with RedisSession.from_url("s", url="redis://user:secret@127.0.0.1:1/0") as session:
        for call in (session.get_items(), session.add_items([HELLO]), session.pop_item()):
            with pytest.raises(StoreUnavailable) as error:
                await call
            assert (error.value.store, error.value.fault) == ("redis", "ConnectionError")
            assert "secret" not in str(error.value)


async def test_a_redis_that_does_not_answer_is_told_in_time(proxy: Proxy) -> None:
    async with RedisSession.from_url("s", url=proxy.url, timeout=0.2) as session:
        await session.add_items([HELLO])
        proxy.hold()
        with pytest.raises(StoreUnavailable):
            await session.get_items()
        proxy.release()
        assert await session.get_items() == [HELLO]


async def test_a_key_that_holds_something_else_is_told(client: redis.asyncio.Redis) -> None:
    session = RedisSession("s", client=client)
    await client.set(session.key, "not a list")
    for call in (session.get_items(), session.add_items([HELLO]), session.pop_item()):
        with pytest.raises(ConfigurationError, match="key_prefix"):
            await call
    assert await client.get(session.key) == b"not a list"


async def test_a_wrong_password_is_told(redis_url: str) -> None:
    url = redis_url.replace("redis://", "redis://nobody:secret@")
    async with RedisSession.from_url("s", url=url) as session:
        with pytest.raises(ConfigurationError) as error:
            await session.get_items()
    assert "secret" not in str(error.value)


async def test_an_add_that_is_cut_off_stands_whole_or_not_at_all(
    proxy: Proxy, client: redis.asyncio.Redis
) -> None:
    session = RedisSession.from_url("s", url=proxy.url, timeout=2)
    await session.add_items([HELLO])
    # the connection breaks within the request
    proxy.cut_after(10_000)
    with pytest.raises(StoreUnavailable):
        await session.add_items([user_message("x" * 100) for _ in range(500)])
    await session.aclose()
    proxy.mend()
    assert await RedisSession("s", client=client).get_items() == [HELLO]


async def test_what_a_client_sends_twice_by_itself_is_done_once(
    proxy: Proxy, client: redis.asyncio.Redis
) -> None:
    eager = redis.asyncio.Redis.from_url(proxy.url, retry=Retry(NoBackoff(), 3))
    session = RedisSession("s", client=eager)
    await session.add_items([HELLO])
    proxy.lose_answers(1)
    await session.add_items([user_message("once")])
    assert await session.get_items() == [HELLO, user_message("once")]
    proxy.lose_answers(1)
    assert await session.pop_item() == user_message("once")
    assert await session.get_items() == [HELLO]
    assert proxy.lost == 2
    await eager.aclose()


@pytest.mark.parametrize("replaces", [False, True], ids=["clear", "replace"])
async def test_what_was_added_meanwhile_is_not_taken_by_a_change_that_is_sent_again(
    proxy: Proxy, client: redis.asyncio.Redis, replaces: bool
) -> None:
    eager = redis.asyncio.Redis.from_url(proxy.url, retry=Retry(NoBackoff(), 3))
    session, other = RedisSession("s", client=eager), RedisSession("s", client=client)
    await session.add_items([HELLO])
    # the answer is held; another writer adds; then the answer is lost, and the client sends the change again
    proxy.lose_answers(1)
    proxy.hold_answers()
    changing = asyncio.create_task(session.replace_items([HELLO]) if replaces else session.clear_session())
    await eventually(lambda: proxy.is_holding_something)
    await other.add_items([user_message("meanwhile")])
    proxy.release()
    await changing
    assert await other.get_items() == [*([HELLO] if replaces else []), user_message("meanwhile")]
    assert proxy.lost == 1
    await eager.aclose()


async def test_a_text_that_a_decoding_client_cannot_read_is_told_without_it(redis_url: str) -> None:
    client = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    session = RedisSession("s", client=client)
    await session.add_items([HELLO])
    await client.rpush(session.key, b"\xffsecret")
    with pytest.raises(ConfigurationError, match="decode_responses") as error:
        await session.get_items()
    assert "secret" not in str(error.value)
    await client.aclose()


async def test_a_call_that_is_cancelled_leaves_the_session_usable(proxy: Proxy) -> None:
    async with RedisSession.from_url("s", url=proxy.url) as session:
        await session.add_items([HELLO])
        proxy.hold()
        for call in (session.get_items(), session.add_items([user_message("late")])):
            task = asyncio.create_task(call)
            await eventually(lambda: proxy.is_holding_something)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        proxy.release()
        found = await session.get_items()
        assert found in ([HELLO], [HELLO, user_message("late")])
