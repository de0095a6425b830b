"""The Responses API over the openai client, posted and read as plain dicts."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import ssl

import openai
from openai import AsyncOpenAI, AsyncStream

from turnkeeper_storage.items import Json
from turnkeeper_worker.models.answer import StreamedAnswer, read_response
from turnkeeper_worker.models.base import ModelRequest, ModelResponse, OnDelta
from turnkeeper_worker.models.posting import Poster, attempt, post_streamed

# How long to wait for the end of a stream after its last event, to keep the connection.
DRAIN_TIMEOUT = 0.2
_PATH = "/responses"


class ResponsesModel:
    """A `Model` on any server that speaks /v1/responses. Owns the client: `aclose` closes it."""

    def __init__(self, client: AsyncOpenAI, trust: ssl.SSLContext | None = None) -> None:
        """`trust`: whose certificates plain calls accept, where the client was given a context of its own."""
        self._client = client
        self._plain = Poster(client, trust)

    async def respond(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelResponse:
        """One attempt; `request.timeout` bounds all of it. Raises ModelError."""
        answer = StreamedAnswer()

        async def ask() -> ModelResponse:
            if on_delta is None:
                return read_response(await self._plain.post(_PATH, request_body(request), request))
            await self._read(request, answer, on_delta)
            return answer.response()

        return await attempt(request, answer, ask)

    async def aclose(self) -> None:
        """Close the client and its connections."""
        await self._plain.aclose()
        await self._client.close()

    async def _read(self, request: ModelRequest, answer: StreamedAnswer, on_delta: OnDelta) -> None:
        body = {**request_body(request), "stream": True}
        async with await post_streamed(self._client, _PATH, body, request) as stream:
            answer.is_open = True
            async for event in stream:
                delta = answer.feed(event)
                done = on_delta(delta) if delta is not None else None
                if inspect.isawaitable(done):
                    await done
                if answer.is_complete:
                    break
            await _drain(stream)


def request_body(request: ModelRequest) -> dict[str, Json]:
    """The JSON body of a request. Pure."""
    body: dict[str, Json] = {"model": request.model, "input": list(request.input)}
    if request.instructions:
        body["instructions"] = request.instructions
    settings = request.settings.body()
    if request.tools:
        body["tools"] = list(request.tools)
    else:  # servers refuse a choice of nothing
        settings = {name: value for name, value in settings.items() if name not in _TOOLS_ONLY}
    if request.text_format:
        body["text"] = {"format": request.text_format}
    if request.metadata:
        body["metadata"] = dict(request.metadata)
    return body | settings


_TOOLS_ONLY = frozenset({"tool_choice", "parallel_tool_calls"})


async def _drain(stream: AsyncStream[object]) -> None:
    # A response read to its end gives its connection back to the pool; nothing of it matters any more.
    with contextlib.suppress(TimeoutError, openai.APIError, json.JSONDecodeError):
        async with asyncio.timeout(DRAIN_TIMEOUT):
            async for _ in stream:
                pass
