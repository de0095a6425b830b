"""Following a run over HTTP: the stream is opened again, from the last cursor, whenever it ends early."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING

from turnkeeper_client.events import RunEvent
from turnkeeper_client.remote.documents import event_of
from turnkeeper_client.remote.transport import Transport, segment, told
from turnkeeper_storage.errors import ApiUnavailable
from turnkeeper_storage.items import decode
from turnkeeper_storage.model import EventType

if TYPE_CHECKING:
    import httpx2

LAST_EVENTS = frozenset({EventType.COMPLETED, EventType.FAILED, EventType.CANCELLED})
# as many times in a row a stream may end with nothing in it: about 20 s
ATTEMPTS = 15
FIRST_PAUSE = 0.05
LAST_PAUSE = 2.0
# a stream that lasted so long was no failure
STEADY_SECONDS = 5.0


async def follow(
    transport: Transport, run_id: str, after: str, *, deltas: bool, deadline: float | None
) -> AsyncGenerator[RunEvent, None]:
    """The events of a run past a cursor, to its last one.

    `deadline` is an instant of the loop's clock: past it TimeoutError. Raises NotFound, InvalidInput, and
    ApiUnavailable when the API stays away.
    """
    loop, failures = asyncio.get_running_loop(), 0
    while True:
        began, had_some = loop.time(), False
        try:
            async with contextlib.aclosing(_stream(transport, run_id, after, deltas, deadline)) as events:
                async for event in events:
                    after, had_some = event.cursor, True
                    yield event
                    if event.type in LAST_EVENTS:
                        return
        except _Over:
            return
        except ApiUnavailable:
            if failures >= ATTEMPTS:
                raise
        failures = 0 if had_some or loop.time() - began > STEADY_SECONDS else failures + 1
        if failures > ATTEMPTS:
            raise ApiUnavailable("its streams end at once")
        await _pause(failures, deadline)


async def is_over(transport: Transport, run_id: str, after: str, *, deltas: bool) -> bool:
    """Whether the run has ended and nothing comes after the cursor. Raises as `follow` does at its start."""
    async with _opened(transport, run_id, after, deltas) as response:
        return response.status_code == 204


class _Over(Exception):
    """The run has ended, and nothing comes after the cursor."""


async def _stream(
    transport: Transport, run_id: str, after: str, deltas: bool, deadline: float | None
) -> AsyncGenerator[RunEvent, None]:
    from httpx2 import EventSource

    async with contextlib.AsyncExitStack() as stack:
        async with asyncio.timeout_at(deadline):
            response = await stack.enter_async_context(_opened(transport, run_id, after, deltas))
        if response.status_code == 204:
            raise _Over
        events = aiter(EventSource(response))
        while True:
            # a time-out around the step, not around the `yield`
            async with asyncio.timeout_at(deadline):
                event = await _next(events)
            if event is None:
                return
            yield event


async def _next(events: AsyncIterator[httpx2.ServerSentEvent]) -> RunEvent | None:
    with told():
        found = await anext(events, None)
    return None if found is None else event_of(decode(found.data))


def _opened(
    transport: Transport, run_id: str, after: str, deltas: bool
) -> contextlib.AbstractAsyncContextManager[httpx2.Response]:
    path = f"/v1/runs/{segment(run_id)}/events"
    query = {"after": after, "deltas": deltas}
    return transport.stream(path, query=query, accept="text/event-stream")


async def _pause(failures: int, deadline: float | None) -> None:
    if not failures:
        return
    seconds = min(FIRST_PAUSE * 2.0**failures, LAST_PAUSE) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
    async with asyncio.timeout_at(deadline):
        await asyncio.sleep(seconds)
