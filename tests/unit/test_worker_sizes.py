"""How large the state of a run may get, before anything of it is written."""

from __future__ import annotations

import pytest

from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import calls, text
from tests.fakes.worker import running_worker, texts
from turnkeeper_client.snapshots import RunSnapshot
from turnkeeper_storage.errors import RunFailure
from turnkeeper_storage.items import user_message
from turnkeeper_storage.model import CallStatus, Merged, RunStatus, ToolCall, Turn, Usage
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.sizes import StateSize
from turnkeeper_worker.tools import tool


@tool
async def read() -> str:
    """Read much."""
    return "x" * 2_000


agent = Agent(name="support", model="gpt-5.2", tools=[read])


def check_too_large(done: RunSnapshot) -> None:
    assert done.status is RunStatus.FAILED
    assert done.error is not None
    assert done.error.code == "state_too_large"
    assert "TURNKEEPER_MAX_STATE_BYTES" in done.error.message


async def test_a_run_that_grows_too_large_fails_before_that_is_written_and_keeps_its_turns(
    migrated_url: str,
) -> None:
    async with (
        ScriptedModel(*(calls(("read", {})) for _ in range(3))) as model,
        running_worker(migrated_url, model, agents=[agent], max_state_bytes=4_000) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support")
        done = await run.wait(10)

        check_too_large(done)
        assert done.turn == 2
        assert [len(text) for text in texts(await worker.history("s"))] == [5, 8, 2_002, 8, 2_002]
        assert [call.turn for call in await worker.calls(run.id)] == [1, 2]


async def test_a_history_that_is_too_large_fails_the_first_checkpoint(migrated_url: str) -> None:
    async with (
        ScriptedModel(calls(("read", {}))) as model,
        running_worker(migrated_url, model, agents=[agent], max_state_bytes=4_000) as worker,
    ):
        await worker.client.session("s").add_items([user_message("y" * 5_000)])
        run = await worker.client.enqueue("s", "hello", agent="support")

        check_too_large(await run.wait(10))
        assert await worker.calls(run.id) == []
        assert len(await worker.history("s")) == 1


async def test_a_streamed_run_whose_input_is_too_large_asks_no_model(migrated_url: str) -> None:
    async with (
        ScriptedModel() as model,
        running_worker(migrated_url, model, agents=[agent], max_state_bytes=4_000) as worker,
    ):
        await worker.client.session("s").add_items([user_message("y" * 5_000)])
        run = await worker.client.enqueue("s", "hello", agent="support", stream=True)

        check_too_large(await run.wait(10))
        assert (await worker.run(run.id)).merged_input is None
        assert len(await worker.history("s")) == 1


async def test_an_answer_without_calls_writes_no_state(migrated_sqlite: str) -> None:
    async with (
        ScriptedModel(text("short")) as model,
        running_worker(migrated_sqlite, model, agents=[agent], max_state_bytes=4_000) as worker,
    ):
        await worker.client.session("s").add_items([user_message("y" * 5_000)])
        run = await worker.client.enqueue("s", "hello", agent="support")
        assert (await run.wait(10)).output == "short"


def test_bytes_count_and_not_characters() -> None:
    merged = Merged([user_message("é" * 100)], [])
    StateSize(300).check(merged, [], [])
    with pytest.raises(RunFailure, match="the run's input has 2"):
        StateSize(200).check(merged, [], [])


def test_open_calls_have_no_size_yet_and_outputs_have() -> None:
    size = StateSize(300)
    merged, turn = Merged([], []), Turn(1, None, [user_message("hi")], Usage())
    call = ToolCall("c", 1, "read", "{}")
    size.check(merged, [turn], [call])
    with pytest.raises(RunFailure, match="the limit is 300"):
        size.check(merged, [turn], [ToolCall("c", 1, "read", "{}", status=CallStatus.DONE, output="x" * 300)])
