"""6. A streamed run shows its input in the session before the model speaks, then its output."""

from __future__ import annotations

from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import text
from tests.fakes.worker import running_worker, texts
from turnkeeper_storage.model import RunStatus
from turnkeeper_worker.agents import Agent

support = Agent(name="support", model="gpt-5.2")


async def test_a_streamed_run_stores_its_input_first_and_its_output_at_the_end(migrated_url: str) -> None:
    async with (
        ScriptedModel(text("Once upon a time …")) as model,
        running_worker(migrated_url, model, agents=[support]) as worker,
    ):
        model.hold()
        run = await worker.client.enqueue("customer-42", "Tell me a story", agent="support", stream=True)
        await model.wait_for(1)
        assert texts(await worker.history("customer-42")) == ["Tell me a story"]
        model.release()
        done = await run.wait(timeout=10)

        assert model.requests[0]["stream"] is True
        assert done.output == "Once upon a time …"
        assert texts(await worker.history("customer-42")) == ["Tell me a story", "Once upon a time …"]


async def test_a_run_that_is_not_streamed_stores_nothing_before_its_end(migrated_url: str) -> None:
    async with (
        ScriptedModel(text("Once upon a time …")) as model,
        running_worker(migrated_url, model, agents=[support]) as worker,
    ):
        model.hold()
        run = await worker.client.enqueue("customer-42", "Tell me a story", agent="support")
        await model.wait_for(1)
        assert await worker.history("customer-42") == []
        model.release()
        assert (await run.wait(timeout=10)).status is RunStatus.COMPLETED
