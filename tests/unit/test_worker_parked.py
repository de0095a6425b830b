"""Many runs that wait for a person: what a worker holds for them, which is nothing."""

from __future__ import annotations

import asyncio

from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import calls, text
from tests.fakes.wait import eventually
from tests.fakes.worker import Worker, running_worker
from turnkeeper_storage.items import Json
from turnkeeper_storage.model import RunStatus
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.tools import tool

COUNT = 60


@tool(needs_approval=True)
async def refund(order: int) -> str:
    """Refund an order."""
    return f"refunded {order}"


agent = Agent(name="support", model="gpt-5.2", tools=[refund])


def answer(request: dict[str, Json]) -> Json:
    """Ask for a refund, and be done once there is one."""
    has_output = any(item.get("type") == "function_call_output" for item in request["input"])
    return text("done") if has_output else calls(("refund", {"order": 7}))


def tasks_of_sessions() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("session:")]


async def waiting(worker: Worker) -> int:
    page = await worker.client.runs(status=RunStatus.AWAITING_APPROVAL, limit=COUNT + 1)
    return len(page.runs)


async def test_parked_runs_hold_no_coroutine_and_no_message_and_one_decision_wakes_one(
    migrated_url: str,
) -> None:
    async with (
        ScriptedModel(answer=answer) as model,
        running_worker(migrated_url, model, agents=[agent]) as worker,
    ):
        handles = [
            await worker.client.enqueue(f"s{n}", "Refund order 7", agent="support") for n in range(COUNT)
        ]

        async def all_wait() -> bool:
            return await waiting(worker) == COUNT

        await eventually(all_wait, within=30)
        await eventually(lambda: worker.holds == 0)
        assert tasks_of_sessions() == []
        rung = len(worker.bell.rung)
        assert rung == COUNT  # for the enqueues; a park rings nobody
        assert await worker.host.sweep() == 0

        chosen = await handles[7].get()
        await worker.client.approve(chosen.approvals[0].id, by="ana")

        async def is_done() -> bool:
            return (await handles[7].get()).status is RunStatus.COMPLETED

        await eventually(is_done)
        assert await waiting(worker) == COUNT - 1
        assert worker.bell.rung[rung:] == [worker.bell.rung[7]]
