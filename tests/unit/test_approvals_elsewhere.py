"""Approvals of calls and of sessions that are elsewhere: hosted servers, stores outside of the database."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import calls, items, text
from tests.fakes.till import NOT_APPROVED, Till, asks, ended, ends, pays, waits
from tests.fakes.wait import eventually
from tests.fakes.worker import running_worker, shown, texts
from turnkeeper.practice import wire
from turnkeeper_storage.items import Item
from turnkeeper_storage.sessions.memory import MemorySession
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.tools import tool

MCP_REQUEST: Item = {
    "type": "mcp_approval_request",
    "id": "mcpr_1",
    "server_label": "shop",
    "name": "delete",
    "arguments": '{"order": 7}',
}


@pytest.mark.parametrize("approves", [True, False])
async def test_a_request_of_a_hosted_mcp_server_is_answered_and_nothing_runs_here(
    migrated_url: str, approves: bool
) -> None:
    shop = {"type": "mcp", "server_label": "shop", "server_url": "https://shop.example/mcp"}
    agent = Agent(name="support", model="gpt-5.2", hosted_tools=[shop])
    async with (
        ScriptedModel(items(MCP_REQUEST), items(wire.message("done"))) as model,
        running_worker(migrated_url, model, agents=[agent]) as worker,
    ):
        waiting = await asks(worker)
        (approval,) = waiting.approvals
        assert (approval.tool, approval.arguments) == ("delete", {"order": 7})
        if approves:
            await worker.client.approve(approval.id, by="ana")
        else:
            await worker.client.reject(approval.id, by="ana", reason="keep it")
        await ends(worker, waiting.id)

        why = {} if approves else {"reason": f"{NOT_APPROVED} Reason: keep it"}
        answer = {
            "type": "mcp_approval_response",
            "approval_request_id": "mcpr_1",
            "approve": approves,
            **why,
        }
        assert model.requests[0]["tools"] == [shop]
        assert model.inputs[1][-2:] == [MCP_REQUEST, answer]
        assert (await worker.history("s"))[1:3] == [MCP_REQUEST, answer]


async def test_a_session_outside_of_the_database_gets_each_part_once(migrated_url: str) -> None:
    till, session = Till(), MemorySession("s")
    async with (
        ScriptedModel(pays(5), pays(6, turn=2), text("done")) as model,
        running_worker(
            migrated_url, model, agents=[till.agent()], session_factory=lambda id: session
        ) as worker,
    ):
        first = await asks(worker)
        assert texts(await session.get_items()) == ["hello", 'pay({"amount": 5})']
        await worker.client.approve(first.approvals[0].id, by="ana")
        await eventually(lambda: len(model.requests) == 2)
        second = await waits(worker, first.id)
        await worker.client.reject(second.approvals[0].id, by="ana")
        await ends(worker, first.id)

        whole = ["hello", 'pay({"amount": 5})', "= paid 5", 'pay({"amount": 6})', f"= {NOT_APPROVED}"]
        assert texts(await session.get_items()) == [*whole, "done"]


async def test_a_parked_run_outside_of_the_database_is_cancelled_by_a_worker(migrated_url: str) -> None:
    till, session = Till(), MemorySession("s")
    async with (
        ScriptedModel(pays(5)) as model,
        running_worker(
            migrated_url, model, agents=[till.agent()], session_factory=lambda id: session
        ) as worker,
    ):
        waiting = await asks(worker)
        await worker.client.cancel(waiting.id)
        await eventually(lambda: ended(worker, waiting.id))

        closed = "= The run was cancelled before this tool ran."
        assert texts(await session.get_items()) == ["hello", 'pay({"amount": 5})', closed]


class Died(BaseException):
    """As if the process were gone: nothing of ours catches it."""


class DyingSession(MemorySession):
    """Kills its worker around the next add."""

    def __init__(self, when: str) -> None:
        super().__init__("s")
        self.when: str | None = when

    async def add_items(self, items: list[Item]) -> None:
        when, self.when = self.when, None
        if when == "before":
            raise Died
        await super().add_items(items)
        if when == "after":
            raise Died


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("is_cancelled", [False, True], ids=["approved", "cancelled"])
async def test_a_crash_while_a_run_parks_outside_neither_loses_nor_doubles(
    migrated_sqlite: str, when: str, is_cancelled: bool
) -> None:
    till, session = Till(), DyingSession(when)
    async with (
        ScriptedModel(pays(5), text("done")) as model,
        running_worker(
            migrated_sqlite, model, agents=[till.agent()], session_factory=lambda id: session
        ) as worker,
    ):
        model.hold()
        run = await worker.client.enqueue("s", "hello", agent="support")
        await model.wait_for(1)
        task = worker.held("s").task
        model.release()
        assert task is not None
        with pytest.raises(Died):
            await task
        if is_cancelled:
            await worker.client.cancel(run.id)
        await worker.lease_runs_out("s")
        await worker.host.sweep()
        asked = ["hello", 'pay({"amount": 5})']
        if is_cancelled:
            await eventually(lambda: ended(worker, run.id))
            rest = ["= The run was cancelled before this tool ran."]
        else:
            waiting = await waits(worker, run.id)
            assert texts(await session.get_items()) == asked
            await worker.client.approve(waiting.approvals[0].id, by="ana")
            await ends(worker, run.id)
            rest = ["= paid 5", "done"]

        assert texts(await session.get_items()) == [*asked, *rest]


async def test_a_worker_that_dies_between_the_answer_and_the_park_parks_at_the_heirs(
    migrated_url: str,
) -> None:
    till = Till()
    hanging = asyncio.Event()

    @tool(name="look")
    async def hangs(what: str) -> str:
        """Look, for ever at first."""
        till.looked.append(what)
        hanging.set()
        if len(till.looked) == 1:
            await asyncio.Event().wait()
        return "saw it"

    agent = till.agent(tools=[till.tools[0], hangs])
    mixed = calls(("pay", {"amount": 5}, "c1"), ("look", {"what": "it"}, "c2"))
    async with ScriptedModel(mixed, text("done")) as model:
        async with running_worker(migrated_url, model, agents=[agent]) as worker:
            run = await worker.client.enqueue("s", "hello", agent="support")
            await hanging.wait()
            await worker.die()
            await worker.lease_runs_out("s")
        async with running_worker(migrated_url, model, agents=[agent]) as heir:
            waiting = await waits(heir, run.id)
            await heir.client.approve(waiting.approvals[0].id, by="ana")
            await ends(heir, run.id)

            assert till.paid == ["c1: 5"]
            assert shown(model.requests[1])[-2:] == ["= paid 5", "= saw it"]
