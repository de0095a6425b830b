"""One tool call: run, bounded in time and size, its faults told to the model or to the run."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from pydantic import BaseModel

from turnkeeper_storage.errors import RunFailure
from turnkeeper_storage.items import Json
from turnkeeper_storage.model import ToolCall
from turnkeeper_worker import tool_execution
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.tool_execution import execute
from turnkeeper_worker.tools import AnyTool, tool

CONTEXT = RunContext("deps", "run_1", "s")
LIMIT = 1_000
request_id = contextvars.ContextVar("request_id", default="none")


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def called(arguments: str = "{}") -> ToolCall:
    return ToolCall("call_1", 1, "t", arguments)


async def run(used: AnyTool, threads: ThreadPoolExecutor, arguments: str = "{}") -> str:
    return await execute(used, called(arguments), CONTEXT, threads=threads, max_output_bytes=LIMIT)


async def failing(used: AnyTool, threads: ThreadPoolExecutor) -> RunFailure:
    with pytest.raises(RunFailure) as caught:
        await run(used, threads)
    return caught.value


class Order(BaseModel):
    id: str
    at: datetime


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        ("", ""),
        (None, "null"),
        ({"a": [1, True]}, '{"a":[1,true]}'),
        (Order(id="7", at=datetime(2030, 1, 1, tzinfo=UTC)), '{"id":"7","at":"2030-01-01T00:00:00Z"}'),
        ("a\x00b\ud800", "a�b?"),
    ],
)
async def test_an_output_is_text_or_json(threads: ThreadPoolExecutor, value: Json, text: str) -> None:
    @tool
    async def give() -> object:
        return value

    assert await run(give, threads) == text


async def test_an_async_tool_is_given_its_context_and_arguments(threads: ThreadPoolExecutor) -> None:
    @tool
    async def add(ctx: RunContext[str], a: int, b: int = 2) -> str:
        return f"{a + b} {ctx.deps} {ctx.idempotency_key} {threading.current_thread().name}"

    assert await run(add, threads, '{"a": 1, "b": null}') == "3 deps run_1:call_1 MainThread"


async def test_a_sync_tool_runs_in_a_thread_with_the_context_variables(threads: ThreadPoolExecutor) -> None:
    @tool
    def where(ctx: RunContext[str]) -> str:
        assert threading.current_thread() is not threading.main_thread()
        return f"{request_id.get()} {ctx.call_id}"

    token = request_id.set("r-9")
    try:
        assert await run(where, threads) == "r-9 call_1"
    finally:
        request_id.reset(token)


async def test_a_sync_tool_that_gives_an_awaitable_is_awaited(threads: ThreadPoolExecutor) -> None:
    async def later() -> str:
        return "later"

    @tool
    def hidden() -> object:
        return later()

    assert await run(hidden, threads) == "later"


@pytest.mark.parametrize("arguments", ["{", '{"a": "x"}'])
async def test_invalid_arguments_are_told_to_the_model_and_nothing_runs(
    threads: ThreadPoolExecutor, arguments: str
) -> None:
    @tool(on_error="fail")
    async def never(a: int) -> str:
        raise AssertionError("ran")

    assert (await run(never, threads, arguments)).startswith("Tool error: invalid arguments: ")


def raising(error: BaseException, *, is_async: bool) -> AnyTool:
    async def later() -> str:
        raise error

    def now() -> str:
        raise error

    return tool(name="t")(later) if is_async else tool(name="t")(now)


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no such order"), "Tool error: ValueError: no such order"),
        (KeyError(), "Tool error: KeyError"),
        (TimeoutError("the shop's"), "Tool error: TimeoutError: the shop's"),
        (SystemExit(3), "Tool error: SystemExit: 3"),
        (asyncio.CancelledError("inner"), "Tool error: CancelledError: inner"),
    ],
)
async def test_an_exception_is_told_to_the_model(
    threads: ThreadPoolExecutor, error: BaseException, text: str, is_async: bool
) -> None:
    assert await run(raising(error, is_async=is_async), threads) == text


async def test_a_stop_iteration_in_a_thread_does_not_hang(threads: ThreadPoolExecutor) -> None:
    assert await run(raising(StopIteration(), is_async=False), threads) == "Tool error: StopIteration"


async def test_a_long_exception_is_cut(threads: ThreadPoolExecutor) -> None:
    used = raising(ValueError("x" * 100_000), is_async=True)
    text = await execute(used, called(), CONTEXT, threads=threads, max_output_bytes=LIMIT)
    assert len(text) < 2_100


async def test_on_error_fail_ends_the_run_and_quotes_nothing(
    threads: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    @tool(on_error="fail")
    async def fall() -> str:
        raise ValueError("hunter2")

    with caplog.at_level(logging.DEBUG):
        failure = await failing(fall, threads)
    assert (failure.code, failure.message) == ("tool_failed", "tool 'fall' raised ValueError")
    assert "hunter2" not in caplog.text
    assert "tool_failed" in caplog.text


async def test_a_slow_async_tool_is_stopped(threads: ThreadPoolExecutor) -> None:
    stopped = asyncio.Event()

    @tool(timeout=0.02)
    async def slow() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return "never"

    assert await run(slow, threads) == "Tool error: timed out after 0.02 s"
    assert stopped.is_set()


async def test_a_slow_thread_is_left_behind(threads: ThreadPoolExecutor) -> None:
    release = threading.Event()

    @tool(timeout=0.02, on_error="fail")
    def slow() -> str:
        release.wait(10)
        return "late"

    try:
        failure = await failing(slow, threads)
    finally:
        release.set()
    assert (failure.code, failure.message) == ("tool_timeout", "tool 'slow' timed out after 0.02 s")


async def test_a_cancel_of_the_run_passes_through(threads: ThreadPoolExecutor) -> None:
    started = asyncio.Event()

    @tool
    async def slow() -> str:
        started.set()
        await asyncio.Event().wait()
        return "never"

    task = asyncio.create_task(run(slow, threads))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("value", [object(), b"\xff", {"a": object()}])
async def test_an_output_without_a_json_form_is_a_fault(threads: ThreadPoolExecutor, value: object) -> None:
    async def give() -> object:
        return value

    kind = type(value).__name__
    assert await run(tool(give), threads) == f"Tool error: the tool returned {kind}, which has no JSON form"
    failure = await failing(tool(on_error="fail")(give), threads)
    assert failure.code == "tool_output_unserialisable"


async def test_an_output_that_is_too_large_is_a_fault_with_size_and_limit(
    threads: ThreadPoolExecutor,
) -> None:
    async def give() -> str:
        return "é" * 501

    told = "Tool error: the output's 1,002 bytes are over the limit of 1,000; ask for less"
    assert await run(tool(give), threads) == told
    failure = await failing(tool(on_error="fail")(give), threads)
    assert failure.code == "tool_output_too_large"
    assert "TURNKEEPER_MAX_OUTPUT_BYTES" in failure.message


async def test_an_output_that_is_far_too_large_is_not_copied(threads: ThreadPoolExecutor) -> None:
    async def give() -> object:
        value = "x" * 100_000_000
        tracemalloc.reset_peak()
        before.append(tracemalloc.get_traced_memory()[0])
        return value

    async def in_a_list() -> object:
        value = ["é" * 1_000_000] * 50
        tracemalloc.reset_peak()
        before.append(tracemalloc.get_traced_memory()[0])
        return value

    before: list[int] = []
    tracemalloc.start()
    try:
        told = "Tool error: the output's 100,000,000 bytes are over the limit of 1,000; ask for less"
        assert await run(tool(give), threads) == told
        assert tracemalloc.get_traced_memory()[1] - before[-1] < 1_000_000
        failure = await failing(tool(on_error="fail")(give), threads)
        assert failure.code == "tool_output_too_large"
        # the error, and the frames that it holds, have not kept the output
        assert tracemalloc.get_traced_memory()[0] < 50_000_000
        assert "100,000,151 bytes" in await run(tool(in_a_list), threads)
        assert tracemalloc.get_traced_memory()[1] - before[-1] < 300_000_000
    finally:
        tracemalloc.stop()


async def test_a_text_beyond_ascii_that_is_far_too_large_is_told_without_a_count(
    threads: ThreadPoolExecutor,
) -> None:
    @tool
    async def give() -> str:
        return "é" * 2_000

    told = "Tool error: the output's bytes are over the limit of 1,000; ask for less"
    assert await run(give, threads) == told


async def test_a_coroutine_that_ignores_its_cancellation_is_left_behind(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tool_execution, "STOP_SECONDS", 0.05)
    release, ended = asyncio.Event(), asyncio.Event()

    @tool(timeout=0.02)
    async def stubborn() -> str:
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
        ended.set()
        return "late"

    assert await run(stubborn, threads) == "Tool error: timed out after 0.02 s"
    assert "tool stubborn ignores that it is cancelled" in caplog.text
    release.set()
    await asyncio.wait_for(ended.wait(), 10)


async def test_a_tool_that_gives_what_it_has_when_it_is_stopped_is_heard(threads: ThreadPoolExecutor) -> None:
    @tool(timeout=0.02)
    async def half() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return "half"

    assert await run(half, threads) == "half"
