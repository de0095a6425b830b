"""8. Approvals: a tool that waits for a person, and costs nothing meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import calls, text
from tests.fakes.worker import ANA, Worker, running_worker, shown, texts
from turnkeeper_client.snapshots import RunSnapshot
from turnkeeper_storage.model import RunStatus
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.tools import tool


@dataclass
class Shop:
    """What tools leave behind."""

    refunds: list[str] = field(default_factory=list)
    lookups: list[str] = field(default_factory=list)


@tool(needs_approval=True)
async def refund(ctx: RunContext[Shop], order_id: str, amount: float) -> str:
    """Give money back."""
    ctx.deps.refunds.append(f"{order_id}: {amount:g}")
    return f"refunded {amount:g}"


@tool
async def order_status(ctx: RunContext[Shop], order_id: str) -> str:
    """Look an order up."""
    ctx.deps.lookups.append(order_id)
    return "delivered"


def is_large(ctx: RunContext[Shop], arguments: dict[str, float]) -> bool:
    return arguments["amount"] > 10


@tool(needs_approval=is_large)
async def voucher(ctx: RunContext[Shop], amount: float) -> str:
    """Send a voucher; a person looks at large ones only."""
    return f"voucher of {amount:g}"


support = Agent(name="support", model="gpt-5.2", tools=[refund, order_status, voucher])
REFUND = calls(("refund", {"order_id": "7", "amount": 5}, "call_1"))
ASKED = ["Refund order 7", 'refund({"order_id": "7", "amount": 5})']


async def parked(worker: Worker, message: str = "Refund order 7") -> RunSnapshot:
    run = await worker.client.enqueue("customer-42", message, agent="support")
    waiting = await run.wait(timeout=10)
    assert waiting.status is RunStatus.AWAITING_APPROVAL
    return waiting


async def test_a_run_waits_for_a_person_and_holds_nothing_meanwhile(migrated_url: str) -> None:
    shop = Shop()
    async with (
        ScriptedModel(REFUND, text("Done.")) as model,
        running_worker(migrated_url, model, agents=[support], deps=shop) as worker,
    ):
        waiting = await parked(worker)

        assert [(one.tool, one.call_id) for one in waiting.approvals] == [("refund", "call_1")]
        assert shop.refunds == []
        assert texts(await worker.history("customer-42")) == ASKED  # a reader sees what is being asked

        await worker.client.approve(waiting.approvals[0].id, by=ANA, note="checked")
        done = await worker.client.wait(waiting.id, 10)

        assert done.output == "Done."
        assert shop.refunds == ["7: 5"]
        assert shown(model.requests[1]) == [*ASKED, "= refunded 5"]
        assert texts(await worker.history("customer-42")) == [*ASKED, "= refunded 5", "Done."]


async def test_a_rejected_call_is_told_to_the_model_and_the_run_goes_on(migrated_url: str) -> None:
    shop = Shop()
    async with (
        ScriptedModel(REFUND, text("Sorry.")) as model,
        running_worker(migrated_url, model, agents=[support], deps=shop) as worker,
    ):
        waiting = await parked(worker)
        await worker.client.reject(waiting.approvals[0].id, by=ANA)
        done = await worker.client.wait(waiting.id, 10)

        assert done.output == "Sorry."
        assert shop.refunds == []
        assert shown(model.requests[1])[-1] == "= Tool execution was not approved."


async def test_what_needs_nobody_runs_at_once_and_outputs_keep_the_models_order(migrated_url: str) -> None:
    shop = Shop()
    mixed = calls(
        ("refund", {"order_id": "7", "amount": 5}),
        ("order_status", {"order_id": "7"}),
        ("refund", {"order_id": "8", "amount": 6}),
    )
    async with (
        ScriptedModel(mixed, text("Done.")) as model,
        running_worker(migrated_url, model, agents=[support], deps=shop) as worker,
    ):
        waiting = await parked(worker)
        assert shop.lookups == ["7"]
        first, second = waiting.approvals
        await worker.client.approve(first.id, by=ANA)
        still = await worker.client.get(waiting.id)
        assert still.status is RunStatus.AWAITING_APPROVAL
        await worker.client.reject(second.id, by=ANA, reason="too much")
        await worker.client.wait(waiting.id, 10)

        outputs = ["= refunded 5", "= delivered", "= Tool execution was not approved. Reason: too much"]
        assert shown(model.requests[1])[-3:] == outputs
        assert len(model.requests) == 2


async def test_a_function_says_which_calls_need_a_person(migrated_url: str) -> None:
    small, large = calls(("voucher", {"amount": 5})), calls(("voucher", {"amount": 50}))
    async with (
        ScriptedModel(small, large, text("Done.")) as model,
        running_worker(migrated_url, model, agents=[support], deps=Shop()) as worker,
    ):
        waiting = await parked(worker)

        assert [one.arguments for one in waiting.approvals] == [{"amount": 50}]
        await worker.client.approve(waiting.approvals[0].id, by=ANA, arguments={"amount": 20})
        await worker.client.wait(waiting.id, 10)
        assert shown(model.requests[2])[-1] == "= voucher of 20"


async def test_a_sticky_decision_stands_for_the_rest_of_the_run(migrated_url: str) -> None:
    shop = Shop()
    async with (
        ScriptedModel(REFUND, calls(("refund", {"order_id": "8", "amount": 6})), text("Done.")) as model,
        running_worker(migrated_url, model, agents=[support], deps=shop) as worker,
    ):
        waiting = await parked(worker)
        await worker.client.approve(waiting.approvals[0].id, by=ANA, sticky=True)
        done = await worker.client.wait(waiting.id, 10)

        assert done.status is RunStatus.COMPLETED
        assert shop.refunds == ["7: 5", "8: 6"]


async def test_a_run_behind_a_pause_starts_after_it_in_order(migrated_url: str) -> None:
    async with (
        ScriptedModel(REFUND, text("Done."), text("You are welcome."), text("Bye.")) as model,
        running_worker(migrated_url, model, agents=[support], deps=Shop()) as worker,
    ):
        waiting = await parked(worker)
        after = [
            await worker.client.enqueue("customer-42", message, agent="support")
            for message in ("Thanks", "Bye")
        ]
        assert len(model.requests) == 1
        await worker.client.approve(waiting.approvals[0].id, by=ANA)
        for run in after:
            await run.wait(timeout=10)

        said = [*ASKED, "= refunded 5", "Done.", "Thanks", "You are welcome.", "Bye", "Bye."]
        assert texts(await worker.history("customer-42")) == said
