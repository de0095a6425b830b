"""5. A callback chooses what the model sees of a long history; the store keeps everything."""

from __future__ import annotations

from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import text
from tests.fakes.worker import running_worker, shown, texts
from turnkeeper_storage.items import Item, user_message
from turnkeeper_storage.model import RunStatus
from turnkeeper_worker.agents import Agent


def last_two(history: list[Item], new_items: list[Item]) -> list[Item]:
    """Show the model the newest two items only."""
    return [*history[-2:], *new_items]


async def with_a_summary(history: list[Item], new_items: list[Item]) -> list[Item]:
    """Put an item of one's own before the new ones."""
    return [user_message(f"({len(history)} items before)"), *new_items]


async def test_the_model_sees_the_last_items_and_the_store_keeps_everything(migrated_url: str) -> None:
    agent = Agent(name="support", model="gpt-5.2", session_input_callback=last_two)
    async with (
        ScriptedModel(text("1"), text("2"), text("3")) as model,
        running_worker(migrated_url, model, agents=[agent]) as worker,
    ):
        for message in ("one", "two", "three"):
            await (await worker.client.enqueue("customer-42", message, agent="support")).wait(timeout=10)

        assert shown(model.requests[2]) == ["two", "2", "three"]
        assert texts(await worker.history("customer-42")) == ["one", "1", "two", "2", "three", "3"]


async def test_what_the_callback_made_itself_is_stored_with_the_run(migrated_url: str) -> None:
    agent = Agent(name="support", model="gpt-5.2")
    async with (
        ScriptedModel(text("1")) as model,
        running_worker(migrated_url, model, agents=[agent], session_input_callback=with_a_summary) as worker,
    ):
        await (await worker.client.enqueue("customer-42", "one", agent="support")).wait(timeout=10)

        assert shown(model.requests[0]) == ["(0 items before)", "one"]
        assert texts(await worker.history("customer-42")) == ["(0 items before)", "one", "1"]


async def test_a_callback_that_returns_no_list_fails_the_run_before_the_model_is_asked(
    migrated_url: str,
) -> None:
    def broken(history: list[Item], new_items: list[Item]) -> list[Item]:
        return {"items": new_items}  # type: ignore[return-value]

    agent = Agent(name="support", model="gpt-5.2", session_input_callback=broken)
    async with (
        ScriptedModel() as model,
        running_worker(migrated_url, model, agents=[agent]) as worker,
    ):
        run = await worker.client.enqueue("customer-42", "one", agent="support")
        done = await run.wait(timeout=10)

        assert done.status is RunStatus.FAILED
        assert done.error is not None
        assert done.error.code == "invalid_callback_result"
        assert model.requests == []
        assert await worker.history("customer-42") == []
