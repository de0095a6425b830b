"""How requests reach the HTTP API: one pool of connections, time-outs, and what is asked again."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from turnkeeper_client.remote.answers import AWAY, Answer
from turnkeeper_storage import tracing
from turnkeeper_storage.errors import ApiUnavailable, ConfigurationError
from turnkeeper_storage.items import Json, encode
from turnkeeper_storage.tls import distrusted, https_context

if TYPE_CHECKING:
    import httpx2

ATTEMPTS = 4
FIRST_PAUSE = 0.1
# seconds without a byte; a stream gives a sign of life more often
SILENCE = 60.0
CONNECT_SECONDS = 5.0


class Transport:
    """Calls one API. It belongs to the event loop of its first call."""

    def __init__(
        self,
        url: str,
        api_key: str | None,
        http_client: httpx2.AsyncClient | None = None,
        ca_file: str | None = None,
    ) -> None:
        """`ca_file`: authorities to trust beside the system's.

        Raises ConfigurationError for a URL that is none, a file without certificates, and where httpx2 is not
        installed.
        """
        self._base = _checked(url)
        self._trust = https_context(ca_file) if http_client is None else None
        self._key = api_key
        self._http = http_client
        self._is_owned = http_client is None

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Json] | None = None,
        body: Json = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = SILENCE,
        is_repeatable: bool = False,
    ) -> Answer:
        """The good answer. `seconds` without a byte end the wait for it.

        What never reached the server is asked again, and what `is_repeatable` whatever became of it.
        Raises the error that the server told, ApiRefused, ApiUnavailable.
        """
        pause = FIRST_PAUSE
        for attempt in range(1, ATTEMPTS + 1):
            is_last = attempt == ATTEMPTS
            try:
                answer = await self.ask(method, path, query, body, headers, seconds)
            except _NotReached as failure:
                if is_last or not (is_repeatable or failure.is_unsent):
                    raise
            else:
                if answer.is_good:
                    return answer
                if is_last or not (is_repeatable and answer.status in AWAY):
                    raise answer.error
                pause = answer.pause(pause)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads callers, no secret
            pause *= 2
        raise AssertionError("unreachable")

    @contextlib.asynccontextmanager
    async def stream(
        self, path: str, *, query: Mapping[str, Json] | None = None, accept: str
    ) -> AsyncIterator[httpx2.Response]:
        """A response that is read as it comes. Raises as `call` does, and asks once."""
        http = self._pool()
        request = http.build_request(
            "GET",
            self._base + path,
            params=_query(query),
            headers=self._headers({"Accept": accept}),
            timeout=_timeout(SILENCE),
        )
        with told():
            response = await http.send(request, stream=True)
        try:
            if not response.is_success:
                with told():
                    body = await response.aread()
                raise Answer(response.status_code, _lower(response), body).error
            yield response
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        """Close the connections; the next call opens new ones."""
        if self._is_owned and self._http is not None:
            http, self._http = self._http, None
            await http.aclose()

    async def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, Json] | None = None,
        body: Json = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = SILENCE,
    ) -> Answer:
        """Any answer, good or not; asked for once. Raises ApiUnavailable."""
        content = None if body is None else encode(body, field="request").encode()
        sent = self._headers(headers)
        if content is not None:
            sent["Content-Type"] = "application/json"
        with told():
            response = await self._pool().request(
                method,
                self._base + path,
                params=_query(query),
                content=content,
                headers=sent,
                timeout=_timeout(seconds),
            )
        return Answer(response.status_code, _lower(response), response.content)

    def _headers(self, more: Mapping[str, str] | None) -> dict[str, str]:
        headers = {"Accept": "application/json", **(more or {})}
        tracing.inject(headers)
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        return headers

    def _pool(self) -> httpx2.AsyncClient:
        if self._http is None:
            import httpx2

            # a wait or a stream takes a connection of its own, however many there are
            limits = httpx2.Limits(max_connections=None, max_keepalive_connections=50)
            trust = self._trust if self._trust is not None else True
            self._http = httpx2.AsyncClient(limits=limits, verify=trust)
        return self._http


def segment(text: str) -> str:
    """A name as one segment of a path; one of dots alone would be taken for a step in it."""
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")


class _NotReached(ApiUnavailable):
    """There is no answer. `is_unsent`: the server has not seen the request."""

    def __init__(self, fault: str, *, is_unsent: bool) -> None:
        super().__init__(fault)
        self.is_unsent = is_unsent


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Faults of the way as ApiUnavailable; their texts may hold URLs, so only their kind is said."""
    import httpx2

    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
        raise _NotReached(_kind(error), is_unsent=True) from None
    except (httpx2.HTTPError, httpx2.StreamError, httpx2.SSEError) as error:
        raise _NotReached(type(error).__name__, is_unsent=False) from None


def _kind(error: Exception) -> str:
    refused = distrusted(error)
    if refused is None:
        return type(error).__name__
    return f"its certificate is not trusted: {refused}; TURNKEEPER_CA_FILE names further authorities"


def _checked(url: str) -> str:
    if find_spec("httpx2") is None:
        raise ConfigurationError(
            "a client of the HTTP API needs httpx2, which is not installed; pip install 'turnkeeper[http]'"
        )
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError("url: is no address of an HTTP API; use e.g. https://agents.example")
    if parts.username or parts.query or parts.fragment:
        raise ConfigurationError("url: has more than an address in it; give the key as api_key=…")
    return url.rstrip("/")


def _timeout(seconds: float) -> httpx2.Timeout:
    import httpx2

    return httpx2.Timeout(seconds, connect=CONNECT_SECONDS)


def _query(given: Mapping[str, Json] | None) -> dict[str, str]:
    return {name: _as_text(value) for name, value in (given or {}).items() if value is not None}


def _as_text(value: Json) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _lower(response: httpx2.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}
