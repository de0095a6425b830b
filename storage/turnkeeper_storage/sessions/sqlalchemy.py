"""The session in our own database: what runs use unless told otherwise, and usable alone."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from sqlalchemy.ext.asyncio import AsyncEngine

from turnkeeper_storage import ids
from turnkeeper_storage.database import Database
from turnkeeper_storage.item_texts import checked_items
from turnkeeper_storage.items import Item
from turnkeeper_storage.migrate import ensure_tables
from turnkeeper_storage.repositories import items as item_repository
from turnkeeper_storage.sessions.protocol import SessionSettings, StoredEntry, effective_limit
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs import edit


class SQLAlchemySession:
    """A history on PostgreSQL or SQLite.

    Edits (`add_items`, `pop_item`, `clear_session`) raise SessionBusy while a run works in the session or is
    parked in it. Give an `engine` (which stays yours) or use `from_url` (then `aclose` it, or `async with`).
    """

    store = "database"

    def __init__(
        self,
        session_id: str,
        *,
        engine: AsyncEngine | None = None,
        database: Database | None = None,
        tenant: str = "default",
        session_settings: SessionSettings | None = None,
        create_tables: bool = False,
    ) -> None:
        if (engine is None) == (database is None):
            raise ValueError("give either engine or database; or use SQLAlchemySession.from_url")
        self.session_id = ids.check_session_id(session_id)
        self.session_settings = session_settings
        self.tenant = ids.check_session_id(tenant, field="tenant")
        self.session_key = ids.session_key(tenant, session_id)
        self._database = database or Database(engine=engine)
        self._owns_database = False
        self._create_tables = create_tables

    @classmethod
    def from_url(
        cls,
        session_id: str,
        *,
        url: str,
        tenant: str = "default",
        session_settings: SessionSettings | None = None,
        create_tables: bool = False,
    ) -> Self:
        """A session with a pool of its own; `create_tables=True` makes what is missing at first use."""
        session = cls(
            session_id,
            database=Database(url),
            tenant=tenant,
            session_settings=session_settings,
            create_tables=create_tables,
        )
        session._owns_database = True
        return session

    async def get_items(self, limit: int | None = None) -> list[Item]:
        chosen = effective_limit(limit, self.session_settings)
        if chosen == 0:
            return []
        await self._ready()
        return await self._database.read(lambda uow: item_repository.newest(uow, self.session_key, chosen))

    async def add_items(self, items: list[Item]) -> None:
        new = checked_items(items)
        if not new:
            return
        await self._ready()
        await self._database.transact_once(
            lambda uow: edit.add_items(uow, self.session_key, self.tenant, self.session_id, new)
        )

    async def add_items_in(self, uow: UnitOfWork, items: Sequence[Item]) -> None:
        """Append within a transaction that holds the session's row already."""
        await item_repository.append(uow, self.session_key, items)

    async def pop_item(self) -> Item | None:
        await self._ready()
        return await self._database.transact_once(
            lambda uow: edit.pop_item(uow, self.session_key, self.session_id)
        )

    async def clear_session(self) -> None:
        await self._ready()
        await self._database.transact(lambda uow: edit.clear(uow, self.session_key, self.session_id))

    async def replace_items(self, items: list[Item]) -> None:
        """Put these items in the place of all there are, in one transaction. Raises SessionBusy."""
        new = checked_items(items)
        await self._ready()
        await self._database.transact(
            lambda uow: edit.replace(uow, self.session_key, self.tenant, self.session_id, new)
        )

    async def entries(self) -> list[StoredEntry]:
        await self._ready()
        found = await self._database.read(lambda uow: item_repository.entries(uow, self.session_key))
        return [StoredEntry(str(position), item) for position, item in found]

    async def remove_entries(self, keys: Sequence[str]) -> None:
        """Remove these items in one transaction. Raises SessionBusy."""
        positions = [int(key) for key in keys]
        await self._ready()
        await self._database.transact(
            lambda uow: edit.remove(uow, self.session_key, self.session_id, positions)
        )

    async def aclose(self) -> None:
        """Close the pool, when it is this session's own."""
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
