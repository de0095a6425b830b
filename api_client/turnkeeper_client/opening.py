"""How a client opens the session of an id: in the database, or as the caller's own factory makes it."""

from __future__ import annotations

from dataclasses import dataclass

from turnkeeper_client.backend import Backend
from turnkeeper_storage import ids
from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.repositories import sessions
from turnkeeper_storage.sessions.factories import DATABASE, TENANT, SessionFactory, asked_for
from turnkeeper_storage.sessions.protocol import Session, SessionSettings, store_name
from turnkeeper_storage.sessions.sqlalchemy import SQLAlchemySession
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.edit import check_store


@dataclass(frozen=True, slots=True)
class Opening:
    """Opens sessions of one tenant."""

    backend: Backend
    tenant: str
    factory: SessionFactory | None = None

    def key(self, session_id: str) -> str:
        """The session's key."""
        return ids.session_key(self.tenant, session_id)

    async def open(self, session_id: str, settings: SessionSettings | None = None) -> Session:
        """The session, not looked at yet. Raises ConfigurationError, and what the factory raises."""
        if self.factory is not None:
            return await self._made(self.factory, session_id)
        database = await self.backend.database()
        return SQLAlchemySession(session_id, database=database, tenant=self.tenant, session_settings=settings)

    async def open_to_read(self, session_id: str, settings: SessionSettings | None = None) -> Session:
        """The session, once it is sure that its items live where it looks. Raises StoreMismatch."""
        session, key = await self.open(session_id, settings), self.key(session_id)

        async def look(uow: UnitOfWork) -> None:
            row = await sessions.find(uow, key, self.tenant)
            if row is not None:
                check_store(row, store_name(session))

        await (await self.backend.database()).read(look)
        return session

    async def _made(self, factory: SessionFactory, session_id: str) -> Session:
        names = asked_for(factory)
        if TENANT not in names and self.tenant != "default":
            raise ConfigurationError(
                f"session_factory takes no tenant, and this client's is {self.tenant!r}; "
                "give it a parameter `tenant`"
            )
        offered: dict[str, object] = {}
        if TENANT in names:
            offered[TENANT] = self.tenant
        if DATABASE in names:
            offered[DATABASE] = await self.backend.database()
        return factory(session_id, **offered)
