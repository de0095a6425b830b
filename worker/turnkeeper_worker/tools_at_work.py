"""Which tool call each task of this process works on: for the watchdog to name the one that blocks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ToolAtWork:
    """A tool call that is being executed."""

    tool: str
    run_id: str
    call_id: str


# by task, so it does not matter which worker of the process a task belongs to
_at_work: dict[asyncio.Task[Any], ToolAtWork] = {}


@contextlib.contextmanager
def at_work(tool: str, run_id: str, call_id: str) -> Iterator[None]:
    """What the current task does within is this call."""
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a tool call is executed by a task")
    _at_work[task] = ToolAtWork(tool, run_id, call_id)
    try:
        yield
    finally:
        del _at_work[task]


def tool_of(task: asyncio.Task[Any] | None) -> ToolAtWork | None:
    """The call that a task works on, None when it is at something else; from any thread."""
    return None if task is None else _at_work.get(task)
