"""Where a word stands: in any column of any table, in any key or value of a Redis."""

from __future__ import annotations

from typing import Any

import redis.asyncio
from sqlalchemy import Connection, MetaData, inspect, select

from turnkeeper_storage.database import Database

READS = {
    b"string": ("GET",),
    b"list": ("LRANGE", 0, -1),
    b"hash": ("HGETALL",),
    b"set": ("SMEMBERS",),
    b"zset": ("ZRANGE", 0, -1),
    b"stream": ("XRANGE", "-", "+"),
}


async def columns_with(database: Database, word: str) -> set[str]:
    """`table.column` of all places in the database, whoever's table it is, where the word stands."""

    def look(connection: Connection) -> set[str]:
        names = inspect(connection).get_table_names()
        found = MetaData()
        found.reflect(connection)
        assert set(names) == set(found.tables)
        places = set()
        for table in found.tables.values():
            for row in connection.execute(select(table)).mappings():
                places |= {f"{table.name}.{column}" for column, value in row.items() if word in str(value)}
        return places

    return await database.run_sync(look, writes=False)


async def keys_with(url: str, word: str) -> set[str]:
    """All keys of a Redis that have the word, in their name or in what they hold."""
    async with redis.asyncio.from_url(url) as client:
        return {key.decode() async for key in client.scan_iter() if await _holds(client, key, word.encode())}


async def _holds(client: Any, key: bytes, word: bytes) -> bool:
    command, *more = READS[await client.type(key)]
    value = await client.execute_command(command, key, *more)
    return word in key or word in repr(value).encode()
