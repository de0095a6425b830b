"""Whole runs on a chat-completions server, and runs on a model of one's own."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from tests.fakes.chat_server import ScriptedChat
from tests.fakes.replies import calls, text
from tests.fakes.worker import running_worker, texts
from turnkeeper import tool
from turnkeeper_client import AsyncClient
from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.model import RunStatus, Usage
from turnkeeper_storage.settings import Settings, load_settings
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.app import Turnkeeper
from turnkeeper_worker.models.base import Delta, ModelRequest, ModelResponse, OnDelta
from turnkeeper_worker.runner import Runner, TurnOutcome, TurnRequest
from turnkeeper_worker.runtime import Runtime


@tool
async def order_status(order_id: str) -> str:
    """Look an order up."""
    return f"order {order_id} is on its way"


support = Agent(name="support", model="m-1", instructions="Be brief.", tools=[order_status])
CHAT = "chat_completions"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_run_with_tools_ends_as_on_the_responses_api(migrated_url: str, streamed: bool) -> None:
    two = calls(("order_status", {"order_id": "7"}, "0"), ("order_status", {"order_id": "8"}, "1"))
    async with (
        ScriptedChat(two, text("Both are on their way.")) as model,
        running_worker(migrated_url, model, agents=[support], model_api=CHAT) as worker,
    ):
        run = await worker.client.enqueue("customer-42", "Where?", agent="support", stream=streamed)
        done = await run.wait(timeout=10)

        assert (done.status, done.output) == (RunStatus.COMPLETED, "Both are on their way.")
        assert done.usage.requests == 2
        assert [request.get("stream") for request in model.requests] == [True if streamed else None] * 2
        assert [(one["role"], one["content"]) for one in model.messages[1]] == [
            ("system", "Be brief."),
            ("user", "Where?"),
            ("assistant", None),
            ("tool", "order 7 is on its way"),
            ("tool", "order 8 is on its way"),
        ]
        assert texts(await worker.history("customer-42")) == [
            "Where?",
            'order_status({"order_id": "7"})',
            'order_status({"order_id": "8"})',
            "= order 7 is on its way",
            "= order 8 is on its way",
            "Both are on their way.",
        ]


async def test_call_ids_that_a_server_counts_from_0_are_made_unique(migrated_url: str) -> None:
    again = [calls(("order_status", {"order_id": id}, "call_0")) for id in ("7", "8")]
    async with (
        ScriptedChat(*again, text("Done.")) as model,
        running_worker(migrated_url, model, agents=[support], model_api=CHAT) as worker,
    ):
        run = await worker.client.enqueue("customer-42", "Where?", agent="support")
        assert (await run.wait(timeout=10)).output == "Done."
        sent = [one["tool_call_id"] for one in model.messages[2] if one["role"] == "tool"]
        assert len(set(sent)) == 2
        assert sent == [one["tool_calls"][0]["id"] for one in model.messages[2] if "tool_calls" in one]


@pytest.mark.parametrize("order", [("responses", "chat_completions"), ("chat_completions", "responses")])
async def test_a_session_goes_on_when_the_api_changes(migrated_url: str, order: tuple[str, str]) -> None:
    for number, api in enumerate(order):
        asked = calls(("order_status", {"order_id": "7"}), message="One moment.", reasoning="hm")
        async with (
            ScriptedChat(asked, text(f"Answer {number}.")) as model,
            running_worker(migrated_url, model, agents=[support], model_api=api) as worker,
        ):
            run = await worker.client.enqueue("customer-42", f"Question {number}", agent="support")
            assert (await run.wait(timeout=10)).output == f"Answer {number}."
            said = [one for one in texts(await worker.history("customer-42")) if one != "…"]
    asked_and_found = ["One moment.", 'order_status({"order_id": "7"})', "= order 7 is on its way"]
    assert said == [
        line for number in (0, 1) for line in (f"Question {number}", *asked_and_found, f"Answer {number}.")
    ]


class Echo:
    """A model of a test's own, which notes where it was made and that it was closed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self.closed_on: asyncio.AbstractEventLoop | None = None

    async def respond(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelResponse:
        content = f"{request.model} heard {request.input[-1]['content']!r}"
        if on_delta is not None:
            done = on_delta(Delta("text", content))
            if inspect.isawaitable(done):
                await done
        return ModelResponse(None, [{"role": "assistant", "content": content}], Usage(requests=1))

    async def aclose(self) -> None:
        self.closed_on = asyncio.get_running_loop()


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_model_of_ones_own_is_made_and_closed_on_the_workers_loop(
    migrated_url: str, streamed: bool
) -> None:
    made: list[Echo] = []

    def make(settings: Settings) -> Echo:
        made.append(Echo(settings))
        return made[-1]

    settings = load_settings(database_url=migrated_url, broker_url="memory://", sweep_seconds=0.05)
    app = Turnkeeper(agents=[support], model=make, settings=settings)
    assert made == []
    runtime = Runtime(app, lambda change: None)
    await asyncio.to_thread(runtime.start)
    try:
        async with AsyncClient(settings=settings) as client:
            run = await client.enqueue("customer-42", "hello", agent="support", stream=streamed)
            assert (await run.wait(timeout=10)).output == "m-1 heard 'hello'"
    finally:
        await asyncio.to_thread(runtime.stop)
    [echo] = made
    assert echo.settings is settings
    assert echo.closed_on is echo.loop is not asyncio.get_running_loop()


def test_a_model_that_is_no_function_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"model: str is no function.*Agent\(model="):
        Turnkeeper(agents=[support], model="m-1", broker_url="memory://")  # type: ignore[arg-type]


def test_a_model_beside_a_runner_is_refused() -> None:
    class Silent:
        async def take_turn(self, request: TurnRequest) -> TurnOutcome:
            raise AssertionError("never called")

    runner: Runner = Silent()
    with pytest.raises(ConfigurationError, match="either model or runner"):
        Turnkeeper(agents=[support], model=Echo, runner=runner, broker_url="memory://")
