"""Whether a pooler such as PgBouncer is between here and PostgreSQL, and of what mode: by what it does."""

from __future__ import annotations

import contextlib

from sqlalchemy.ext.asyncio import AsyncConnection

from turnkeeper.doctor.findings import Finding, ok
from turnkeeper_storage.database import Database
from turnkeeper_storage.repositories import owners
from turnkeeper_storage.settings import Settings
from turnkeeper_storage.unit_of_work import UnitOfWork

CHECK = "pooler"
# a backend that both are given; others may take it between
ATTEMPTS = 5


async def check_pooler(settings: Settings) -> list[Finding]:
    """What is different here; nothing where no pooler is. Raises ConfigurationError for statement mode."""
    async with contextlib.aclosing(Database(settings.database_url, pool_size=2)) as database:
        if database.dialect != "postgresql":
            return []
        async with database.engine.connect() as first, database.engine.connect() as second:
            if not await _is_pooled(first):
                return []
            shares = [await _share(first, second) for _ in range(ATTEMPTS)]
    mode = "in transaction mode" if any(shares) else "in session mode, as it seems,"
    around = (
        "go around it"
        if settings.direct_database_url
        else "need TURNKEEPER_DIRECT_DATABASE_URL, which is not set"
    )
    return [ok(CHECK, f"one {mode} is between: migrations and the locks of workers {around}")]


async def _is_pooled(connection: AsyncConnection) -> bool:
    from turnkeeper_storage.pooled import is_pooled  # asyncpg is there with PostgreSQL only

    return is_pooled((await connection.get_raw_connection()).driver_connection)


async def _share(*connections: AsyncConnection) -> bool:
    """Whether connections that are open at once are served by the same backend."""
    backends = {await owners.backend(UnitOfWork(one, "postgresql")) for one in connections}
    return len(backends) < len(connections)
