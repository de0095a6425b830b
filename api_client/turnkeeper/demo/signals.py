"""SIGTERM and SIGHUP as an ending like any other, so that what was started is cleared away."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")
ENDINGS = (signal.SIGTERM, signal.SIGHUP)


class Terminated(SystemExit):
    """SIGTERM or SIGHUP came; the exit code says which."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


class EndingSignals:
    """Within the block SIGTERM and SIGHUP raise Terminated; a loop made by `run` is wound up before.

    Off the main thread it does nothing but `run`.
    """

    def __init__(self) -> None:
        self._is_main = threading.current_thread() is threading.main_thread()
        self._before: dict[signal.Signals, Any] = {}  # Any: a handler is a number, a function or None
        self._cancel: Callable[[], object] | None = None
        self._number: int | None = None

    def __enter__(self) -> Self:
        if self._is_main:
            self._before = {number: signal.getsignal(number) for number in (*ENDINGS, signal.SIGINT)}
            for number in ENDINGS:
                # one that is ignored stays so: `nohup` means it
                if self._before[number] is not signal.SIG_IGN:
                    signal.signal(number, self._end)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """`asyncio.run`, whose task is cancelled by the signals as it is by Ctrl-C."""
        try:
            return asyncio.run(self._cancelled_by_signals(work))
        except asyncio.CancelledError:
            if self._number is not None:
                raise Terminated(self._number) from None
            raise

    def ignore(self) -> None:
        """From here to the end of the block no signal, and no second Ctrl-C, disturbs the clearing up."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    async def _cancelled_by_signals(self, work: Coroutine[Any, Any, T]) -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs is in a task
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        try:
            return await work
        finally:
            self._cancel = None

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._number = number
        if self._cancel is None:
            raise Terminated(number)
        self._cancel()
