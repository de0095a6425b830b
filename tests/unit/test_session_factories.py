"""What a session factory is given, and what a worker does when its store does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import text
from tests.fakes.wait import eventually
from tests.fakes.worker import running_worker, texts
from turnkeeper_client import AsyncClient
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import StoreUnavailable
from turnkeeper_storage.items import Item, user_message
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.sessions.factories import asked_for
from turnkeeper_storage.sessions.memory import MemorySession
from turnkeeper_storage.sessions.protocol import Session
from turnkeeper_worker.agents import Agent

agent = Agent(name="support", model="gpt-5.2")


def plain(session_id: str) -> Session:
    return MemorySession(session_id)


def full(session_id: str, *, tenant: str, database: Database) -> Session:
    return MemorySession(session_id)


def bound(session_id: str, tenant: str = "x", database: str = "the caller's own") -> Session:
    return MemorySession(session_id)


@pytest.mark.parametrize(
    ("factory", "names"), [(plain, set()), (full, {"tenant", "database"}), (bound, {"tenant"})]
)
def test_a_factory_asks_by_its_parameters(factory: Callable[..., Session], names: set[str]) -> None:
    assert asked_for(factory) == names


async def test_workers_and_clients_give_a_factory_the_database_that_they_use(migrated_sqlite: str) -> None:
    sessions: dict[str, MemorySession] = {}
    given: list[tuple[str, Database]] = []

    def opened(session_id: str, tenant: str, database: Database) -> Session:
        given.append((tenant, database))
        return sessions.setdefault(session_id, MemorySession(session_id))

    async with (
        ScriptedModel(text("the answer")) as model,
        running_worker(
            migrated_sqlite, model, agents=[agent], session_factory=opened, tenant="acme"
        ) as worker,
    ):
        await (await worker.client.enqueue("s", "hello", agent="support")).wait(10)
        assert set(given) == {("acme", worker.database)}
    given.clear()
    async with AsyncClient(
        database_url=migrated_sqlite, broker_url="memory://", tenant="acme", session_factory=opened
    ) as client:
        assert texts(await client.session("s").get_items()) == ["hello", "the answer"]
        assert set(given) == {("acme", await client._opening.backend.database())}


class Away(MemorySession):
    """Does not answer until it `is_back`."""

    def __init__(self, hangs: bool) -> None:
        super().__init__("s")
        self.hangs = hangs
        self.is_back = False
        self.asked = 0

    async def add_items(self, items: list[Item]) -> None:
        self.asked += 1
        if self.is_back:
            await super().add_items(items)
        elif self.hangs:
            await asyncio.Event().wait()
        else:
            raise StoreUnavailable("elsewhere", "it is away")


@pytest.mark.parametrize("hangs", [True, False], ids=["hangs", "says so"])
async def test_a_run_waits_for_its_store_and_is_not_asked_again(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    monkeypatch.setattr("turnkeeper_worker.history.OUTSIDE_SECONDS", 0.05)
    session = Away(hangs)
    async with (
        ScriptedModel(text("the answer")) as model,
        running_worker(
            migrated_url, model, agents=[agent], session_factory=lambda id: session, crash_limit=1
        ) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support")
        for attempt in range(1, 4):
            await eventually(lambda: worker.holds == 0 and session.asked == attempt)  # noqa: B023
            assert (await run.get()).status is RunStatus.RUNNING
            if attempt < 3:
                assert await worker.host.sweep() == 1
        # nobody was rung for: it would be back at once
        assert len(worker.bell.rung) == 1
        session.is_back = True
        await worker.host.sweep()
        done = await run.wait(10)

        assert done.status is RunStatus.COMPLETED, done.error
        assert texts(await session.get_items()) == ["hello", "the answer"]
        assert len(model.requests) == 1


async def test_a_session_whose_store_is_away_keeps_no_other_from_a_free_slot(migrated_url: str) -> None:
    away, fine = Away(hangs=False), MemorySession("t")
    await fine.add_items([user_message("old")])
    async with (
        ScriptedModel(answer=lambda body: text("the answer")) as model,
        running_worker(
            migrated_url,
            model,
            agents=[agent],
            session_factory=lambda id: away if id == "s" else fine,
            concurrency=1,
            delivers=False,
            starts=False,
        ) as worker,
    ):
        await worker.client.enqueue("s", "hello", agent="support")
        await worker.host.sweep()
        run = await worker.client.enqueue("t", "hello", agent="support")
        await eventually(lambda: worker.holds == 0)
        await worker.host.sweep()
        done = await run.wait(10)

        assert done.status is RunStatus.COMPLETED, done.error
        assert away.asked == 1
