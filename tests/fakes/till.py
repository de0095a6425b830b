"""A till whose tools wait for a person, and what tests ask of its runs."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.fakes.replies import calls
from tests.fakes.wait import eventually
from tests.fakes.worker import Worker
from turnkeeper_client.snapshots import RunSnapshot
from turnkeeper_storage.model import EventType, RunStatus
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.tools import AnyTool, tool

NOT_APPROVED = "Tool execution was not approved."


class Till:
    """Tools that note what they did; `hangs` makes the next payment hang, as in a worker that will die."""

    def __init__(self) -> None:
        self.paid: list[str] = []
        self.looked: list[str] = []
        self.hangs = False
        self.started = asyncio.Event()
        till = self

        @tool(needs_approval=True, timeout=30)
        async def pay(ctx: RunContext[None], amount: int) -> str:
            """Pay."""
            return await till.pays(ctx, amount)

        @tool(idempotent=False, timeout=2)
        async def send(ctx: RunContext[None], amount: int) -> str:
            """Pay, and ask nobody."""
            return await till.pays(ctx, amount)

        @tool
        async def look(what: str) -> str:
            """Look."""
            till.looked.append(what)
            return f"saw {what}"

        self.tools: list[AnyTool] = [pay, send, look]

    async def pays(self, ctx: RunContext[None], amount: int) -> str:
        self.paid.append(f"{ctx.call_id}: {amount}")
        self.started.set()
        if self.hangs:
            await asyncio.Event().wait()
        return f"paid {amount}"

    def agent(self, **changes: Any) -> Agent:
        return Agent(**{"name": "support", "model": "gpt-5.2", "tools": self.tools, **changes})


def pays(*amounts: int, turn: int = 1) -> Any:
    return calls(*(("pay", {"amount": amount}, f"c{turn}{amount}") for amount in amounts))


async def asks(worker: Worker, message: str = "hello", **options: Any) -> RunSnapshot:
    """A run that came as far as to wait."""
    run = await worker.client.enqueue("s", message, agent="support", **options)
    return await waits(worker, run.id)


async def waits(worker: Worker, run_id: str) -> RunSnapshot:
    snapshot = await worker.client.wait(run_id, 10)
    assert snapshot.status is RunStatus.AWAITING_APPROVAL, snapshot.error
    return snapshot


async def ends(worker: Worker, run_id: str, status: RunStatus = RunStatus.COMPLETED) -> RunSnapshot:
    snapshot = await worker.client.wait(run_id, 10)
    assert snapshot.status is status, snapshot.error
    return snapshot


async def types(worker: Worker, run_id: str) -> list[EventType]:
    return [event.type for event in await worker.events(run_id)]


async def ended(worker: Worker, run_id: str) -> bool:
    return (await worker.client.get(run_id)).status.is_terminal


async def asked_again(worker: Worker, before: RunSnapshot) -> RunSnapshot:
    """The run as it waits for an approval that it did not wait for before."""
    known = {one.id for one in before.approvals}

    async def asks_anew() -> bool:
        now = await worker.client.get(before.id)
        is_new = {one.id for one in now.approvals} - known
        return bool(is_new) and now.status is RunStatus.AWAITING_APPROVAL

    await eventually(asks_anew)
    return await worker.client.get(before.id)
