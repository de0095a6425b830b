"""How runs end, whatever happens in them."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import HttpError, calls, cut, error, text
from tests.fakes.worker import Worker, running_worker, texts
from turnkeeper_client.snapshots import RunSnapshot
from turnkeeper_storage.errors import RunFailure
from turnkeeper_storage.items import Item
from turnkeeper_storage.model import CallStatus, EventType, RunError, RunStatus, Usage
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.models.base import ModelRequest, ModelResponse, OnDelta
from turnkeeper_worker.runner import ModelRunner, Runner, TurnOutcome, TurnRequest
from turnkeeper_worker.tools import tool


@tool
async def look(what: str) -> str:
    """Look at something."""
    return f"{what} is fine"


@tool(on_error="fail")
async def explode() -> str:
    """A tool that ends the run."""
    raise ValueError("a secret")


agent = Agent(name="support", model="gpt-5.2", tools=[look, explode])


async def ended(worker: Worker, message: str = "hello", *, stream: bool = False) -> RunSnapshot:
    run = await worker.client.enqueue("s", message, agent="support", stream=stream)
    return await run.wait(10)


def code(done: RunSnapshot) -> str:
    assert done.status is RunStatus.FAILED
    assert done.error is not None
    return done.error.code


async def test_a_tool_that_fails_the_run_keeps_what_the_others_did(migrated_url: str) -> None:
    both = calls(("look", {"what": "tea"}), ("explode", {}))
    async with (
        ScriptedModel(both) as model,
        running_worker(migrated_url, model, agents=[agent]) as worker,
    ):
        done = await ended(worker)

        assert code(done) == "tool_failed"
        assert texts(await worker.history("s")) == [
            "hello",
            'look({"what": "tea"})',
            "explode({})",
            "= tea is fine",
            "= Tool error: tool 'explode' raised ValueError",
        ]
        assert "secret" not in str(done.error)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        pytest.param(error(400), "model_bad_request", id="refused"),
        pytest.param(error(401), "model_auth", id="key"),
        pytest.param(error(404), "model_not_found", id="model"),
        pytest.param(error(429), "model_rate_limited", id="rate"),
        pytest.param(error(503), "model_unavailable", id="fault"),
    ],
)
async def test_a_model_error_fails_the_run_with_a_code_and_stores_nothing(
    migrated_sqlite: str, reply: HttpError, expected: str
) -> None:
    async with (
        ScriptedModel(reply) as model,
        running_worker(migrated_sqlite, model, agents=[agent]) as worker,
    ):
        assert code(await ended(worker)) == expected
        assert await worker.history("s") == []


async def test_a_model_error_after_a_turn_stores_the_input_and_that_turn(migrated_sqlite: str) -> None:
    async with (
        ScriptedModel(calls(("look", {"what": "tea"})), error(400)) as model,
        running_worker(migrated_sqlite, model, agents=[agent]) as worker,
    ):
        assert code(await ended(worker)) == "model_bad_request"
        assert texts(await worker.history("s")) == ["hello", 'look({"what": "tea"})', "= tea is fine"]


async def test_a_streamed_run_that_fails_keeps_its_input(migrated_sqlite: str) -> None:
    async with (
        ScriptedModel(cut()) as model,
        running_worker(migrated_sqlite, model, agents=[agent]) as worker,
    ):
        assert (await ended(worker, stream=True)).status is RunStatus.FAILED
        assert texts(await worker.history("s")) == ["hello"]


async def test_an_answer_over_the_limit_fails_the_run(migrated_sqlite: str) -> None:
    async with (
        ScriptedModel(text("x" * 3_000)) as model,
        running_worker(migrated_sqlite, model, agents=[agent], max_output_bytes=2_000) as worker,
    ):
        done = await ended(worker)

        assert code(done) == "output_too_large"
        assert "TURNKEEPER_MAX_OUTPUT_BYTES" in str(done.error)


async def test_a_failed_run_does_not_keep_the_next_one_from_running(migrated_sqlite: str) -> None:
    async with (
        ScriptedModel(error(400), text("better")) as model,
        running_worker(migrated_sqlite, model, agents=[agent]) as worker,
    ):
        await ended(worker, "one")

        assert (await ended(worker, "two")).output == "better"
        assert texts(await worker.history("s")) == ["two", "better"]


async def test_a_cancel_while_the_model_is_at_work_ends_the_call_and_stores_nothing(
    migrated_url: str,
) -> None:
    async with (
        ScriptedModel(text("too late")) as model,
        running_worker(migrated_url, model, agents=[agent], heartbeat_seconds=0.05) as worker,
    ):
        model.hold()
        run = await worker.client.enqueue("s", "hello", agent="support")
        await model.wait_for(1)
        await run.cancel()
        done = await run.wait(10)
        await model.wait_for_in_flight(0)  # nobody waits for that answer any more

        assert done.status is RunStatus.CANCELLED
        assert await worker.history("s") == []
        assert (await worker.events(run.id))[-1].type is EventType.CANCELLED


async def test_a_cancel_between_two_turns_keeps_the_turn_that_is_done(migrated_url: str) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    @tool
    async def slow() -> str:
        """Work until the test says so."""
        started.set()
        await go_on.wait()
        return "done"

    worker_agent = Agent(name="support", model="gpt-5.2", tools=[slow])
    async with (
        ScriptedModel(calls(("slow", {}))) as model,
        running_worker(migrated_url, model, agents=[worker_agent], heartbeat_seconds=0.05) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support")
        await started.wait()
        await run.cancel()
        await worker.held("s").cancel_requested.wait()
        go_on.set()
        done = await run.wait(10)

        assert done.status is RunStatus.CANCELLED
        assert texts(await worker.history("s")) == ["hello", "slow({})", "= done"]
        assert len(model.requests) == 1


async def test_a_run_that_is_cancelled_while_it_waits_never_runs(migrated_url: str) -> None:
    async with (
        ScriptedModel(text("first")) as model,
        running_worker(migrated_url, model, agents=[agent]) as worker,
    ):
        model.hold()
        first = await worker.client.enqueue("s", "one", agent="support")
        await model.wait_for(1)
        second = await worker.client.enqueue("s", "two", agent="support")
        assert (await second.cancel()).status is RunStatus.CANCELLED
        model.release()
        await first.wait(10)

        assert texts(await worker.history("s")) == ["one", "first"]
        assert len(model.requests) == 1


async def test_a_plain_function_that_blocks_does_not_hold_up_other_sessions(migrated_sqlite: str) -> None:
    release = threading.Event()

    @tool
    def block() -> str:
        """Block a thread."""
        return "released" if release.wait(20) else "never"

    worker_agent = Agent(name="support", model="gpt-5.2", tools=[block])
    async with (
        ScriptedModel(calls(("block", {})), text("quick"), text("slow")) as model,
        running_worker(migrated_sqlite, model, agents=[worker_agent]) as worker,
    ):
        blocked = await worker.client.enqueue("a", "hello", agent="support")
        await model.wait_for(1)
        quick = await worker.client.enqueue("b", "hello", agent="support")
        assert (await quick.wait(10)).output == "quick"
        release.set()

        assert (await blocked.wait(10)).output == "slow"
        assert (await worker.calls(blocked.id))[0].status is CallStatus.DONE


class Broken:
    """A runner, or a model class, of a user's own that has a fault."""

    def __init__(self, fault: Exception | None, items: list[Item] | None = None) -> None:
        self.fault = fault
        self.items = items or []
        self.asked = 0

    async def take_turn(self, request: TurnRequest) -> TurnOutcome:
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        return TurnOutcome(None, self.items, Usage(requests=1))

    async def respond(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelResponse:
        outcome = await self.take_turn(TurnRequest(agent, RunContext(None, "", "", ""), [], 1, 1.0, 0))
        return ModelResponse(None, outcome.items, outcome.usage)

    async def aclose(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("is_model", [False, True], ids=["runner", "model"])
async def test_what_a_class_of_ones_own_raises_fails_the_run_at_once(
    migrated_url: str, is_model: bool, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Broken(KeyError("a secret"))
    runner: Runner = ModelRunner(broken) if is_model else broken
    own = Agent(name="support", model="none", runner=runner)
    async with ScriptedModel() as model, running_worker(migrated_url, model, agents=[own]) as worker:
        with caplog.at_level("INFO"):
            done = await ended(worker)

        assert done.error == RunError("runner_failed", "the runner raised KeyError")
        assert broken.asked == 1
        assert (await worker.run(done.id)).crashes == 0
        assert "the runner raised KeyError in test_worker_runs.py:" in caplog.text
        assert "a secret" not in caplog.text
        assert code(await ended(worker)) == "runner_failed"  # the session goes on


async def test_a_runner_may_say_itself_why_the_run_cannot_go_on(migrated_sqlite: str) -> None:
    own = Agent(name="support", model="none", runner=Broken(RunFailure("no_budget", "the month is over")))
    async with ScriptedModel() as model, running_worker(migrated_sqlite, model, agents=[own]) as worker:
        assert (await ended(worker)).error == RunError("no_budget", "the month is over")


async def test_a_runners_answer_that_is_no_json_fails_the_run(migrated_sqlite: str) -> None:
    items: list[Item] = [{"role": "assistant", "content": b"bytes"}]
    own = Agent(name="support", model="none", runner=Broken(None, items))
    async with ScriptedModel() as model, running_worker(migrated_sqlite, model, agents=[own]) as worker:
        done = await ended(worker)

        assert code(done) == "runner_failed"
        assert "cannot be written as JSON" in str(done.error)


@pytest.mark.parametrize(("own", "asked_with"), [(1, None), (None, 1), (10_000, 1)])
async def test_a_run_that_used_its_tokens_fails_and_keeps_its_turns(
    migrated_url: str, own: int | None, asked_with: int | None
) -> None:
    thrifty = Agent(name="support", model="gpt-5.2", tools=[look], token_limit=own)
    async with (
        ScriptedModel(calls(("look", {"what": "tea"}))) as model,
        running_worker(migrated_url, model, agents=[thrifty]) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support", token_limit=asked_with)
        done = await run.wait(10)

        assert code(done) == "token_limit_exceeded"
        assert done.usage.total_tokens >= 1
        assert texts(await worker.history("s")) == ["hello", 'look({"what": "tea"})', "= tea is fine"]
        assert len(model.requests) == 1


async def test_a_run_may_use_more_tokens_than_its_agent_says(migrated_sqlite: str) -> None:
    thrifty = Agent(name="support", model="gpt-5.2", tools=[look], token_limit=1)
    async with (
        ScriptedModel(calls(("look", {"what": "tea"})), text("done")) as model,
        running_worker(migrated_sqlite, model, agents=[thrifty]) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support", token_limit=10_000)
        assert (await run.wait(10)).output == "done"


@pytest.mark.parametrize("stream", [False, True])
async def test_half_of_a_surrogate_pair_in_an_input_does_not_fail_the_run(
    migrated_sqlite: str, stream: bool
) -> None:
    agent = Agent(name="support", model="gpt-5.2")
    async with (
        ScriptedModel(text("Hello!")) as model,
        running_worker(migrated_sqlite, model, agents=[agent]) as worker,
    ):
        run = await worker.client.enqueue("customer-42", "Hi \ud83d there", agent="support", stream=stream)
        done = await run.wait(timeout=10)
        assert (done.status, done.output) == (RunStatus.COMPLETED, "Hello!")
        assert texts(await worker.history("customer-42")) == ["Hi \ud83d there", "Hello!"]
