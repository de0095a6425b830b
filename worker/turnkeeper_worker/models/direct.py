"""Plain calls to the model server, on aiohttp itself.

The openai client builds a typed request, a second one for its transport and a third for aiohttp, which costs
several times what the call does. Here the same headers go out, and what is no success comes back as the
client's own errors. Only for a client of the plain class: others sign or route in ways of their own.
"""

from __future__ import annotations

import io
import json
import ssl
from urllib.request import getproxies

import aiohttp
import httpx2
import openai
from openai import AsyncOpenAI, DefaultAioHttpClient

from turnkeeper_storage.items import Json
from turnkeeper_worker.models.base import ModelRequest

CONNECT_TIMEOUT = 10.0
# bytes of a body from which on it is sent in pieces
LARGE = 1_000_000


class PlainTransport(DefaultAioHttpClient):
    """The transport of the clients that we make: with no proxy, hook or header of somebody's."""


# ours, and what a client makes itself when it is given none
PLAIN_TRANSPORTS = (PlainTransport.__name__, "AsyncHttpxClientWrapper")


class DirectPost:
    """Posts JSON for one client, over connections of its own. Use it on one loop, and `aclose` it there.

    `trust`: whose certificates are accepted; None: those that the system's authorities vouch for.
    """

    def __init__(self, client: AsyncOpenAI, trust: ssl.SSLContext | None = None) -> None:
        self._trust = trust
        self._url = str(client.base_url).rstrip("/")
        given = {**client.default_headers, **client.auth_headers}
        self._headers = {name: value for name, value in given.items() if isinstance(value, str)}
        self._session: aiohttp.ClientSession | None = None

    @staticmethod
    def fits(client: AsyncOpenAI) -> bool:
        """Whether this client posts as we do: a key that stays, nothing added, no transport of its own."""
        is_plain = type(client) is AsyncOpenAI and bool(client.api_key) and not client.default_query
        return is_plain and type(client._client).__name__ in PLAIN_TRANSPORTS

    async def post(self, path: str, body: dict[str, Json], request: ModelRequest) -> Json:
        """The JSON that answers the body. Raises openai.APIError and json.JSONDecodeError."""
        url = self._url + path
        timeout = aiohttp.ClientTimeout(sock_connect=min(CONNECT_TIMEOUT, request.timeout))
        headers = {"Idempotency-Key": request.idempotency_key} if request.idempotency_key else None
        content = json.dumps(body).encode()
        # piece by piece: a large body at once would hold the loop
        data = io.BytesIO(content) if len(content) > LARGE else content
        try:
            async with self._opened().post(url, data=data, headers=headers, timeout=timeout) as answer:
                content = await answer.read()
        except aiohttp.ClientError as error:
            raise openai.APIConnectionError(request=httpx2.Request("POST", url)) from error
        if answer.status >= 400:
            raise _refusal(url, answer, content)
        return json.loads(content)

    async def aclose(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            # as many connections as there are calls: how many runs are in flight is limited elsewhere
            connector = aiohttp.TCPConnector(limit=0, ssl=self._trust or httpx2.create_ssl_context())
            # a look at the environment for each call costs more than the call
            self._session = aiohttp.ClientSession(
                connector=connector, headers=self._headers, trust_env=bool(getproxies())
            )
        return self._session


def _refusal(url: str, answer: aiohttp.ClientResponse, content: bytes) -> openai.APIStatusError:
    response = httpx2.Response(
        answer.status,
        # it was read, and is no longer packed
        headers=[
            (name, value) for name, value in answer.headers.items() if name.lower() != "content-encoding"
        ],
        content=content,
        request=httpx2.Request("POST", url),
    )
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    told = body.get("error", body) if isinstance(body, dict) else body
    return openai.APIStatusError(f"HTTP {answer.status}", response=response, body=told)
