"""What a worker does with runs that wait for a person: where they park, and how they go on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import literal, update

from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import calls, items, text
from tests.fakes.wait import eventually
from tests.fakes.worker import Worker, running_worker, shown, texts
from turnkeeper.practice import wire
from turnkeeper_client.snapshots import RunSnapshot
from turnkeeper_storage.errors import ApprovalConflict
from turnkeeper_storage.items import Item
from turnkeeper_storage.model import ApprovalReason, ApprovalStatus, CallStatus, EventType, RunStatus
from turnkeeper_storage.sessions.memory import MemorySession
from turnkeeper_storage.sql_types import SECONDS, after
from turnkeeper_storage.tables import approvals as approvals_table
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.expiry import expire_due
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
        async with running_worker(migrated_url, model, agents=[till.agent()], delivers=False) as worker:
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


async def asked_again(worker: Worker, before: RunSnapshot) -> RunSnapshot:
    """The run as it waits for an approval that it did not wait for before."""
    known = {one.id for one in before.approvals}

    async def asks_anew() -> bool:
        now = await worker.client.get(before.id)
        is_new = {one.id for one in now.approvals} - known
        return bool(is_new) and now.status is RunStatus.AWAITING_APPROVAL

    await eventually(asks_anew)
    return await worker.client.get(before.id)


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


async def ended(worker: Worker, run_id: str) -> bool:
    return (await worker.client.get(run_id)).status.is_terminal


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


async def test_an_approval_that_nobody_decides_in_time_is_a_rejection(migrated_url: str) -> None:
    till = Till()
    async with (
        ScriptedModel(pays(5), text("done")) as model,
        running_worker(migrated_url, model, agents=[till.agent()], approval_timeout=60.0) as worker,
    ):
        waiting = await asks(worker)
        assert waiting.approvals[0].expires_at is not None
        assert await expire_due(worker.database, worker.bell) == 0
        await time_passes(worker)
        assert await expire_due(worker.database, worker.bell) == 1
        done = await ends(worker, waiting.id)

        assert done.output == "done"
        assert till.paid == []
        assert shown(model.requests[1])[-1] == f"= {NOT_APPROVED[:-1]}: nobody decided in time."
        assert await expire_due(worker.database, worker.bell) == 0


async def test_the_sweeper_expires_approvals(migrated_url: str) -> None:
    till = Till()
    async with (
        ScriptedModel(pays(5), text("done")) as model,
        running_worker(
            migrated_url, model, agents=[till.agent()], approval_timeout=0.3, sweep_seconds=0.1
        ) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support")
        await eventually(lambda: ended(worker, run.id))

        assert (await worker.client.get(run.id)).output == "done"
        assert till.paid == []


async def time_passes(worker: Worker) -> None:
    """All open approvals are over, or can be decided, on the database's clock."""

    async def end(uow: UnitOfWork) -> None:
        past = after(literal(-1.0, SECONDS))
        table = approvals_table
        await uow.execute(update(table).where(table.c.expires_at.is_not(None)).values(expires_at=past))

    await worker.database.transact(end)


async def dies_paying(worker: Worker, till: Till) -> str:
    """A run whose worker dies after `started` of a payment; the run's id."""
    till.hangs = True
    run = await worker.client.enqueue("s", "hello", agent="support")
    await till.started.wait()
    # a commit on its way would renew the lease that is made to run out below
    await eventually(lambda: others_done(worker, run.id))
    await worker.die()
    await worker.lease_runs_out("s")
    till.hangs = False
    return run.id


async def others_done(worker: Worker, run_id: str) -> bool:
    statuses = [call.status for call in await worker.calls(run_id)]
    return sorted(statuses) == [CallStatus.DONE, CallStatus.STARTED]


SENDS = calls(("send", {"amount": 5}, "c1"), ("look", {"what": "it"}, "c2"))


@pytest.mark.parametrize(
    ("outcome", "output", "paid", "told"),
    [
        ("happened", "paid by bank", ["c1: 5"], "= paid by bank"),
        ("not_happened", None, ["c1: 5", "c1: 5"], "= paid 5"),
    ],
)
async def test_a_call_in_doubt_is_for_a_person_to_decide_after_its_time(
    migrated_url: str, outcome: str, output: str | None, paid: list[str], told: str
) -> None:
    till = Till()
    async with ScriptedModel(SENDS, text("done")) as model:
        async with running_worker(migrated_url, model, agents=[till.agent()]) as worker:
            run_id = await dies_paying(worker, till)
        async with running_worker(migrated_url, model, agents=[till.agent()]) as heir:
            waiting = await waits(heir, run_id)
            (approval,) = waiting.approvals
            assert (approval.reason, approval.tool) == (ApprovalReason.IN_DOUBT, "send")
            assert till.paid == ["c1: 5"]

            await eventually(lambda: is_available(heir, approval.id))
            await heir.client.resolve(approval.id, by="ana", outcome=outcome, output=output)
            await ends(heir, run_id)

            assert till.paid == paid
            assert shown(model.requests[1])[-2:] == [told, "= saw it"]
            assert len(model.requests) == 2
            assert texts(await heir.history("s"))[-3:] == [told, "= saw it", "done"]


async def test_a_run_in_doubt_can_be_aborted_and_says_that_nobody_knows(migrated_url: str) -> None:
    till = Till()
    async with ScriptedModel(SENDS) as model:
        async with running_worker(migrated_url, model, agents=[till.agent()]) as worker:
            run_id = await dies_paying(worker, till)
        async with running_worker(migrated_url, model, agents=[till.agent()]) as heir:
            (approval,) = (await waits(heir, run_id)).approvals
            await eventually(lambda: is_available(heir, approval.id))
            await heir.client.resolve(approval.id, by="ana", outcome="abort")
            await ends(heir, run_id, RunStatus.CANCELLED)

            assert till.paid == ["c1: 5"]
            assert texts(await heir.history("s"))[-2].startswith("= It is not known whether this tool ran.")


async def is_available(worker: Worker, approval_id: str) -> bool:
    return (await worker.client.approval(approval_id)).available


async def test_a_call_in_doubt_cannot_be_decided_while_it_may_be_at_work(migrated_url: str) -> None:
    till = Till()
    pays_slowly = calls(("pay", {"amount": 5}, "c1"))
    async with ScriptedModel(pays_slowly) as model:
        async with running_worker(migrated_url, model, agents=[till.agent()]) as worker:
            waiting = await asks(worker)
            till.hangs = True
            await worker.client.approve(waiting.approvals[0].id, by="ana")
            await till.started.wait()
            await worker.die()
            await worker.lease_runs_out("s")
        async with running_worker(migrated_url, model, agents=[till.agent()]) as heir:
            now = await asked_again(heir, waiting)
            approval = now.approvals[-1]
            assert approval.reason is ApprovalReason.IN_DOUBT
            with pytest.raises(ApprovalConflict) as refused:
                await heir.client.resolve(approval.id, by="ana", outcome="not_happened")

            assert refused.value.state == "not_available"
            assert till.paid == ["c1: 5"]
            assert texts(await heir.history("s")) == ["hello", 'pay({"amount": 5})']


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
