"""Polling with a limit: the only place in the tests that lets time pass."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(check: Callable[[], Awaitable[T]], *, within: float = ..., every: float = ...) -> T: ...
@overload
async def eventually(check: Callable[[], T], *, within: float = ..., every: float = ...) -> T: ...
async def eventually(
    check: Callable[[], T | Awaitable[T]], *, within: float = 10.0, every: float = 0.02
) -> T:
    """The first truthy value of `check`, sync or async, asked every `every` seconds.

    Raises AssertionError with the last value when `within` seconds pass. A check that raises ends the wait.
    """
    limit = time.monotonic() + within
    while True:
        answer = check()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() >= limit:
            raise AssertionError(_description(check, value, within))
        await asyncio.sleep(every)


def eventually_sync(check: Callable[[], T], *, within: float = 10.0, every: float = 0.02) -> T:
    """`eventually` for a test without a loop."""
    limit = time.monotonic() + within
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() >= limit:
            raise AssertionError(_description(check, value, within))
        threading.Event().wait(every)


async def pause(seconds: float) -> None:
    """Let a fault, or the time between two deeds, last: for a torture, never to wait for something."""
    await asyncio.sleep(seconds)


def _description(check: Callable[[], object], last: object, within: float) -> str:
    name = getattr(check, "__qualname__", repr(check))
    code = getattr(check, "__code__", None)
    place = f" (line {code.co_firstlineno} of {code.co_filename})" if code is not None else ""
    return f"{name}{place} was not true within {within:g} s; its last value: {last!r}"
