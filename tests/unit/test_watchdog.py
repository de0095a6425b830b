"""The watchdog: a loop that does not answer, and who is named for it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint

from tests.fakes.wait import eventually
from turnkeeper_storage import metrics
from turnkeeper_worker import watchdog
from turnkeeper_worker.tools_at_work import at_work
from turnkeeper_worker.watchdog import innermost, watching

SILENT = "all runs of this worker stand still"
AGAIN = "answers again"


class Listener(logging.Handler):
    """Hears what the watchdog says, on its thread, while the loop is blocked."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []
        self.told = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())
        self.told.set()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    watchdog.log.addHandler(made)
    yield made
    watchdog.log.removeHandler(made)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> InMemoryMetricReader:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)
    metrics._counter.cache_clear()
    return reader


def blocks(reader: InMemoryMetricReader) -> dict[str, int]:
    """The blocks that were counted, by tool."""
    data = reader.get_metrics_data()
    if data is None:
        return {}
    points = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    return {str(p.attributes["tool"]): int(p.value) for p in points if isinstance(p, NumberDataPoint)}  # type: ignore[index]


def block(until: threading.Event) -> bool:
    """Block the thread that calls it."""
    return until.wait(20)


async def test_a_tool_that_blocks_the_loop_is_named_once_with_its_call_and_its_place(
    listener: Listener, counted: InMemoryMetricReader
) -> None:
    secret = "hunter2"
    with watching(0.05):
        with at_work("slow", "run_1", "call_7"):
            assert block(listener.told)
            assert secret
        await eventually(lambda: len(listener.heard) == 2)
    silent, again = listener.heard
    assert SILENT in silent
    assert (
        "no answer of its event loop for 0.05 s, blocked by tool slow (run run_1, call call_7) at " in silent
    )
    assert "block (test_watchdog.py:" in silent
    assert secret not in silent
    assert AGAIN in again
    assert blocks(counted) == {"slow": 1}


async def test_what_blocks_and_is_no_tool_is_told_by_its_place(
    listener: Listener, counted: InMemoryMetricReader
) -> None:
    with watching(0.05):
        assert block(listener.told)
        await eventually(lambda: len(listener.heard) == 2)
    assert "blocked by something that is no tool at " in listener.heard[0]
    assert "block (test_watchdog.py:" in listener.heard[0]
    assert blocks(counted) == {"": 1}


async def test_each_block_is_told_anew(listener: Listener) -> None:
    with watching(0.05):
        for count in (2, 4):
            listener.told.clear()
            assert block(listener.told)
            await eventually(lambda count=count: len(listener.heard) == count)  # type: ignore[misc]
    assert [SILENT in text for text in listener.heard] == [True, False, True, False]


async def test_a_tool_that_waits_is_not_named_for_another_that_blocks(listener: Listener) -> None:
    async def waits() -> None:
        with at_work("patient", "run_1", "call_1"):
            await asyncio.Event().wait()

    async def blocks_() -> None:
        with at_work("slow", "run_2", "call_2"):
            block(listener.told)

    waiting = asyncio.create_task(waits())
    with watching(0.05):
        await asyncio.create_task(blocks_())
    waiting.cancel()
    await asyncio.wait({waiting})
    assert "tool slow (run run_2" in listener.heard[0]


async def test_a_loop_that_answers_is_left_in_peace(listener: Listener) -> None:
    with watching(30):
        for _ in range(100):
            await asyncio.sleep(0)
    assert listener.heard == []


async def test_nobody_watches_when_the_setting_says_so() -> None:
    with watching(None):
        assert not [t for t in threading.enumerate() if t.name == "turnkeeper-watchdog"]


async def test_the_watch_ends_with_its_block() -> None:
    with watching(30):
        (thread,) = [t for t in threading.enumerate() if t.name == "turnkeeper-watchdog"]
    assert not thread.is_alive()


def test_a_thread_that_is_gone_has_no_place() -> None:
    assert innermost(None) == "an unknown place"
