"""What the runs of a session have used, through both clients."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.bell import Bell
from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import calls, error, text
from tests.fakes.worker import Worker, running_worker
from turnkeeper_client import AsyncClient, Client
from turnkeeper_storage.errors import InvalidInput
from turnkeeper_storage.model import RunStatus, Usage
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.tools import tool


@tool(needs_approval=True)
async def pay() -> str:
    """Pay."""
    return "paid"


support = Agent(name="support", model="gpt-5.2", instructions="Be brief.", tools=[pay])


async def used(worker: Worker, session_id: str, *, ends: RunStatus = RunStatus.COMPLETED) -> Usage:
    """The usage of a new run of the session."""
    run = await worker.client.enqueue(session_id, "hello there", agent="support")
    ended = await run.wait(10)
    assert ended.status is ends
    return ended.usage


async def test_the_usage_of_a_session_is_the_sum_over_its_runs_and_no_others(migrated_url: str) -> None:
    model = ScriptedModel(text("one"), text("of another"), calls(("pay", {})))
    async with model, running_worker(migrated_url, model, agents=[support]) as worker:
        first = await used(worker, "s")
        await used(worker, "s2")
        parked = await used(worker, "s", ends=RunStatus.AWAITING_APPROVAL)
        await worker.client.enqueue("s", "not begun yet", agent="support")

        total = await worker.client.usage("s")
        assert total == first + parked
        assert (total.requests, total.input_tokens > first.input_tokens > 0) == (2, True)


async def test_a_failed_run_counts_with_the_turns_that_are_done(migrated_sqlite: str) -> None:
    free = Agent(name="support", model="gpt-5.2", tools=[])
    model = ScriptedModel(calls(("unknown", {})), error(400))
    async with model, running_worker(migrated_sqlite, model, agents=[free]) as worker:
        await used(worker, "s", ends=RunStatus.FAILED)
        assert (await worker.client.usage("s")).requests == 1


async def test_another_tenant_sees_no_usage(migrated_url: str) -> None:
    async with (
        ScriptedModel(text("one")) as model,
        running_worker(migrated_url, model, agents=[support]) as worker,
        AsyncClient(database_url=migrated_url, tenant="other", doorbell=Bell()) as other,
    ):
        await used(worker, "s")
        assert await other.usage("s") == Usage()


async def test_the_blocking_client_gives_the_same(migrated_sqlite: str) -> None:
    async with (
        ScriptedModel(text("one")) as model,
        running_worker(migrated_sqlite, model, agents=[support]) as worker,
    ):
        one = await used(worker, "s")
        with Client(database_url=migrated_sqlite, doorbell=Bell()) as client:
            assert await asyncio.to_thread(client.usage, "s") == one
            assert await asyncio.to_thread(client.usage, "nobody") == Usage()


async def test_a_session_id_that_is_none_is_refused(migrated_sqlite: str) -> None:
    async with AsyncClient(database_url=migrated_sqlite, doorbell=Bell()) as client:
        with pytest.raises(InvalidInput, match="session_id"):
            await client.usage("")
