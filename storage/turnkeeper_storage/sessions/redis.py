"""The session in Redis or Valkey: one list a session, every change one atomic script."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from turnkeeper_storage import ids
from turnkeeper_storage.errors import InvalidInput
from turnkeeper_storage.item_texts import entry_key, place_and_text, readable, written
from turnkeeper_storage.items import Item
from turnkeeper_storage.sessions import redis_scripts
from turnkeeper_storage.sessions.protocol import SessionSettings, StoredEntry, effective_limit
from turnkeeper_storage.sessions.redis_faults import told

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster

T = TypeVar("T")
PREFIX = "turnkeeper:session"
TIMEOUT = 10.0
SCHEMES = ("redis://", "rediss://", "unix://")


class RedisSession:
    """A history in a Redis list. Give a `client`, one for all sessions of a process, which stays yours.

    Used on its own it sees no lease: keep other writers out while a run works. `ttl_seconds` after its last
    change the session is gone; reads do not prolong it. `timeout` in seconds is of each call. A client that
    repeats commands by itself adds and pops nothing twice. Works on a cluster: a session is in one slot.

    Raises StoreUnavailable while Redis does not answer, and ConfigurationError when it does not let us in or
    the key holds something else.
    """

    store = "redis"

    def __init__(
        self,
        session_id: str,
        *,
        client: Redis | RedisCluster,
        tenant: str = "default",
        key_prefix: str = PREFIX,
        ttl_seconds: float | None = None,
        session_settings: SessionSettings | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self.session_id = ids.check_session_id(session_id)
        self.session_settings = session_settings
        self.tenant = ids.check_session_id(tenant, field="tenant")
        self.session_key = ids.session_key(tenant, session_id)
        # the braces are the part that says which slot of a cluster: all keys of a session are in one
        self.key = f"{_prefix(key_prefix)}:{{{self.session_key}}}"
        self._ttl = _milliseconds(ttl_seconds, "ttl_seconds") if ttl_seconds is not None else 0
        self._timeout = _milliseconds(timeout, "timeout") / 1000
        self._client = client
        self._owns_client = False

    @classmethod
    def from_url(
        cls,
        session_id: str,
        *,
        url: str,
        tenant: str = "default",
        key_prefix: str = PREFIX,
        ttl_seconds: float | None = None,
        session_settings: SessionSettings | None = None,
        timeout: float = TIMEOUT,
    ) -> Self:
        """A session with a client of its own: `aclose` it, or `async with`. `redis://…`, `rediss://…`, `unix://…`.

        The first one of a process imports the library, which takes a moment.
        """
        session = cls(
            session_id,
            client=_client_of(url, timeout),
            tenant=tenant,
            key_prefix=key_prefix,
            ttl_seconds=ttl_seconds,
            session_settings=session_settings,
            timeout=timeout,
        )
        session._owns_client = True
        return session

    async def get_items(self, limit: int | None = None) -> list[Item]:
        chosen = effective_limit(limit, self.session_settings)
        if chosen == 0:
            return []
        first = 0 if chosen is None else -chosen
        texts = await self._call(lambda client: client.lrange(self.key, first, -1))
        read = [readable(_text(text), place, self.store) for place, text in enumerate(texts)]
        return [item for item in read if item is not None]

    async def add_items(self, items: list[Item]) -> None:
        texts = written(items)
        if texts:
            await self._script(redis_scripts.ADD, texts)

    async def pop_item(self) -> Item | None:
        while True:
            text = await self._script(redis_scripts.POP)
            if text is None:
                return None
            item = readable(_text(text), -1, self.store)
            if item is not None:
                return item

    async def clear_session(self) -> None:
        # by the same script: a clear that a client sends again must not take what was added meanwhile
        await self._script(redis_scripts.REPLACE)

    async def replace_items(self, items: list[Item]) -> None:
        """Put these items in the place of all there are: readers see the old ones or the new ones."""
        await self._script(redis_scripts.REPLACE, written(items))

    async def entries(self) -> list[StoredEntry]:
        texts = await self._call(lambda client: client.lrange(self.key, 0, -1))
        return [
            StoredEntry(entry_key(place, text), readable(_text(text), place, self.store))
            for place, text in enumerate(texts)
        ]

    async def remove_entries(self, keys: Sequence[str]) -> None:
        """Remove those of these items that still stand in their places, in one step."""
        await self._script(redis_scripts.REMOVE, [part for key in keys for part in place_and_text(key)])

    async def aclose(self) -> None:
        """Close the client, when it is this session's own."""
        if self._owns_client:
            await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _script(self, script: str, texts: Sequence[str | bytes | int] = ()) -> Any:
        # by this key Redis knows a script that it did already, when a client sends it again
        once = f"{self.key}:once:{secrets.token_hex(8)}"
        return await self._call(lambda client: client.eval(script, 2, self.key, once, self._ttl, *texts))

    async def _call(self, call: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        with told():
            async with asyncio.timeout(self._timeout):
                return await call(self._client)


def _text(value: str | bytes) -> str:
    """What the server gave, as it was written (a client may decode by itself); "" for what we never wrote."""
    if isinstance(value, str):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return ""


def _client_of(url: object, timeout: float) -> Redis:
    if not isinstance(url, str) or not url.startswith(SCHEMES):
        # never the URL: it may hold a password
        raise InvalidInput("url", "is none of Redis", f"begin it with one of: {', '.join(SCHEMES)}")
    from turnkeeper_storage.lazy_imports import import_once

    redis = import_once("redis.asyncio")
    try:
        made: Redis = redis.Redis.from_url(
            url, socket_timeout=timeout, socket_connect_timeout=timeout, health_check_interval=30
        )
    except ValueError:
        raise InvalidInput("url", "cannot be read", "use redis://user:password@host:6379/0") from None
    return made


def _prefix(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidInput("key_prefix", f"is {value!r}"[:64], "use a text of at least one character")
    if "{" in value or "}" in value:
        raise InvalidInput("key_prefix", "has braces", "leave them out: they choose the slot of a cluster")
    return value


def _milliseconds(seconds: float, field: str) -> int:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise InvalidInput(field, f"is {type(seconds).__name__}", "use seconds")
    if not 0.001 <= seconds < 10**12:
        raise InvalidInput(field, f"is {seconds}", "use seconds over 0")
    return round(seconds * 1000)
