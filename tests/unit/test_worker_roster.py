"""The list of workers: each tells of itself, leaves at its end, and does no harm when it cannot."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from sqlalchemy import delete, literal, text, update

from tests.fakes.model_server import ScriptedModel, echo
from tests.fakes.wait import eventually
from tests.fakes.worker import Worker, running_worker
from turnkeeper_client import AsyncClient, WorkerSnapshot
from turnkeeper_client.at_work import workers_of
from turnkeeper_storage.database import Database
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.owner_names import OwnerName, holds_a_lock, process_of
from turnkeeper_storage.repositories import workers
from turnkeeper_storage.repositories.overview import Holding
from turnkeeper_storage.settings import load_settings
from turnkeeper_storage.sql_types import SECONDS, after
from turnkeeper_storage.tables import workers as workers_table
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.app import Turnkeeper
from turnkeeper_worker.presence import Presence
from turnkeeper_worker.roster import LEAST_FORGET_SECONDS, Roster
from turnkeeper_worker.runtime import Runtime

agent = Agent(name="support", model="gpt-5.2")


async def listed(worker: Worker) -> list[WorkerSnapshot]:
    return list(await worker.client.workers())


async def run_sql(database: Database, statement: Any) -> None:
    async def write(uow: UnitOfWork) -> None:
        await uow.execute(statement)

    await database.transact(write)


async def seen_before(database: Database, seconds: float) -> None:
    """All workers were last seen so many seconds ago."""
    ago = after(literal(-seconds, type_=SECONDS))
    await run_sql(database, update(workers_table).values(seen_at=ago))


async def test_a_worker_tells_of_its_slots_and_of_what_it_works_on_and_leaves_at_its_end(
    migrated_url: str,
) -> None:
    database = Database(migrated_url)
    try:
        async with (
            ScriptedModel(answer=echo) as model,
            running_worker(
                migrated_url, model, agents=[agent], sweep_seconds=0.05, concurrency=7, over_http=False
            ) as worker,
        ):
            (idle,) = await eventually(lambda: listed(worker))
            assert (idle.slots, idle.in_flight, idle.silent, idle.queue) == (7, 0, False, "turnkeeper")
            model.hold()
            run = await worker.client.enqueue("s", "Hello", agent="support")

            async def busy() -> bool:
                return [(one.in_flight, one.live, one.lost) for one in await listed(worker)] == [(1, 1, 0)]

            await eventually(busy)
            model.release()
            assert (await run.wait(10)).status is RunStatus.COMPLETED
        assert await database.read(workers.list_workers) == []
    finally:
        await database.aclose()


async def test_a_worker_that_died_is_silent_with_its_lost_leases_until_it_is_forgotten(
    migrated_url: str,
) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_url, model, agents=[agent], over_http=False) as worker,
    ):
        await eventually(lambda: listed(worker))
        model.hold()
        await worker.client.enqueue("s", "Hello", agent="support")
        await model.wait_for(1)
        await worker.die()
        await worker.lease_runs_out("s")
        await seen_before(worker.database, 250.0)
        (dead,) = await listed(worker)
        assert (dead.silent, dead.live, dead.lost) == (True, 0, 1)
        await seen_before(worker.database, LEAST_FORGET_SECONDS * 5)
        heir = Roster(worker.database, "heir", worker.client.settings, lambda: 0)
        assert await heir.show() == 1
        found = {one.name: one for one in await worker.client.workers()}
        # its lease still tells of it
        assert (found["heir"].lost, found["heir"].silent) == (0, False)
        assert [(one.slots, one.lost) for name, one in found.items() if name != "heir"] == [(None, 1)]


async def test_a_worker_that_cannot_write_its_row_works_on_and_ends(
    migrated_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_url, model, agents=[agent], sweep_seconds=0.05) as worker,
    ):
        await run_sql(worker.database, text("DROP TABLE turnkeeper_workers"))
        await eventually(lambda: any("sweep failed" in one.message for one in caplog.records))
        run = await worker.client.enqueue("s", "Hello", agent="support")
        assert (await run.wait(10)).status is RunStatus.COMPLETED
    assert any("stays in the list of workers" in one.message for one in caplog.records)
    assert not any(one.levelno >= logging.ERROR for one in caplog.records)


@pytest.mark.postgres
async def test_a_process_with_a_lock_is_one_worker_and_its_leases_are_found_in_its_row(
    migrated_postgres: str,
) -> None:
    async with ScriptedModel(answer=echo) as model:
        settings = load_settings(
            database_url=migrated_postgres,
            broker_url="redis://127.0.0.1:9/0",  # nobody there: bells are dropped
            openai_base_url=model.base_url,
            openai_api_key="test",
            sweep_seconds=0.05,
            publish_timeout=0.1,
            fast_recovery="on",
        )
        runtime = Runtime(Turnkeeper(agents=[agent], settings=settings), lambda change: None)
        await asyncio.to_thread(runtime.start)
        try:
            model.hold()
            async with AsyncClient(settings=settings) as client:
                run = await client.enqueue("s", "Hello", agent="support")

                async def busy() -> bool:
                    return [(one.in_flight, one.live) for one in await client.workers()] == [(1, 1)]

                await eventually(busy)
                (holding,) = (await client.overview()).holdings
                assert holds_a_lock(holding.owner)
                (worker,) = await client.workers()
                assert worker.name == process_of(holding.owner) != holding.owner
                model.release()
                await run.wait(10)
        finally:
            model.release()
            await asyncio.to_thread(runtime.stop)
        async with AsyncClient(settings=settings) as client:
            assert await client.workers() == ()


async def test_a_row_that_somebody_took_away_comes_back_with_the_next_sweep(migrated_url: str) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_url, model, agents=[agent], sweep_seconds=0.05, over_http=False) as worker,
    ):
        await eventually(lambda: listed(worker))
        await run_sql(worker.database, delete(workers_table))
        await eventually(lambda: listed(worker))


async def test_who_leaves_while_its_row_is_being_written_leaves_none_behind(migrated_url: str) -> None:
    database = Database(migrated_url)
    settings = load_settings(database_url=migrated_url, broker_url="memory://")
    try:
        for place in range(20):
            roster = Roster(database, f"worker-{place}", settings, lambda: 0)
            showing = asyncio.create_task(roster.show())
            await asyncio.sleep(0)  # its transaction has begun
            showing.cancel()
            await roster.leave()
            await asyncio.gather(showing, return_exceptions=True)
    finally:
        await database.aclose()  # transactions that go on end here
    after_all = Database(migrated_url)
    try:
        assert await after_all.read(workers.list_workers) == []
    finally:
        await after_all.aclose()


def test_leases_in_either_name_of_a_process_are_its_own() -> None:
    name = OwnerName("web-1", "9f86d081884c7d65", 4711)
    assert (process_of(name.locked), process_of(name.plain)) == (name.plain, name.plain)
    assert process_of("web:lock-1:4711") == "web:lock-1:4711"
    assert Presence(name).process == name.plain
    found = workers_of([], [Holding(name.locked, 2, 0), Holding(name.plain, 1, 1)], 5.0)
    assert [(one.name, one.live, one.lost, one.slots) for one in found] == [(name.plain, 3, 1, None)]
