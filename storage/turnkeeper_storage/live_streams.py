"""The streams of deltas in Redis, as they are removed when a session is erased."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING

from turnkeeper_storage.errors import StoreUnavailable
from turnkeeper_storage.lazy_imports import import_once
from turnkeeper_storage.live import session_key_of_stream, streams_pattern

if TYPE_CHECKING:
    from redis.asyncio import Redis

NAME = "live events"
CALL_SECONDS = 5.0
# of one look over all keys of the server
SCAN_SECONDS = 120.0
SCAN_COUNT = 1000


async def forget_streams(url: str, prefix: str, session_keys: Collection[str]) -> int:
    """Remove the stored deltas of these sessions, also of runs that are in no table; how many streams.

    It looks at every key of the Redis once. Raises StoreUnavailable when that does not answer.
    """
    await asyncio.to_thread(import_once, "redis.asyncio")
    from redis.asyncio import Redis
    from redis.exceptions import RedisError

    client = Redis.from_url(url, socket_timeout=CALL_SECONDS, socket_connect_timeout=CALL_SECONDS)
    try:
        async with asyncio.timeout(SCAN_SECONDS):
            return await _forget(client, prefix, frozenset(session_keys))
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreUnavailable(NAME, type(error).__name__) from None
    finally:
        await client.aclose()


async def _forget(client: Redis, prefix: str, session_keys: frozenset[str]) -> int:
    count, found = 0, list[bytes]()
    async for key in client.scan_iter(match=streams_pattern(prefix), count=SCAN_COUNT):
        if session_key_of_stream(prefix, key) in session_keys:
            found.append(key)
        if len(found) >= SCAN_COUNT:
            count += await client.unlink(*found)
            found.clear()
    return count + (await client.unlink(*found) if found else 0)
