"""`wait` while somebody decides: what it returns is settled, or the time is over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.fakes.bell import Bell
from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import calls, text
from tests.fakes.worker import Worker, running_worker
from turnkeeper_client import AsyncClient, RunSnapshot
from turnkeeper_storage import ids
from turnkeeper_storage.errors import WaitTimeout
from turnkeeper_storage.model import RunStatus
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.tools import tool


@tool(needs_approval=True)
async def pay() -> str:
    """Pay."""
    return "paid"


support = Agent(name="support", model="gpt-5.2", tools=[pay])


class DecidedInBetween(AsyncClient):
    """Between the two looks of its `wait` somebody approves; `then` is called after the second."""

    seen: list[RunStatus]
    then: Callable[[], None]

    async def _snapshot(self, run_id: str) -> RunSnapshot:
        for approval in (await self.approvals(run_id=run_id)).approvals:
            await self.approve(approval.id, by="ana")
        found = await super()._snapshot(run_id)
        self.seen.append(found.status)
        self.then()
        return found


@asynccontextmanager
async def parked(url: str) -> AsyncIterator[tuple[Worker, DecidedInBetween, str]]:
    """A worker that hears no bell, a client, and a run that waits for an approval."""
    async with (
        ScriptedModel(calls(("pay", {})), text("done")) as model,
        running_worker(url, model, agents=[support], delivers=False) as worker,
        DecidedInBetween(database_url=url, doorbell=Bell()) as client,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support")
        worker.host.ring(ids.session_key("default", "s"))
        assert (await run.wait(10)).status is RunStatus.AWAITING_APPROVAL
        client.seen, client.then = [], lambda: None
        yield worker, client, run.id
        worker.host.ring(ids.session_key("default", "s"))
        assert (await run.wait(10)).output == "done"


async def test_a_wait_goes_on_when_a_decision_comes_between_its_looks(migrated_url: str) -> None:
    async with parked(migrated_url) as (worker, client, run_id):
        client.then = lambda: worker.host.ring(ids.session_key("default", "s"))
        done = await client.wait(run_id, 10)
        assert done.output == "done"
        assert client.seen == [RunStatus.QUEUED, RunStatus.COMPLETED]


async def test_a_wait_that_goes_on_ends_with_its_time(migrated_sqlite: str) -> None:
    async with parked(migrated_sqlite) as (_, client, run_id):
        with pytest.raises(WaitTimeout, match=r"still queued after 0\.2 s"):
            await client.wait(run_id, 0.2)
        assert client.seen == [RunStatus.QUEUED]
