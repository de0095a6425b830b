"""The chat-completions API over the openai client, posted and read as plain dicts.

For servers that do not speak /v1/responses. A history is the same items as with `ResponsesModel`, so one can
take over from the other in the middle of a session.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
from openai import AsyncOpenAI, AsyncStream

from turnkeeper_storage.items import Json
from turnkeeper_worker.models.answer import broken, cut
from turnkeeper_worker.models.base import ModelError, ModelRequest, ModelResponse, OnDelta
from turnkeeper_worker.models.chat_answer import StreamedCompletion, read_completion, server_fault
from turnkeeper_worker.models.chat_request import request_body
from turnkeeper_worker.models.failures import from_client, timed_out
from turnkeeper_worker.models.responses import CONNECT_TIMEOUT

# How long to wait after the answer's end for its usage and for `[DONE]`; servers that send neither exist.
TAIL_TIMEOUT = 1.0
_PATH = "/chat/completions"
_END = object()


class ChatCompletionsModel:
    """A `Model` on any server that speaks /v1/chat/completions. Owns the client: `aclose` closes it."""

    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    async def respond(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelResponse:
        """One attempt; `request.timeout` bounds all of it. Raises ModelError."""
        answer = StreamedCompletion()
        try:
            async with asyncio.timeout(request.timeout) as limit:
                if on_delta is None:
                    return read_completion(await self._post(request))
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
            failed = _failed(error, request, answer)
        except json.JSONDecodeError:
            failed = broken("it is no JSON")
        failed.started = answer.has_started
        # Without the cause: the client's errors hold the request, and with it the input and the key.
        raise failed from None

    async def aclose(self) -> None:
        """Close the client and its connections."""
        await self._client.close()

    async def _read(self, request: ModelRequest, answer: StreamedCompletion, on_delta: OnDelta) -> None:
        async with await self._post_streamed(request) as stream:
            answer.is_open = True
            chunks = aiter(stream)
            while (chunk := await _next(chunks, answer)) is not _END:
                for delta in answer.feed(chunk):
                    done = on_delta(delta)
                    if inspect.isawaitable(done):
                        await done

    async def _post(self, request: ModelRequest) -> Json:
        body = request_body(request)
        return await self._client.post(_PATH, body=body, cast_to=object, options=_options(request))

    async def _post_streamed(self, request: ModelRequest) -> AsyncStream[object]:
        return await self._client.post(
            _PATH,
            body=request_body(request, stream=True),
            cast_to=object,
            options=_options(request),
            stream=True,
            stream_cls=AsyncStream[object],
        )


async def _next(chunks: AsyncIterator[object], answer: StreamedCompletion) -> object:
    """The next chunk, or `_END`: of the stream, or of the patience with one whose answer is complete."""
    try:
        async with asyncio.timeout(TAIL_TIMEOUT if answer.is_complete else None):
            return await anext(chunks, _END)
    except (TimeoutError, openai.APIError, json.JSONDecodeError):
        if not answer.is_complete:
            raise
        return _END


def _failed(error: openai.APIError, request: ModelRequest, answer: StreamedCompletion) -> ModelError:
    if not isinstance(error, (openai.APIStatusError, openai.APIConnectionError)):
        return server_fault(error.body)  # an `error` object in the stream
    failed = from_client(error, request)
    # reached it was, then it broke off
    return cut() if answer.is_open and failed.code == "model_unreachable" else failed


def _options(request: ModelRequest) -> Any:
    headers = {"Idempotency-Key": request.idempotency_key} if request.idempotency_key else {}
    timeout = openai.Timeout(request.timeout, connect=min(CONNECT_TIMEOUT, request.timeout))
    return {"timeout": timeout, "max_retries": 0, "headers": headers}
