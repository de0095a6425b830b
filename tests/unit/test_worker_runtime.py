"""A worker process from its start to its end: the lifespan, the registration, what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from celery import Celery

from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import calls, text
from turnkeeper_client import AsyncClient
from turnkeeper_storage.doorbell import RUN_TASK, WAKE_TASK
from turnkeeper_storage.errors import ConfigurationError, DatabaseUnavailable, SchemaMismatch
from turnkeeper_storage.settings import Settings, load_settings
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.app import Turnkeeper
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.runtime import Runtime
from turnkeeper_worker.tools import tool


@tool
async def greet(ctx: RunContext[str]) -> str:
    """Say what the lifespan gave."""
    return ctx.deps


agent = Agent(name="support", model="gpt-5.2", tools=[greet])


class Lifespan:
    """Notes what happens to it."""

    def __init__(self) -> None:
        self.happened: list[str] = []

    @asynccontextmanager
    async def __call__(self, app: Turnkeeper) -> AsyncIterator[str]:
        self.happened.append(f"opened for {', '.join(app.agents)}")
        yield "good day"
        self.happened.append("closed")


def settings(url: str, model_url: str = "http://127.0.0.1:9/v1") -> Settings:
    return load_settings(
        database_url=url,
        broker_url="redis://127.0.0.1:9/0",  # nobody there: bells are dropped
        openai_base_url=model_url,
        sweep_seconds=0.05,
        publish_timeout=0.1,
    )


async def test_the_lifespan_is_opened_once_and_closed_after_the_last_run(migrated_sqlite: str) -> None:
    lifespan = Lifespan()
    async with ScriptedModel(calls(("greet", {})), text("bye"), text("bye")) as model:
        app = Turnkeeper(
            agents=[agent], lifespan=lifespan, settings=settings(migrated_sqlite, model.base_url)
        )
        runtime = Runtime(app, lambda change: None)
        await asyncio.to_thread(runtime.start)
        async with AsyncClient(settings=app.settings) as client:
            for session in ("a", "b"):
                await (await client.enqueue(session, "hello", agent="support")).wait(10)
        assert lifespan.happened == ["opened for support"]
        await asyncio.to_thread(runtime.stop)

        assert lifespan.happened == ["opened for support", "closed"]
        assert model.inputs[1][-1]["output"] == "good day"


async def test_a_worker_registers_its_agents(migrated_url: str) -> None:
    app = Turnkeeper(agents=[agent], settings=settings(migrated_url))
    runtime = Runtime(app, lambda change: None)
    await asyncio.to_thread(runtime.start)
    async with AsyncClient(settings=app.settings) as client:
        (record,) = await client.agents()
    await asyncio.to_thread(runtime.stop)

    assert (record.name, record.digest, record.queue) == ("support", agent.digest, "turnkeeper")
    assert [definition["name"] for definition in record.tools] == ["greet"]


async def test_a_lifespan_that_fails_ends_the_start_with_its_error(migrated_sqlite: str) -> None:
    shops: dict[str, str] = {}

    @asynccontextmanager
    async def broken() -> AsyncIterator[str]:
        yield shops["no such shop"]

    app = Turnkeeper(agents=[agent], lifespan=broken, settings=settings(migrated_sqlite))
    runtime = Runtime(app, lambda change: None)

    with pytest.raises(LookupError, match="no such shop"):
        await asyncio.to_thread(runtime.start)


async def test_a_database_without_tables_is_refused_at_the_start(sqlite_url: str) -> None:
    runtime = Runtime(Turnkeeper(agents=[agent], settings=settings(sqlite_url)), lambda change: None)

    with pytest.raises(SchemaMismatch, match="migrate"):
        await asyncio.to_thread(runtime.start)


async def test_a_call_after_the_end_says_so_at_once(migrated_sqlite: str) -> None:
    runtime = Runtime(Turnkeeper(agents=[agent], settings=settings(migrated_sqlite)), lambda change: None)
    await asyncio.to_thread(runtime.start)
    await asyncio.to_thread(runtime.stop)

    with pytest.raises(DatabaseUnavailable):
        runtime.call(asyncio.Event().wait(), 1.0)
    runtime.ring("nobody hears this")  # and is not an error


def test_a_users_app_gets_two_tasks_and_keeps_its_settings() -> None:
    celery = Celery("shop", broker="memory://", set_as_current=False)
    before = dict(celery.conf.table(with_defaults=True))
    own_tasks = set(celery.tasks)  # and tasks that other modules share with every app
    Turnkeeper(agents=[agent], celery=celery)

    assert set(celery.tasks) - own_tasks == {WAKE_TASK, RUN_TASK}
    assert dict(celery.conf.table(with_defaults=True)) == before


def test_an_app_takes_one_turnkeeper_only() -> None:
    celery = Celery("shop", broker="memory://", set_as_current=False)
    Turnkeeper(agents=[agent], celery=celery)

    with pytest.raises(ConfigurationError, match="an app of its own"):
        Turnkeeper(agents=[agent], celery=celery)


def test_agents_need_names_of_their_own() -> None:
    with pytest.raises(ConfigurationError, match="two are named 'support'"):
        Turnkeeper(agents=[agent, Agent(name="support", model="other")])


def test_a_turnkeeper_without_agents_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least one Agent"):
        Turnkeeper(agents=[])
