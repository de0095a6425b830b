"""The chat-completions API over the openai client, posted and read as plain dicts.

For servers that do not speak /v1/responses. A history is the same items as with `ResponsesModel`, so one can
take over from the other in the middle of a session.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import ssl
from collections.abc import AsyncIterator

import openai
from openai import AsyncOpenAI

from turnkeeper_worker.models.base import ModelError, ModelRequest, ModelResponse, OnDelta
from turnkeeper_worker.models.chat_answer import StreamedCompletion, read_completion, server_fault
from turnkeeper_worker.models.chat_request import request_body
from turnkeeper_worker.models.posting import Poster, attempt, post_streamed

# How long to wait after the answer's end for its usage and for `[DONE]`; servers that send neither exist.
TAIL_TIMEOUT = 1.0
_PATH = "/chat/completions"
_END = object()


class ChatCompletionsModel:
    """A `Model` on any server that speaks /v1/chat/completions. Owns the client: `aclose` closes it."""

    def __init__(self, client: AsyncOpenAI, trust: ssl.SSLContext | None = None) -> None:
        """`trust`: whose certificates plain calls accept, where the client was given a context of its own."""
        self._client = client
        self._plain = Poster(client, trust)

    async def respond(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelResponse:
        """One attempt; `request.timeout` bounds all of it. Raises ModelError."""
        answer = StreamedCompletion()

        async def ask() -> ModelResponse:
            if on_delta is None:
                return read_completion(await self._plain.post(_PATH, request_body(request), request))
            await self._read(request, answer, on_delta)
            return answer.response()

        return await attempt(request, answer, ask, _stream_fault)

    async def aclose(self) -> None:
        """Close the client and its connections."""
        await self._plain.aclose()
        await self._client.close()

    async def _read(self, request: ModelRequest, answer: StreamedCompletion, on_delta: OnDelta) -> None:
        body = request_body(request, stream=True)
        async with await post_streamed(self._client, _PATH, body, request) as stream:
            answer.is_open = True
            chunks = aiter(stream)
            while (chunk := await _next(chunks, answer)) is not _END:
                for delta in answer.feed(chunk):
                    done = on_delta(delta)
                    if inspect.isawaitable(done):
                        await done


async def _next(chunks: AsyncIterator[object], answer: StreamedCompletion) -> object:
    """The next chunk, or `_END`: of the stream, or of the patience with one whose answer is complete."""
    try:
        async with asyncio.timeout(TAIL_TIMEOUT if answer.is_complete else None):
            return await anext(chunks, _END)
    except (TimeoutError, openai.APIError, json.JSONDecodeError):
        if not answer.is_complete:
            raise
        return _END


def _stream_fault(error: openai.APIError) -> ModelError | None:
    if isinstance(error, (openai.APIStatusError, openai.APIConnectionError)):
        return None
    return server_fault(error.body)
