"""What a worker does with runs that wait for a person: where they park, and how they go on."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import calls, text
from tests.fakes.till import NOT_APPROVED, Till, asked_again, asks, ended, ends, pays, types, waits
from tests.fakes.wait import eventually
from tests.fakes.worker import running_worker, shown, texts
from turnkeeper_storage.errors import ApprovalConflict
from turnkeeper_storage.model import ApprovalReason, ApprovalStatus, CallStatus, EventType, RunStatus
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.tools import tool


async def test_a_parked_run_holds_no_lease_and_frees_its_worker(migrated_url: str) -> None:
    till = Till()
    async with (
        ScriptedModel(pays(5), text("done")) as model,
        running_worker(migrated_url, model, agents=[till.agent()]) as worker,
    ):
        waiting = await asks(worker)
        await eventually(lambda: worker.holds == 0)

        assert await worker.host.sweep() == 0
        assert await types(worker, waiting.id) == [
            EventType.QUEUED,
            EventType.STARTED,
            EventType.TURN_FINISHED,
            EventType.APPROVAL_REQUESTED,
        ]
        await worker.client.approve(waiting.approvals[0].id, by="ana")
        await ends(worker, waiting.id)
        assert (await types(worker, waiting.id))[4:] == [
            EventType.APPROVAL_DECIDED,
            EventType.TURN_FINISHED,
            EventType.COMPLETED,
        ]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_two_pauses_in_one_run_store_nothing_twice(migrated_url: str, stream: bool) -> None:
    till = Till()
    async with (
        ScriptedModel(pays(5), calls(("look", {"what": "it"})), pays(6, turn=3), text("done")) as model,
        running_worker(migrated_url, model, agents=[till.agent()]) as worker,
    ):
        first = await asks(worker, stream=stream)
        await worker.client.approve(first.approvals[0].id, by="ana")
        await eventually(lambda: len(model.requests) == 3)
        second = await waits(worker, first.id)
        so_far = ["hello", 'pay({"amount": 5})', "= paid 5", 'look({"what": "it"})', "= saw it"]
        assert texts(await worker.history("s")) == [*so_far, 'pay({"amount": 6})']
        await worker.client.reject(second.approvals[0].id, by="ana")
        await ends(worker, first.id)

        whole = [*so_far, 'pay({"amount": 6})', f"= {NOT_APPROVED}"]
        assert texts(await worker.history("s")) == [*whole, "done"]
        assert shown(model.requests[3]) == whole
        assert till.paid == ["c15: 5"]


async def test_another_worker_goes_on_though_its_agents_instructions_changed(migrated_url: str) -> None:
    till = Till()
    async with ScriptedModel(pays(5, 6), text("done")) as model:
        async with running_worker(migrated_url, model, agents=[till.agent()]) as worker:
            waiting = await asks(worker, stream=True)
        changed = till.agent(instructions="be brief")
        async with running_worker(migrated_url, model, agents=[changed]) as worker:
            first, second = waiting.approvals
            await worker.client.approve(first.id, by="ana")
            await worker.client.reject(second.id, by="ana")
            await ends(worker, waiting.id)

            asked = ["hello", 'pay({"amount": 5})', 'pay({"amount": 6})']
            outputs = ["= paid 5", f"= {NOT_APPROVED}"]
            assert texts(await worker.history("s")) == [*asked, *outputs, "done"]
            assert shown(model.requests[1]) == [*asked, *outputs]
            assert till.paid == ["c15: 5"]


async def test_an_approval_of_a_tool_that_changed_since_is_asked_for_again(migrated_url: str) -> None:
    till = Till()
    async with ScriptedModel(pays(5), text("done")) as model:
        async with running_worker(
            migrated_url, model, agents=[till.agent()], delivers=False, starts=False
        ) as worker:
            run = await worker.client.enqueue("s", "hello", agent="support")
            await worker.host.sweep()
            waiting = await waits(worker, run.id)
            await worker.client.approve(waiting.approvals[0].id, by="ana")

        @tool(name="pay", needs_approval=True)
        async def dearer(amount: int, fee: int = 10) -> str:
            """Pay, with a fee."""
            return f"paid {amount + fee}"

        async with running_worker(migrated_url, model, agents=[till.agent(tools=[dearer])]) as worker:
            again = await asked_again(worker, waiting)
            assert again.status is RunStatus.AWAITING_APPROVAL
            assert texts(await worker.history("s")) == ["hello", 'pay({"amount": 5})']
            await worker.client.approve(again.approvals[0].id, by="ana")
            await ends(worker, waiting.id)

            assert shown(model.requests[1])[-1] == "= paid 15"
            assert texts(await worker.history("s"))[-2:] == ["= paid 15", "done"]


async def test_an_approved_call_whose_tool_is_gone_fails_the_run(migrated_url: str) -> None:
    till = Till()
    async with ScriptedModel(pays(5)) as model:
        async with running_worker(migrated_url, model, agents=[till.agent()]) as worker:
            waiting = await asks(worker)
        async with running_worker(migrated_url, model, agents=[till.agent(tools=[])]) as worker:
            await worker.client.approve(waiting.approvals[0].id, by="ana")
            done = await ends(worker, waiting.id, RunStatus.FAILED)

            assert done.error is not None
            assert done.error.code == "tool_missing"
            assert texts(await worker.history("s"))[-1].startswith("= Tool error: run names tool 'pay'")


async def test_edited_arguments_are_what_the_tool_gets(migrated_url: str) -> None:
    till = Till()
    async with (
        ScriptedModel(pays(500), text("done")) as model,
        running_worker(migrated_url, model, agents=[till.agent()]) as worker,
    ):
        waiting = await asks(worker)
        await worker.client.approve(waiting.approvals[0].id, by="ana", arguments={"amount": 5})
        await ends(worker, waiting.id)

        assert till.paid == ["c1500: 5"]
        assert shown(model.requests[1])[-2:] == ['pay({"amount": 500})', "= paid 5"]


async def test_malformed_arguments_wait_for_a_person_who_can_mend_them(migrated_url: str) -> None:
    till = Till()
    broken = calls(("pay", '{"amount": "much"', "c1"), ("look", "{", "c2"), ("pay", "", "c3"))
    async with (
        ScriptedModel(broken, text("done")) as model,
        running_worker(migrated_url, model, agents=[till.agent()]) as worker,
    ):
        waiting = await asks(worker)
        first, last = waiting.approvals
        assert [first.reason, last.reason] == [ApprovalReason.MALFORMED] * 2
        await worker.client.approve(first.id, by="ana", arguments={"amount": 5})
        await worker.client.approve(last.id, by="ana")
        await ends(worker, waiting.id)

        assert till.paid == ["c1: 5"]
        paid, looked, unread = shown(model.requests[1])[-3:]
        assert paid == "= paid 5"
        assert looked.startswith("= Tool error: invalid arguments")
        assert unread.startswith("= Tool error: invalid arguments")


async def test_a_sticky_rejection_denies_the_calls_that_come_later(migrated_url: str) -> None:
    till = Till()
    async with (
        ScriptedModel(pays(5, 6), pays(7, turn=2), text("done")) as model,
        running_worker(migrated_url, model, agents=[till.agent()]) as worker,
    ):
        waiting = await asks(worker)
        await worker.client.reject(waiting.approvals[0].id, by="ana", reason="no money", sticky=True)
        await ends(worker, waiting.id)

        assert till.paid == []
        assert shown(model.requests[2]).count(f"= {NOT_APPROVED} Reason: no money") == 3
        assert {call.status for call in await worker.calls(waiting.id)} == {CallStatus.DENIED}


async def test_one_run_decided_by_two_clients_runs_its_tool_once(migrated_url: str) -> None:
    till = Till()
    async with (
        ScriptedModel(pays(5), text("done")) as model,
        running_worker(migrated_url, model, agents=[till.agent()]) as worker,
        running_worker(migrated_url, model, agents=[till.agent()]) as other,
    ):
        waiting = await asks(worker)
        approval = waiting.approvals[0].id
        both = await asyncio.gather(
            worker.client.approve(approval, by="ana"),
            other.client.approve(approval, by="ben"),
            other.client.reject(approval, by="ben"),
            return_exceptions=True,
        )
        await worker.client.wait(waiting.id, 10)
        await eventually(lambda: ended(worker, waiting.id))

        conflicts = [one for one in both if isinstance(one, BaseException)]
        assert all(isinstance(one, ApprovalConflict) for one in conflicts)
        assert conflicts
        approved = (await worker.client.approval(approval)).status is ApprovalStatus.APPROVED
        assert till.paid == (["c15: 5"] if approved else [])


async def test_what_a_caller_adds_stands_behind_the_outputs(migrated_url: str) -> None:
    till = Till()
    async with (
        ScriptedModel(pays(5), text("done")) as model,
        running_worker(migrated_url, model, agents=[till.agent()]) as worker,
    ):
        waiting = await asks(worker)
        await worker.client.add_input(waiting.id, "and hurry")
        await worker.client.approve(waiting.approvals[0].id, by="ana")
        await ends(worker, waiting.id)

        whole = ["hello", 'pay({"amount": 5})', "= paid 5", "and hurry"]
        assert shown(model.requests[1]) == whole
        assert texts(await worker.history("s")) == [*whole, "done"]


async def test_a_parked_run_that_is_cancelled_leaves_a_valid_history(migrated_url: str) -> None:
    till = Till()
    mixed = calls(("look", {"what": "it"}, "c1"), ("pay", {"amount": 5}, "c2"))
    async with (
        ScriptedModel(mixed, text("next")) as model,
        running_worker(migrated_url, model, agents=[till.agent()]) as worker,
    ):
        waiting = await asks(worker)
        after_it = await worker.client.enqueue("s", "go on", agent="support")
        await worker.client.cancel(waiting.id)
        await ends(worker, after_it.id)

        asked = ["hello", 'look({"what": "it"})', 'pay({"amount": 5})']
        closed = ["= saw it", "= The run was cancelled before this tool ran."]
        assert texts(await worker.history("s")) == [*asked, *closed, "go on", "next"]
        assert shown(model.requests[1]) == [*asked, *closed, "go on"]
        assert till.paid == []


async def test_a_run_that_is_cancelled_before_it_parks_does_not_park(migrated_url: str) -> None:
    till = Till()

    @tool(name="look")
    async def cancels(ctx: RunContext[None], what: str) -> str:
        """Look, while somebody cancels the run."""
        await worker.client.cancel(ctx.run_id)
        return "saw it"

    mixed = calls(("look", {"what": "it"}, "c1"), ("pay", {"amount": 5}, "c2"))
    agent = till.agent(tools=[till.tools[0], cancels])
    async with (
        ScriptedModel(mixed) as model,
        running_worker(migrated_url, model, agents=[agent]) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support")
        await ends(worker, run.id, RunStatus.CANCELLED)

        told = await types(worker, run.id)
        assert told[2:] == [EventType.TURN_FINISHED, EventType.CANCELLED]
        said = texts(await worker.history("s"))
        assert said[-2:] == ["= saw it", "= The run was cancelled before this tool ran."]
