"""One turn: instructions, a valid input, the model asked again by the class of its error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import BaseModel

from tests.fakes import replies
from tests.fakes.model_server import ScriptedModel
from turnkeeper_storage.errors import RunFailure
from turnkeeper_storage.items import Item, Json, text_of
from turnkeeper_storage.settings import load_settings
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.models.base import Delta, ModelSettings
from turnkeeper_worker.models.client import make_model
from turnkeeper_worker.runner import ModelRunner, TurnRequest
from turnkeeper_worker.tools import tool

CONTEXT = RunContext({"greeting": "Be kind."}, "run_1", "s")
USER: Item = {"role": "user", "content": "hi"}
SOON = replies.error(429, retry_after_ms=1)


@tool
def look(id: str) -> str:
    """Look."""
    return id


class Verdict(BaseModel):
    ok: bool


@pytest.fixture
async def server() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as scripted:
        yield scripted


@pytest.fixture
async def runner(server: ScriptedModel) -> AsyncIterator[ModelRunner]:
    model = make_model(load_settings(openai_api_key="k", openai_base_url=server.base_url))
    yield ModelRunner(model, random=lambda: 0.0)
    await model.aclose()


def request(agent: Agent | None = None, **fields: Json) -> TurnRequest:
    given: dict[str, Json] = {"context": CONTEXT, "input": [USER], "turn": 1, "timeout": 10.0, "retries": 2}
    given |= fields
    return TurnRequest(agent=agent or Agent(name="a", model="m"), **given)


async def failing(runner: ModelRunner, asked: TurnRequest) -> RunFailure:
    with pytest.raises(RunFailure) as caught:
        await runner.take_turn(asked)
    return caught.value


async def test_a_turn_gives_items_usage_and_the_id(server: ScriptedModel, runner: ModelRunner) -> None:
    server.script(replies.text("hello"))
    outcome = await runner.take_turn(request())
    assert [text_of(item) for item in outcome.items] == ["hello"]
    assert outcome.usage.requests == 1
    assert outcome.response_id is not None


async def test_run_and_turn_are_told_to_the_server(server: ScriptedModel, runner: ModelRunner) -> None:
    server.script(replies.text("hello"))
    await runner.take_turn(request(turn=3))
    assert server.requests[0]["metadata"] == {"run_id": "run_1", "turn": "3"}
    assert server.headers[0]["idempotency-key"] == "run_1:3"


async def test_the_agents_parts_are_in_the_request(server: ScriptedModel, runner: ModelRunner) -> None:
    server.script(replies.text('{"ok": true}'))
    agent = Agent(name="a", model="m", instructions="Be brief.", tools=[look], output_type=Verdict)
    await runner.take_turn(request(agent))
    body = server.requests[0]
    assert body["instructions"] == "Be brief."
    assert body["tools"] == [look.definition()]
    assert body["text"]["format"]["schema"]["required"] == ["ok"]


async def test_the_input_is_made_valid(server: ScriptedModel, runner: ModelRunner) -> None:
    server.script(replies.text("hello"))
    orphan = {"type": "function_call_output", "call_id": "x", "output": ""}
    await runner.take_turn(request(input=[orphan, USER]))
    assert server.inputs == [[USER]]


async def test_a_forced_tool_choice_holds_for_the_first_turn(
    server: ScriptedModel, runner: ModelRunner
) -> None:
    server.script(replies.text("1"), replies.text("2"))
    settings = ModelSettings(tool_choice="required")
    agent = Agent(name="a", model="m", tools=[look], model_settings=settings)
    await runner.take_turn(request(agent, turn=1))
    await runner.take_turn(request(agent, turn=2))
    assert [body["tool_choice"] for body in server.requests] == ["required", "auto"]


def plain(context: RunContext[dict[str, str]]) -> str:
    return context.deps["greeting"]


async def awaited(context: RunContext[dict[str, str]]) -> str:
    await asyncio.sleep(0)
    return context.deps["greeting"]


@pytest.mark.parametrize("instructions", [plain, awaited])
async def test_instructions_may_be_a_function(
    server: ScriptedModel, runner: ModelRunner, instructions: Json
) -> None:
    server.script(replies.text("hello"))
    await runner.take_turn(request(Agent(name="a", model="m", instructions=instructions)))
    assert server.requests[0]["instructions"] == "Be kind."


async def test_instructions_that_fail_end_the_run_and_are_not_quoted(runner: ModelRunner) -> None:
    def fall(context: RunContext[dict[str, str]]) -> str:
        raise ValueError("hunter2")

    failure = await failing(runner, request(Agent(name="a", model="m", instructions=fall)))
    assert (failure.code, "ValueError" in failure.message) == ("instructions_failed", True)
    assert "hunter2" not in failure.message


async def test_instructions_that_are_no_text_end_the_run(runner: ModelRunner) -> None:
    nothing: Json = lambda context: None  # noqa: E731 - a user's mistake
    failure = await failing(runner, request(Agent(name="a", model="m", instructions=nothing)))
    assert (failure.code, "NoneType" in failure.message) == ("instructions_failed", True)


async def test_an_error_that_passes_is_tried_again_with_one_key(
    server: ScriptedModel, runner: ModelRunner
) -> None:
    server.script(SOON, SOON, replies.text("hello"))
    outcome = await runner.take_turn(request())
    assert text_of(outcome.items[0]) == "hello"
    assert {headers["idempotency-key"] for headers in server.headers} == {"run_1:1"}
    assert len(server.requests) == 3


async def test_out_of_retries_the_run_fails_and_says_how_often(
    server: ScriptedModel, runner: ModelRunner
) -> None:
    server.script(SOON, SOON, SOON)
    failure = await failing(runner, request())
    assert failure.code == "model_rate_limited"
    assert "gave up after 3 attempts" in failure.message


async def test_an_error_that_stays_is_not_tried_again(server: ScriptedModel, runner: ModelRunner) -> None:
    server.script(replies.error(401))
    failure = await failing(runner, request())
    assert failure.code == "model_auth"
    assert len(server.requests) == 1


async def test_a_server_that_asks_for_minutes_fails_the_run(
    server: ScriptedModel, runner: ModelRunner
) -> None:
    server.script(replies.error(429, headers={"retry-after": "600"}))
    assert (await failing(runner, request())).code == "model_rate_limited"


@pytest.mark.parametrize(("after", "restarts"), [(6, 1), (1, 0)])
async def test_readers_are_told_of_a_restart_when_they_saw_something(
    server: ScriptedModel, runner: ModelRunner, after: int, restarts: int
) -> None:
    server.script(replies.cut(replies.text("one two three"), after=after), replies.text("whole"))
    seen: list[str] = []

    async def keep(delta: Delta) -> None:
        seen.append(delta.text)

    async def restarted() -> None:
        seen.append("|")

    await runner.take_turn(request(on_delta=keep, on_restart=restarted))
    assert seen.count("|") == restarts
    assert "".join(seen).endswith("whole")
    assert (seen[0] == "whole") == (restarts == 0)


async def test_a_cancel_ends_the_wait_for_another_attempt(server: ScriptedModel, runner: ModelRunner) -> None:
    server.script(replies.error(429, headers={"retry-after": "50"}))
    task = asyncio.create_task(runner.take_turn(request()))
    await server.wait_for(1)
    await server.wait_for_in_flight(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(server.requests) == 1
