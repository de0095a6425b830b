"""The Responses API over the openai client, posted and read as plain dicts.

The client's typed methods cost more time than the call itself for a long history, and lose what they do not
know; its transport, authentication and errors are what is used of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
from typing import Any

import openai
from openai import AsyncOpenAI, AsyncStream

from turnkeeper_storage.items import Json
from turnkeeper_worker.models.answer import StreamedAnswer, broken, cut, read_response
from turnkeeper_worker.models.base import ModelError, ModelRequest, ModelResponse, OnDelta
from turnkeeper_worker.models.failures import from_client, timed_out

CONNECT_TIMEOUT = 10.0
# How long to wait for the end of a stream after its last event, to keep the connection.
DRAIN_TIMEOUT = 0.2


class ResponsesModel:
    """A `Model` on any server that speaks /v1/responses. Owns the client: `aclose` closes it."""

    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    async def respond(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelResponse:
        """One attempt; `request.timeout` bounds all of it. Raises ModelError."""
        answer = StreamedAnswer()
        try:
            async with asyncio.timeout(request.timeout) as limit:
                if on_delta is None:
                    return read_response(await self._post(request))
                await self._read(request, answer, on_delta)
                return answer.response()
        except ModelError as error:
            error.started = answer.has_started
            raise
        except TimeoutError:
            if not limit.expired():
                raise  # the caller's own, out of on_delta
            failed = timed_out(request)
        except openai.APIError as error:
            failed = from_client(error, request)
            if answer.is_open and failed.code == "model_unreachable":  # reached it was, then it broke off
                failed = cut()
        except json.JSONDecodeError:
            failed = broken("it is no JSON")
        failed.started = answer.has_started
        # Without the cause: the client's errors hold the request, and with it the input and the key.
        raise failed from None

    async def aclose(self) -> None:
        """Close the client and its connections."""
        await self._client.close()

    async def _read(self, request: ModelRequest, answer: StreamedAnswer, on_delta: OnDelta) -> None:
        async with await self._post_streamed(request) as stream:
            answer.is_open = True
            async for event in stream:
                delta = answer.feed(event)
                done = on_delta(delta) if delta is not None else None
                if inspect.isawaitable(done):
                    await done
                if answer.is_complete:
                    break
            await _drain(stream)

    async def _post(self, request: ModelRequest) -> Json:
        body = request_body(request)
        return await self._client.post("/responses", body=body, cast_to=object, options=_options(request))

    async def _post_streamed(self, request: ModelRequest) -> AsyncStream[object]:
        body = {**request_body(request), "stream": True}
        return await self._client.post(
            "/responses",
            body=body,
            cast_to=object,
            options=_options(request),
            stream=True,
            stream_cls=AsyncStream[object],
        )


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


def _options(request: ModelRequest) -> Any:
    headers = {"Idempotency-Key": request.idempotency_key} if request.idempotency_key else {}
    timeout = openai.Timeout(request.timeout, connect=min(CONNECT_TIMEOUT, request.timeout))
    return {"timeout": timeout, "max_retries": 0, "headers": headers}


async def _drain(stream: AsyncStream[object]) -> None:
    # A response read to its end gives its connection back to the pool; nothing of it matters any more.
    with contextlib.suppress(TimeoutError, openai.APIError, json.JSONDecodeError):
        async with asyncio.timeout(DRAIN_TIMEOUT):
            async for _ in stream:
                pass
