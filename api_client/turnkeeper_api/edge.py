"""The edge: what is asked of each request before anything reads it. ASGI, around the whole app.

Every response gets a request id, and what a request does belongs to its caller's trace. Headers and bodies
have limits, in bytes and in seconds; a body is JSON.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from turnkeeper_api import problems
from turnkeeper_api.problems import MEDIA_TYPE, Problem, Refused
from turnkeeper_storage import tracing
from turnkeeper_storage.settings import Settings

REQUEST_ID = "X-Request-Id"
MAX_HEADER_BYTES = 16_384
_FIT = re.compile(r"[\x21-\x7e]{1,128}")
_JSON = re.compile(r"application/(?:[\w.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
_KEPT = re.compile(rb"%(2[fF]|25)")
_ESCAPED = re.compile("%(2[fF]|25)")


class Edge:
    """Wraps the app."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._max_bytes = settings.api_max_body_bytes
        self._seconds = settings.api_body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        # not in a copy: the handler of last resort, further out, reads it too
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id)
        try:
            _check_headers(scope)
            body = await self._body(scope, receive)
        except Refused as refused:
            await answer.refuse(refused.problem)
            return
        with tracing.coming_from(headers.get(tracing.HEADER)):
            await self._app(_with_whole_segments(scope), _replayed(body, receive), answer.send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body; None when the client has gone."""
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:18]) > self._max_bytes:
            raise Refused(problems.too_large(self._max_bytes))
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    chunks.append(message.get("body", b""))
                    size += len(chunks[-1])
                    if size > self._max_bytes:
                        raise Refused(problems.too_large(self._max_bytes))
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            raise Refused(problems.SLOW_BODY) from None
        if size and not _JSON.fullmatch(headers.get("content-type", "")):
            raise Refused(problems.NO_JSON)
        return b"".join(chunks)


class _Answer:
    """Sends a response with the headers that all of ours have."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID] = self._request_id
            headers.setdefault("Cache-Control", "no-store")
            headers.setdefault("X-Content-Type-Options", "nosniff")
        await self._send(message)

    async def refuse(self, problem: Problem) -> None:
        body = problem.body(self._request_id)
        headers = {
            "Content-Type": MEDIA_TYPE,
            "Content-Length": str(len(body)),
            # what is left of the body is not read
            "Connection": "close",
            **problem.headers,
        }
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": problem.status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})


def _request_id(headers: Headers) -> str:
    given = headers.get(REQUEST_ID, "")
    return given if _FIT.fullmatch(given) else f"req_{secrets.token_hex(12)}"


def _check_headers(scope: Scope) -> None:
    size = sum(len(name) + len(value) for name, value in scope["headers"])
    if size + len(scope.get("query_string", b"")) > MAX_HEADER_BYTES:
        raise Refused(problems.LARGE_HEADERS)


def _with_whole_segments(scope: Scope) -> Scope:
    """The scope with a path in which a slash inside of an id is none: `%2F` and `%25` stay as they came.

    `segment_of` makes them what they stand for. Servers that send no raw path leave it at that.
    """
    raw = scope.get("raw_path")
    if not raw or not _KEPT.search(raw):
        return scope
    kept = _KEPT.sub(rb"%25\1", raw.partition(b"?")[0])
    return {**scope, "path": unquote_to_bytes(kept).decode("utf-8", "replace")}


def segment_of(text: str) -> str:
    """What a segment of such a path stands for."""
    return _ESCAPED.sub(lambda found: "%" if found[1] == "25" else "/", text)


def _replayed(body: bytes | None, receive: Receive) -> Receive:
    is_given = False

    async def replay() -> Message:
        nonlocal is_given
        if body is None:
            return {"type": "http.disconnect"}
        if not is_given:
            is_given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay
