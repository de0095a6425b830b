"""Threads of synchronous tools: bounded, and not used up by what hangs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from tests.fakes.wait import eventually, eventually_sync
from turnkeeper_worker.tool_threads import ToolThreads


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Set at the end, so that no thread of a test outlives it for long."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def threads(release: threading.Event) -> Iterator[ToolThreads]:
    made = ToolThreads(2, "tested")
    yield made
    release.set()
    made.shutdown(cancel_futures=True)
    eventually_sync(lambda: count() == 0)


def count() -> int:
    return sum(thread.name.startswith("tested") for thread in threading.enumerate())


def hanging(threads: ToolThreads, release: threading.Event) -> Future[bool]:
    started = threading.Event()

    def hang() -> bool:
        started.set()
        return release.wait(20)

    future = threads.submit(hang)
    assert started.wait(10)
    return future


def test_a_result_and_an_error_come_back(threads: ToolThreads) -> None:
    assert threads.submit(lambda a, b: a + b, 1, b=2).result(10) == 3
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 // 0).result(10)


def test_threads_are_used_again_and_there_are_no_more_than_the_limit(threads: ToolThreads) -> None:
    results = [threads.submit(threading.get_ident) for _ in range(50)]
    assert len({future.result(10) for future in results}) <= 2
    assert count() <= 2


def test_work_waits_when_all_threads_are_taken(threads: ToolThreads, release: threading.Event) -> None:
    busy = [hanging(threads, release) for _ in range(2)]
    waiting = threads.submit(lambda: "done")
    assert not waiting.done()
    assert count() == 2
    release.set()
    assert waiting.result(10) == "done"
    assert all(future.result(10) for future in busy)


def test_a_thread_that_nobody_waits_for_takes_nobodys_place(
    threads: ToolThreads, release: threading.Event
) -> None:
    for n in range(5):
        hanging(threads, release).cancel()
        assert threads.left_behind == n + 1
    assert threads.submit(lambda: "done").result(10) == "done"
    release.set()
    eventually_sync(lambda: threads.left_behind == 0)
    eventually_sync(lambda: count() <= 2)
    assert threads.submit(lambda: "done").result(10) == "done"


def test_what_waits_goes_on_when_a_thread_is_left_behind(
    threads: ToolThreads, release: threading.Event
) -> None:
    first, _ = hanging(threads, release), hanging(threads, release)
    waiting = threads.submit(lambda: "done")
    first.cancel()
    first.cancel()
    assert waiting.result(10) == "done"
    assert threads.left_behind == 1


def test_work_that_is_given_up_before_it_began_never_begins(
    threads: ToolThreads, release: threading.Event
) -> None:
    for _ in range(2):
        hanging(threads, release)
    begun = threading.Event()
    assert threads.submit(begun.set).cancel()
    release.set()
    assert threads.submit(lambda: "done").result(10) == "done"
    assert not begun.is_set()
    assert threads.left_behind == 0


async def test_a_cancelled_coroutine_leaves_its_thread_behind(
    threads: ToolThreads, release: threading.Event
) -> None:
    started = threading.Event()

    def hang() -> bool:
        started.set()
        return release.wait(20)

    waiting = asyncio.ensure_future(asyncio.get_running_loop().run_in_executor(threads, hang))
    await asyncio.to_thread(started.wait, 10)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await eventually(lambda: threads.left_behind == 1)


def test_nothing_is_taken_after_the_end(threads: ToolThreads, release: threading.Event) -> None:
    busy = [hanging(threads, release) for _ in range(2)]
    waiting = threads.submit(lambda: "never")
    threads.shutdown(cancel_futures=True)
    assert waiting.cancelled()
    with pytest.raises(RuntimeError, match="shut down"):
        threads.submit(lambda: "never")
    release.set()
    assert all(future.result(10) for future in busy)


def test_a_tool_that_hangs_does_not_keep_the_process_from_ending() -> None:
    code = (
        "import threading\n"
        "from turnkeeper_worker.tool_threads import ToolThreads\n"
        "threads, started = ToolThreads(1), threading.Event()\n"
        "threads.submit(lambda: (started.set(), threading.Event().wait()))\n"
        "started.wait(10)\n"
        "threads.shutdown()\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0
