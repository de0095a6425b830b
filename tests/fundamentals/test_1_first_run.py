"""1. An agent, a worker, and a first run from its enqueue to its output."""

from __future__ import annotations

from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import text
from tests.fakes.worker import running_worker, shown, texts
from turnkeeper_storage.model import EventType, RunStatus
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.context import RunContext

support = Agent(name="support", model="gpt-5.2", instructions="Be brief.")


async def test_a_run_goes_from_its_enqueue_to_its_output(migrated_url: str) -> None:
    async with (
        ScriptedModel(text("It is on its way.")) as model,
        running_worker(migrated_url, model, agents=[support]) as worker,
    ):
        run = await worker.client.enqueue("customer-42", "Where is my order?", agent="support")
        done = await run.wait(timeout=10)

        assert done.status is RunStatus.COMPLETED
        assert done.output == "It is on its way."
        assert done.usage.requests == 1
        assert texts(await worker.history("customer-42")) == ["Where is my order?", "It is on its way."]


async def test_the_model_is_asked_with_the_agents_model_and_instructions(migrated_url: str) -> None:
    async with (
        ScriptedModel(text("Hello!")) as model,
        running_worker(migrated_url, model, agents=[support]) as worker,
    ):
        await (await worker.client.enqueue("customer-42", "Hi", agent="support")).wait(timeout=10)

        assert model.requests[0]["model"] == "gpt-5.2"
        assert model.requests[0]["instructions"] == "Be brief."
        assert shown(model.requests[0]) == ["Hi"]


async def test_instructions_may_be_a_function_of_the_run(migrated_url: str) -> None:
    async def greet(ctx: RunContext[dict[str, str]]) -> str:
        return f"Speak {ctx.deps['language']} with {ctx.session_id}, who is {ctx.metadata['name']}."

    agent = Agent(name="support", model="gpt-5.2", instructions=greet)
    async with (
        ScriptedModel(text("Grüezi!")) as model,
        running_worker(migrated_url, model, agents=[agent], deps={"language": "German"}) as worker,
    ):
        run = await worker.client.enqueue("customer-42", "Hi", agent="support", metadata={"name": "Ana"})
        await run.wait(timeout=10)

        assert model.requests[0]["instructions"] == "Speak German with customer-42, who is Ana."


async def test_what_happened_can_be_read_as_events(migrated_url: str) -> None:
    async with (
        ScriptedModel(text("Hello!")) as model,
        running_worker(migrated_url, model, agents=[support]) as worker,
    ):
        run = await worker.client.enqueue("customer-42", "Hi", agent="support")
        await run.wait(timeout=10)
        events = await worker.events(run.id)

        assert [(event.n, event.type) for event in events] == [
            (1, EventType.QUEUED),
            (2, EventType.STARTED),
            (3, EventType.TURN_FINISHED),
            (4, EventType.COMPLETED),
        ]
