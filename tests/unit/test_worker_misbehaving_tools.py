"""Tools that hang, block, return too much or leave things behind: the other runs of the worker go on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import Reply, calls, text
from tests.fakes.wait import eventually
from tests.fakes.worker import Worker, running_worker, texts
from turnkeeper.practice.rules import input_items, newest_message
from turnkeeper_client.handles import AsyncRunHandle
from turnkeeper_storage.items import Json
from turnkeeper_storage.model import CallStatus, RunStatus
from turnkeeper_worker import watchdog
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.tools import AnyTool, tool


def answer(body: dict[str, Json]) -> Reply:
    """Call the tool that the message names, once; be done with anything else."""
    items = input_items(body)
    said = newest_message(items)[1]
    called = items[-1].get("type") == "function_call_output"
    return calls((said[1:], {})) if said.startswith("!") and not called else text("done")


def agent(*tools: AnyTool) -> Agent:
    return Agent(name="support", model="gpt-5.2", tools=tools)


async def starts(worker: Worker, session: str, message: str = "hello") -> AsyncRunHandle:
    return await worker.client.enqueue(session, message, agent="support")


async def completes(run: AsyncRunHandle) -> None:
    done = await run.wait(20)
    assert done.status is RunStatus.COMPLETED, done.error


class Heard(logging.Handler):
    """What the watchdog said, and whether it said anything."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.anything = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.anything.set()


@pytest.fixture
def heard() -> Iterator[Heard]:
    made = Heard()
    watchdog.log.addHandler(made)
    yield made
    watchdog.log.removeHandler(made)


async def test_a_tool_that_hangs_is_ended_by_its_time_out_and_others_finish_meanwhile(
    migrated_url: str,
) -> None:
    started = asyncio.Event()

    @tool(timeout=3)
    async def hang() -> str:
        """Never end."""
        started.set()
        await asyncio.Event().wait()
        return "never"

    async with (
        ScriptedModel(answer=answer) as model,
        running_worker(migrated_url, model, agents=[agent(hang)]) as worker,
    ):
        hung = await starts(worker, "a", "!hang")
        await asyncio.wait_for(started.wait(), 10)
        for run in [await starts(worker, f"b{n}") for n in range(5)]:
            await completes(run)
        await completes(hung)
        assert texts(await worker.history("a"))[2] == "= Tool error: timed out after 3 s"


async def test_plain_tools_that_hang_leave_threads_for_the_others(migrated_sqlite: str) -> None:
    release = threading.Event()

    @tool(timeout=0.2)
    def hang() -> str:
        """Never end."""
        release.wait(30)
        return "never"

    @tool(timeout=10)
    def quick() -> str:
        """Be quick."""
        return "quick"

    try:
        async with (
            ScriptedModel(answer=answer) as model,
            running_worker(migrated_sqlite, model, agents=[agent(hang, quick)], tool_threads=2) as worker,
        ):
            for run in [await starts(worker, f"a{n}", "!hang") for n in range(4)]:
                await completes(run)
            await completes(await starts(worker, "b", "!quick"))
            assert "= quick" in texts(await worker.history("b"))
    finally:
        release.set()


async def test_a_tool_that_blocks_the_loop_is_named_and_the_other_runs_go_on(
    migrated_url: str, heard: Heard
) -> None:
    @tool
    async def block() -> str:
        """Block the event loop."""
        return "told" if heard.anything.wait(20) else "never"

    async with (
        ScriptedModel(answer=answer) as model,
        running_worker(migrated_url, model, agents=[agent(block)], watchdog_seconds=0.3) as worker,
    ):
        model.hold()
        others = [await starts(worker, f"b{n}") for n in range(5)]
        await model.wait_for(5)
        blocking = await starts(worker, "a", "!block")
        await model.wait_for(6)
        leases = [worker.held(f"b{n}").lease for n in range(5)]
        model.release()
        for run in [blocking, *others]:
            await completes(run)

        (call,) = await worker.calls(blocking.id)
        assert call.output == "told"
        named = f"blocked by tool block (run {blocking.id}, call {call.call_id}) at "
        assert sum(named in line for line in heard.lines) == 1
        assert "block (test_worker_misbehaving_tools.py:" in heard.lines[0]
        for lease, run in zip(leases, others, strict=True):
            assert lease.epoch == 1
            assert (await worker.run(run.id)).crashes == 0
            assert texts(await worker.history(run.session_id)) == ["hello", "done"]


async def test_runs_whose_leases_ended_in_a_block_are_run_again_and_stand_once(migrated_url: str) -> None:
    blocked: list[int] = []

    @tool
    async def block() -> str:
        """Block the event loop for longer than a lease, the first time."""
        blocked.append(1)
        if len(blocked) == 1:
            threading.Event().wait(2.5)
        return "through"

    settings: dict[str, Any] = {"lease_seconds": 1.0, "heartbeat_seconds": 0.3, "sweep_seconds": 0.2}
    async with (
        ScriptedModel(answer=answer) as model,
        running_worker(migrated_url, model, agents=[agent(block)], **settings) as worker,
    ):
        model.hold()
        others = [await starts(worker, f"b{n}") for n in range(3)]
        await model.wait_for(3)
        blocking = await starts(worker, "a", "!block")
        await model.wait_for(4)
        model.release()
        for run in [blocking, *others]:
            await completes(run)

        assert texts(await worker.history("a")) == ["!block", "block({})", "= through", "done"]
        for run in others:
            assert texts(await worker.history(run.session_id)) == ["hello", "done"]


async def test_a_tool_that_returns_a_hundred_megabytes_is_told_so(migrated_sqlite: str) -> None:
    @tool
    async def dump() -> str:
        """Return very much."""
        return "x" * 100_000_000

    async with (
        ScriptedModel(answer=answer) as model,
        running_worker(migrated_sqlite, model, agents=[agent(dump)]) as worker,
    ):
        run = await starts(worker, "a", "!dump")
        await completes(run)
        (call,) = await worker.calls(run.id)
        assert call.status is CallStatus.DONE
        assert "100,000,000 bytes are over the limit" in str(call.output)


async def test_a_tool_that_leaves_threads_and_tasks_behind_is_answered_and_disturbs_nobody(
    migrated_url: str,
) -> None:
    left: list[asyncio.Task[object]] = []
    release = threading.Event()

    async def fails() -> None:
        raise ValueError("nobody sees this")

    @tool
    async def litter() -> str:
        """Begin things and leave."""
        for _ in range(20):
            left.append(asyncio.create_task(asyncio.Event().wait(), name="litter"))
            threading.Thread(target=release.wait, args=(30,), daemon=True).start()
        left.append(asyncio.create_task(fails(), name="litter"))
        return "left"

    try:
        async with (
            ScriptedModel(answer=answer) as model,
            running_worker(migrated_url, model, agents=[agent(litter)]) as worker,
        ):
            runs = [await starts(worker, "a", "!litter"), *[await starts(worker, f"b{n}") for n in range(5)]]
            for run in runs:
                await completes(run)
            assert "= left" in texts(await worker.history("a"))
            await eventually(lambda: worker.holds == 0)
            assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("session:")]
    finally:
        release.set()
        for task in left:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, ValueError):
                await task
