"""The heartbeat: leases are renewed together, and what cannot be renewed is not worked on."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import select

from tests.fakes.model_server import ScriptedModel, echo
from tests.fakes.replies import text
from tests.fakes.wait import eventually
from tests.fakes.worker import Worker, running_worker, texts
from turnkeeper_storage.errors import DatabaseUnavailable
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.tables import sessions
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_worker.agents import Agent

agent = Agent(name="support", model="gpt-5.2")


async def lease_ends(worker: Worker) -> list[object]:
    ends = select(sessions.c.lease_until).order_by(sessions.c.session_key)

    async def read(uow: UnitOfWork) -> list[object]:
        return [row[0] for row in await uow.execute(ends)]

    return await worker.database.read(read)


async def test_a_heartbeat_renews_all_leases_of_the_process(migrated_url: str) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_url, model, agents=[agent], heartbeat_seconds=0.05) as worker,
    ):
        model.hold()
        for name in "abc":
            await worker.client.enqueue(name, "hello", agent="support")
        await model.wait_for(3)
        before = await lease_ends(worker)

        async def renewed() -> bool:
            pairs = zip(await lease_ends(worker), before, strict=True)
            return all(now > then for now, then in pairs)  # type: ignore[operator]

        await eventually(renewed)
        model.release()


async def test_a_run_longer_than_its_lease_is_not_taken_by_another(migrated_url: str) -> None:
    settings: dict[str, Any] = {"lease_seconds": 0.6, "heartbeat_seconds": 0.1, "sweep_seconds": 0.1}
    async with (
        ScriptedModel(text("at last")) as model,
        running_worker(migrated_url, model, agents=[agent], **settings) as worker,
        running_worker(migrated_url, model, agents=[agent], delivers=False, **settings),
    ):
        model.hold()
        run = await worker.client.enqueue("s", "hello", agent="support")
        await model.wait_for(1)
        first_end = worker.held("s").deadline
        await eventually(lambda: worker.held("s").deadline > first_end + 1.0)
        model.release()

        assert (await run.wait(10)).output == "at last"
        assert len(model.requests) == 1


async def test_a_worker_whose_lease_was_taken_stops_at_once_and_writes_nothing(migrated_url: str) -> None:
    async with (
        ScriptedModel(text("of the one that lost"), text("of the one that took")) as model,
        running_worker(migrated_url, model, agents=[agent], heartbeat_seconds=0.05) as loser,
    ):
        model.hold()
        run = await loser.client.enqueue("s", "hello", agent="support")
        await model.wait_for(1)
        task = loser.held("s").task
        assert task is not None
        await loser.lease_is_taken("s")
        await asyncio.wait({task}, timeout=10)
        await model.wait_for_in_flight(0)  # its model call is dropped
        assert task.cancelled()

        await loser.lease_runs_out("s")
        model.release()
        async with running_worker(migrated_url, model, agents=[agent]) as heir:
            assert (await heir.client.wait(run.id, 10)).output == "of the one that took"
            assert texts(await heir.history("s")) == ["hello", "of the one that took"]


async def test_a_worker_that_does_not_know_of_its_loss_is_refused_by_the_fence(migrated_url: str) -> None:
    async with (
        ScriptedModel(text("of the one that lost"), text("of the one that took")) as model,
        running_worker(migrated_url, model, agents=[agent], starts=False) as loser,
    ):
        model.hold()
        run = await loser.client.enqueue("s", "hello", agent="support")
        await model.wait_for(1)
        task = loser.held("s").task
        assert task is not None
        await loser.lease_is_taken("s")
        model.release()
        await asyncio.wait({task}, timeout=10)

        assert task.exception() is None
        assert (await run.get()).status is RunStatus.RUNNING
        assert await loser.history("s") == []


async def test_without_a_heartbeat_a_worker_stops_by_its_own_clock(migrated_sqlite: str) -> None:
    settings: dict[str, Any] = {"lease_seconds": 0.5, "heartbeat_seconds": 0.1}
    async with (
        ScriptedModel(text("never heard")) as model,
        running_worker(migrated_sqlite, model, agents=[agent], **settings) as worker,
    ):
        model.hold()
        run = await worker.client.enqueue("s", "hello", agent="support")
        await model.wait_for(1)
        task, transact = worker.held("s").task, worker.database.transact
        assert task is not None

        async def away(work, name="", **more):  # type: ignore[no-untyped-def]
            raise DatabaseUnavailable("the database is away")

        worker.database.transact = away  # type: ignore[method-assign]
        await asyncio.wait({task}, timeout=10)
        await model.wait_for_in_flight(0)
        worker.database.transact = transact  # type: ignore[method-assign]

        assert task.cancelled()
        assert (await run.get()).status is RunStatus.RUNNING
        assert await worker.history("s") == []


async def test_a_cancel_is_heard_with_the_next_beat(migrated_url: str) -> None:
    async with (
        ScriptedModel(text("never heard")) as model,
        running_worker(migrated_url, model, agents=[agent], heartbeat_seconds=0.05) as worker,
    ):
        model.hold()
        run = await worker.client.enqueue("s", "hello", agent="support")
        await model.wait_for(1)
        held = worker.held("s")
        assert not held.cancel_requested.is_set()
        await run.cancel()
        await asyncio.wait_for(held.cancel_requested.wait(), 10)

        assert (await run.wait(10)).status is RunStatus.CANCELLED


async def test_a_cancel_of_one_run_does_not_reach_the_next(migrated_url: str) -> None:
    async with (
        ScriptedModel(text("never heard"), text("two!")) as model,
        running_worker(migrated_url, model, agents=[agent], heartbeat_seconds=0.05) as worker,
    ):
        model.hold()
        first = await worker.client.enqueue("s", "one", agent="support")
        second = await worker.client.enqueue("s", "two", agent="support")
        await model.wait_for(1)
        await first.cancel()
        assert (await first.wait(10)).status is RunStatus.CANCELLED
        model.release()

        assert (await second.wait(10)).output == "two!"
