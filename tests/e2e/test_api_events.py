"""Server-sent events of runs: cut anywhere, slow, too many, over; all of it over one connection to Redis."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx2
import pytest
import redis
from fastapi import FastAPI
from starlette.types import Message

from tests.fakes.api import EventReader, Told, caller, events_of, serving, told, who
from tests.fakes.streamer import Job, Streamer, streaming
from tests.fakes.wait import eventually
from turnkeeper_api import create_app
from turnkeeper_client import live_reader
from turnkeeper_storage.live import stream_key
from turnkeeper_storage.live_wire import CLIENT_NAME

ALL = ["run.queued", "run.started", "turn.finished", "run.completed"]


@dataclass
class Api:
    """The API beside a worker by hand; `hub` is what its followers hear over."""

    streamer: Streamer
    app: FastAPI

    @property
    def hub(self) -> live_reader.Hub:
        found = self.streamer.client._backend._hub
        assert found is not None
        return found

    @property
    def feeds(self) -> list[live_reader.Feed]:
        hub = self.streamer.client._backend._hub
        return [] if hub is None else [feed for feeds in hub._feeds.values() for feed in feeds]

    def path(self, job: Job) -> str:
        return f"/v1/runs/{job.run.id}/events"


@contextlib.asynccontextmanager
async def api_on(database_url: str, redis_url: str, **settings: object) -> AsyncIterator[Api]:
    async with streaming(database_url, redis_url, **settings) as streamer:
        yield Api(streamer, create_app(client=streamer.client, authenticate=told))


@contextlib.asynccontextmanager
async def browser(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    """Somebody who calls the API through a server."""
    async with serving(app) as url, httpx2.AsyncClient(base_url=url, headers=who(), timeout=30) as client:
        yield client


def durable(events: list[Told]) -> list[tuple[int, str]]:
    return [(one.data["n"], one.type) for one in events if not one.type.startswith(("delta.", "gap"))]


def said(events: list[Told]) -> str:
    return "".join(one.data["data"]["text"] for one in events if one.type == "delta.text")


async def told_run(api: Api, *words: str) -> Job:
    """A run that said these words, and has ended."""
    job = await api.streamer.start("customer-42")
    await job.say(*words)
    await job.finish()
    return job


def forget_deltas(api: Api, job: Job, redis_url: str) -> None:
    """What was stored of the run is gone, as by its time limit."""
    with redis.Redis.from_url(redis_url) as stored:
        assert stored.delete(stream_key(api.streamer.settings.redis_prefix, job.run.id)) == 1


@dataclass
class Connection:
    """A connection by hand, to the app itself. While `blocked` nothing that is sent is taken."""

    api: Api
    job: Job
    last_id: str | None = None
    reader: EventReader = field(default_factory=EventReader)
    got: list[Told] = field(default_factory=list)
    status: int | None = None
    is_over: bool = False
    flows: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Until the app is done with it."""
        headers = {**who(), **({"Last-Event-ID": self.last_id} if self.last_id else {})}
        path = self.api.path(self.job)
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "http_version": "1.1",
            "scheme": "http",
            "server": ("api", 80),
            "client": ("test", 1),
            "root_path": "",
        }
        asked = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Message:
            for message in asked:
                return message
            await self.gone.wait()
            return {"type": "http.disconnect"}

        await self.api.app(scope, receive, self._send)
        self.is_over = True

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        await self.flows.wait()
        self.got += self.reader.read(message.get("body", b""))


@contextlib.asynccontextmanager
async def connected(
    api: Api, job: Job, *, flows: bool = True, last_id: str | None = None
) -> AsyncIterator[Connection]:
    connection = Connection(api, job, last_id)
    if flows:
        connection.flows.set()
    task = asyncio.create_task(connection.run())
    try:
        yield connection
    finally:
        connection.gone.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_run_is_told_as_it_happens_and_the_stream_ends_with_it(
    migrated_url: str, redis_url: str
) -> None:
    async with api_on(migrated_url, redis_url) as api, browser(api.app) as ana:
        job = await api.streamer.start("customer-42")
        asked = asyncio.create_task(events_of(ana, api.path(job)))
        await eventually(lambda: any(feed.is_live for feed in api.feeds))
        await job.say("Your ", "order")
        await job.finish()
        events = await asked
        assert [type_ for _, type_ in durable(events)] == ALL
        assert said(events) == "Your order"
        assert [one.id for one in events] == [one.data["cursor"] for one in events]
        assert [one.type for one in events] == [one.data["type"] for one in events]


async def test_who_has_the_last_event_is_told_not_to_come_back(migrated_sqlite: str, redis_url: str) -> None:
    async with api_on(migrated_sqlite, redis_url) as api, browser(api.app) as ana:
        job = await told_run(api, "Hello")
        events = await events_of(ana, api.path(job))
        again = await ana.get(api.path(job), headers={"Last-Event-ID": events[-1].id})
        assert (again.status_code, again.content) == (204, b"")


async def test_headers_keep_proxies_from_holding_the_stream_back(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with api_on(migrated_sqlite, redis_url) as api, browser(api.app) as ana:
        job = await told_run(api)
        answer = await ana.get(api.path(job))
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-store", "no")


async def test_a_stream_cut_at_any_byte_tells_each_durable_event_once(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with api_on(migrated_sqlite, redis_url) as api, browser(api.app) as ana:
        job = await told_run(api, "Your ", "order ", "is on its way.")
        whole = (await ana.get(api.path(job))).content
        after: dict[str, list[Told]] = {}
        for cut in range(len(whole) + 1):
            reader = EventReader()
            before = reader.read(whole[:cut])
            reader.cut()
            if reader.last_id not in after:
                at = {"Last-Event-ID": reader.last_id} if reader.last_id else {}
                rest = await ana.get(api.path(job), headers=at)
                after[reader.last_id] = EventReader().read(rest.content)
            both = before + after[reader.last_id]
            assert durable(both) == list(enumerate(ALL, start=1)), f"cut at byte {cut}"
            assert said(both) == "Your order is on its way.", f"cut at byte {cut}"
        assert len(after) == len(EventReader().read(whole)) + 1


async def test_a_reader_that_is_cut_again_and_again_while_the_run_goes_on_misses_and_doubles_nothing(
    migrated_url: str, redis_url: str
) -> None:
    async with api_on(migrated_url, redis_url) as api, browser(api.app) as ana:
        job = await api.streamer.start("customer-42")
        reader, got = EventReader(), list[Told]()
        sizes = itertools.cycle([1, 700, 90, 233, 2_000, 410])

        async def come_back(size: int) -> None:
            headers = {"Last-Event-ID": reader.last_id} if reader.last_id else {}
            async with ana.stream("GET", api.path(job), headers=headers) as answer:
                taken = b""
                async for piece in answer.aiter_raw():
                    taken = piece[:size]
                    size -= len(taken)
                    got.extend(reader.read(taken))
                    if size <= 0:
                        break
            reader.cut()

        async def follow() -> None:
            while not got or got[-1].type != "run.completed":
                await come_back(next(sizes))

        following = asyncio.create_task(follow())
        for turn in range(4):
            await job.say(*(f"{turn}.{word} " for word in range(5)))
            await job.next_turn()
        await job.finish()
        async with asyncio.timeout(30):
            await following
        ends = ["turn.finished"] * 5
        assert durable(got) == list(enumerate(["run.queued", "run.started", *ends, "run.completed"], start=1))
        assert said(got) == "".join(f"{turn}.{word} " for turn in range(4) for word in range(5))


async def test_a_quiet_stream_gives_signs_of_life(migrated_sqlite: str, redis_url: str) -> None:
    async with api_on(migrated_sqlite, redis_url, api_heartbeat_seconds=0.02) as api:
        job = await api.streamer.start("customer-42")
        async with connected(api, job) as connection:
            await eventually(lambda: connection.reader.comments >= 3)
            await eventually(lambda: len(connection.got) == 2)


async def test_deltas_that_are_gone_are_told_as_a_gap(migrated_sqlite: str, redis_url: str) -> None:
    async with api_on(migrated_sqlite, redis_url) as api, browser(api.app) as ana:
        job = await told_run(api, "a ", "b ", "c ")
        forget_deltas(api, job, redis_url)
        events = await events_of(ana, api.path(job))
        assert [one.type for one in events] == [*ALL[:2], "gap", *ALL[2:]]
        assert events[2].data["data"] == {"missed": 3}
        assert await events_of(ana, api.path(job), deltas="false") == [
            one for one in events if one.type != "gap"
        ]


async def test_a_slow_reader_is_held_within_bounds_and_told_what_it_missed(
    migrated_sqlite: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_reader, "MAX_WAITING", 20)
    monkeypatch.setattr(live_reader, "PAGE", 20)
    async with api_on(migrated_sqlite, redis_url) as api:
        job = await api.streamer.start("customer-42")
        async with connected(api, job, flows=False) as connection:
            await eventually(lambda: connection.status == 200)
            await eventually(lambda: any(feed.is_live for feed in api.feeds))
            for number in range(90):
                await job.say(f"{number} ")
                assert all(len(feed._deltas) <= 20 for feed in api.feeds)
            forget_deltas(api, job, redis_url)
            await job.finish()
            connection.flows.set()
            await eventually(lambda: connection.is_over)
        assert [type_ for _, type_ in durable(connection.got)] == ALL
        gaps = [one.data["data"]["missed"] for one in connection.got if one.type == "gap"]
        given = [one for one in connection.got if one.type == "delta.text"]
        assert gaps
        assert sum(gaps) + len(given) == 90


async def test_a_slow_reader_of_what_is_stored_is_given_all_of_it_a_page_at_a_time(
    migrated_sqlite: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_reader, "MAX_WAITING", 20)
    monkeypatch.setattr(live_reader, "PAGE", 20)
    async with api_on(migrated_sqlite, redis_url) as api:
        job = await api.streamer.start("customer-42")
        async with connected(api, job, flows=False) as connection:
            await eventually(lambda: connection.status == 200)
            await job.say(*(f"{number} " for number in range(90)))
            await job.finish()
            connection.flows.set()
            await eventually(lambda: connection.is_over)
        assert said(connection.got) == "".join(f"{number} " for number in range(90))
        assert "gap" not in {one.type for one in connection.got}


async def test_a_reader_that_takes_nothing_is_dropped_and_misses_nothing_durable(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with api_on(migrated_sqlite, redis_url, api_send_seconds=0.05) as api, browser(api.app) as ana:
        job = await api.streamer.start("customer-42")
        async with connected(api, job, flows=False) as connection:
            await eventually(lambda: connection.is_over)
        assert (connection.got, api.feeds) == ([], [])
        await job.say("Hello")
        await job.finish()
        assert [type_ for _, type_ in durable(await events_of(ana, api.path(job)))] == ALL


async def test_a_reader_that_goes_leaves_nothing_behind(migrated_sqlite: str, redis_url: str) -> None:
    async with api_on(migrated_sqlite, redis_url, api_max_streams=1) as api:
        job = await api.streamer.start("customer-42")
        async with connected(api, job) as first:
            await eventually(lambda: len(first.got) == 2)
            async with connected(api, job) as refused:
                await eventually(lambda: refused.is_over)
                assert refused.status == 503
            async with caller(api.app) as ana:
                wait = await ana.get(f"/v1/runs/{job.run.id}/wait", params={"timeout": 0})
                assert (wait.status_code, wait.json()["code"]) == (503, "too_many_streams")
                assert wait.headers["retry-after"] == "5"
                missing = await ana.get("/v1/runs/run_x/events")
                assert missing.status_code == 503
            first.gone.set()
            await eventually(lambda: first.is_over)
        assert api.feeds == []
        async with caller(api.app) as ana:
            # what is refused, or over at once, takes no place for good
            for _ in range(2):
                assert (await ana.get("/v1/runs/run_x/events")).status_code == 404
                wait = await ana.get(f"/v1/runs/{job.run.id}/wait", params={"timeout": 0})
                assert wait.status_code == 200
        async with connected(api, job) as next_one:
            await eventually(lambda: len(next_one.got) == 2)


async def test_a_stream_that_has_lasted_long_enough_ends_and_can_be_gone_on_with(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with api_on(migrated_sqlite, redis_url, api_stream_seconds=0.05) as api, browser(api.app) as ana:
        job = await api.streamer.start("customer-42")
        first = await events_of(ana, api.path(job))
        await job.finish()
        rest = await events_of(ana, api.path(job), last_id=first[-1].id)
        assert [type_ for _, type_ in durable(first + rest)] == ALL


@pytest.mark.parametrize("place", ["x", "-1", "999", "1:2", "1:2:3:4", "\u0661"])
async def test_a_cursor_that_is_none_is_refused_before_anything_is_sent(
    migrated_sqlite: str, redis_url: str, place: str
) -> None:
    async with api_on(migrated_sqlite, redis_url) as api, browser(api.app) as ana:
        job = await api.streamer.start("customer-42")
        answer = await ana.get(api.path(job), params={"after": place})
        assert (answer.status_code, answer.json()["field"]) == (422, "after")
        assert api.feeds == []


async def test_a_thousand_followers_of_two_hundred_runs_use_one_connection_to_redis(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with api_on(migrated_sqlite, redis_url) as api:
        jobs = [await api.streamer.start(f"session-{number}") for number in range(200)]
        async with contextlib.AsyncExitStack() as stack:
            readers = [await stack.enter_async_context(connected(api, job)) for job in jobs for _ in range(5)]
            await eventually(lambda: len(api.feeds) == 1_000, within=60)
            await eventually(lambda: len(api.hub._subscribed) == 200, within=60)
            assert _connections(redis_url) == 1
            for job in jobs:
                await job.say("Hello")
                await job.finish()
            await eventually(lambda: all(one.is_over for one in readers), within=60)
        for one in readers:
            assert [type_ for _, type_ in durable(one.got)] == ALL
            assert said(one.got) == "Hello"
        assert api.feeds == []
        assert api.hub._subscribed == set()


def _connections(redis_url: str) -> int:
    with redis.Redis.from_url(redis_url) as client:
        db = str(client.get_connection_kwargs()["db"])
        return sum(one["name"] == CLIENT_NAME and one["db"] == db for one in client.client_list())
