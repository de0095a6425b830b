"""How a planned answer goes over HTTP: as JSON, as a stream of events, or broken off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Literal

from aiohttp import web

from turnkeeper.practice import wire
from turnkeeper_storage.items import Json

MAX_BODY = 64 * 1024 * 1024  # bytes of a request


class BadRequest(ValueError):
    """The body is no request that the Responses API takes; the text says why."""


async def read_request(request: web.Request) -> dict[str, Json]:
    """The body of `POST /v1/responses`; raises BadRequest."""
    try:
        body = json.loads(await request.read())
    except ValueError:
        raise BadRequest("the body is not JSON") from None
    if not isinstance(body, dict) or not isinstance(body.get("input"), (str, list)):
        raise BadRequest("'input' must be a text or a list of items")
    return body


async def send_response(
    request: web.Request, full: Mapping[str, Json], *, stream: bool, pace: float = 0.0
) -> web.StreamResponse:
    """The whole response, streamed or not; `pace` seconds before each piece of a streamed answer."""
    if not stream:
        return web.json_response(full)
    opened = await open_stream(request)
    for event in wire.events(full):
        if pace and event["type"].endswith(".delta"):
            await asyncio.sleep(pace)
        await send_events(opened, [event])
    await opened.write_eof()
    return opened


async def send_cut(
    request: web.Request,
    full: Mapping[str, Json],
    *,
    stream: bool,
    after: int | None = None,
    how: Literal["eof", "reset"] = "eof",
) -> web.StreamResponse:
    """The beginning of a response: `after` events (default half of them), never the terminal one.

    `eof` ends a stream cleanly, `reset` drops the connection; what is not streamed is always dropped, after
    half of its bytes.
    """
    if not stream:
        return await _send_half(request, full)
    events = wire.events(full)[:-1]
    opened = await open_stream(request)
    await send_events(opened, events[: len(events) // 2 + 1 if after is None else after])
    if how == "reset":
        drop(request)
    else:
        await opened.write_eof()
    return opened


async def open_stream(request: web.Request) -> web.StreamResponse:
    """A started stream of server-sent events."""
    headers = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
    opened = web.StreamResponse(headers=headers)
    await opened.prepare(request)
    return opened


async def send_events(opened: web.StreamResponse, events: Iterable[Mapping[str, Json]]) -> None:
    """The events, each written by itself."""
    for event in events:
        await opened.write(wire.encode_event(event))


def send_error(
    status: int, text: str, *, code: str | None = None, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An HTTP error with OpenAI's body."""
    return web.json_response(wire.error_body(status, text, code=code), status=status, headers=headers)


def drop(request: web.Request) -> None:
    """Drop the connection without an end."""
    if request.transport is not None:
        request.transport.abort()


async def _send_half(request: web.Request, full: Mapping[str, Json]) -> web.StreamResponse:
    data = json.dumps(full).encode()
    opened = web.StreamResponse(
        headers={"Content-Type": "application/json", "Content-Length": str(len(data))}
    )
    await opened.prepare(request)
    await opened.write(data[: len(data) // 2])
    drop(request)
    return opened
