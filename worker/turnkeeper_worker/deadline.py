"""A run's deadline as its worker sees it: on its own monotonic clock, a little late rather than early."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import TypeVar

from turnkeeper_storage.database import Database
from turnkeeper_storage.model import Run
from turnkeeper_storage.repositories import deadlines

T = TypeVar("T")


class Late(Exception):
    """The run's deadline has passed."""


class Cancelled(Exception):
    """The run's cancel was asked for while the model was at work."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """`at` is in seconds of `time.monotonic()`; None is never."""

    at: float | None = None

    @property
    def seconds_left(self) -> float | None:
        """From now on, at least 0; None for ever."""
        return None if self.at is None else max(0.0, self.at - time.monotonic())

    @property
    def has_passed(self) -> bool:
        return self.at is not None and time.monotonic() >= self.at

    @contextlib.asynccontextmanager
    async def holds(self) -> AsyncIterator[None]:
        """Cancel what is done within when the deadline passes. Raises Late."""
        try:
            async with asyncio.timeout(self.seconds_left) as limit:
                yield
        except TimeoutError:
            if limit.expired():
                raise Late from None
            raise


async def unless_ended(work: Awaitable[T], cancelled: asyncio.Event, deadline: Deadline) -> T:
    """What `work` gives. Raises Cancelled or Late, with the work cancelled, when one of them comes first."""
    working = asyncio.ensure_future(work)
    flag = asyncio.ensure_future(cancelled.wait())
    try:
        limit = deadline.seconds_left
        await asyncio.wait({working, flag}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Cancelled if flag.done() else Late
    finally:
        flag.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait({working})


async def deadline_of(database: Database, run: Run) -> Deadline:
    """The deadline of a run in work: one read for a run that has one, none for others."""
    if run.deadline is None:
        return Deadline()
    left = await database.read(lambda uow: deadlines.seconds_left(uow, run.session_key, run.id))
    return Deadline(None if left is None else time.monotonic() + left)
