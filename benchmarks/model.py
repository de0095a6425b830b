"""A model server that costs little: a raw protocol with answers made beforehand.

    python -m benchmarks.model

What it does is in the model's name, so that any client can ask: `bench;delay=2;deltas=1000;tool=approve`.
`delay` seconds until the answer (streamed ones: until its first event), `deltas` events of text in a stream,
`gap` seconds between two of them, `tool` a function that is called until the input holds an output.
`GET /stats` gives what came as JSON; arrivals (seconds of the machine's monotonic clock, by run and turn) are
kept for requests with metadata. `POST /reset` forgets.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from functools import lru_cache
from typing import cast

_MODEL = re.compile(rb'"model":\s*"([^"]*)"')
_RUN = re.compile(rb'"run_id":\s*"([^"]*)"')
_TURN = re.compile(rb'"turn":\s*"([^"]*)"')
_STREAM = re.compile(rb'"stream":\s*true')
_OUTPUT = b"function_call_output"
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
USAGE = {
    "input_tokens": 10,
    "output_tokens": 5,
    "total_tokens": 15,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a model's name asks for."""

    delay: float = 0.0
    deltas: int = 0
    gap: float = 0.0
    tool: str = ""


@lru_cache(maxsize=1000)
def wanted(name: bytes) -> Wanted:
    """Read a model's name."""
    pairs = dict(part.split("=", 1) for part in name.decode().split(";")[1:])
    return Wanted(
        float(pairs.get("delay", "0")),
        int(pairs.get("deltas", "0")),
        float(pairs.get("gap", "0")),
        pairs.get("tool", ""),
    )


@dataclass(slots=True)
class Seen:
    """What came. `arrivals`: (run, turn, monotonic seconds); `largest`: bytes of the largest body."""

    answered: int = 0
    in_flight: int = 0
    peak: int = 0
    largest: int = 0
    arrivals: list[tuple[str, str, float]] = field(default_factory=list)


class Connection(asyncio.Protocol):
    """One connection: requests one after the other."""

    def __init__(self, seen: Seen, connections: set[Connection]) -> None:
        self._seen = seen
        self._connections = connections
        self._data = bytearray()
        self._transport: asyncio.Transport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # not isinstance: uvloop's transports are no subclasses
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        for task in self._tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        # a request of megabytes comes in hundreds of pieces: they must not be copied with each
        self._data += data
        while True:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._data[:end])
            found = _LENGTH.search(head)
            length = int(found[1]) if found else 0
            if len(self._data) < end + 4 + length:
                return
            body = bytes(self._data[end + 4 : end + 4 + length])
            del self._data[: end + 4 + length]
            self._request(head, body)

    def _request(self, head: bytes, body: bytes) -> None:
        arrived = time.monotonic()
        if head.startswith(b"GET /stats"):
            self._send(json.dumps(self._stats()).encode())
        elif head.startswith(b"POST /reset"):
            self._seen.answered, self._seen.peak, self._seen.largest = 0, 0, 0
            self._seen.arrivals.clear()
            self._send(b"{}")
        else:
            self._ask(body, arrived)

    def _stats(self) -> dict[str, object]:
        seen = self._seen
        return {
            "answered": seen.answered,
            "in_flight": seen.in_flight,
            "peak": seen.peak,
            "largest": seen.largest,
            "arrivals": seen.arrivals,
            "connections": len(self._connections),
        }

    def _ask(self, body: bytes, arrived: float) -> None:
        seen = self._seen
        named = _MODEL.search(body)
        asked = wanted(named[1] if named else b"")
        run = _RUN.search(body)
        if run:
            turn = _TURN.search(body)
            seen.arrivals.append((run[1].decode(), turn[1].decode() if turn else "", arrived))
        seen.in_flight += 1
        seen.peak = max(seen.peak, seen.in_flight)
        seen.largest = max(seen.largest, len(body))
        if _STREAM.search(body):
            self._own(self._stream(asked))
        elif asked.delay:
            self._own(self._later(asked, body))
        else:
            self._answer(asked, body)

    def _own(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _later(self, asked: Wanted, body: bytes) -> None:
        await asyncio.sleep(asked.delay)
        self._answer(asked, body)

    def _answer(self, asked: Wanted, body: bytes) -> None:
        self._seen.in_flight -= 1
        self._seen.answered += 1
        calls = bool(asked.tool) and _OUTPUT not in body
        self._send(_response(asked.tool if calls else ""))

    async def _stream(self, asked: Wanted) -> None:
        assert self._transport is not None
        await asyncio.sleep(asked.delay)
        self._transport.write(_STREAM_HEAD)
        self._chunk(_CREATED)
        for place in range(asked.deltas):
            if asked.gap:
                await asyncio.sleep(asked.gap)
            elif place % 50 == 49:
                await asyncio.sleep(0)
            # the time goes with it, for whoever measures how long it takes to its readers
            self._chunk(_delta(f"{time.monotonic():.6f} "))
        self._seen.in_flight -= 1
        self._seen.answered += 1
        self._chunk(_event("response.completed", response=json.loads(_body(""))))
        self._transport.write(b"0\r\n\r\n")

    def _chunk(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _send(self, body: bytes) -> None:
        assert self._transport is not None
        self._transport.write(_HEAD % len(body) + body)


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _event(kind: str, **data: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, 'sequence_number': 0, **data})}\n\n".encode()


def _delta(text: str) -> bytes:
    return _event(
        "response.output_text.delta",
        delta=text,
        item_id="msg_1",
        output_index=0,
        content_index=0,
        logprobs=[],
    )


@lru_cache(maxsize=100)
def _body(tool: str) -> bytes:
    message = {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "It is on its way.", "annotations": []}],
    }
    call = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": tool,
        "arguments": "{}",
        "status": "completed",
    }
    return json.dumps(
        {
            "id": "resp_1",
            "object": "response",
            "created_at": 0,
            "status": "completed",
            "model": "bench",
            "output": [call if tool else message],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "usage": USAGE,
        }
    ).encode()


def _response(tool: str) -> bytes:
    return _body(tool)


_CREATED = _event(
    "response.created", response={"id": "resp_1", "object": "response", "status": "in_progress"}
)


async def serve() -> None:
    """Serve on a free port until SIGTERM; the base URL is printed."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    seen = Seen()
    connections: set[Connection] = set()
    server = await loop.create_server(lambda: Connection(seen, connections), "127.0.0.1", 0, backlog=8192)
    port = server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}/v1", flush=True)
    await stop.wait()
    server.close()


def main() -> None:
    with contextlib.suppress(ModuleNotFoundError):
        import uvloop

        uvloop.install()
    asyncio.run(serve())


if __name__ == "__main__":
    main()
