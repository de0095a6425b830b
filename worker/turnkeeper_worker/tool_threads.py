"""The threads of synchronous tools. One that hangs is left behind, and takes nobody's place.

The standard pool would lose a thread to each tool that hangs, until none is left, and would wait for all of
them before the process may end. These are daemon threads, and one that nobody waits for any more is replaced.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
# so many that were left behind are replaced: with more hanging tools, more threads would only hide the fault
LEFT_LIMIT = 1_000
log = logging.getLogger(__name__)


class ToolThreads(Executor):
    """At most `limit` threads that somebody waits for, made when needed and named after `prefix`."""

    def __init__(self, limit: int, prefix: str = "turnkeeper-tool") -> None:
        self._limit = limit
        self._prefix = prefix
        self._changed = threading.Condition()
        self._waiting: deque[_Job] = deque()
        self._threads = 0
        self._idle = 0
        self._left = 0
        self._made = 0
        self._is_shut_down = False

    @property
    def left_behind(self) -> int:
        """Threads at work that nobody waits for."""
        return self._left

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call the function in a thread. A cancel of the future leaves a thread that is at it behind."""
        job = _Job(lambda: fn(*args, **kwargs), self._leave)
        with self._changed:
            if self._is_shut_down:
                raise RuntimeError("the worker's threads are shut down")
            self._waiting.append(job)
            self._find_a_thread()
        return job

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work. What is at work is not waited for, whatever `wait` says: it may hang."""
        with self._changed:
            self._is_shut_down = True
            dropped = list(self._waiting) if cancel_futures else []
            if cancel_futures:
                self._waiting.clear()
            self._changed.notify_all()
        for job in dropped:
            job.cancel()

    def _find_a_thread(self) -> None:
        if len(self._waiting) <= self._idle:
            self._changed.notify()
        elif self._threads < self._limit + min(self._left, LEFT_LIMIT):
            self._threads += 1
            self._made += 1
            name = f"{self._prefix}_{self._made}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()

    def _leave(self, job: _Job) -> None:
        """Nobody waits for this job any more; it may be at work."""
        with self._changed:
            if not job.is_at_work or job.is_left:
                return
            job.is_left = True
            self._left += 1
            if self._waiting:
                self._find_a_thread()
        log.warning("a tool's thread is left behind, for it did not end in time; there are %d", self._left)

    def _serve(self) -> None:
        while (job := self._next()) is not None:
            job.carry_out()
            if self._is_surplus(job):
                return

    def _next(self) -> _Job | None:
        with self._changed:
            while not self._waiting:
                if self._is_shut_down:
                    self._threads -= 1
                    return None
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            job = self._waiting.popleft()
            job.is_at_work = True
            return job

    def _is_surplus(self, job: _Job) -> bool:
        """Whether the job was left behind, and another thread has the place of this one."""
        with self._changed:
            job.is_at_work = False
            if not job.is_left:
                return False
            self._left -= 1
            if self._threads <= self._limit + self._left:
                return False
            self._threads -= 1
            return True


class _Job(Future[Any]):
    """A call, and the future of what it gives; `on_left` is told of a cancel that comes while it runs.

    `is_at_work` and `is_left` are the pool's, under its lock.
    """

    def __init__(self, call: Callable[[], object], on_left: Callable[[_Job], None]) -> None:
        super().__init__()
        self._call: Callable[[], object] | None = call
        self._on_left = on_left
        self.is_at_work = False
        self.is_left = False

    def cancel(self) -> bool:
        is_cancelled = super().cancel()
        if not is_cancelled:
            self._on_left(self)
        return is_cancelled

    def carry_out(self) -> None:
        """On a thread of the pool."""
        call, self._call = self._call, None
        if call is None or not self.set_running_or_notify_cancel():
            return
        try:
            self.set_result(call())
        except BaseException as error:  # noqa: BLE001 - it is raised where the future is awaited
            self.set_exception(error)
