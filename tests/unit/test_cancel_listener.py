"""Cancels that are told through Redis: real, forged, missed. Beats are half a minute apart in these tests."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AbstractAsyncContextManager

import pytest
from redis.asyncio import Redis

from tests.fakes.model_server import ScriptedModel, echo
from tests.fakes.wait import eventually
from tests.fakes.worker import Worker, running_worker
from turnkeeper_storage import ids
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.publisher import cancel_channel
from turnkeeper_storage.verbs.cancel import cancel
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.cancel_listener import CLIENT_NAME

agent = Agent(name="support", model="gpt-5.2")
CHANNEL = cancel_channel("turnkeeper")


def slow_worker(url: str, model: ScriptedModel, redis_url: str) -> AbstractAsyncContextManager[Worker]:
    """A worker whose beats come too late for these tests."""
    return running_worker(
        url, model, agents=[agent], redis_url=redis_url, heartbeat_seconds=30.0, lease_seconds=90.0
    )


async def listens(redis: Redis, count: int = 1) -> list[dict[str, str]]:
    """The connections of so many workers that listen in this database of Redis, once they do."""
    database = str(redis.connection_pool.connection_kwargs["db"])

    async def connections() -> list[dict[str, str]]:
        clients = await redis.client_list(_type="pubsub")
        ours = [one for one in clients if (one["name"], one["db"]) == (CLIENT_NAME, database)]
        return ours if len(ours) == count else []

    return await eventually(connections)


async def flag_silently(worker: Worker, run_id: str) -> None:
    """A cancel whose teller died after its commit."""
    key = ids.key_of(run_id)
    await worker.database.transact(lambda uow: cancel(uow, key, run_id, tenant="default"))


async def test_a_run_whose_model_call_hangs_is_cancelled_long_before_the_next_beat(
    migrated_url: str, redis_url: str
) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        Redis.from_url(redis_url) as redis,
        slow_worker(migrated_url, model, redis_url) as worker,
    ):
        await listens(redis)
        model.hold()
        run = await worker.client.enqueue("s", "hello", agent="support")
        await model.wait_for(1)
        asked_at = time.monotonic()
        await run.cancel()

        assert (await run.wait(10)).status is RunStatus.CANCELLED
        assert time.monotonic() - asked_at < 5  # far below a beat, with room for a busy machine
        await model.wait_for_in_flight(0)


async def test_the_next_run_of_the_session_is_not_cancelled_with_it(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        Redis.from_url(redis_url) as redis,
        slow_worker(migrated_sqlite, model, redis_url) as worker,
    ):
        await listens(redis)
        model.hold()
        first = await worker.client.enqueue("s", "one", agent="support")
        second = await worker.client.enqueue("s", "two", agent="support")
        await model.wait_for(1)
        await first.cancel()
        await model.wait_for(2)
        await redis.publish(CHANNEL, first.id)
        await redis.publish(CHANNEL, second.id)
        model.release()

        assert (await second.wait(10)).status is RunStatus.COMPLETED
        assert (await first.get()).status is RunStatus.CANCELLED


async def test_a_forged_message_cancels_nothing(migrated_url: str, redis_url: str) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        Redis.from_url(redis_url) as redis,
        slow_worker(migrated_url, model, redis_url) as worker,
    ):
        await listens(redis)
        model.hold()
        forged = await worker.client.enqueue("forged", "hello", agent="support")
        real = await worker.client.enqueue("real", "hello", agent="support")
        await model.wait_for(2)
        other_run = ids.new_run_id(ids.key_of(forged.id))
        nonsense = (b"", b"\xff\xfe", b"run_", b"run_" + b"!" * 42, b"x" * 10_000)
        for payload in (forged.id.encode(), other_run.encode(), *nonsense):
            assert await redis.publish(CHANNEL, payload) >= 1
        await real.cancel()  # told after them: when it has worked, they were looked at
        assert (await real.wait(10)).status is RunStatus.CANCELLED
        assert not worker.held("forged").cancel_requested.is_set()
        model.release()

        assert (await forged.wait(10)).output == "echo: hello"


async def test_what_was_told_while_nobody_listened_is_looked_up_on_return(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        Redis.from_url(redis_url) as redis,
        slow_worker(migrated_sqlite, model, redis_url) as worker,
    ):
        (connection,) = await listens(redis)
        model.hold()
        run = await worker.client.enqueue("s", "hello", agent="support")
        await model.wait_for(1)
        await flag_silently(worker, run.id)
        assert not worker.held("s").cancel_requested.is_set()
        await redis.client_kill_filter(_id=connection["id"])

        assert (await run.wait(10)).status is RunStatus.CANCELLED


async def test_a_cancel_that_comes_while_its_session_is_being_claimed_is_heard(
    migrated_sqlite: str, redis_url: str
) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        Redis.from_url(redis_url) as redis,
        slow_worker(migrated_sqlite, model, redis_url) as worker,
    ):
        await listens(redis)
        gate, is_claimed, transact = asyncio.Event(), asyncio.Event(), worker.database.transact

        async def late(work, name="", **more):  # type: ignore[no-untyped-def]  # the answer of the claim's commit is slow
            answer = await transact(work, name, **more)
            task = asyncio.current_task()
            if task is not None and task.get_name() == "turnkeeper-claim":
                is_claimed.set()
                await gate.wait()
            return answer

        worker.database.transact = late  # type: ignore[method-assign]
        model.hold()
        run = await worker.client.enqueue("s", "hello", agent="support")
        await is_claimed.wait()
        reads, read = asyncio.Event(), worker.database.read

        async def noted(work):  # type: ignore[no-untyped-def]  # the listener has looked
            answer = await read(work)
            reads.set()
            return answer

        worker.database.read = noted  # type: ignore[method-assign]
        await run.cancel()
        await asyncio.wait_for(reads.wait(), 10)
        gate.set()

        assert (await run.wait(10)).status is RunStatus.CANCELLED


async def test_a_redis_that_is_away_is_said_once_and_the_worker_works_on(
    migrated_sqlite: str, caplog: pytest.LogCaptureFixture
) -> None:
    nobody = "redis://127.0.0.1:9/0"
    said = "cancels are not heard"
    with caplog.at_level(logging.WARNING, "turnkeeper_worker.cancel_listener"):
        async with (
            ScriptedModel(answer=echo) as model,
            slow_worker(migrated_sqlite, model, nobody) as worker,
        ):
            await eventually(lambda: said in caplog.text)
            run = await worker.client.enqueue("s", "hello", agent="support")
            assert (await run.wait(10)).status is RunStatus.COMPLETED

        assert caplog.text.count(said) == 1


async def test_without_a_redis_the_heartbeat_sees_the_cancel(migrated_sqlite: str) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_sqlite, model, agents=[agent], heartbeat_seconds=0.1) as worker,
    ):
        assert not [task for task in worker.host._loops if task.get_name() == "turnkeeper-cancels"]
        model.hold()
        run = await worker.client.enqueue("s", "hello", agent="support")
        await model.wait_for(1)
        await run.cancel()

        assert (await run.wait(10)).status is RunStatus.CANCELLED


async def test_the_connection_ends_with_the_worker(migrated_sqlite: str, redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        async with (
            ScriptedModel(answer=echo) as model,
            running_worker(migrated_sqlite, model, agents=[agent], redis_url=redis_url),
        ):
            await listens(redis)

        await eventually(lambda: _none_listens(redis))


async def _none_listens(redis: Redis) -> bool:
    database = str(redis.connection_pool.connection_kwargs["db"])
    clients = await redis.client_list(_type="pubsub")
    return not [one for one in clients if (one["name"], one["db"]) == (CLIENT_NAME, database)]
