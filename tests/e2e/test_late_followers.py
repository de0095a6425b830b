"""Who begins to follow late, over a connection that is not there yet: what is stored counts as stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.fakes.proxy import Proxy
from tests.fakes.streamer import streaming
from tests.fakes.wait import eventually
from turnkeeper_client import AsyncClient, RunEvent, live_reader
from turnkeeper_storage import live_wire
from turnkeeper_storage.cursor import Cursor
from turnkeeper_storage.errors import WaitTimeout


def in_short(events: list[RunEvent]) -> list[str]:
    """The texts of deltas, the types of all others."""
    return [event.data["text"] if event.type == "delta.text" else event.type for event in events]


async def everything(events: AsyncIterator[RunEvent]) -> list[RunEvent]:
    async with asyncio.timeout(20):
        return [event async for event in events]


async def test_the_first_follower_of_a_client_gets_the_deltas_of_a_run_that_has_ended(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with streaming(migrated_sqlite, redis_url) as streamer:
        job = await streamer.start("customer-42")
        await job.say("a ", "b ")
        await job.finish()
        first = await everything(streamer.client.events(job.run.id))
        assert in_short(first) == ["run.queued", "run.started", "a ", "b ", "turn.finished", "run.completed"]
        assert await everything(streamer.client.events(job.run.id)) == first


async def test_who_joins_in_the_middle_gets_the_turns_before_and_what_this_one_said(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with streaming(migrated_sqlite, redis_url) as streamer:
        job = await streamer.start("customer-42")
        await job.say("a ", "b ")
        await job.next_turn()
        await job.say("c ")
        events = streamer.client.events(job.run.id)
        async with asyncio.timeout(20):
            got = [await anext(events) for _ in range(6)]
        assert in_short(got) == ["run.queued", "run.started", "a ", "b ", "turn.finished", "c "]
        await job.say("d ")
        await job.finish()
        assert in_short(await everything(events)) == ["d ", "turn.finished", "run.completed"]


async def test_who_joins_before_it_connects_waits_no_longer_than_asked(
    migrated_sqlite: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_reader, "FIRST_ATTEMPT_SECONDS", 600.0)
    monkeypatch.setattr(live_wire, "CONNECT_SECONDS", 600.0)
    async with Proxy(redis_url) as proxy:
        proxy.hold()
        async with AsyncClient(
            database_url=migrated_sqlite, broker_url="memory://", redis_url=proxy.url
        ) as client:
            run = await client.enqueue("customer-42", "Wait", agent="support", stream=True)
            with pytest.raises(WaitTimeout):
                await everything(run.events(timeout=0.05))


async def test_a_redis_that_lets_nobody_in_is_away_once_the_first_attempt_has_taken_too_long(
    migrated_sqlite: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_reader, "FIRST_ATTEMPT_SECONDS", 0.05)
    monkeypatch.setattr(live_wire, "CONNECT_SECONDS", 600.0)
    async with Proxy(redis_url) as proxy, streaming(migrated_sqlite, redis_url) as streamer:
        job = await streamer.start("customer-42")
        await job.say("a ", "b ")
        await job.finish()
        proxy.hold()
        async with AsyncClient(
            database_url=migrated_sqlite, broker_url="memory://", redis_url=proxy.url
        ) as client:
            got = await everything(client.events(job.run.id))
        assert in_short(got) == ["run.queued", "run.started", "gap", "turn.finished", "run.completed"]


async def test_a_redis_that_cannot_be_reached_is_away_with_the_first_attempt(
    migrated_sqlite: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_reader, "FIRST_ATTEMPT_SECONDS", 600.0)
    async with streaming(migrated_sqlite, redis_url) as streamer:
        job = await streamer.start("customer-42")
        await job.say("a ")
        await job.finish()
        async with AsyncClient(
            database_url=migrated_sqlite, broker_url="memory://", redis_url="redis://127.0.0.1:1/0"
        ) as client:
            got = await everything(client.events(job.run.id))
        assert in_short(got)[2:] == ["gap", "turn.finished", "run.completed"]


async def test_a_client_that_is_closed_while_a_follower_waits_for_the_connection_lets_it_go_on(
    migrated_sqlite: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_reader, "FIRST_ATTEMPT_SECONDS", 600.0)
    monkeypatch.setattr(live_wire, "CONNECT_SECONDS", 600.0)
    async with Proxy(redis_url) as proxy:
        proxy.hold()
        hub = live_reader.Hub(proxy.url, "turnkeeper")
        feed = hub.open("run_" + "0" * 42, deltas=True)
        waiting = asyncio.create_task(feed.replay(Cursor(2)))
        await eventually(lambda: proxy.is_holding_something)
        await hub.aclose()
        async with asyncio.timeout(20):
            assert await waiting == live_reader.NOTHING
