"""What is counted: through OpenTelemetry's API, which costs nothing while nobody collects."""

from __future__ import annotations

from functools import cache

from opentelemetry.metrics import Counter, get_meter

METER = "turnkeeper"


@cache
def _unreadable() -> Counter:
    return get_meter(METER).create_counter(
        "turnkeeper.session.unreadable_items",
        unit="{item}",
        description="stored items that were left out of a history because they cannot be read",
    )


def count_unreadable(reason: str, store: str, count: int = 1) -> None:
    """Items of a store that could not be read. `reason` is one of a few words, never an id."""
    _unreadable().add(count, {"reason": reason, "store": store})


@cache
def _loop_blocks() -> Counter:
    return get_meter(METER).create_counter(
        "turnkeeper.worker.loop_blocks",
        unit="{block}",
        description="times that a worker's event loop did not answer, by the tool that blocked it",
    )


def count_loop_block(tool: str) -> None:
    """A worker's event loop did not answer in time. `tool` is a name, "" when it was no tool."""
    _loop_blocks().add(1, {"tool": tool})
