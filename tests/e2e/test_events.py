"""Following runs: a real worker, a real model server, a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from tests.fakes.model_server import ScriptedModel
from tests.fakes.processes import Processes
from tests.fakes.replies import calls, cut, text
from tests.fakes.site import Site, start_model
from tests.fakes.wait import eventually
from tests.fakes.worker import running_worker
from turnkeeper_client import AsyncClient, Client, RunEvent
from turnkeeper_client import events as events_module
from turnkeeper_storage.cursor import Cursor, parse_cursor
from turnkeeper_storage.errors import InvalidInput, NotFound, WaitTimeout
from turnkeeper_storage.live_wire import CLIENT_NAME
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.tools import tool

STORY = "Once upon a time there was a queue that lost nothing, and told everyone so, word by word."


@tool
async def order_status(order_id: str) -> str:
    """Look an order up."""
    return f"order {order_id} is on its way"


support = Agent(name="support", model="gpt-5.2", tools=[order_status])


async def everything(events: AsyncIterator[RunEvent]) -> list[RunEvent]:
    async with asyncio.timeout(20):
        return [event async for event in events]


def durable(events: Sequence[RunEvent]) -> list[tuple[int, str]]:
    return [(event.n, event.type) for event in events if is_durable(event)]


def is_durable(event: RunEvent) -> bool:
    return not event.type.startswith("delta.") and event.type != "gap"


def said(events: Sequence[RunEvent]) -> str:
    return "".join(event.data["text"] for event in events if event.type == "delta.text")


async def test_the_deltas_of_a_streamed_run_are_its_output(migrated_url: str, redis_url: str) -> None:
    async with (
        ScriptedModel(text(STORY)) as model,
        running_worker(migrated_url, model, agents=[support], redis_url=redis_url) as worker,
    ):
        run = await worker.client.enqueue("customer-42", "A story", agent="support", stream=True)
        events = await everything(run.events())
        assert durable(events) == [
            (1, "run.queued"),
            (2, "run.started"),
            (3, "turn.finished"),
            (4, "run.completed"),
        ]
        assert said(events) == STORY == (await run.get()).output
        places = [parse_cursor(event.cursor) for event in events]
        assert places == sorted(set(places))


async def test_deltas_of_arguments_name_their_call(migrated_sqlite: str, redis_url: str) -> None:
    async with (
        ScriptedModel(
            calls(
                ("order_status", {"order_id": "7"}, "call_a"), ("order_status", {"order_id": "8"}, "call_b")
            ),
            text("Both are on their way."),
        ) as model,
        running_worker(migrated_sqlite, model, agents=[support], redis_url=redis_url) as worker,
    ):
        run = await worker.client.enqueue("customer-42", "Orders 7 and 8?", agent="support", stream=True)
        events = await everything(run.events())
        arguments: dict[str, str] = {}
        for event in events:
            if event.type == "delta.arguments":
                call = event.data["call"]
                arguments[call] = arguments.get(call, "") + event.data["text"]
        stored = {call.call_id: call.arguments for call in await worker.calls(run.id)}
        assert arguments == stored
        assert set(arguments) == {"call_a", "call_b"}


async def test_a_run_that_is_not_streamed_has_durable_events_only(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with (
        ScriptedModel(text(STORY)) as model,
        running_worker(migrated_sqlite, model, agents=[support], redis_url=redis_url) as worker,
    ):
        run = await worker.client.enqueue("customer-42", "A story", agent="support")
        events = await everything(run.events())
        assert [event.type for event in events] == [
            "run.queued",
            "run.started",
            "turn.finished",
            "run.completed",
        ]


async def test_without_a_redis_the_durable_events_are_all_there(migrated_sqlite: str) -> None:
    async with (
        ScriptedModel(text(STORY)) as model,
        running_worker(migrated_sqlite, model, agents=[support]) as worker,
    ):
        run = await worker.client.enqueue("customer-42", "A story", agent="support", stream=True)
        events = await everything(run.events())
        assert [event.type for event in events] == [
            "run.queued",
            "run.started",
            "turn.finished",
            "run.completed",
        ]


async def test_after_a_restarted_turn_the_text_begins_anew(migrated_sqlite: str, redis_url: str) -> None:
    async with (
        ScriptedModel(cut(text(STORY), after=8), text(STORY)) as model,
        running_worker(
            migrated_sqlite, model, agents=[support], redis_url=redis_url, model_retries=1
        ) as worker,
    ):
        run = await worker.client.enqueue("customer-42", "A story", agent="support", stream=True)
        events = await everything(run.events())
        types = [event.type for event in events]
        restart = types.index("turn.restarted")
        partial = said(events[:restart])
        assert partial != STORY
        assert STORY.startswith(partial)
        assert said(events[restart:]) == STORY
        assert "gap" not in types
        assert [n for n, _ in durable(events)] == [1, 2, 3, 4, 5]


async def test_a_reader_that_comes_back_after_each_event_misses_and_doubles_none(
    migrated_url: str, redis_url: str
) -> None:
    async with (
        ScriptedModel(calls(("order_status", {"order_id": "7"})), text(STORY)) as model,
        running_worker(migrated_url, model, agents=[support], redis_url=redis_url) as worker,
    ):
        run = await worker.client.enqueue("customer-42", "Order 7?", agent="support", stream=True)
        got: list[RunEvent] = []
        async with asyncio.timeout(20):
            while not got or got[-1].type != "run.completed":
                events = run.events(after=got[-1].cursor if got else 0)
                got.append(await anext(events))
                await events.aclose()
        assert [n for n, _ in durable(got)] == [1, 2, 3, 4, 5]
        assert said(got) == STORY
        assert "gap" not in {event.type for event in got}

        whole = await everything(run.events())
        assert whole == got
        for cut_at, event in enumerate(whole, start=1):
            assert await everything(run.events(after=event.cursor)) == whole[cut_at:]


async def test_two_hundred_followers_share_one_connection(migrated_sqlite: str, redis_url: str) -> None:
    import redis.asyncio

    async with (
        ScriptedModel(answer=lambda body: text(STORY)) as model,
        running_worker(migrated_sqlite, model, agents=[support], redis_url=redis_url) as worker,
        redis.asyncio.Redis.from_url(redis_url) as ops,
    ):
        model.hold()
        runs = [
            await worker.client.enqueue(f"customer-{i}", "A story", agent="support", stream=True)
            for i in range(100)
        ]
        number = redis_url.rpartition("/")[2]

        async def connections() -> int:
            listed = await ops.client_list()
            return sum(one["name"] == CLIENT_NAME and one["db"] == number for one in listed)

        following = [asyncio.create_task(everything(run.events())) for run in runs for _ in range(2)]
        await model.wait_for_in_flight(100)
        assert await connections() == 1
        model.release()
        for events in await asyncio.gather(*following):
            assert said(events) == STORY
            assert [n for n, _ in durable(events)] == [1, 2, 3, 4]
        assert await connections() == 1
        await worker.client.aclose()
        assert await connections() == 0


async def test_a_cancel_is_heard_by_who_follows(migrated_sqlite: str, redis_url: str) -> None:
    async with AsyncClient(
        database_url=migrated_sqlite, broker_url="memory://", redis_url=redis_url
    ) as client:
        run = await client.enqueue("customer-42", "Wait", agent="support")
        events = run.events()
        assert (await anext(events)).type == "run.queued"
        rest = asyncio.create_task(everything(events))
        await run.cancel()
        assert [event.type for event in await rest] == ["run.cancelled"]


async def test_deltas_can_be_left_out(migrated_sqlite: str, redis_url: str) -> None:
    async with (
        ScriptedModel(text(STORY)) as model,
        running_worker(migrated_sqlite, model, agents=[support], redis_url=redis_url) as worker,
    ):
        run = await worker.client.enqueue("customer-42", "A story", agent="support", stream=True)
        events = await everything(run.events(deltas=False))
        assert [event.n for event in events] == [1, 2, 3, 4]


async def test_the_synchronous_client_iterates_and_resumes(migrated_sqlite: str, redis_url: str) -> None:
    async with (
        ScriptedModel(text(STORY)) as model,
        running_worker(migrated_sqlite, model, agents=[support], redis_url=redis_url) as worker,
    ):
        run = await worker.client.enqueue("customer-42", "A story", agent="support", stream=True)

        def follow() -> list[RunEvent]:
            with Client(settings=worker.client.settings) as client:
                first = next(iter(client.events(run.id)))
                return [first, *client.events(run.id, after=first.cursor, timeout=20)]

        events = await asyncio.to_thread(follow)
        assert [n for n, _ in durable(events)] == [1, 2, 3, 4]
        assert said(events) == STORY


async def test_a_run_that_goes_on_after_the_timeout_is_told_apart(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with AsyncClient(
        database_url=migrated_sqlite, broker_url="memory://", redis_url=redis_url
    ) as client:
        run = await client.enqueue("customer-42", "Wait", agent="support")
        with pytest.raises(WaitTimeout, match=r"still queued after 0\.05 s"):
            await everything(run.events(timeout=0.05))


async def test_after_the_last_event_there_is_nothing_and_past_it_an_error(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with AsyncClient(
        database_url=migrated_sqlite, broker_url="memory://", redis_url=redis_url
    ) as client:
        run = await client.enqueue("customer-42", "Wait", agent="support")
        await run.cancel()
        assert await everything(run.events(after=2)) == []
        with pytest.raises(InvalidInput, match="past the run's last event, 2"):
            await everything(run.events(after="3"))


@pytest.mark.parametrize("after", ["", "x", "1:2", "-1", "1:2:3:4", -1, True, 1.5, "9" * 30, "١"])
async def test_what_is_no_cursor_is_refused_by_name(migrated_sqlite: str, after: object) -> None:
    async with AsyncClient(database_url=migrated_sqlite, broker_url="memory://") as client:
        with pytest.raises(InvalidInput, match="after"):
            client.events("run_" + "0" * 42, after)  # type: ignore[arg-type]


async def test_a_run_of_another_tenant_cannot_be_followed(migrated_sqlite: str) -> None:
    async with (
        AsyncClient(database_url=migrated_sqlite, broker_url="memory://") as ana,
        AsyncClient(database_url=migrated_sqlite, broker_url="memory://", tenant="other") as ben,
    ):
        run = await ana.enqueue("customer-42", "Wait", agent="support")
        with pytest.raises(NotFound):
            await everything(ben.events(run.id))


def test_a_cursor_reads_back_as_it_was_written() -> None:
    for cursor in (Cursor(), Cursor(3), Cursor(3, 2, 7), Cursor(3, 0, 7)):
        assert parse_cursor(str(cursor)) == cursor


async def test_a_wait_and_a_follower_are_woken_by_the_end_and_poll_nothing(
    migrated_sqlite: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "FIRST_PATIENCE", 600.0)
    async with (
        ScriptedModel(text(STORY)) as model,
        running_worker(migrated_sqlite, model, agents=[support], redis_url=redis_url) as worker,
    ):
        model.hold()
        run = await worker.client.enqueue("customer-42", "A story", agent="support")
        waiting = asyncio.create_task(run.wait(20))
        following = asyncio.create_task(everything(run.events()))
        await model.wait_for(1)
        backend = worker.client._backend
        await eventually(lambda: backend._hub is not None and backend._hub._subscribed)
        model.release()
        assert (await waiting).output == STORY
        assert [event.n for event in await following] == [1, 2, 3, 4]
        assert backend._hub is not None
        assert not backend._hub._feeds


async def test_a_follower_that_leaves_is_forgotten(migrated_sqlite: str, redis_url: str) -> None:
    async with AsyncClient(
        database_url=migrated_sqlite, broker_url="memory://", redis_url=redis_url
    ) as client:
        run = await client.enqueue("customer-42", "Wait", agent="support")
        async with contextlib.aclosing(run.events()) as events:
            await anext(events)
            hub = client._backend._hub
            assert hub is not None
            await eventually(lambda: hub._subscribed)
        assert not hub._feeds
        assert not hub._subscribed


async def test_a_worker_process_speaks_over_the_brokers_redis(
    migrated_sqlite: str, redis_url: str, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "FIRST_PATIENCE", 600.0)
    site = Site(processes, migrated_sqlite, redis_url, start_model(processes, "--latency", "0.3"))
    site.workers(1)
    async with site.client() as client:
        run = await client.enqueue("customer-42", "Hello there", agent="support", stream=True)
        events = await everything(run.events())
        assert [n for n, _ in durable(events)] == [1, 2, 3, 4]
        assert said(events) == "echo: Hello there"
