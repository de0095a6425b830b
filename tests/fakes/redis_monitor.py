"""Which commands a Redis database is given, by MONITOR: others may use the server's other databases."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import redis

# what a connection says of itself
_OF_CONNECTIONS = ("CLIENT", "HELLO", "SELECT", "AUTH")


class RedisMonitor:
    """Listens from the block's begin. The server keeps what nobody has read yet."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._database = urlsplit(url).path.strip("/") or "0"
        self._client = redis.Redis.from_url(url)
        self._monitor = self._client.monitor()  # type: ignore[no-untyped-call]

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._monitor.__enter__)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._monitor.__exit__(kind, error, trace)
        self._client.close()

    async def taken(self) -> Counter[str]:
        """The commands since the last call, by name in upper case, those of our own database."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> Counter[str]:
        mark = f"mark-{secrets.token_hex(8)}"
        with redis.Redis.from_url(self._url, socket_timeout=10) as other:
            other.echo(mark)
        found: Counter[str] = Counter()
        while True:
            seen = self._monitor.next_command()
            command = str(seen["command"])
            if mark in command:
                return found
            name = command.split(" ", 1)[0].upper()
            if str(seen["db"]) == self._database and name not in _OF_CONNECTIONS:
                found[name] += 1
