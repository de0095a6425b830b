"""How a session finds its conversation again, also in another process."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from sqlalchemy.ext.asyncio import AsyncEngine

from turnkeeper_storage.database import Database
from turnkeeper_storage.migrate import ensure_tables
from turnkeeper_storage.repositories import conversations


class ConversationIds(Protocol):
    """Remembers which conversation each session is kept in.

    `session_key` stands for the tenant and the session's id (`ids.session_key`): the same in every process.
    """

    async def get(self, session_key: str) -> str | None:
        """The session's conversation, None before its first use."""
        ...

    async def set_if_absent(self, session_key: str, conversation_id: str) -> str:
        """The session's conversation: this one, unless another one stands already.

        Of two first users at once both are given the same.
        """
        ...

    async def forget(self, session_key: str, conversation_id: str) -> None:
        """The session has this conversation no longer; another one that it may have stays."""
        ...


class MemoryConversationIds:
    """Conversations of one process, forgotten with it: for tests and trials."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}

    async def get(self, session_key: str) -> str | None:
        return self._ids.get(session_key)

    async def set_if_absent(self, session_key: str, conversation_id: str) -> str:
        return self._ids.setdefault(session_key, conversation_id)

    async def forget(self, session_key: str, conversation_id: str) -> None:
        if self._ids.get(session_key) == conversation_id:
            del self._ids[session_key]


class DatabaseConversationIds:
    """Conversations that every process on one database finds: the table `turnkeeper_conversations`.

    Give the `database` that a session factory is given, or an `engine` (both stay yours), or use `from_url`
    (then `aclose` it, or `async with`). Raises what the database raises: DatabaseUnavailable, SchemaMismatch.
    """

    def __init__(
        self,
        database: Database | None = None,
        *,
        engine: AsyncEngine | None = None,
        create_tables: bool = False,
    ) -> None:
        if (engine is None) == (database is None):
            raise ValueError("give either database or engine; or use DatabaseConversationIds.from_url")
        self._database = database or Database(engine=engine)
        self._owns_database = False
        self._create_tables = create_tables

    @classmethod
    def from_url(cls, url: str, *, create_tables: bool = False) -> Self:
        """With a pool of its own; `create_tables=True` makes what is missing at first use."""
        made = cls(Database(url), create_tables=create_tables)
        made._owns_database = True
        return made

    async def get(self, session_key: str) -> str | None:
        await self._ready()
        return await self._database.read(lambda uow: conversations.get(uow, session_key))

    async def set_if_absent(self, session_key: str, conversation_id: str) -> str:
        await self._ready()
        return await self._database.transact(
            lambda uow: conversations.settle(uow, session_key, conversation_id)
        )

    async def forget(self, session_key: str, conversation_id: str) -> None:
        await self._ready()
        await self._database.transact(lambda uow: conversations.remove(uow, session_key, conversation_id))

    async def aclose(self) -> None:
        """Close the pool, when it is its own."""
        if self._owns_database:
            await self._database.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _ready(self) -> None:
        if self._create_tables:
            await ensure_tables(self._database)
            self._create_tables = False
