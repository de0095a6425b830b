"""What another worker does with a run whose worker died, by where it died."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import calls, text
from tests.fakes.worker import Worker, running_worker, shown, texts
from turnkeeper_client.snapshots import RunSnapshot
from turnkeeper_storage.model import EventType, RunStatus
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.tools import AnyTool, tool


class Tools:
    """Tools that note each call, and hang in the first worker."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.started = asyncio.Event()
        self.hangs = True
        noted = self

        @tool
        async def look(ctx: RunContext[None]) -> str:
            """An idempotent one."""
            return await noted.called(ctx)

        @tool(idempotent=False)
        async def pay(ctx: RunContext[None]) -> str:
            """One that must not happen twice."""
            return await noted.called(ctx)

        self.tools: Sequence[AnyTool] = [look, pay]

    @property
    def agent(self) -> Agent:
        return Agent(name="support", model="gpt-5.2", tools=self.tools)

    async def called(self, ctx: RunContext[None]) -> str:
        self.keys.append(ctx.idempotency_key)
        self.started.set()
        if self.hangs:
            await asyncio.Event().wait()
        return "done"


async def dies_in_a_tool(worker: Worker, tools: Tools) -> str:
    """A run whose worker dies in its tool; the run's id. Its lease is over."""
    run = await worker.client.enqueue("s", "hello", agent="support")
    await tools.started.wait()
    await worker.die()
    await worker.lease_runs_out("s")
    tools.hangs = False
    return run.id


async def heir_ends(url: str, model: ScriptedModel, agent: Agent, run_id: str) -> RunSnapshot:
    """The run after another worker found it in its first sweep."""
    async with running_worker(url, model, agents=[agent]) as heir:
        return await heir.client.wait(run_id, 10)


async def test_a_stored_call_runs_with_the_same_key_and_no_model_call_between(migrated_url: str) -> None:
    tools = Tools()
    async with (
        ScriptedModel(calls(("look", {}, "call_1")), text("all done")) as model,
        running_worker(migrated_url, model, agents=[tools.agent]) as worker,
    ):
        run_id = await dies_in_a_tool(worker, tools)
        done = await heir_ends(migrated_url, model, tools.agent, run_id)

        assert done.output == "all done"
        assert tools.keys == [f"{run_id}:call_1"] * 2
        assert shown(model.requests[1]) == ["hello", "look({})", "= done"]
        assert texts(await worker.history("s")) == ["hello", "look({})", "= done", "all done"]
        assert done.usage.requests == 2


async def test_a_call_that_must_not_happen_twice_waits_for_a_person_in_doubt(migrated_url: str) -> None:
    tools = Tools()
    async with (
        ScriptedModel(calls(("pay", {}, "call_1"))) as model,
        running_worker(migrated_url, model, agents=[tools.agent]) as worker,
    ):
        run_id = await dies_in_a_tool(worker, tools)
        done = await heir_ends(migrated_url, model, tools.agent, run_id)

        assert done.status is RunStatus.AWAITING_APPROVAL
        assert [(one.tool, one.reason.value, one.call_id) for one in done.approvals] == [
            ("pay", "in_doubt", "call_1")
        ]
        assert tools.keys == [f"{run_id}:call_1"]
        assert texts(await worker.history("s")) == ["hello", "pay({})"]


async def test_outputs_that_are_stored_are_not_asked_for_again(migrated_url: str) -> None:
    tools = Tools()
    tools.hangs = False
    async with (
        ScriptedModel(calls(("pay", {})), text("never heard"), text("all done")) as model,
        running_worker(migrated_url, model, agents=[tools.agent]) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support")
        await tools.started.wait()
        model.hold()
        await model.wait_for(2)
        await worker.die()
        await worker.lease_runs_out("s")
        model.release()
        done = await heir_ends(migrated_url, model, tools.agent, run.id)

        assert done.output == "all done"
        assert len(tools.keys) == 1
        assert model.inputs[1] == model.inputs[2]
        types = [event.type for event in await worker.events(run.id)]
        assert types.count(EventType.TURN_RESTARTED) == 1


async def test_a_stored_call_of_a_tool_that_is_gone_fails_the_run(migrated_url: str) -> None:
    tools = Tools()
    async with (
        ScriptedModel(calls(("look", {}))) as model,
        running_worker(migrated_url, model, agents=[tools.agent]) as worker,
    ):
        run_id = await dies_in_a_tool(worker, tools)
        renamed = Agent(name="support", model="gpt-5.2", tools=[])
        done = await heir_ends(migrated_url, model, renamed, run_id)

        assert done.error is not None
        assert done.error.code == "tool_missing"
        assert "'look'" in done.error.message


async def test_a_model_that_invents_a_tool_is_told_what_there_is(migrated_sqlite: str) -> None:
    tools = Tools()
    async with (
        ScriptedModel(calls(("invented", {})), text("sorry")) as model,
        running_worker(migrated_sqlite, model, agents=[tools.agent]) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support")

        assert (await run.wait(10)).status is RunStatus.COMPLETED
        assert (
            shown(model.requests[1])[-1] == "= Tool error: there is no tool 'invented'; there are: look, pay"
        )


async def test_the_merged_input_is_made_once_though_the_callback_would_differ(migrated_url: str) -> None:
    tools = Tools()
    asked: list[int] = []

    def count(history: list[dict[str, object]], new: list[dict[str, object]]) -> list[dict[str, object]]:
        asked.append(len(history))
        return [*history, *new]

    agent = Agent(name="support", model="gpt-5.2", tools=tools.tools, session_input_callback=count)
    async with (
        ScriptedModel(calls(("look", {})), text("all done")) as model,
        running_worker(migrated_url, model, agents=[agent]) as worker,
    ):
        run_id = await dies_in_a_tool(worker, tools)
        await heir_ends(migrated_url, model, agent, run_id)

        assert asked == [0]


async def test_a_run_that_keeps_losing_its_worker_is_poisoned_and_the_session_goes_on(
    migrated_url: str,
) -> None:
    agent = Agent(name="support", model="gpt-5.2")
    async with ScriptedModel(*[text("never heard")] * 2, text("two!")) as model:
        run_id = next_id = ""
        for attempt in range(2):
            async with running_worker(migrated_url, model, agents=[agent], crash_limit=2) as worker:
                model.hold()
                if attempt == 0:
                    run_id = (await worker.client.enqueue("s", "one", agent="support")).id
                    next_id = (await worker.client.enqueue("s", "two", agent="support")).id
                await model.wait_for(attempt + 1)
                await worker.die()
                await worker.lease_runs_out("s")
        model.release()
        async with running_worker(migrated_url, model, agents=[agent], crash_limit=2) as worker:
            done = await worker.client.wait(run_id, 10)
            after = await worker.client.wait(next_id, 10)

            assert done.error is not None
            assert done.error.code == "poisoned"
            assert after.output == "two!"
            assert texts(await worker.history("s")) == ["two", "two!"]
