"""What lasts: a run's events as a stream of server-sent events, and requests that wait for a run.

Nothing is buffered for a slow reader here: the next event is asked for when the last one was taken, so what
he misses meanwhile is told as a gap, or replayed. One who takes nothing at all for too long is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from turnkeeper_api import problems
from turnkeeper_api.problems import Refused
from turnkeeper_client import RunEvent
from turnkeeper_storage.errors import TurnkeeperError, WaitTimeout
from turnkeeper_storage.settings import Settings

log = logging.getLogger(__name__)


class Streams:
    """The streams and waits of one process: how many there may be, and what holds for each."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open = 0

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Take the place of one for the block. Raises Refused when there are as many as may be."""
        self._take()
        try:
            yield
        finally:
            self._give_back()

    async def response(
        self, follow: Callable[[], Awaitable[AsyncGenerator[RunEvent, None] | None]]
    ) -> EventSourceResponse | None:
        """The response that sends the events, whose place is taken until it is sent; None for no events.

        Raises Refused when there are as many as may be, and what `follow` raises.
        """
        self._take()
        try:
            events = await follow()
        except BaseException:
            self._give_back()
            raise
        if events is None:
            self._give_back()
            return None
        return _Stream(self._settings, events, self._give_back)

    async def lines(self, begin: Callable[[], Awaitable[AsyncGenerator[str]]]) -> StreamingResponse:
        """The response that sends these lines, whose place is taken until it is sent.

        Raises Refused when there are as many as may be, and what `begin` raises.
        """
        self._take()
        try:
            return _Lines(await begin(), self._settings.api_stream_seconds, self._give_back)
        except BaseException:
            self._give_back()
            raise

    def _take(self) -> None:
        if self._open >= self._settings.api_max_streams:
            raise Refused(problems.TOO_MANY_STREAMS)
        self._open += 1

    def _give_back(self) -> None:
        self._open -= 1


class _Stream(EventSourceResponse):
    """Ends whole when the server does, and quietly when its reader is dropped."""

    def __init__(
        self, settings: Settings, events: AsyncGenerator[RunEvent, None], at_the_end: Callable[[], None]
    ) -> None:
        super().__init__(
            _sent(events),
            ping=settings.api_heartbeat_seconds,
            ping_message_factory=_heartbeat,
            send_timeout=settings.api_send_seconds,
            sep="\n",
        )
        self._at_the_end = at_the_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_whole = False

        async def watched(message: Message) -> None:
            nonlocal is_whole
            await send(message)
            is_whole = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await super().__call__(scope, receive, watched)
            if not is_whole:
                # the server ends, or the reader has gone, who hears no more of it
                await self._send_with_timeout(send, {"type": "http.response.body", "more_body": False})
        except SendTimeoutError:
            log.info("a reader of events took nothing for too long, and was dropped")
        finally:
            self._at_the_end()


class _Lines(StreamingResponse):
    """Lines for as long as a stream may last; one that is cut off has no end, and its reader sees that."""

    def __init__(self, lines: AsyncGenerator[str], seconds: float, at_the_end: Callable[[], None]) -> None:
        super().__init__(_ended(lines), media_type="application/x-ndjson")
        self._lines = lines
        self._seconds = seconds
        self._at_the_end = at_the_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with contextlib.aclosing(self._lines), asyncio.timeout(self._seconds):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            # the response has no end, so the server closes the connection
            log.info("a reader of lines took too long, and was cut off")
        finally:
            self._at_the_end()


async def _ended(lines: AsyncGenerator[str]) -> AsyncGenerator[str]:
    async for line in lines:
        yield f"{line}\n"


def written_event(event: RunEvent) -> ServerSentEvent:
    """An event with its cursor as `id`, its type, and its JSON form in one line of `data`."""
    return ServerSentEvent(data=json.dumps(event.as_json()), event=event.type, id=event.cursor, sep="\n")


async def _sent(events: AsyncGenerator[RunEvent, None]) -> AsyncGenerator[ServerSentEvent, None]:
    async with contextlib.aclosing(events):
        try:
            async for event in events:
                yield written_event(event)
        except WaitTimeout:
            # long enough: the reader comes back, with its cursor
            return
        except TurnkeeperError as error:
            # the headers are out: all that is left is to end, and to refuse the reader when he comes back
            log.warning("a stream of events ended early (%s)", type(error).__name__)


def _heartbeat() -> ServerSentEvent:
    return ServerSentEvent(comment="alive", sep="\n")
