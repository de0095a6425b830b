"""Notices when the worker's event loop does not answer, and says who blocks it.

All runs of a process live on one loop. What blocks it, holds up all of them, and their leases with them; so
the one who looks is a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from itertools import islice
from types import FrameType

from turnkeeper_storage.metrics import count_loop_block, observe
from turnkeeper_worker.tools_at_work import tool_of

# of the stack of whoever blocks, from the innermost outwards
STACK_LINES = 6
# a process that was stopped as a whole answers as soon as it goes on
SECOND_LOOK = 0.1
log = logging.getLogger(__name__)


@contextlib.contextmanager
def watching(seconds: float | None) -> Iterator[None]:
    """Watch the running loop while the block lasts; nothing with None."""
    if seconds is None:
        yield
        return
    watchdog = Watchdog(asyncio.get_running_loop(), threading.get_ident(), seconds)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.stop()


class Watchdog:
    """Asks a loop, whose thread is `thread_id`, for a sign of life; warns once of each time without one.

    `seconds` is how long an answer may take.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, thread_id: int, seconds: float) -> None:
        self._loop = loop
        self._thread_id = thread_id
        self._seconds = seconds
        self._answered = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="turnkeeper-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End, within a moment. Also called on the loop that is watched, so the answer is given here."""
        self._stopped.set()
        self._answered.set()
        self._thread.join(self._seconds)

    def _watch(self) -> None:
        while not self._stopped.wait(self._seconds / 4):
            self._answered.clear()
            if self._stopped.is_set():
                return
            asked_at = time.perf_counter()
            try:
                self._loop.call_soon_threadsafe(self._answered.set)
            except RuntimeError:  # the loop is closed
                return
            if not self._answered.wait(self._seconds) and not self._answered.wait(SECOND_LOOK):
                self._tell()
            if not self._stopped.is_set():
                observe("turnkeeper.worker.loop_lag", time.perf_counter() - asked_at, {})

    def _tell(self) -> None:
        since = time.monotonic() - self._seconds
        task = asyncio.current_task(self._loop)
        frame = sys._current_frames().get(self._thread_id)
        where = innermost(frame)
        del frame
        call = tool_of(task)
        who = "something that is no tool"
        if call is not None:
            who = f"tool {call.tool} (run {call.run_id}, call {call.call_id})"
        log.warning(
            "all runs of this worker stand still: no answer of its event loop for %g s, blocked by %s at %s",
            self._seconds,
            who,
            where,
        )
        count_loop_block(call.tool if call is not None else "")
        self._answered.wait()
        if not self._stopped.is_set():
            log.warning("the event loop answers again, after %.1f s", time.monotonic() - since)


def innermost(frame: FrameType | None) -> str:
    """The innermost functions of a stack with their files and lines, and no values."""
    if frame is None:
        return "an unknown place"
    lines = islice(traceback.walk_stack(frame), STACK_LINES)
    return " < ".join(
        f"{inner.f_code.co_qualname} ({os.path.basename(inner.f_code.co_filename)}:{line})"  # noqa: PTH119
        for inner, line in lines
    )
