"""A scripted model on a real local HTTP server.

    async with ScriptedModel(calls(("order_status", {"order_id": "7"})), text("It is on its way.")) as model:
        client = AsyncOpenAI(base_url=model.base_url, api_key="x", max_retries=0)

As a process of its own, for tests with real workers, it echoes:

    python -m tests.fakes.model_server --port 0 --latency 2 --hold-until 1000
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import TypeAlias

from aiohttp import web

from tests.fakes import replies
from tests.fakes.replies import Answer, BrokenJson, Cut, Endless, ErrorEvent, Hang, HttpError, Reply
from turnkeeper.practice import transport, wire
from turnkeeper.practice.local_server import LocalServer, serve_until_signalled
from turnkeeper.practice.rules import input_items, newest_message
from turnkeeper_storage.items import Json, text_of

Script: TypeAlias = Callable[[dict[str, Json]], Reply]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request as it came: run and turn out of its metadata, seconds since the epoch."""

    run_id: str | None
    turn: str | None
    inputs: list[str]
    arrived_at: float


class ScriptedModel(LocalServer):
    """Replies from a queue, then from `answer`, a function of the request's body; each request takes one.

    A request that finds the script at its end, or whose function raises, gets HTTP 500, is listed in
    `unexpected`, and leaving the block fails. `requests` are the bodies and `headers` theirs (names in lower
    case), in order of arrival. Call it from the loop that it was started in.
    """

    def __init__(
        self, *script: Reply, answer: Script | None = None, latency: float = 0.0, port: int = 0
    ) -> None:
        super().__init__(port=port)
        self.requests: list[dict[str, Json]] = []
        self.headers: list[dict[str, str]] = []
        self.arrivals: list[Arrival] = []
        self.unexpected: list[dict[str, Json]] = []
        self.in_flight = 0
        self.peak_in_flight = 0
        self._script = deque(script)
        self._answer = answer
        self._error: Exception | None = None
        self._latency = latency
        self._gate = Gate()
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self.app.add_routes([web.post("/v1/responses", self._responses), web.get("/log", self._log)])

    @property
    def inputs(self) -> list[Json]:
        """The `input` of each request."""
        return [request["input"] for request in self.requests]

    def script(self, *more: Reply) -> None:
        """Append replies."""
        self._script.extend(more)

    def answer_with(self, answer: Script) -> None:
        """From now on ask `answer` whenever the queue is empty."""
        self._answer = answer

    def hold(self) -> None:
        """Requests from now on are recorded and wait."""
        self._gate.close()

    def hold_until(self, count: int, *, then_after: float = 0.0) -> None:
        """Hold requests until `count` are in flight at once; `then_after` seconds later all go, for good."""
        self._gate.close(until=count, then_after=then_after)

    def release(self) -> None:
        """Let go what is held, what hangs, and what comes from now on."""
        self._gate.open()

    async def wait_for(self, count: int, *, within: float = 10.0) -> None:
        """Return when `count` requests have come; AssertionError when they have not in time."""
        await self._wait(lambda: len(self.requests) >= count, within, f"{count} requests")

    async def wait_for_in_flight(self, count: int, *, within: float = 10.0) -> None:
        """Return when exactly `count` requests wait for the end of their answer."""
        await self._wait(lambda: self.in_flight == count, within, f"{count} in flight")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        if kind is None and self.unexpected:
            raise AssertionError(
                f"{len(self.unexpected)} of {len(self.requests)} requests were not in the script; "
                f"the first one's input: {self.unexpected[0]['input']!r}"
            ) from self._error

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await transport.read_request(request)
        except transport.BadRequest as error:
            return transport.send_error(400, str(error))
        reply = self._arrived(request, body)
        released = self._gate.next_opening()
        try:
            await self._gate.wait()
            if self._latency:
                await asyncio.sleep(self._latency)
            if isinstance(reply, Hang):
                await released.wait()
                reply = reply.then
            return await send(request, body, reply)
        finally:
            self.in_flight -= 1
            self._tell()

    def _arrived(self, request: web.Request, body: dict[str, Json]) -> Reply:
        metadata: Mapping[str, str] = body.get("metadata") or {}
        inputs = [text_of(item) for item in input_items(body)]
        self.requests.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.arrivals.append(Arrival(metadata.get("run_id"), metadata.get("turn"), inputs, time.time()))
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        self._gate.reached(self.in_flight)
        self._tell()
        return self._take(body)

    def _take(self, body: dict[str, Json]) -> Reply:
        if self._script:
            return self._script.popleft()
        try:
            if self._answer is not None:
                return self._answer(body)
        except Exception as error:  # noqa: BLE001 - a test's own assertion: raised when the block is left
            self._error = self._error or error
        self.unexpected.append(body)
        return replies.error(500, message="the script of this test is at its end, or its function raised")

    async def _wait(self, reached: Callable[[], bool], within: float, what: str) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((reached, future))
        self._tell()
        try:
            await asyncio.wait_for(future, within)
        except TimeoutError:
            state = f"{len(self.requests)} requests came, {self.in_flight} are in flight"
            raise AssertionError(f"waited {within:g} s for {what}: {state}") from None

    def _tell(self) -> None:
        for reached, future in self._waiters:
            if not future.done() and reached():
                future.set_result(None)
        self._waiters = [waiter for waiter in self._waiters if not waiter[1].done()]

    async def _log(self, _: web.Request) -> web.Response:
        requests = [asdict(arrival) for arrival in self.arrivals]
        return web.json_response(
            {"in_flight": self.in_flight, "peak_in_flight": self.peak_in_flight, "requests": requests}
        )


class Gate:
    """Open at first. Closed, it holds who waits until it is opened, by hand or by a number reached."""

    def __init__(self) -> None:
        self._passable = asyncio.Event()
        self._passable.set()
        self._opening = asyncio.Event()
        self._until: int | None = None
        self._then_after = 0.0

    def close(self, *, until: int | None = None, then_after: float = 0.0) -> None:
        self._until, self._then_after = until, then_after
        self._passable.clear()

    def reached(self, count: int) -> None:
        if self._until is not None and count >= self._until:
            self._until = None
            asyncio.get_running_loop().call_later(self._then_after, self.open)

    def open(self) -> None:
        self._until = None
        self._passable.set()
        self._opening.set()
        self._opening = asyncio.Event()

    def next_opening(self) -> asyncio.Event:
        """Set by the next `open`, whether the gate is closed or not."""
        return self._opening

    async def wait(self) -> None:
        await self._passable.wait()


async def send(request: web.Request, body: Mapping[str, Json], reply: Reply) -> web.StreamResponse:
    """Send a reply that does not hang."""
    stream = body.get("stream") is True
    match reply:
        case Answer():
            return await transport.send_response(request, reply.response(body), stream=stream)
        case Cut(answer=answer, after=after, how=how):
            full = answer.response(body)
            return await transport.send_cut(request, full, stream=stream, after=after, how=how)
        case HttpError(body=None):
            return transport.send_error(reply.status, reply.message, code=reply.code, headers=reply.headers)
        case HttpError():
            return web.Response(status=reply.status, text=reply.body, headers=reply.headers)
        case BrokenJson():
            return await _send_broken(request, stream=stream)
        case ErrorEvent():
            return await _send_error_event(request, reply, stream=stream)
        case Endless():
            return await _send_endless(request, stream=stream)
        case Hang():
            raise AssertionError("a hanging reply cannot be followed by another hanging one")


async def _send_broken(request: web.Request, *, stream: bool) -> web.StreamResponse:
    if not stream:
        return web.Response(text='{"id": "resp_1", "output": [', content_type="application/json")
    opened = await transport.open_stream(request)
    await opened.write(b'event: response.created\ndata: {"type": "response.created", "resp\n\n')
    await opened.write_eof()
    return opened


async def _send_error_event(request: web.Request, reply: ErrorEvent, *, stream: bool) -> web.StreamResponse:
    if not stream:
        return transport.send_error(500, reply.message, code=reply.code)
    begun = wire.events(wire.response({}, []))[:2]
    flat = {"type": "error", "code": reply.code, "message": reply.message, "param": None}
    opened = await transport.open_stream(request)
    await transport.send_events(opened, [*begun, {**flat, "sequence_number": len(begun)}])
    await opened.write_eof()
    return opened


async def _send_endless(request: web.Request, *, stream: bool) -> web.StreamResponse:
    full = wire.response({}, [wire.message("and so on")])
    events = wire.events(full)
    more = next(event for event in events if event["type"].endswith("output_text.delta"))
    opened = await transport.open_stream(request)
    with contextlib.suppress(ConnectionError):
        if stream:
            await transport.send_events(opened, events[: events.index(more)])
        while True:
            await opened.write(wire.encode_event(more) if stream else b" ")
            await asyncio.sleep(0.01)
    return opened


def echo(body: dict[str, Json]) -> Reply:
    """`echo: …` of the newest user message."""
    return replies.text(f"echo: {newest_message(input_items(body))[1]}")


def main() -> None:
    """Serve echoes until SIGTERM or SIGINT; the first line on standard output is the base URL."""
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.model_server")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="of each answer")
    parser.add_argument("--hold-until", type=int, metavar="N", help="answer none before N are in flight")
    options = parser.parse_args()
    asyncio.run(_serve(options.port, options.latency, options.hold_until))


async def _serve(port: int, latency: float, hold_until: int | None) -> None:
    model = ScriptedModel(answer=echo, latency=latency, port=port)
    if hold_until:
        model.hold_until(hold_until)
    await serve_until_signalled(model)


if __name__ == "__main__":
    main()
