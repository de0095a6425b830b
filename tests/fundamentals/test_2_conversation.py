"""2. A session remembers: what one run stores, the next run's model reads."""

from __future__ import annotations

from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import text
from tests.fakes.worker import running_worker, shown, texts
from turnkeeper_storage.model import RunStatus
from turnkeeper_worker.agents import Agent

support = Agent(name="support", model="gpt-5.2")


async def test_the_second_run_reads_what_the_first_one_stored(migrated_url: str) -> None:
    async with (
        ScriptedModel(text("Hello Ana!"), text("You are Ana.")) as model,
        running_worker(migrated_url, model, agents=[support]) as worker,
    ):
        for message in ("I am Ana.", "Who am I?"):
            run = await worker.client.enqueue("customer-42", message, agent="support")
            await run.wait(timeout=10)

        assert shown(model.requests[1]) == ["I am Ana.", "Hello Ana!", "Who am I?"]
        assert [item["role"] for item in model.inputs[1]] == ["user", "assistant", "user"]


async def test_runs_that_are_sent_at_once_wait_for_each_other(migrated_url: str) -> None:
    async with (
        ScriptedModel(text("one"), text("two"), text("three")) as model,
        running_worker(migrated_url, model, agents=[support]) as worker,
    ):
        model.hold()
        sent = [await worker.client.enqueue("customer-42", str(n), agent="support") for n in (1, 2, 3)]
        await model.wait_for(1)
        assert model.in_flight == 1
        model.release()
        for run in sent:
            assert (await run.wait(timeout=10)).status is RunStatus.COMPLETED

        assert model.peak_in_flight == 1
        assert texts(await worker.history("customer-42")) == ["1", "one", "2", "two", "3", "three"]


async def test_two_sessions_do_not_wait_for_each_other(migrated_url: str) -> None:
    async with (
        ScriptedModel(text("Hello!"), text("Hello!")) as model,
        running_worker(migrated_url, model, agents=[support]) as worker,
    ):
        model.hold_until(2)
        sent = [await worker.client.enqueue(name, "Hi", agent="support") for name in ("ana", "ben")]
        for run in sent:
            assert (await run.wait(timeout=10)).status is RunStatus.COMPLETED

        assert model.peak_in_flight == 2


async def test_a_turn_is_undone_by_popping_its_items_and_running_again(migrated_url: str) -> None:
    async with (
        ScriptedModel(text("4"), text("5?"), text("9")) as model,
        running_worker(migrated_url, model, agents=[support]) as worker,
    ):
        session = worker.client.session("customer-42")
        for message in ("2 + 2?", "4 + 4?"):
            await (await worker.client.enqueue("customer-42", message, agent="support")).wait(timeout=10)
        answer, question = await session.pop_item(), await session.pop_item()
        assert texts([answer or {}, question or {}]) == ["5?", "4 + 4?"]

        await (await worker.client.enqueue("customer-42", "4 + 5?", agent="support")).wait(timeout=10)

        assert shown(model.requests[2]) == ["2 + 2?", "4", "4 + 5?"]
        assert texts(await session.get_items()) == ["2 + 2?", "4", "4 + 5?", "9"]
