"""3. Tools: the model asks, the worker runs them, the model answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import calls, text
from tests.fakes.worker import running_worker, shown, texts
from turnkeeper_storage.model import RunStatus
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.tools import tool


@dataclass
class Shop:
    """What a lifespan would open: here, what tools need and leave behind."""

    orders: dict[str, str]
    refunds: list[str] = field(default_factory=list)


@tool
async def order_status(ctx: RunContext[Shop], order_id: str) -> str:
    """Look an order up."""
    return ctx.deps.orders[order_id]


@tool
def refund(ctx: RunContext[Shop], order_id: str) -> str:
    """Give the money back; a plain function runs in a thread."""
    ctx.deps.refunds.append(ctx.idempotency_key)
    return f"refunded {order_id}"


support = Agent(name="support", model="gpt-5.2", tools=[order_status, refund])


async def test_a_tool_is_called_and_its_output_goes_back_to_the_model(migrated_url: str) -> None:
    async with (
        ScriptedModel(calls(("order_status", {"order_id": "7"})), text("It is on its way.")) as model,
        running_worker(migrated_url, model, agents=[support], deps=Shop({"7": "on its way"})) as worker,
    ):
        run = await worker.client.enqueue("customer-42", "Where is order 7?", agent="support")
        done = await run.wait(timeout=10)

        assert done.output == "It is on its way."
        assert done.usage.requests == 2
        asked = ["Where is order 7?", 'order_status({"order_id": "7"})', "= on its way"]
        assert shown(model.requests[1]) == asked
        assert texts(await worker.history("customer-42")) == [*asked, "It is on its way."]


async def test_tools_of_one_turn_run_side_by_side_and_their_outputs_keep_the_models_order(
    migrated_url: str,
) -> None:
    two = calls(("order_status", {"order_id": "7"}), ("order_status", {"order_id": "9"}))
    shop = Shop({"7": "on its way", "9": "lost"})
    async with (
        ScriptedModel(two, text("One of them is lost.")) as model,
        running_worker(migrated_url, model, agents=[support], deps=shop) as worker,
    ):
        run = await worker.client.enqueue("customer-42", "Where are they?", agent="support")
        await run.wait(timeout=10)

        assert shown(model.requests[1])[-2:] == ["= on its way", "= lost"]


async def test_a_tool_has_a_key_that_is_the_same_for_every_attempt_of_its_call(migrated_url: str) -> None:
    shop = Shop({})
    async with (
        ScriptedModel(calls(("refund", {"order_id": "7"}, "call_1")), text("Done.")) as model,
        running_worker(migrated_url, model, agents=[support], deps=shop) as worker,
    ):
        run = await worker.client.enqueue("customer-42", "Refund order 7", agent="support")
        await run.wait(timeout=10)

        assert shop.refunds == [f"{run.id}:call_1"]


async def test_a_tools_error_is_told_to_the_model(migrated_url: str) -> None:
    async with (
        ScriptedModel(calls(("order_status", {"order_id": "404"})), text("There is none.")) as model,
        running_worker(migrated_url, model, agents=[support], deps=Shop({})) as worker,
    ):
        run = await worker.client.enqueue("customer-42", "Where is order 404?", agent="support")
        done = await run.wait(timeout=10)

        assert done.status is RunStatus.COMPLETED
        assert shown(model.requests[1])[-1].startswith("= Tool error: KeyError")


async def test_a_run_that_only_calls_tools_ends_at_max_turns(migrated_url: str) -> None:
    again = [calls(("order_status", {"order_id": "7"})) for _ in range(2)]
    async with (
        ScriptedModel(*again) as model,
        running_worker(migrated_url, model, agents=[support], deps=Shop({"7": "lost"})) as worker,
    ):
        run = await worker.client.enqueue("customer-42", "Find it!", agent="support", max_turns=2)
        done = await run.wait(timeout=10)

        assert done.status is RunStatus.FAILED
        assert done.error is not None
        assert done.error.code == "max_turns_exceeded"
        asked = ['order_status({"order_id": "7"})', "= lost"]
        assert texts(await worker.history("customer-42")) == ["Find it!", *asked, *asked]
