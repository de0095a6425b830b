"""The session classes of openai-agents, each on a place of its own, as its documentation opens them."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.ground import Ground

if TYPE_CHECKING:
    from agents.memory import Session


@contextlib.asynccontextmanager
async def opened(ground: Ground, session_id: str) -> AsyncIterator[dict[str, Session]]:
    """One session of each class by name; closed at the end."""
    # takes seconds to import
    from agents import SQLiteSession
    from agents.extensions.memory import RedisSession, SQLAlchemySession

    async with contextlib.AsyncExitStack() as stack:
        url = stack.enter_context(ground.empty_database()).replace("postgresql://", "postgresql+asyncpg://")
        postgres = SQLAlchemySession.from_url(session_id, url=url, create_tables=True)
        file = new_file(stack, ground)
        sqlite = SQLAlchemySession.from_url(session_id, url=f"sqlite+aiosqlite:///{file}", create_tables=True)
        for one in (postgres, sqlite):
            stack.push_async_callback(one.engine.dispose)
        redis = RedisSession.from_url(session_id, url=stack.enter_context(ground.redis_database()))
        stack.push_async_callback(redis.close)
        plain = SQLiteSession(session_id, new_file(stack, ground))
        in_memory = SQLiteSession(session_id)
        for own in (plain, in_memory):
            stack.callback(own.close)
        yield {
            "openai-agents PostgreSQL": postgres,
            "openai-agents SQLite": sqlite,
            "openai-agents SQLiteSession": plain,
            "openai-agents Redis": redis,
            "openai-agents SQLiteSession in memory": in_memory,
        }


def new_file(stack: contextlib.AsyncExitStack, ground: Ground) -> Path:
    """The path of a SQLite file that is gone with the stack."""
    return Path(stack.enter_context(tempfile.TemporaryDirectory(dir=ground.folder))) / "items.db"
