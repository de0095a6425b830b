"""What both model classes do with the openai client: post a body, and tell its faults apart.

The client's typed methods cost more time than the call itself for a long history, and lose what they do not
know; its transport, authentication and errors are what is used of it.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import openai
from openai import AsyncOpenAI, AsyncStream

from turnkeeper_storage.items import Json
from turnkeeper_worker.models.answer import broken, cut
from turnkeeper_worker.models.base import ModelError, ModelRequest, ModelResponse
from turnkeeper_worker.models.direct import CONNECT_TIMEOUT, DirectPost
from turnkeeper_worker.models.failures import from_client, timed_out

T = TypeVar("T")


class Answer(Protocol):
    """A streamed answer on its way: whether the stream was opened, and whether deltas were given."""

    is_open: bool

    @property
    def has_started(self) -> bool: ...


async def attempt(
    request: ModelRequest,
    answer: Answer,
    ask: Callable[[], Awaitable[ModelResponse]],
    stream_fault: Callable[[openai.APIError], ModelError | None] = lambda error: None,
) -> ModelResponse:
    """One attempt of `ask` within `request.timeout`; whatever the client raises becomes a ModelError.

    `stream_fault` reads an `error` object in a stream, which is an APIError of no class of its own.
    """
    try:
        async with asyncio.timeout(request.timeout) as limit:
            return await ask()
    except ModelError as error:
        error.started = answer.has_started
        raise
    except TimeoutError:
        if not limit.expired():
            raise  # the caller's own, out of on_delta
        failed = timed_out(request)
    except openai.APIError as error:
        failed = stream_fault(error) or from_client(error, request)
        if answer.is_open and failed.code == "model_unreachable":  # reached it was, then it broke off
            failed = cut()
    except json.JSONDecodeError:
        failed = broken("it is no JSON")
    failed.started = answer.has_started
    # Without the cause: the client's errors hold the request, and with it the input and the key.
    raise failed from None


class Poster:
    """Plain calls of a model's client: directly where that is the same, else through the client."""

    def __init__(self, client: AsyncOpenAI, trust: ssl.SSLContext | None = None) -> None:
        self._client = client
        self._direct = DirectPost(client, trust) if DirectPost.fits(client) else None

    async def post(self, path: str, body: dict[str, Json], request: ModelRequest) -> Json:
        """The JSON that answers the body."""
        if self._direct is not None:
            return await self._direct.post(path, body, request)
        client, options = self._client, _options(request)
        return await _sent(body, lambda body: client.post(path, body=body, cast_to=object, options=options))

    async def aclose(self) -> None:
        """Close what is our own; the client is whoever's made it."""
        if self._direct is not None:
            await self._direct.aclose()


async def post_streamed(
    client: AsyncOpenAI, path: str, body: dict[str, Json], request: ModelRequest
) -> AsyncStream[object]:
    """The stream of events that answers the body, each as plain JSON."""
    options = _options(request)
    return await _sent(
        body,
        lambda body: client.post(
            path,
            body=body,
            cast_to=object,
            options=options,
            stream=True,
            stream_cls=AsyncStream[object],
        ),
    )


async def _sent(body: dict[str, Json], send: Callable[[dict[str, Json]], Awaitable[T]]) -> T:
    """What `send` gives; a body that has no UTF-8 form goes with a question mark for what has none."""
    try:
        return await send(body)
    except UnicodeEncodeError:
        # half of a surrogate pair: found by the client before it sent anything
        text = json.dumps(body, ensure_ascii=False)
        return await send(json.loads(text.encode("utf-8", "replace")))


def _options(request: ModelRequest) -> Any:
    headers = {"Idempotency-Key": request.idempotency_key} if request.idempotency_key else {}
    timeout = openai.Timeout(request.timeout, connect=min(CONNECT_TIMEOUT, request.timeout))
    return {"timeout": timeout, "max_retries": 0, "headers": headers}
